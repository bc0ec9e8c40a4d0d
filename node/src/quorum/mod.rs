//! The metadata quorum as the rest of the node sees it: commands go in, an image comes out.

mod local;
mod raft;
mod status;
mod watch;

pub use local::{LocalQuorum, OpenError};
pub use raft::{RaftOptions, RaftQuorum};
pub use status::{ChangeError, PeerProgress, QuorumStatus};
pub use watch::Watch;

use crate::env::BoxFuture;
use highwater_core::{
    metadata::{Command, Endpoint, Image, MetadataError, Reply},
    types::{BrokerId, MetadataOffset},
};
use std::sync::Arc;

/// The replicated metadata log and the image that its commands add up to.
pub trait Quorum: Send + Sync {
    /// Makes a command durable and applies it. The answer is the offset behind the command and
    /// what applying it replied.
    fn propose(
        &self,
        command: Command,
    ) -> BoxFuture<'static, Result<(MetadataOffset, Reply), ProposeError>>;
    /// The image as of the last applied command.
    fn image(&self) -> Arc<Image>;
    /// Completes when the image is past `after`.
    fn changed(&self, after: MetadataOffset) -> BoxFuture<'static, ()>;
    /// Who leads the quorum, as far as this node knows.
    fn leadership(&self) -> Leadership;
    /// Completes when the leadership is another one than `known`.
    fn leadership_changed(&self, known: Leadership) -> BoxFuture<'static, ()>;
    /// Completes with the offset of an image that holds every command whose proposer was answered
    /// before the call. Only the quorum's leader can tell.
    fn read_barrier(&self) -> BoxFuture<'static, Result<MetadataOffset, ProposeError>>;
    /// The quorum as this node sees it. Only the leader knows how far the others are.
    fn status(&self) -> QuorumStatus;
    /// The quorum as its leader sees it, or as this node does when the leader does not say.
    fn status_of_leader(&self) -> BoxFuture<'static, QuorumStatus>;
    /// Makes a node a voter, once it has caught up. The leader does it, whom this node asks.
    fn add_voter(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> BoxFuture<'static, Result<(), ChangeError>>;
    /// Takes a node's vote away; it goes on as a learner. The leader does it.
    fn remove_voter(&self, node: BrokerId) -> BoxFuture<'static, Result<(), ChangeError>>;
    /// Hands the leadership of the quorum over before this node stops, if it has it and another
    /// voter can take it. Completes when that is done or did not work.
    fn hand_over(&self) -> BoxFuture<'static, ()>;
    /// Whether the processes of so many voters are certainly not running that nothing can be
    /// agreed on.
    fn is_lost(&self) -> BoxFuture<'static, bool>;
}

/// Who leads the metadata quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Raft's term: one leader at most in each.
    pub term: u64,
    /// The leader; `None` while there is none, or none is known.
    pub leader: Option<BrokerId>,
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// The image refuses the command; nothing was stored.
    #[error("{0}")]
    Refused(MetadataError),
    /// The command could not be stored and is not in the log.
    #[error("the metadata log could not take the command: {0}")]
    NotStored(String),
    /// The command may have been stored: look at the image before trying again.
    #[error("whether the metadata log took the command is unknown: {0}")]
    Unknown(String),
    /// This node does not lead the quorum and could not pass the command on; it is not in the log.
    #[error("this node does not lead the metadata quorum{}", leader_hint(*leader))]
    NotLeader { leader: Option<BrokerId> },
    /// The quorum has stopped after an earlier failure of its disk; restart the broker.
    #[error("the metadata log has stopped after a disk failure; repair the disk and restart")]
    Stopped,
}

fn leader_hint(leader: Option<BrokerId>) -> String {
    leader.map_or_else(String::new, |leader| format!("; broker {leader} does"))
}
