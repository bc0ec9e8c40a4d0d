//! Frames written down by hand from the protocol's definition.

use bytes::Bytes;
use highwater_core::types::TopicId;
use highwater_node::wire::{
    self, ApiKey, EncodeError, Message, RequestHeader, Writer, frame,
    generated::{
        api_versions::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey},
        fetch::{
            FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
            LeaderIdAndEpoch, PartitionData,
        },
        metadata::{MetadataRequest, MetadataRequestTopic},
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
};

/// Asserts that a message and its bytes are each other's.
pub fn golden<M: Message>(message: &M, version: i16, bytes: &[&[u8]]) {
    let bytes = bytes.concat();
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    assert_eq!(writer.finish_contiguous(), bytes, "{} {version}", M::NAME);
    let decoded: M = wire::decode(Bytes::from(bytes), version, 1 << 16).unwrap();
    assert_eq!(&decoded, message, "{} {version}", M::NAME);
}

/// The reason why a version cannot carry a message.
pub fn refused<M: Message>(message: &M, version: i16) -> EncodeError {
    message.encode(&mut Writer::new(), version).unwrap_err()
}

#[test]
fn a_produce_request_as_librdkafka_and_as_java_send_it() {
    let mut request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            topic_id: TopicId::default(),
            partition_data: vec![PartitionProduceData {
                index: 2,
                records: Some(Bytes::from_static(b"abc")),
            }],
        }],
    };
    golden(
        &request,
        7,
        &[
            b"\xff\xff",      // no transactional id
            b"\xff\xff",      // acks -1
            b"\0\0\x05\xdc",  // 1500 ms
            b"\0\0\0\x01",    // one topic
            b"\0\x01t",       // its name
            b"\0\0\0\x01",    // one partition
            b"\0\0\0\x02",    // its index
            b"\0\0\0\x03abc", // records
        ],
    );
    request.topic_data[0].name = "".into();
    request.topic_data[0].topic_id = TopicId([7; 16]);
    golden(
        &request,
        13,
        &[
            b"\0",           // no transactional id
            b"\xff\xff",     // acks -1
            b"\0\0\x05\xdc", // 1500 ms
            b"\x02",         // one topic
            &[7; 16],        // its id
            b"\x02",         // one partition
            b"\0\0\0\x02",   // its index
            b"\x04abc",      // records
            b"\0\0\0",       // no tags: partition, topic, request
        ],
    );
}

