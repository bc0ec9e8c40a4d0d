//! The records of `__consumer_offsets`: from core's terms to Kafka's bytes and back. The one file
//! that knows both.
//!
//! Decoding is total. A number that core has no place for (a negative epoch, a duration below zero)
//! can only come from another product, and counts as the nearest one that it has.

use crate::wire::{
    EncodeError, GroupRecord, Str,
    generated::records::{
        consumer_group_current_member_assignment::{
            ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
            TopicPartitions as OwnedPartitions,
        },
        consumer_group_member_metadata::{
            ClassicMemberMetadata as WireClassicMember, ClassicProtocol,
            ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue,
        },
        consumer_group_metadata::{ConsumerGroupMetadataKey, ConsumerGroupMetadataValue},
        consumer_group_regular_expression::{
            ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
        },
        consumer_group_target_assignment_member::{
            ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
            TopicPartition,
        },
        consumer_group_target_assignment_metadata::{
            ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
        },
        group_metadata::{GroupMetadataKey, GroupMetadataValue, MemberMetadata},
        offset_commit::{OffsetCommitKey, OffsetCommitValue},
    },
};
use bytes::Bytes;
use highwater_core::{
    group::{
        ClassicGroupValue, ClassicMemberMetadata, ClassicMemberValue, CommittedOffset,
        ConsumerGroupValue, ConsumerMemberValue, CurrentAssignmentValue, MemberState, Record,
        RegularExpressionValue, TopicPartitions,
    },
    time::Timestamp,
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Partitions with the epoch in which each was assigned.
type Epochs = BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>;

/// What a static member's epoch is while it is away.
const AWAY: i32 = -2;

/// The states of a member, as Kafka numbers them.
const MEMBER_STATES: [(i8, MemberState); 3] = [
    (0, MemberState::Stable),
    (1, MemberState::UnrevokedPartitions),
    (2, MemberState::UnreleasedPartitions),
];
const UNKNOWN_STATE: i8 = 127;

/// The key and the value of a record; a value of `None` is a tombstone.
///
/// # Errors
/// A text is longer than a record can hold.
pub fn encode(record: &Record) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    to_wire(record).encode()
}

fn to_wire(record: &Record) -> GroupRecord {
    match record {
        Record::OffsetCommit { group, topic, partition, value } => {
            let (group, topic, partition) = (text(group), text(topic), index_number(*partition));
            let key = OffsetCommitKey { group, topic, partition };
            GroupRecord::OffsetCommit(key, value.as_ref().map(offset_to_wire))
        }
        Record::Group { group, value } => {
            let key = GroupMetadataKey { group: text(group) };
            GroupRecord::GroupMetadata(key, value.as_ref().map(classic_to_wire))
        }
        Record::ConsumerGroup { group, value } => {
            let key = ConsumerGroupMetadataKey { group_id: text(group) };
            let value = value.map(|value| ConsumerGroupMetadataValue {
                epoch: number(value.epoch),
                metadata_hash: value.metadata_hash.cast_signed(),
            });
            GroupRecord::ConsumerGroupMetadata(key, value)
        }
        Record::ConsumerMember { group, member, value } => {
            let (group_id, member_id) = (text(group), text(member));
            let key = ConsumerGroupMemberMetadataKey { group_id, member_id };
            GroupRecord::ConsumerGroupMemberMetadata(key, value.as_ref().map(member_to_wire))
        }
        Record::TargetAssignmentEpoch { group, value } => {
            let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: text(group) };
            let value = value.map(|epoch| ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: number(epoch),
            });
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value)
        }
        Record::TargetAssignment { group, member, value } => {
            let (group_id, member_id) = (text(group), text(member));
            let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id };
            GroupRecord::ConsumerGroupTargetAssignmentMember(
                key,
                value.as_ref().map(target_to_wire),
            )
        }
        Record::CurrentAssignment { group, member, value } => {
            let (group_id, member_id) = (text(group), text(member));
            let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id };
            let value = value.as_ref().map(current_to_wire);
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value)
        }
        Record::RegularExpression { group, expression, value } => {
            let (group_id, regular_expression) = (text(group), text(expression));
            let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression };
            let value = value.as_ref().map(|value| ConsumerGroupRegularExpressionValue {
                topics: value.topics.iter().map(|topic| text(topic)).collect(),
                version: i64::try_from(value.version).unwrap_or(i64::MAX),
                timestamp: value.at.0,
            });
            GroupRecord::ConsumerGroupRegularExpression(key, value)
        }
    }
}

