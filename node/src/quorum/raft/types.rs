//! The consensus crate's type parameters, and our own serialisable forms of what it stores and
//! sends: no format depends on the crate's.

use super::runtime::QuorumRuntime;
use highwater_core::{
    metadata::{Command, Endpoint, MetadataError, Reply},
    types::{BrokerId, MetadataOffset},
};
use openraft::{
    EntryPayload, Membership, StoredMembership,
    impls::leader_id_std,
    type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

openraft::declare_raft_types!(
    /// One leader at most in each term, as in the Raft paper.
    pub(super) Types:
        D = Proposal,
        R = Outcome,
        NodeId = BrokerId,
        Node = Endpoint,
        LeaderId = leader_id_std::LeaderId<u64, BrokerId>,
        AsyncRuntime = QuorumRuntime,
);

pub(super) type Vote = VoteOf<Types>;
pub(super) type LogId = LogIdOf<Types>;
pub(super) type Entry = EntryOf<Types>;
pub(super) type Members = Membership<BrokerId, Endpoint>;
pub(super) type StoredMembers = StoredMembershipOf<Types>;

/// A command on its way through the log, shared by every holder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proposal(pub(super) Arc<Command>);

impl fmt::Display for Proposal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// What applying an entry replied; `None` when it holds no command.
pub(super) type Outcome = Option<Result<Reply, MetadataError>>;

/// The position behind an entry.
pub(super) fn offset_behind(index: u64) -> MetadataOffset {
    MetadataOffset(index + 1)
}

/// A vote. Once stored, the node takes part in no earlier term, nor in another one's election in
/// this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteRecord {
    pub(super) term: u64,
    pub(super) node: BrokerId,
    /// A quorum has granted it: `node` leads the term.
    pub(super) committed: bool,
}

/// Where an entry is: no two entries have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) term: u64,
    pub(super) index: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) at: Position,
    pub(super) payload: PayloadRecord,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum PayloadRecord {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command.
    Command(Arc<Command>),
    /// Who belongs to the quorum, from this entry on.
    Members(MembersRecord),
}

/// Who belongs to the quorum.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct MembersRecord {
    /// The voters; two sets while they are being changed, each of which must agree.
    pub(super) voters: Vec<BTreeSet<BrokerId>>,
    /// Every node, learners too, and where it serves its peers.
    pub(super) nodes: BTreeMap<BrokerId, Endpoint>,
}

/// A [`MembersRecord`] and the entry that it came with.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct StoredMembersRecord {
    pub(super) at: Option<Position>,
    pub(super) members: MembersRecord,
}

/// A record that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Senseless(pub(super) String);

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        let leader = vote.leader_id;
        Self { term: leader.term, node: leader.voted_for, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        match record.committed {
            true => Self::new_committed(record.term, record.node),
            false => Self::new(record.term, record.node),
        }
    }
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<Position> for LogId {
    fn from(at: Position) -> Self {
        Self::new(CommittedLeaderIdOf::<Types>::new(at.term), at.index)
    }
}

impl From<Entry> for EntryRecord {
    fn from(entry: Entry) -> Self {
        let payload = match entry.payload {
            EntryPayload::Blank => PayloadRecord::Blank,
            EntryPayload::Normal(Proposal(command)) => PayloadRecord::Command(command),
            EntryPayload::Membership(members) => PayloadRecord::Members((&members).into()),
        };
        Self { at: entry.log_id.into(), payload }
    }
}

impl EntryRecord {
    /// The entry as the consensus crate has it.
    pub(super) fn into_entry(self) -> Result<Entry, Senseless> {
        let payload = match self.payload {
            PayloadRecord::Blank => EntryPayload::Blank,
            PayloadRecord::Command(command) => EntryPayload::Normal(Proposal(command)),
            PayloadRecord::Members(members) => EntryPayload::Membership(members.try_into()?),
        };
        Ok(Entry { log_id: self.at.into(), payload })
    }
}

impl From<&Members> for MembersRecord {
    fn from(members: &Members) -> Self {
        Self {
            voters: members.get_joint_config().clone(),
            nodes: members.nodes().map(|(node, endpoint)| (*node, endpoint.clone())).collect(),
        }
    }
}

impl TryFrom<MembersRecord> for Members {
    type Error = Senseless;

    fn try_from(record: MembersRecord) -> Result<Self, Senseless> {
        Self::new(record.voters, record.nodes).map_err(|error| Senseless(error.to_string()))
    }
}

impl From<&StoredMembers> for StoredMembersRecord {
    fn from(stored: &StoredMembers) -> Self {
        let at = (*stored.log_id()).map(Position::from);
        Self { at, members: stored.membership().into() }
    }
}

impl TryFrom<StoredMembersRecord> for StoredMembers {
    type Error = Senseless;

    fn try_from(record: StoredMembersRecord) -> Result<Self, Senseless> {
        Ok(StoredMembership::new(record.at.map(LogId::from), record.members.try_into()?))
    }
}