#[test]
fn a_fetch_request_of_version_18_with_both_tagged_fields() {
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 0x0100_0000,
        session_epoch: 0,
        topics: vec![FetchTopic {
            topic_id: TopicId([1; 16]),
            partitions: vec![FetchPartition {
                partition: 3,
                current_leader_epoch: 4,
                fetch_offset: 5,
                partition_max_bytes: 6,
                replica_directory_id: TopicId([9; 16]),
                high_watermark: 10,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    golden(
        &request,
        18,
        &[
            b"\0\0\x01\xf4",                     // wait
            b"\0\0\0\x01",                       // at least
            b"\x01\0\0\0",                       // at most
            b"\0",                               // isolation level
            b"\0\0\0\0\0\0\0\0",                 // session id and epoch
            b"\x02",                             // one topic
            &[1; 16],                            // its id
            b"\x02",                             // one partition
            b"\0\0\0\x03\0\0\0\x04",             // index, leader epoch
            b"\0\0\0\0\0\0\0\x05",               // fetch offset
            b"\xff\xff\xff\xff",                 // last fetched epoch
            b"\xff\xff\xff\xff\xff\xff\xff\xff", // log start offset
            b"\0\0\0\x06",                       // at most
            b"\x02",                             // two tags
            b"\0\x10",                           // tag 0: directory id
            &[9; 16],
            b"\x01\x08\0\0\0\0\0\0\0\x0a", // tag 1: high watermark
            b"\0",                         // topic tags
            b"\x01",                       // nothing forgotten
            b"\x01",                       // empty rack
            b"\0",                         // request tags
        ],
    );
}

#[test]
fn a_fetch_response_with_a_new_leader() {
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![PartitionData {
                partition_index: 1,
                error_code: 6,
                high_watermark: -1,
                current_leader: LeaderIdAndEpoch { leader_id: 2, leader_epoch: 3 },
                aborted_transactions: None,
                ..PartitionData::default()
            }],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    golden(
        &response,
        12,
        &[
            b"\0\0\0\0\0\0\0\0\0\0",               // throttle, error, session
            b"\x02",                               // one topic
            b"\x02t",                              // its name
            b"\x02",                               // one partition
            b"\0\0\0\x01\0\x06",                   // index, error
            &[0xff; 24],                           // high watermark, stable offset, log start
            b"\0",                                 // no aborted transactions
            b"\xff\xff\xff\xff",                   // preferred replica
            b"\0",                                 // no records
            b"\x01\x01\x09\0\0\0\x02\0\0\0\x03\0", // tag 1: leader, with its own tags
            b"\0",                                 // topic tags
            b"\0",                                 // response tags
        ],
    );
    assert_eq!(
        refused(&response, 11),
        EncodeError::FieldAbsent { field: "PartitionData.CurrentLeader", version: 11 }
    );
}

#[test]
fn an_api_versions_response_old_and_new() {
    let response = ApiVersionsResponse {
        error_code: 35,
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
        ..ApiVersionsResponse::default()
    };
    golden(&response, 0, &[b"\0\x23", b"\0\0\0\x01", b"\0\x12\0\0\0\x04"]);
    let response = ApiVersionsResponse {
        finalized_features_epoch: 1,
        finalized_features: vec![FinalizedFeatureKey {
            name: "f".into(),
            max_version_level: 2,
            min_version_level: 1,
        }],
        ..response
    };
    golden(
        &response,
        3,
        &[
            b"\0\x23",                          // error
            b"\x02\0\x12\0\0\0\x04\0",          // one API, with its tags
            b"\0\0\0\0",                        // throttle
            b"\x02",                            // two tags
            b"\x01\x08\0\0\0\0\0\0\0\x01",      // tag 1: epoch
            b"\x02\x08\x02\x02f\0\x02\0\x01\0", // tag 2: one feature, with its tags
        ],
    );
    // Whole frame: the header of its response has no tags in any version.
    let response = ApiVersionsResponse::default();
    let chunks = frame::encode_response(ApiKey::ApiVersions, 4, 9, &response).unwrap();
    assert_eq!(chunks.concat(), b"\0\0\0\x0c\0\0\0\x09\0\0\x01\0\0\0\0\0");
}

#[test]
fn a_metadata_request_for_all_topics() {
    let mut request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    golden(&request, 1, &[b"\xff\xff\xff\xff"]);
    golden(&request, 12, &[b"\0", b"\x01", b"\0", b"\0"]);
    assert_eq!(
        refused(&request, 0),
        EncodeError::FieldNull { field: "MetadataRequest.Topics", version: 0 }
    );
    request.topics = Some(vec![MetadataRequestTopic { name: None, topic_id: TopicId([3; 16]) }]);
    golden(&request, 10, &[b"\x02", &[3; 16], b"\0\0", b"\x01", b"\0\0", b"\0"]);
    assert_eq!(
        refused(&request, 9),
        EncodeError::FieldNull { field: "MetadataRequestTopic.Name", version: 9 }
    );
    request.allow_auto_topic_creation = false;
    request.topics = Some(Vec::new());
    assert_eq!(
        refused(&request, 3),
        EncodeError::FieldAbsent { field: "MetadataRequest.AllowAutoTopicCreation", version: 3 }
    );
}

#[test]
fn records_go_from_a_request_to_a_response_without_a_copy() {
    let records = Bytes::from(vec![5; 1 << 20]);
    let request = ProduceRequest {
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(records) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let header = RequestHeader {
        api_key: ApiKey::Produce,
        api_version: 9,
        correlation_id: 1,
        client_id: None,
    };
    let chunks = frame::encode_request(&header, &request).unwrap();
    let received = Bytes::from(chunks.concat()).slice(4..);
    let mut reader = wire::Reader::new(received.clone(), 4096);
    RequestHeader::decode(&mut reader).unwrap();
    let decoded = ProduceRequest::decode(&mut reader, 9).unwrap();
    let records = decoded.topic_data[0].partition_data[0].records.clone().unwrap();
    assert!(received.as_ptr_range().contains(&records.as_ptr()));

    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: vec![PartitionData {
                records: Some(records.clone()),
                ..PartitionData::default()
            }],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let chunks = frame::encode_response(ApiKey::Fetch, 17, 1, &response).unwrap();
    assert!(chunks.iter().any(|chunk| chunk.as_ptr() == records.as_ptr()));
    assert_eq!(chunks.iter().map(Bytes::len).max(), Some(1 << 20));
}