/// What a record says. `None` for one that is known and says nothing here: Kafka writes no more
/// than tombstones of it.
pub fn from_wire(record: GroupRecord) -> Option<Record> {
    Some(match record {
        GroupRecord::OffsetCommit(key, value) => Record::OffsetCommit {
            group: shared(&key.group),
            topic: shared(&key.topic),
            partition: PartitionIndex(count(key.partition)),
            value: value.map(|value| offset_from_wire(&value)),
        },
        GroupRecord::GroupMetadata(key, value) => Record::Group {
            group: shared(&key.group),
            value: value.map(|value| classic_from_wire(&value)),
        },
        GroupRecord::ConsumerGroupMetadata(key, value) => Record::ConsumerGroup {
            group: shared(&key.group_id),
            value: value.map(|value| ConsumerGroupValue {
                epoch: count(value.epoch),
                metadata_hash: value.metadata_hash.cast_unsigned(),
            }),
        },
        // The metadata of its topics: what a group needs of it is in its hash now (KIP-1101).
        GroupRecord::ConsumerGroupPartitionMetadata(..) => return None,
        GroupRecord::ConsumerGroupMemberMetadata(key, value) => Record::ConsumerMember {
            group: shared(&key.group_id),
            member: shared(&key.member_id),
            value: value.map(|value| member_from_wire(&value)),
        },
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => {
            Record::TargetAssignmentEpoch {
                group: shared(&key.group_id),
                value: value.map(|value| count(value.assignment_epoch)),
            }
        }
        GroupRecord::ConsumerGroupTargetAssignmentMember(key, value) => Record::TargetAssignment {
            group: shared(&key.group_id),
            member: shared(&key.member_id),
            value: value.map(|value| target_from_wire(&value)),
        },
        GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
            Record::CurrentAssignment {
                group: shared(&key.group_id),
                member: shared(&key.member_id),
                value: value.map(|value| current_from_wire(&value)),
            }
        }
        GroupRecord::ConsumerGroupRegularExpression(key, value) => Record::RegularExpression {
            group: shared(&key.group_id),
            expression: shared(&key.regular_expression),
            value: value.map(|value| RegularExpressionValue {
                topics: value.topics.iter().map(shared).collect(),
                version: u64::try_from(value.version).unwrap_or(0),
                at: Timestamp(value.timestamp),
            }),
        },
    })
}

fn offset_to_wire(value: &CommittedOffset) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: i64::try_from(value.offset.0).unwrap_or(i64::MAX),
        leader_epoch: value.leader_epoch.map_or(-1, |epoch| number(epoch.0)),
        metadata: text(&value.metadata),
        commit_timestamp: value.committed_at.0,
        expire_timestamp: value.expires_at.map_or(-1, |at| at.0),
        topic_id: value.topic_id.unwrap_or_default(),
    }
}

fn offset_from_wire(value: &OffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(u64::try_from(value.offset).unwrap_or(0)),
        leader_epoch: u32::try_from(value.leader_epoch).ok().map(LeaderEpoch),
        metadata: shared(&value.metadata),
        committed_at: Timestamp(value.commit_timestamp),
        expires_at: (value.expire_timestamp != -1).then_some(Timestamp(value.expire_timestamp)),
        topic_id: (value.topic_id != TopicId::default()).then_some(value.topic_id),
    }
}

