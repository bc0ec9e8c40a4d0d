//! The messages between brokers. They are values here; `frame` gives them bytes.

use bytes::Bytes;
use highwater_core::{
    metadata::{Command, Reply},
    partition::{ReplicaFetchError, ReplicaPosition},
    replica_session::SessionTurn,
    time::Instant,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, MetadataOffset, Offset, PartitionIndex, TopicId},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A host and a port, as other machines reach them.
pub use highwater_core::metadata::Endpoint;

/// What one broker asks of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// A call of the metadata quorum, in its own encoding.
    Raft(Vec<u8>),
    /// A node wants to belong to the metadata quorum. To the quorum's leader.
    Join {
        /// The node.
        node: BrokerId,
        /// Where it serves its peers.
        endpoint: Endpoint,
        /// What for.
        join_as: JoinAs,
    },
    /// What does the node know of a metadata quorum? To any configured voter.
    QuorumProbe,
    /// Add a command to the metadata log. To the quorum's leader.
    Propose(Command),
    /// A registered broker is alive. To the quorum's leader.
    Heartbeat(Heartbeat),
    /// A follower asks the leader of some partitions for what it does not have.
    Fetch(ReplicaFetch),
    /// A follower has flushed what it had fetched.
    Flushed(ReplicaFlushed),
    /// A client wants another node to vote, or not to. To the quorum's leader.
    ChangeVoters(VoterChange),
    /// A client wants to know how far every node of the quorum is. To the quorum's leader.
    DescribeQuorum,
    /// A follower has more to ask than its fetch under way has named: that is to be answered at once.
    HurryFetch,
}

/// The answer to a [`PeerRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerReply {
    /// To [`PeerRequest::Raft`].
    Raft(Vec<u8>),
    /// To [`PeerRequest::Join`], except of a node without a log.
    Joined,
    /// To [`PeerRequest::Join`] of a node without a log: the quorum counts on nothing that the node
    /// may have promised before.
    LetIn(LetIn),
    /// To [`PeerRequest::QuorumProbe`].
    QuorumProbed {
        /// The node knows of a quorum that has had a leader.
        founded: bool,
        /// The end of the node's log, exclusive.
        last_log: MetadataOffset,
    },
    /// To [`PeerRequest::Propose`]: the offset behind the command and what applying it replied.
    Proposed(MetadataOffset, Reply),
    /// To [`PeerRequest::Propose`]: the image refuses the command.
    Refused(highwater_core::metadata::MetadataError),
    /// To [`PeerRequest::Propose`]: the command may or may not have been stored.
    Unknown(String),
    /// To [`PeerRequest::Heartbeat`].
    Heartbeat(HeartbeatReply),
    /// To [`PeerRequest::Fetch`].
    Fetched(ReplicaFetched),
    /// To [`PeerRequest::Flushed`].
    Flushed,
    /// To anything that only the quorum's leader can do.
    NotLeader {
        /// Who leads as far as this node knows.
        leader: Option<BrokerId>,
    },
    /// The node cannot serve the request at this moment.
    Unavailable(String),
    /// To [`PeerRequest::ChangeVoters`].
    VotersChanged,
    /// To [`PeerRequest::DescribeQuorum`].
    QuorumTold(QuorumTold),
    /// To [`PeerRequest::Fetch`] of a session that the leader does not know: the follower has to
    /// begin another.
    SessionLost,
    /// To [`PeerRequest::HurryFetch`].
    FetchHurried,
}

/// Another set of voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoterChange {
    /// The node votes, once it has caught up.
    Add {
        /// The node.
        node: BrokerId,
        /// Where it serves its peers.
        endpoint: Endpoint,
    },
    /// The node votes no more.
    Remove {
        /// The node.
        node: BrokerId,
    },
}

/// The metadata quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumTold {
    /// The leader's term.
    pub term: u64,
    /// The voters and where they serve their peers.
    pub voters: BTreeMap<BrokerId, Endpoint>,
    /// The nodes that follow without a vote.
    pub learners: BTreeMap<BrokerId, Endpoint>,
    /// The end of the leader's log, exclusive.
    pub last_log_offset: MetadataOffset,
    /// The end of what is committed, exclusive.
    pub committed_offset: MetadataOffset,
    /// How far each node is.
    pub peers: BTreeMap<BrokerId, ProgressTold>,
}

