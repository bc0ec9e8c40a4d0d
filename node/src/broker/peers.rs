//! What this broker does for other brokers.
//!
//! It can be called from the moment when its peers may need it for the metadata quorum; what needs
//! the partitions is unavailable until they are open.

use super::{ControllerDriver, Lookup, PartitionDriver, Shared, replica_reads};
use crate::{
    env::BoxFuture,
    peer::{
        PeerService,
        messages::{PeerReply, PeerRequest, ReplicaFlushed},
    },
};
use highwater_core::{partition::Input, types::BrokerId};
use std::sync::{Arc, OnceLock};

/// Serves the calls of other brokers.
pub struct Peers {
    quorum: Arc<dyn PeerService>,
    controller: Arc<ControllerDriver>,
    broker: OnceLock<Arc<Shared>>,
}

impl Peers {
    /// Serves the quorum and the controller; the partitions are not open yet.
    pub fn new(quorum: Arc<dyn PeerService>, controller: Arc<ControllerDriver>) -> Arc<Self> {
        Arc::new(Self { quorum, controller, broker: OnceLock::new() })
    }

    /// From now on the partitions are served too.
    pub fn open(&self, shared: Arc<Shared>) {
        assert!(self.broker.set(shared).is_ok(), "a broker opens once");
    }
}

impl PeerService for Peers {
    fn serve(&self, from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        let shared = self.broker.get().filter(|shared| !shared.is_closing()).cloned();
        let unavailable =
            || ready(PeerReply::Unavailable("the broker is starting or closing".into()));
        match request {
            PeerRequest::Raft(_)
            | PeerRequest::Join { .. }
            | PeerRequest::QuorumProbe
            | PeerRequest::Propose(_)
            | PeerRequest::ChangeVoters(_)
            | PeerRequest::DescribeQuorum => self.quorum.serve(from, request),
            PeerRequest::Heartbeat(heartbeat) => {
                let controller = self.controller.clone();
                Box::pin(async move { controller.heartbeat(heartbeat).await })
            }
            PeerRequest::Fetch(fetch) => match shared {
                Some(shared) => {
                    Box::pin(async move { replica_reads::serve(&shared, from, fetch).await })
                }
                None => unavailable(),
            },
            PeerRequest::HurryFetch => match shared {
                Some(shared) => {
                    shared.replica_sessions().hurry(from);
                    ready(PeerReply::FetchHurried)
                }
                None => unavailable(),
            },
            PeerRequest::Flushed(report) => match shared {
                Some(shared) => {
                    note_flushed(&shared, from, report);
                    ready(PeerReply::Flushed)
                }
                None => unavailable(),
            },
        }
    }
}

fn note_flushed(shared: &Shared, follower: BrokerId, report: ReplicaFlushed) {
    let broker_epoch = report.broker_epoch;
    for partition in report.partitions {
        let driver: Arc<PartitionDriver> =
            match shared.partitions.get(partition.topic, partition.index) {
                Lookup::Open(driver) => driver,
                Lookup::Opening | Lookup::Offline | Lookup::Unknown => continue,
            };
        let (leader_epoch, flushed) = (partition.leader_epoch, partition.flushed_offset);
        driver.tell(Input::ReplicaFlushed { follower, broker_epoch, leader_epoch, flushed });
    }
}

fn ready(reply: PeerReply) -> BoxFuture<'static, PeerReply> {
    Box::pin(std::future::ready(reply))
}