fn classic_to_wire(value: &ClassicGroupValue) -> GroupMetadataValue {
    let members = value.members.iter().map(|member| MemberMetadata {
        member_id: text(&member.member),
        group_instance_id: member.instance.as_deref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        rebalance_timeout: millis(member.rebalance_timeout),
        session_timeout: millis(member.session_timeout),
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    GroupMetadataValue {
        protocol_type: text(&value.protocol_type),
        generation: number(value.generation),
        protocol: value.protocol.as_deref().map(text),
        leader: value.leader.as_deref().map(text),
        current_state_timestamp: value.state_since.map_or(-1, |since| since.0),
        members: members.collect(),
    }
}

fn classic_from_wire(value: &GroupMetadataValue) -> ClassicGroupValue {
    let members = value.members.iter().map(|member| ClassicMemberValue {
        member: shared(&member.member_id),
        instance: member.group_instance_id.as_ref().map(shared),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        // The oldest version has one timeout for both.
        rebalance_timeout: duration(match member.rebalance_timeout {
            none if none < 0 => member.session_timeout,
            given => given,
        }),
        session_timeout: duration(member.session_timeout),
        subscription: copied(&member.subscription),
        assignment: copied(&member.assignment),
    });
    let since = value.current_state_timestamp;
    ClassicGroupValue {
        protocol_type: value.protocol_type.to_string(),
        generation: count(value.generation),
        protocol: value.protocol.as_ref().map(Str::to_string),
        leader: value.leader.as_ref().map(shared),
        state_since: (since != -1).then_some(Timestamp(since)),
        members: members.collect(),
    }
}

fn member_to_wire(value: &ConsumerMemberValue) -> ConsumerGroupMemberMetadataValue {
    let classic = value.classic.as_ref().map(|classic| WireClassicMember {
        session_timeout_ms: millis(classic.session_timeout),
        supported_protocols: classic
            .protocols
            .iter()
            .map(|(name, metadata)| ClassicProtocol {
                name: text(name),
                metadata: metadata.clone(),
            })
            .collect(),
    });
    ConsumerGroupMemberMetadataValue {
        instance_id: value.instance.as_deref().map(text),
        rack_id: value.rack.as_deref().map(text),
        client_id: text(&value.client_id),
        client_host: text(&value.client_host),
        subscribed_topic_names: value.topics.iter().map(|topic| text(topic)).collect(),
        subscribed_topic_regex: value.regular_expression.as_deref().map(text),
        rebalance_timeout_ms: millis(value.rebalance_timeout),
        server_assignor: value.assignor.as_deref().map(text),
        classic_member_metadata: classic,
    }
}

fn member_from_wire(value: &ConsumerGroupMemberMetadataValue) -> ConsumerMemberValue {
    let mut topics: Vec<Arc<str>> = value.subscribed_topic_names.iter().map(shared).collect();
    topics.sort_unstable();
    topics.dedup();
    let classic = value.classic_member_metadata.as_ref().map(|classic| ClassicMemberMetadata {
        session_timeout: duration(classic.session_timeout_ms),
        protocols: classic
            .supported_protocols
            .iter()
            .map(|protocol| (protocol.name.to_string(), copied(&protocol.metadata)))
            .collect(),
    });
    ConsumerMemberValue {
        instance: value.instance_id.as_ref().map(shared),
        rack: value.rack_id.as_ref().map(Str::to_string),
        client_id: value.client_id.to_string(),
        client_host: value.client_host.to_string(),
        topics,
        regular_expression: value.subscribed_topic_regex.as_ref().map(shared),
        rebalance_timeout: duration(value.rebalance_timeout_ms),
        assignor: value.server_assignor.as_ref().map(Str::to_string),
        classic,
    }
}

fn target_to_wire(value: &TopicPartitions) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = value.iter().map(|(topic_id, partitions)| TopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().map(|index| index_number(*index)).collect(),
    });
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

fn target_from_wire(value: &ConsumerGroupTargetAssignmentMemberValue) -> TopicPartitions {
    let mut topics = TopicPartitions::new();
    for topic in value.topic_partitions.iter().filter(|topic| !topic.partitions.is_empty()) {
        let indexes = topic.partitions.iter().map(|index| PartitionIndex(count(*index)));
        topics.entry(topic.topic_id).or_default().extend(indexes);
    }
    topics
}

fn current_to_wire(value: &CurrentAssignmentValue) -> ConsumerGroupCurrentMemberAssignmentValue {
    let state = MEMBER_STATES.iter().find(|(_, state)| *state == value.state);
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: value.epoch.map_or(AWAY, number),
        previous_member_epoch: number(value.previous_epoch),
        state: state.map_or(UNKNOWN_STATE, |(number, _)| *number),
        assigned_partitions: epochs_to_wire(&value.assigned),
        partitions_pending_revocation: epochs_to_wire(&value.pending_revocation),
    }
}

