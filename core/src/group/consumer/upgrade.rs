//! A classic group becomes a consumer group when a member of the consumer protocol joins it
//! (`group.consumer.migration.policy`).

use super::{
    ConsumerGroups, Draft, heartbeat,
    member::EpochsByPartition,
    protocol::{self, CONSUMER},
    timers::Duty,
    validate,
};
use crate::{
    group::{
        ClassicMemberMetadata, ConsumerGroupValue, ConsumerHeartbeat, ConsumerHeartbeatAnswer,
        ConsumerMemberValue, CurrentAssignmentValue, GroupConfig, GroupError, InstanceId,
        MemberEpoch, MemberId, MemberState, Record, TopicPartitions,
    },
    metadata::Image,
    time::Now,
    types::{PartitionIndex, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use bytes::Bytes;
use core::{cmp::Reverse, time::Duration};

/// A classic group, as it is when a member of the consumer protocol joins it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicSnapshot {
    /// Whether the log knows the group.
    pub is_recorded: bool,
    /// Its protocol type.
    pub protocol_type: String,
    /// Its generation; zero before the first.
    pub generation: u32,
    /// Its members.
    pub members: Vec<ClassicSnapshotMember>,
}

/// A member of a classic group that becomes a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSnapshotMember {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// The silence after which it is removed.
    pub session_timeout: Duration,
    /// What it can be assigned by, its favourite first, and its metadata for each.
    pub protocols: Vec<(String, Bytes)>,
    /// What it was assigned last; empty for nothing.
    pub assignment: Bytes,
}

impl ConsumerGroups {
    /// As [`ConsumerGroups::heartbeat`], for a group that is a classic one so far. When it is
    /// accepted, what the members of the classic group wait for has to be refused with
    /// [`GroupError::RebalanceInProgress`].
    pub fn heartbeat_of_upgrade(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        request: &ConsumerHeartbeat,
        classic: &ClassicSnapshot,
        records: &mut Vec<Record>,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        validate::validate(request)?;
        let may_upgrade = classic.members.is_empty()
            || (config.migration_policy.allows_upgrade()
                && classic.protocol_type == CONSUMER
                && classic.members.len() <= config.consumer_max_size);
        if request.epoch != MemberEpoch::Join || !may_upgrade {
            return Err(GroupError::GroupIdNotFound);
        }
        let new = super::ConsumerGroup::default();
        let mut draft = Draft::new(request.group.clone(), &new);
        if classic.is_recorded {
            let group = draft.id.clone();
            draft.push(Record::Group { group, value: None });
        }
        if !classic.members.is_empty() {
            convert(&mut draft, image, classic)?;
        }
        let stayed = heartbeat::stay(now, image, config, request, Default::default(), draft)?;
        for member in &classic.members {
            let session = now.monotonic.after(member.session_timeout);
            self.timers.set(&request.group, &member.member, Duty::Session, session);
        }
        self.heard_of(now, config, &request.group, &stayed);
        records.extend(stayed.records);
        Ok(stayed.answer)
    }
}

/// Decides on a consumer group with the members of a classic one: each has what it owns, in the
/// group's generation. A group is not found if what its members say cannot be read, or an assignor of
/// their own told them more than partitions; it is too large if it is more than fits into one
/// decision, since a group that is converted in part would be neither.
fn convert(
    draft: &mut Draft<'_>,
    image: &Image,
    classic: &ClassicSnapshot,
) -> Result<(), GroupError> {
    let mut owned = Vec::new();
    for member in &classic.members {
        let (about, claim) = read(member, image).ok_or(GroupError::GroupIdNotFound)?;
        owned.push((member.member.clone(), claim));
        let (group, member) = (draft.id.clone(), member.member.clone());
        draft.push(Record::ConsumerMember { group, member, value: Some(about) });
        draft.check_size()?;
    }
    let owned = settle(owned);
    let value =
        ConsumerGroupValue { epoch: classic.generation, metadata_hash: draft.metadata_hash(image) };
    draft.push(Record::ConsumerGroup { group: draft.id.clone(), value: Some(value) });
    for (member, partitions) in &owned {
        let (group, member) = (draft.id.clone(), member.clone());
        let value = Some(partitions.clone());
        draft.push(Record::TargetAssignment { group, member, value });
    }
    let epoch = Some(classic.generation);
    draft.push(Record::TargetAssignmentEpoch { group: draft.id.clone(), value: epoch });
    for (member, partitions) in owned {
        let group = draft.id.clone();
        let value = Some(CurrentAssignmentValue {
            epoch,
            previous_epoch: classic.generation,
            state: MemberState::Stable,
            assigned: since(classic.generation, &partitions),
            pending_revocation: EpochsByPartition::new(),
        });
        draft.push(Record::CurrentAssignment { group, member, value });
    }
    draft.check_size()
}

