//! Frames of the group APIs, written down by hand from the protocol's definition: the versions that
//! no independent codec knows, and one frame of each shape that the others do not have.

use crate::golden::{golden, refused};
use bytes::Bytes;
use highwater_core::types::TopicId;
use highwater_node::wire::{
    EncodeError,
    generated::{
        consumer_group_heartbeat::{
            Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
            TopicPartitions,
        },
        find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse},
        join_group::{
            JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
        },
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
            OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
        },
        offset_fetch::{
            OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
            OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopics,
        },
        sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
    },
};

fn commit(topic: OffsetCommitRequestTopic) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        group_instance_id: None,
        topics: vec![OffsetCommitRequestTopic {
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 1,
                committed_offset: 500,
                committed_leader_epoch: 7,
                committed_metadata: Some("x".into()),
            }],
            ..topic
        }],
        ..OffsetCommitRequest::default()
    }
}

#[test]
fn an_offset_commit_names_the_topic_up_to_version_9_and_its_id_from_10_on() {
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        topic_id: TopicId([7; 16]),
        partitions: Vec::new(),
    };
    let start: &[u8] = b"\x02g\0\0\0\x03\x02m\0\x02"; // group, epoch, member, no instance, one topic
    let partition: &[&[u8]] = &[
        b"\x02",                 // one partition
        b"\0\0\0\x01",           // its index
        b"\0\0\0\0\0\0\x01\xf4", // offset
        b"\0\0\0\x07",           // leader epoch
        b"\x02x",                // metadata
        b"\0\0\0",               // no tags: partition, topic, request
    ];
    let by_name = OffsetCommitRequestTopic { topic_id: TopicId::default(), ..topic.clone() };
    golden(&commit(by_name), 9, &[&[start, b"\x02t"], partition].concat());
    let by_id = OffsetCommitRequestTopic { name: "".into(), ..topic };
    golden(&commit(by_id), 10, &[&[start, &[7; 16]], partition].concat());
}

#[test]
fn an_offset_commit_of_version_2_has_a_retention_time_and_no_leader_epoch() {
    let mut request = commit(OffsetCommitRequestTopic { name: "t".into(), ..Default::default() });
    request.retention_time_ms = 60_000;
    request.topics[0].partitions[0].committed_leader_epoch = -1;
    request.topics[0].partitions[0].committed_metadata = None;
    golden(
        &request,
        2,
        &[
            b"\0\x01g",              // group
            b"\0\0\0\x03",           // generation
            b"\0\x01m",              // member
            b"\0\0\0\0\0\0\xea\x60", // retention
            b"\0\0\0\x01\0\x01t",    // one topic
            b"\0\0\0\x01\0\0\0\x01", // one partition
            b"\0\0\0\0\0\0\x01\xf4", // offset
            b"\xff\xff",             // no metadata
        ],
    );
    request.group_instance_id = Some("i".into());
    assert_eq!(
        refused(&request, 6),
        EncodeError::FieldAbsent { field: "OffsetCommitRequest.GroupInstanceId", version: 6 }
    );
}

#[test]
fn an_offset_commit_response_of_version_10() {
    let response = OffsetCommitResponse {
        throttle_time_ms: 0,
        topics: vec![OffsetCommitResponseTopic {
            topic_id: TopicId([7; 16]),
            partitions: vec![OffsetCommitResponsePartition { partition_index: 1, error_code: 113 }],
            ..OffsetCommitResponseTopic::default()
        }],
    };
    golden(&response, 10, &[b"\0\0\0\0\x02", &[7; 16], b"\x02\0\0\0\x01\0\x71\0\0\0"]);
}

#[test]
fn an_offset_fetch_of_version_10_asks_by_topic_id_for_several_groups() {
    let request = OffsetFetchRequest {
        groups: vec![
            OffsetFetchRequestGroup {
                group_id: "g".into(),
                member_id: Some("m".into()),
                member_epoch: 4,
                topics: Some(vec![OffsetFetchRequestTopics {
                    topic_id: TopicId([7; 16]),
                    partition_indexes: vec![0, 2],
                    ..OffsetFetchRequestTopics::default()
                }]),
            },
            OffsetFetchRequestGroup {
                group_id: "h".into(),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            },
        ],
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    golden(
        &request,
        10,
        &[
            b"\x03",                    // two groups
            b"\x02g\x02m\0\0\0\x04",    // the first, its member and epoch
            b"\x02",                    // one topic
            &[7; 16],                   // its id
            b"\x03\0\0\0\0\0\0\0\x02",  // two partitions
            b"\0\0",                    // no tags: topic, group
            b"\x02h\0\xff\xff\xff\xff", // the second, no member, no epoch
            b"\0",                      // all topics
            b"\0",                      // group tags
            b"\x01",                    // only stable offsets
            b"\0",                      // request tags
        ],
    );
    assert_eq!(
        refused(&request, 7),
        EncodeError::FieldAbsent { field: "OffsetFetchRequest.Groups", version: 7 }
    );
}

#[test]
fn an_offset_fetch_response_of_version_10() {
    let response = OffsetFetchResponse {
        groups: vec![OffsetFetchResponseGroup {
            group_id: "g".into(),
            topics: vec![OffsetFetchResponseTopics {
                topic_id: TopicId([7; 16]),
                partitions: vec![OffsetFetchResponsePartitions {
                    partition_index: 2,
                    committed_offset: -1,
                    metadata: Some("".into()),
                    ..OffsetFetchResponsePartitions::default()
                }],
                ..OffsetFetchResponseTopics::default()
            }],
            error_code: 0,
        }],
        ..OffsetFetchResponse::default()
    };
    golden(
        &response,
        10,
        &[
            b"\0\0\0\0",                         // throttle
            b"\x02\x02g",                        // one group
            b"\x02",                             // one topic
            &[7; 16],                            // its id
            b"\x02\0\0\0\x02",                   // one partition
            b"\xff\xff\xff\xff\xff\xff\xff\xff", // no offset
            b"\xff\xff\xff\xff",                 // no leader epoch
            b"\x01\0\0",                         // metadata, no error
            b"\0\0",                             // no tags: partition, topic
            b"\0\0\0\0",                         // no error; no tags: group, response
        ],
    );
}

#[test]
fn a_join_as_an_old_and_as_a_new_client_send_it() {
    let mut request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: -1,
        member_id: "".into(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\x01\xff"),
        }],
        reason: None,
    };
    golden(
        &request,
        0,
        &[
            b"\0\x01g\0\0\x27\x10",   // group, session timeout
            b"\0\0",                  // no member id yet
            b"\0\x08consumer",        // protocol type
            b"\0\0\0\x01\0\x05range", // one protocol
            b"\0\0\0\x03\0\x01\xff",  // its metadata
        ],
    );
    request.rebalance_timeout_ms = 60_000;
    request.group_instance_id = Some("i".into());
    request.reason = Some("r".into());
    golden(
        &request,
        9,
        &[
            b"\x02g\0\0\x27\x10\0\0\xea\x60", // group, session timeout, rebalance timeout
            b"\x01\x02i",                     // no member id yet, instance
            b"\x09consumer",                  // protocol type
            b"\x02\x06range",                 // one protocol
            b"\x04\0\x01\xff\0",              // its metadata, its tags
            b"\x02r\0",                       // reason, request tags
        ],
    );
}

