//! The bytes of the records of `__consumer_offsets`. Those of the consumer protocol's groups (types
//! 3, 5, 6, 7 and 8) are what Kafka's own serializer gives for such records; the others were written
//! down by hand from the format.

use bytes::Bytes;
use highwater_core::types::TopicId;
use highwater_node::wire::{
    GroupRecord,
    generated::records::{
        consumer_group_current_member_assignment as current_assignment,
        consumer_group_member_metadata as member,
        consumer_group_metadata::{ConsumerGroupMetadataKey, ConsumerGroupMetadataValue},
        consumer_group_partition_metadata as partition_metadata,
        consumer_group_regular_expression::{
            ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
        },
        consumer_group_target_assignment_member as target_member,
        consumer_group_target_assignment_metadata as target_metadata,
        group_metadata::{GroupMetadataKey, GroupMetadataValue, MemberMetadata},
        offset_commit::{OffsetCommitKey, OffsetCommitValue},
    },
};

/// The topic id 01 to 10.
const TOPIC: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

/// Asserts that a record and its bytes are each other's.
fn golden(record: &GroupRecord, key: &[&[u8]], value: &[&[u8]]) {
    let (key, value) = (Bytes::from(key.concat()), Bytes::from(value.concat()));
    assert_eq!(record.encode().unwrap(), (key.clone(), Some(value.clone())), "{record:?}");
    assert_eq!(&GroupRecord::decode(key, Some(value)).unwrap(), record);
}

/// Asserts that bytes which an older broker wrote are read as that record.
fn read_as(record: &GroupRecord, key: &[&[u8]], value: &[&[u8]]) {
    let decoded = GroupRecord::decode(key.concat().into(), Some(value.concat().into()));
    assert_eq!(&decoded.unwrap(), record);
}

#[test]
fn an_offset_commit_of_every_version() {
    let record = |value: OffsetCommitValue| {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2 };
        GroupRecord::OffsetCommit(key, Some(value))
    };
    let mut value = OffsetCommitValue {
        offset: 500,
        metadata: "x".into(),
        commit_timestamp: 60_000,
        ..OffsetCommitValue::default()
    };
    let key: &[&[u8]] = &[b"\0\x01\0\x01g\0\x01t\0\0\0\x02"]; // type, group, topic, partition
    let legacy: &[&[u8]] = &[b"\0\0\0\x01g\0\x01t\0\0\0\x02"];
    let offset = b"\0\0\0\0\0\0\x01\xf4";
    let time = b"\0\0\0\0\0\0\xea\x60";
    read_as(&record(value.clone()), legacy, &[b"\0\0", offset, b"\0\x01x", time]);
    read_as(&record(value.clone()), key, &[b"\0\x02", offset, b"\0\x01x", time]);
    let mut expiring = value.clone();
    expiring.expire_timestamp = 7;
    let expiry = b"\0\0\0\0\0\0\0\x07";
    read_as(&record(expiring), key, &[b"\0\x01", offset, b"\0\x01x", time, expiry]);
    value.leader_epoch = 9;
    read_as(&record(value.clone()), key, &[b"\0\x03", offset, b"\0\0\0\x09\0\x01x", time]);
    golden(&record(value.clone()), key, &[b"\0\x04", offset, b"\0\0\0\x09\x02x", time, b"\0"]);
    value.topic_id = TOPIC;
    golden(
        &record(value),
        key,
        &[
            b"\0\x04", // version
            offset,
            b"\0\0\0\x09", // leader epoch
            b"\x02x",      // metadata
            time,
            b"\x01\0\x10", // one tag, 0, of 16 bytes: the topic id
            &TOPIC.0,
        ],
    );
}

#[test]
fn the_metadata_of_a_classic_group() {
    let key = GroupMetadataKey { group: "g".into() };
    let member = MemberMetadata {
        member_id: "m".into(),
        group_instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout: 300_000,
        session_timeout: 45_000,
        subscription: Bytes::from_static(b"\0\x01s"),
        assignment: Bytes::from_static(b"as"),
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 5,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        current_state_timestamp: 60_000,
        members: vec![member],
    };
    golden(
        &GroupRecord::GroupMetadata(key, Some(value)),
        &[b"\0\x02\0\x01g"],
        &[
            b"\0\x03",                         // version
            b"\0\x08consumer\0\0\0\x05",       // protocol type, generation
            b"\0\x05range\0\x01m",             // protocol, leader
            b"\0\0\0\0\0\0\xea\x60",           // since when it is in its state
            b"\0\0\0\x01",                     // one member
            b"\0\x01m\xff\xff\0\x01c\0\x02/h", // its id, no instance, client and host
            b"\0\x04\x93\xe0\0\0\xaf\xc8",     // rebalance and session timeout
            b"\0\0\0\x03\0\x01s",              // subscription
            b"\0\0\0\x02as",                   // assignment
        ],
    );
}