/// What a member may own, and how much that is worth where another claims the same.
struct Claim {
    standing: Standing,
    partitions: TopicPartitions,
}

/// How much a claim is worth, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The member said so when it joined, and in which generation it got that, if it knew.
    Said(Option<u32>),
    /// It was assigned that in the present generation, or in the one before the rebalance.
    Assigned,
}

/// Gives each partition to one of those that claim it. Who was assigned it has it; of what members
/// said, that of the newest generation holds, as assignors take it (KIP-792): the other claim is one
/// of a member that has been away. Kafka goes by assignments alone, and takes what a member is to be
/// assigned just now for nobody's. Between equals, of which one is mistaken, the first by id has it.
fn settle(claims: Vec<(MemberId, Claim)>) -> Vec<(MemberId, TopicPartitions)> {
    let mut ranked: Vec<usize> = (0..claims.len()).collect();
    ranked.sort_by_key(|index| Reverse(claims[*index].1.standing));
    let mut owners = BTreeMap::new();
    for index in ranked {
        for (topic, of_topic) in &claims[index].1.partitions {
            for partition in of_topic {
                owners.entry((*topic, *partition)).or_insert(index);
            }
        }
    }
    let settled = claims.into_iter().enumerate().map(|(index, (member, claim))| {
        let mut partitions = claim.partitions;
        partitions.retain(|topic, of_topic| {
            of_topic.retain(|partition| owners[&(*topic, *partition)] == index);
            !of_topic.is_empty()
        });
        (member, partitions)
    });
    settled.collect()
}

/// What a member says of itself and what it may own: what it was assigned, or, while it waits for
/// an assignment, what it said it owned when it joined.
fn read(member: &ClassicSnapshotMember, image: &Image) -> Option<(ConsumerMemberValue, Claim)> {
    let (_, metadata) = member.protocols.first()?;
    let subscription = protocol::subscription(metadata)?;
    let assignment = protocol::assignment(&member.assignment)?;
    if assignment.has_user_data {
        return None;
    }
    let claim = match member.assignment.is_empty() {
        true => Claim {
            standing: Standing::Said(subscription.generation),
            partitions: protocol::by_id(&subscription.owned, image),
        },
        false => Claim {
            standing: Standing::Assigned,
            partitions: protocol::by_id(&assignment.partitions, image),
        },
    };
    let about = ConsumerMemberValue {
        instance: member.instance.clone(),
        rack: subscription.rack,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: heartbeat::sorted(&subscription.topics),
        regular_expression: None,
        rebalance_timeout: member.rebalance_timeout,
        assignor: None,
        classic: Some(ClassicMemberMetadata {
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
        }),
    };
    Some((about, claim))
}

fn since(epoch: u32, partitions: &TopicPartitions) -> EpochsByPartition {
    let with_epoch = |(topic, of_topic): (&TopicId, &BTreeSet<PartitionIndex>)| {
        (*topic, of_topic.iter().map(|partition| (*partition, epoch)).collect())
    };
    partitions.iter().map(with_epoch).collect()
}