#[test]
fn the_leader_hears_of_the_members_and_whether_to_assign() {
    let mut response = JoinGroupResponse {
        generation_id: 5,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: "m".into(),
        skip_assignment: true,
        member_id: "m".into(),
        members: vec![JoinGroupResponseMember {
            member_id: "m".into(),
            group_instance_id: None,
            metadata: Bytes::from_static(b"z"),
        }],
        ..JoinGroupResponse::default()
    };
    golden(
        &response,
        9,
        &[
            b"\0\0\0\0\0\0\0\0\0\x05", // throttle, error, generation
            b"\x09consumer\x06range",  // protocol
            b"\x02m\x01\x02m",         // leader, skip, member
            b"\x02\x02m\0\x02z\0",     // one member, with its tags
            b"\0",                     // response tags
        ],
    );
    response.skip_assignment = false;
    response.protocol_name = None;
    assert_eq!(
        refused(&response, 6),
        EncodeError::FieldNull { field: "JoinGroupResponse.ProtocolName", version: 6 }
    );
}

#[test]
fn a_sync_with_the_assignments_of_the_leader() {
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 5,
        member_id: "m".into(),
        group_instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: "m".into(),
            assignment: Bytes::from_static(b"abc"),
        }],
    };
    golden(
        &request,
        5,
        &[
            b"\x02g\0\0\0\x05\x02m\0", // group, generation, member, no instance
            b"\x09consumer\x06range",  // protocol
            b"\x02\x02m\x04abc\0\0",   // one assignment; no tags: assignment, request
        ],
    );
}

#[test]
fn a_coordinator_is_looked_up_one_at_a_time_or_in_a_batch() {
    let one = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    golden(&one, 0, &[b"\0\x01g"]);
    golden(&one, 3, &[b"\x02g\0\0"]);
    let batch = FindCoordinatorRequest {
        coordinator_keys: vec!["g".into(), "h".into()],
        ..FindCoordinatorRequest::default()
    };
    golden(&batch, 6, &[b"\0\x03\x02g\x02h\0"]);
    let response = FindCoordinatorResponse {
        coordinators: vec![Coordinator {
            key: "g".into(),
            node_id: -1,
            host: "".into(),
            port: -1,
            error_code: 15,
            error_message: None,
        }],
        ..FindCoordinatorResponse::default()
    };
    golden(&response, 6, &[b"\0\0\0\0\x02\x02g\xff\xff\xff\xff\x01\xff\xff\xff\xff\0\x0f\0\0\0"]);
}

#[test]
fn a_heartbeat_of_the_consumer_protocol() {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: 1,
        subscribed_topic_regex: Some("a.*".into()),
        topic_partitions: Some(vec![TopicPartitions {
            topic_id: TopicId([7; 16]),
            partitions: vec![3],
        }]),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    golden(
        &request,
        1,
        &[
            b"\x02g\x02m\0\0\0\x01",   // group, member, epoch
            b"\0\0\xff\xff\xff\xff\0", // instance, rack, timeout and topics as before
            b"\x04a.*\0",              // regular expression, assignor as before
            b"\x02",                   // one topic
            &[7; 16],                  // its id
            b"\x02\0\0\0\x03\0\0",     // one partition; no tags: topic, request
        ],
    );
    let response = ConsumerGroupHeartbeatResponse {
        member_id: Some("m".into()),
        member_epoch: 2,
        heartbeat_interval_ms: 5_000,
        assignment: Some(Assignment { topic_partitions: Vec::new() }),
        ..ConsumerGroupHeartbeatResponse::default()
    };
    golden(
        &response,
        1,
        &[
            b"\0\0\0\0\0\0\0",              // throttle, error and its message
            b"\x02m\0\0\0\x02\0\0\x13\x88", // member, epoch, interval
            b"\x01\x01\0\0",                // an assignment of nothing; no tags
        ],
    );
}