#[test]
fn the_metadata_of_an_empty_classic_group_of_an_old_broker() {
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 6,
        protocol: None,
        leader: None,
        current_state_timestamp: -1,
        members: Vec::new(),
    };
    read_as(
        &GroupRecord::GroupMetadata(GroupMetadataKey { group: "g".into() }, Some(value)),
        &[b"\0\x02\0\x01g"],
        &[b"\0\x01\0\x08consumer\0\0\0\x06\xff\xff\xff\xff\0\0\0\0"],
    );
}

#[test]
fn the_epoch_of_a_group() {
    let record = |metadata_hash| {
        GroupRecord::ConsumerGroupMetadata(
            ConsumerGroupMetadataKey { group_id: "g1".into() },
            Some(ConsumerGroupMetadataValue { epoch: 7, metadata_hash }),
        )
    };
    golden(&record(0), &[b"\0\x03\0\x02g1"], &[b"\0\0\0\0\0\x07\0"]);
    golden(
        &record(0x1122_3344_5566_7788),
        &[b"\0\x03\0\x02g1"],
        &[b"\0\0\0\0\0\x07", b"\x01\0\x08\x11\x22\x33\x44\x55\x66\x77\x88"],
    );
}

#[test]
fn the_topics_of_a_group_of_kafka_4_0() {
    use partition_metadata::{
        ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue, PartitionMetadata,
        TopicMetadata,
    };
    let key = ConsumerGroupPartitionMetadataKey { group_id: "g1".into() };
    let topic = TopicMetadata {
        topic_id: TOPIC,
        topic_name: "t".into(),
        num_partitions: 1,
        partition_metadata: vec![PartitionMetadata { partition: 0, racks: vec!["r".into()] }],
    };
    let value = ConsumerGroupPartitionMetadataValue { topics: vec![topic] };
    golden(
        &GroupRecord::ConsumerGroupPartitionMetadata(key, Some(value)),
        &[b"\0\x04\0\x02g1"],
        &[
            b"\0\0\x02",                // version, one topic
            &TOPIC.0,                   // its id
            b"\x02t\0\0\0\x01",         // its name, partitions
            b"\x02\0\0\0\0\x02\x02r\0", // one partition with one rack
            b"\0\0",                    // no tags: topic, value
        ],
    );
}

#[test]
fn a_member_of_the_consumer_protocol_says_that_it_is_no_classic_one() {
    use member::{
        ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataKey,
        ConsumerGroupMemberMetadataValue,
    };
    let record = |classic_member_metadata| {
        GroupRecord::ConsumerGroupMemberMetadata(
            ConsumerGroupMemberMetadataKey { group_id: "g1".into(), member_id: "m1".into() },
            Some(ConsumerGroupMemberMetadataValue {
                instance_id: None,
                rack_id: None,
                client_id: "c".into(),
                client_host: "h".into(),
                subscribed_topic_names: vec!["t".into()],
                subscribed_topic_regex: None,
                rebalance_timeout_ms: 1000,
                server_assignor: None,
                classic_member_metadata,
            }),
        )
    };
    let key: &[&[u8]] = &[b"\0\x05\0\x02g1\0\x02m1"];
    let start: &[u8] = b"\0\0\0\0\x02c\x02h\x02\x02t\0\0\0\x03\xe8\0";
    // A tag whose content is null; no tag at all would be an empty classic member.
    golden(&record(None), key, &[start, b"\x01\0\x01\0"]);
    let classic = ClassicMemberMetadata {
        session_timeout_ms: 30_000,
        supported_protocols: vec![ClassicProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\x01\x02"),
        }],
    };
    golden(
        &record(Some(classic)),
        key,
        &[
            start,
            b"\x01\0\x11\x01",   // one tag, 0, of 17 bytes: it is there
            b"\0\0\x75\x30",     // session timeout
            b"\x02\x06range",    // one protocol
            b"\x03\x01\x02\0\0", // its metadata; no tags: protocol, member
        ],
    );
    golden(&record(Some(ClassicMemberMetadata::default())), key, &[start, b"\0"]);
}