fn current_from_wire(value: &ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignmentValue {
    let state = MEMBER_STATES.iter().find(|(number, _)| *number == value.state);
    let epoch = u32::try_from(value.member_epoch).ok();
    CurrentAssignmentValue {
        epoch,
        previous_epoch: count(value.previous_member_epoch),
        state: state.map_or(MemberState::Unknown, |(_, state)| *state),
        assigned: epochs_from_wire(&value.assigned_partitions, epoch),
        pending_revocation: epochs_from_wire(&value.partitions_pending_revocation, epoch),
    }
}

fn epochs_to_wire(partitions: &Epochs) -> Vec<OwnedPartitions> {
    let topics = partitions.iter().map(|(topic_id, partitions)| OwnedPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().map(|index| index_number(*index)).collect(),
        assignment_epochs: Some(partitions.values().map(|epoch| number(*epoch)).collect()),
    });
    topics.collect()
}

/// Before KIP-1251 the epochs are not there: the member's own is the oldest that is safe.
fn epochs_from_wire(topics: &[OwnedPartitions], member: Option<u32>) -> Epochs {
    let mut partitions = Epochs::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let known = topic.assignment_epochs.as_deref().unwrap_or_default();
        let epochs = known.iter().map(|epoch| count(*epoch));
        let epochs = epochs.chain(std::iter::repeat(member.unwrap_or(0)));
        let indexes = topic.partitions.iter().map(|index| PartitionIndex(count(*index)));
        partitions.entry(topic.topic_id).or_default().extend(indexes.zip(epochs));
    }
    partitions
}

fn text(text: &str) -> Str {
    Str::from(text)
}

