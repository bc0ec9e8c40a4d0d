//! The first exchange on a connection between brokers: both sides make sure that they mean each
//! other before anything is asked.

use highwater_core::types::BrokerId;
use serde::{Deserialize, Serialize};

/// The version of the messages that this build speaks. Both sides must speak the same one.
const VERSION: u16 = 4;

/// What a connection is for. Each broker keeps one of each to each other broker, so that records
/// on their way never delay a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Everything short.
    Control,
    /// Fetches of records.
    Records,
}

/// The first message, from the side that connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    version: u16,
    cluster_id: String,
    pub from: BrokerId,
    to: BrokerId,
    pub lane: Lane,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Requests may follow.
    Welcome,
    /// The connection is closed.
    Refused(Refusal),
}

/// Why a broker talks to another one no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The messages of the two builds differ.
    #[error(
        "the brokers speak versions {theirs} and {ours} of the messages between brokers; run the \
         same release on both"
    )]
    Version { ours: u16, theirs: u16 },
    /// They belong to two clusters.
    #[error(
        "one broker belongs to cluster `{theirs}` and the other to `{ours}`; give both the same \
         cluster.id, or correct controller.quorum.voters"
    )]
    Cluster { ours: String, theirs: String },
    /// Somebody else answers at that address.
    #[error(
        "broker {ours} was reached where broker {wanted} was expected; correct node.id or \
         controller.quorum.voters"
    )]
    Node { ours: BrokerId, wanted: BrokerId },
    /// A broker connects that has the id of the one it connects to.
    #[error("two brokers have node.id {0}; give each one of its own")]
    SameNode(BrokerId),
}

impl Hello {
    pub fn new(cluster_id: &str, from: BrokerId, to: BrokerId, lane: Lane) -> Self {
        Self { version: VERSION, cluster_id: cluster_id.to_owned(), from, to, lane }
    }

    /// Whether the broker `node` of the cluster `cluster_id` is the one that is meant.
    pub fn check(&self, cluster_id: &str, node: BrokerId) -> Result<(), Refusal> {
        if self.version != VERSION {
            return Err(Refusal::Version { ours: VERSION, theirs: self.version });
        }
        if self.cluster_id != cluster_id {
            let (ours, theirs) = (cluster_id.to_owned(), self.cluster_id.clone());
            return Err(Refusal::Cluster { ours, theirs });
        }
        if self.to != node {
            return Err(Refusal::Node { ours: node, wanted: self.to });
        }
        if self.from == node {
            return Err(Refusal::SameNode(node));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_that_is_meant_in_the_same_cluster_and_version_welcomes() {
        let hello = Hello::new("c", BrokerId(1), BrokerId(2), Lane::Control);
        assert_eq!(hello.check("c", BrokerId(2)), Ok(()));
        assert!(matches!(hello.check("d", BrokerId(2)), Err(Refusal::Cluster { .. })));
        assert!(matches!(hello.check("c", BrokerId(3)), Err(Refusal::Node { .. })));
        let newer = Hello { version: VERSION + 1, ..hello };
        assert!(matches!(newer.check("c", BrokerId(2)), Err(Refusal::Version { .. })));
        let itself = Hello::new("c", BrokerId(2), BrokerId(2), Lane::Control);
        assert_eq!(itself.check("c", BrokerId(2)), Err(Refusal::SameNode(BrokerId(2))));
    }
}