#[test]
fn a_large_subscription_fits_into_the_tag() {
    use member::{
        ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataKey,
        ConsumerGroupMemberMetadataValue,
    };
    let protocol =
        ClassicProtocol { name: "range".into(), metadata: Bytes::from(vec![7; 1 << 20]) };
    let value = ConsumerGroupMemberMetadataValue {
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 1,
            supported_protocols: vec![protocol],
        }),
        ..ConsumerGroupMemberMetadataValue::default()
    };
    let record = GroupRecord::ConsumerGroupMemberMetadata(
        ConsumerGroupMemberMetadataKey::default(),
        Some(value),
    );
    let (key, value) = record.encode().unwrap();
    assert_eq!(GroupRecord::decode(key, value).unwrap(), record);
}

#[test]
fn the_target_of_a_group_and_of_a_member() {
    use target_member::{
        ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
        TopicPartition,
    };
    use target_metadata::{
        ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    };
    golden(
        &GroupRecord::ConsumerGroupTargetAssignmentMetadata(
            ConsumerGroupTargetAssignmentMetadataKey { group_id: "g1".into() },
            Some(ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 3 }),
        ),
        &[b"\0\x06\0\x02g1"],
        &[b"\0\0\0\0\0\x03\0"],
    );
    let topic = TopicPartition { topic_id: TOPIC, partitions: vec![0] };
    golden(
        &GroupRecord::ConsumerGroupTargetAssignmentMember(
            ConsumerGroupTargetAssignmentMemberKey {
                group_id: "g1".into(),
                member_id: "m1".into(),
            },
            Some(ConsumerGroupTargetAssignmentMemberValue { topic_partitions: vec![topic] }),
        ),
        &[b"\0\x07\0\x02g1\0\x02m1"],
        &[b"\0\0\x02", &TOPIC.0, b"\x02\0\0\0\0\0\0"],
    );
}

#[test]
fn what_a_member_has() {
    use current_assignment::{
        ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
        TopicPartitions,
    };
    let record = |partition, assignment_epochs| {
        GroupRecord::ConsumerGroupCurrentMemberAssignment(
            ConsumerGroupCurrentMemberAssignmentKey {
                group_id: "g1".into(),
                member_id: "m1".into(),
            },
            Some(ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: 1,
                previous_member_epoch: 0,
                state: 0,
                assigned_partitions: vec![TopicPartitions {
                    topic_id: TOPIC,
                    partitions: vec![partition],
                    assignment_epochs,
                }],
                partitions_pending_revocation: Vec::new(),
            }),
        )
    };
    let key: &[&[u8]] = &[b"\0\x08\0\x02g1\0\x02m1"];
    let start: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\x02"; // version, epochs, state, one topic
    golden(&record(0, Some(Vec::new())), key, &[start, &TOPIC.0, b"\x02\0\0\0\0\0\x01\0"]);
    golden(&record(0, None), key, &[start, &TOPIC.0, b"\x02\0\0\0\0\x01\0\x01\0\x01\0"]);
    golden(
        &record(5, Some(vec![9])),
        key,
        &[start, &TOPIC.0, b"\x02\0\0\0\x05\x01\0\x05\x02\0\0\0\x09\x01\0"],
    );
}

#[test]
fn the_topics_that_a_regular_expression_matches() {
    golden(
        &GroupRecord::ConsumerGroupRegularExpression(
            ConsumerGroupRegularExpressionKey {
                group_id: "g1".into(),
                regular_expression: "a.*".into(),
            },
            Some(ConsumerGroupRegularExpressionValue {
                topics: vec!["ab".into()],
                version: 10,
                timestamp: 60_000,
            }),
        ),
        &[b"\0\x10\0\x02g1\0\x03a.*"],
        &[
            b"\0\0\x02\x03ab",         // version, one topic
            b"\0\0\0\0\0\0\0\x0a",     // of the metadata
            b"\0\0\0\0\0\0\xea\x60\0", // when
        ],
    );
}