/// How far a node of the quorum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressTold {
    /// The end of the log that it is known to have, exclusive.
    pub matched: MetadataOffset,
    /// How many milliseconds ago the last request was sent that it answered; `None` before the
    /// first one.
    pub heard_millis_ago: Option<u64>,
}

/// What a node wants to be in the metadata quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAs {
    /// A node that has a log and moved, or was let go.
    Follower,
    /// A node whose log is empty: it may be new, or have lost what it had promised as a voter. A
    /// vote that it has is taken away before it takes part.
    LostLog,
    /// A node that was let in without a log and wants its vote, once it has caught up.
    Voter,
}

/// From when on a node that came without a log takes part in the metadata quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetIn {
    /// The leader's term: the node takes part in no earlier one.
    pub term: u64,
    /// The end of the log with which the node has no vote, exclusive.
    pub without_vote: MetadataOffset,
    /// The node had a vote before.
    pub had_vote: bool,
}

/// A broker's sign of life (KIP-631).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The broker.
    pub broker: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// How much of the metadata log it has taken into account.
    pub applied: MetadataOffset,
    /// It wants to stop, once it leads nothing.
    pub wants_shutdown: bool,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatReply {
    /// The broker is known.
    Known {
        /// It may not lead or be in an ISR yet, or any more.
        fenced: bool,
        /// It asked to stop, and leads nothing: it may.
        may_shut_down: bool,
        /// What was decided before this was answered lies below this offset of the metadata log.
        decided: MetadataOffset,
    },
    /// Another process has registered under the broker's id, or the registration is gone.
    Stale,
}

/// A follower's fetch from one leader, of all partitions that it follows there. Those of its session
/// that it does not name are where it named them last (KIP-227).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetch {
    /// The follower's registration (KIP-903).
    pub broker_epoch: BrokerEpoch,
    /// The session that this goes on with; `None` begins one.
    pub session: Option<SessionTurn>,
    /// What it wants that is new to the session, or has moved.
    pub partitions: Vec<ReplicaFetchPartition>,
    /// What of the session it does not want any more, or not now.
    pub forgotten: Vec<(TopicId, PartitionIndex)>,
    /// How long the leader may wait for something to answer, in milliseconds.
    pub max_wait_millis: u32,
    /// Bytes of batches in the whole answer, except that the first batch is answered whole.
    pub max_bytes: u32,
    /// The stamp of the leader's newest answer to this follower's process.
    pub heard: Option<AnswerStamp>,
}

/// When a leader answered a fetch. It comes back with the follower's next one, which is therefore
/// younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerStamp {
    /// The leader's registration: its clock says nothing to another process.
    pub broker_epoch: BrokerEpoch,
    /// The leader's monotonic clock.
    pub at: Instant,
}

/// One partition of a [`ReplicaFetch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetchPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub index: PartitionIndex,
    /// Where the follower is.
    pub position: ReplicaPosition,
}

/// The answer to a [`ReplicaFetch`]: partitions with something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetched {
    /// The partitions.
    pub partitions: Vec<FetchedPartition>,
    /// The session's next fetch.
    pub session: SessionTurn,
    /// When it was made.
    pub stamp: AnswerStamp,
}

/// One partition of a [`ReplicaFetched`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub index: PartitionIndex,
    /// The leader epoch of the request that this answers.
    pub leader_epoch: LeaderEpoch,
    /// The fetch offset of the request that this answers.
    pub fetch_offset: Offset,
    /// What the leader has.
    pub outcome: Result<FetchedRecords, ReplicaFetchError>,
}

/// Records for a follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedRecords {
    /// The leader's high watermark, exclusive.
    pub high_watermark: Offset,
    /// The leader's log start, inclusive.
    pub log_start_offset: Offset,
    /// The follower's log parts from the leader's here: it has to truncate first.
    pub diverging: Option<highwater_core::epochs::EpochEnd>,
    /// Whole batches from the fetch offset on. Travels behind the message, uncopied.
    #[serde(skip)]
    pub records: Bytes,
}

/// A follower's flushed offsets, sent between its fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFlushed {
    /// The follower's registration.
    pub broker_epoch: BrokerEpoch,
    /// What is flushed, exclusive, by partition and leader epoch.
    pub partitions: Vec<FlushedPartition>,
}

/// One partition of a [`ReplicaFlushed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub index: PartitionIndex,
    /// The epoch in which the follower's log was found to agree with the leader's.
    pub leader_epoch: LeaderEpoch,
    /// What is flushed, exclusive.
    pub flushed_offset: Offset,
}