/// A copy: a slice would keep the piece of the log in memory that it was read with.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn shared(text: &Str) -> Arc<str> {
    Arc::from(&**text)
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn index_number(index: PartitionIndex) -> i32 {
    number(index.0)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn duration(millis: i32) -> Duration {
    Duration::from_millis(u64::from(count(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_and_read(record: &Record) -> Option<Record> {
        let (key, value) = encode(record).expect("its texts are short");
        from_wire(GroupRecord::decode(key, value).expect("it was just written"))
    }

    fn topic(number: u8) -> TopicId {
        TopicId([number; 16])
    }

    #[test]
    fn every_record_comes_back_as_it_was_written() {
        let (group, member) = (Arc::<str>::from("g"), Arc::<str>::from("m"));
        let index = PartitionIndex;
        let offset = CommittedOffset {
            offset: Offset(7),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: "note".into(),
            committed_at: Timestamp(1_000),
            expires_at: None,
            topic_id: None,
        };
        let classic = ClassicGroupValue {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some(member.clone()),
            state_since: Some(Timestamp(5)),
            members: vec![ClassicMemberValue {
                member: member.clone(),
                instance: Some("i".into()),
                client_id: "c".into(),
                client_host: "/::1".into(),
                rebalance_timeout: Duration::from_secs(60),
                session_timeout: Duration::from_secs(45),
                subscription: Bytes::from_static(b"subscription"),
                assignment: Bytes::from_static(b"assignment"),
            }],
        };
        let consumer = ConsumerMemberValue {
            instance: None,
            rack: Some("r".into()),
            client_id: "c".into(),
            client_host: "/::1".into(),
            topics: vec!["a".into(), "b".into()],
            regular_expression: Some("x.*".into()),
            rebalance_timeout: Duration::from_secs(60),
            assignor: Some("uniform".into()),
            classic: Some(ClassicMemberMetadata {
                session_timeout: Duration::from_secs(45),
                protocols: vec![("range".into(), Bytes::from_static(b"metadata"))],
            }),
        };
        let target = TopicPartitions::from([(topic(1), [index(0), index(2)].into())]);
        let current = |epoch, state| CurrentAssignmentValue {
            epoch,
            previous_epoch: 8,
            state,
            assigned: Epochs::from([(topic(1), [(index(0), 3), (index(2), 9)].into())]),
            pending_revocation: Epochs::from([(topic(2), [(index(1), 2)].into())]),
        };
        let expression =
            RegularExpressionValue { topics: vec!["a".into()], version: 12, at: Timestamp(99) };
        let hash = ConsumerGroupValue { epoch: 6, metadata_hash: u64::MAX };
        let (partition, topic, expr) = (index(1), Arc::<str>::from("t"), Arc::from("x.*"));
        let current_of = |value| Record::CurrentAssignment {
            group: group.clone(),
            member: member.clone(),
            value,
        };
        for record in [
            Record::OffsetCommit {
                group: group.clone(),
                topic: topic.clone(),
                partition,
                value: Some(offset),
            },
            Record::OffsetCommit { group: group.clone(), topic, partition, value: None },
            Record::Group { group: group.clone(), value: Some(classic) },
            Record::Group { group: group.clone(), value: None },
            Record::ConsumerGroup { group: group.clone(), value: Some(hash) },
            Record::ConsumerMember {
                group: group.clone(),
                member: member.clone(),
                value: Some(consumer),
            },
            Record::TargetAssignmentEpoch { group: group.clone(), value: Some(6) },
            Record::TargetAssignment {
                group: group.clone(),
                member: member.clone(),
                value: Some(target),
            },
            current_of(Some(current(Some(9), MemberState::Stable))),
            current_of(Some(current(Some(9), MemberState::UnrevokedPartitions))),
            current_of(Some(current(Some(9), MemberState::UnreleasedPartitions))),
            current_of(Some(current(None, MemberState::Unknown))),
            current_of(None),
            Record::RegularExpression {
                group: group.clone(),
                expression: expr,
                value: Some(expression),
            },
        ] {
            assert_eq!(written_and_read(&record).as_ref(), Some(&record));
            let (key, value) = encode(&record).expect("its texts are short");
            let bytes = key.len() + value.map_or(0, |value| value.len());
            assert!((bytes..bytes + 256).contains(&record.size()), "{record:?}");
        }
    }

    #[test]
    fn numbers_of_other_products_that_make_no_sense_become_the_nearest_that_do() {
        let value = OffsetCommitValue {
            offset: -5,
            leader_epoch: -7,
            expire_timestamp: -1,
            ..Default::default()
        };
        let read = offset_from_wire(&value);
        assert_eq!((read.offset, read.leader_epoch, read.expires_at), (Offset(0), None, None));
        assert_eq!(duration(-1), Duration::ZERO);
        let member =
            MemberMetadata { session_timeout: 10, rebalance_timeout: -1, ..Default::default() };
        let group = GroupMetadataValue { members: vec![member], ..Default::default() };
        let read = classic_from_wire(&group);
        assert_eq!(read.members[0].rebalance_timeout, Duration::from_millis(10));
    }
}
