//! The way from one client to one broker and back, which faults may cut. As with TCP, what meets a cut
//! is not lost but late, and whoever waits for it may have given up by then.

use super::{ClientNumber, Clients};
use crate::{network::Way, recorder::now_nanos, trace::Effect};
use madsim::time;
use std::time::Duration;

/// How often a link that is cut is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The way between a client and a broker.
pub struct Path {
    clients: Clients,
    client: ClientNumber,
    broker: i32,
}

impl Path {
    /// Between these two.
    #[must_use]
    pub fn new(clients: &Clients, client: ClientNumber, broker: i32) -> Self {
        Self { clients: clients.clone(), client, broker }
    }

    /// Whether it is cut in either direction.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        Way::BOTH.iter().any(|way| self.is_cut_towards(*way))
    }

    /// Waits until something passes in this direction; `false` when it has not by then, in simulated
    /// nanoseconds.
    pub async fn passes(&self, way: Way, until: u64) -> bool {
        if !self.is_cut_towards(way) {
            return true;
        }
        let recorder = &self.clients.recorder;
        recorder.trace.effect(Effect::CallIsolated, 1);
        while self.is_cut_towards(way) {
            if now_nanos() >= until {
                let (client, broker) = (self.client.0, self.broker);
                recorder.note(format_args!("client {client} does not hear of broker {broker}"));
                return false;
            }
            time::sleep(LOOK_EVERY).await;
        }
        true
    }

    fn is_cut_towards(&self, way: Way) -> bool {
        self.clients.cluster.client_links.is_cut(self.client.0, self.broker, way)
    }
}
