//! The controller: what the leader of the metadata quorum knows beside the metadata, which are the
//! sessions of the brokers, and the commands that follow from it.
//!
//! All of it is soft: a new leader starts with nothing, and what the controller proposes is decided
//! when it is applied.

mod messages;

pub use messages::{Effect, Effects, HeartbeatAnswer, HeartbeatError, Input};

use crate::{
    metadata::Image,
    time::{Instant, Now},
};
use core::time::Duration;

/// How the controller keeps its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// `broker.session.timeout.ms`: the silence after which a broker is fenced.
    pub session_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` when `auto.leader.rebalance.enable` is
    /// off.
    pub rebalance_interval: Option<Duration>,
}

/// The controller of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    config: ControllerConfig,
}

impl Controller {
    /// A controller that does not lead.
    #[must_use]
    pub fn new(config: ControllerConfig) -> Self {
        Self { config }
    }

    /// Takes one input. `image` is the node's newest.
    pub fn step(&mut self, now: Now, image: &Image, input: Input, effects: &mut Effects) {
        let _ = (now, image, input, effects, self.config);
    }

    /// When [`Input::Tick`] is due at the latest, if nothing else happens; `None` while this node
    /// does not lead.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
