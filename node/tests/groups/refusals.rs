//! What bad input gets: exactly Kafka's number, and the group stays as it was.

use super::{consumer::first_heartbeat, support::*};
use highwater_core::types::PartitionIndex;
use highwater_node::{
    client::{Connection, PartitionRef},
    wire::generated::{
        consumer_group_describe::{ConsumerGroupDescribeRequest, DescribedGroup as ConsumerGroup},
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        delete_groups::DeleteGroupsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
        describe_groups::{DescribeGroupsRequest, DescribedGroup},
        heartbeat::HeartbeatRequest,
        offset_delete::{
            OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
        },
    },
};

const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const NON_EMPTY_GROUP: i16 = 68;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const FENCED_INSTANCE_ID: i16 = 82;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

async fn classic(connection: &mut Connection) -> DescribedGroup {
    let groups = vec!["g".into()];
    let request = DescribeGroupsRequest { groups, include_authorized_operations: false };
    connection.call(&request).await.unwrap().groups.remove(0)
}

async fn consumers(connection: &mut Connection) -> ConsumerGroup {
    let group_ids = vec!["g".into()];
    let request = ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: false };
    connection.call(&request).await.unwrap().groups.remove(0)
}

#[tokio::test]
async fn a_classic_group_refuses_in_kafkas_numbers_and_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let mut first = join("g", "");
    first.group_instance_id = Some("i".into());
    let replaced = connection.call(&first).await.unwrap();
    assert_eq!(replaced.error_code, 0, "{replaced:?}");
    let joined = connection.call(&first).await.unwrap();
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let synced = sync(&mut connection, "g", &joined, &[(&joined.member_id, b"mine")]).await;
    assert_eq!(synced.error_code, 0);
    let before = classic(&mut connection).await;

    let mut joins = vec![
        (join("", ""), INVALID_GROUP_ID),
        (join("g", "nobody"), UNKNOWN_MEMBER_ID),
        (join("g", ""), MEMBER_ID_REQUIRED),
    ];
    let mut hasty = join("g", &joined.member_id);
    hasty.session_timeout_ms = 1;
    joins.push((hasty, INVALID_SESSION_TIMEOUT));
    let mut foreign = join("g", "");
    foreign.protocol_type = "connect".into();
    joins.push((foreign, INCONSISTENT_GROUP_PROTOCOL));
    let mut fenced = join("g", &replaced.member_id);
    fenced.group_instance_id = Some("i".into());
    joins.push((fenced, FENCED_INSTANCE_ID));
    for (request, code) in joins {
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code, "{request:?}");
    }
    let beat = |member: &str, generation_id, instance: Option<&str>| HeartbeatRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member.into(),
        group_instance_id: instance.map(Into::into),
    };
    let generation = joined.generation_id;
    for (request, code) in [
        (beat(&joined.member_id, generation + 1, None), ILLEGAL_GENERATION),
        (beat("nobody", generation, None), UNKNOWN_MEMBER_ID),
        (beat(&replaced.member_id, generation, Some("i")), FENCED_INSTANCE_ID),
    ] {
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code, "{request:?}");
    }
    let delete = DeleteGroupsRequest { groups_names: vec!["g".into()] };
    let refused = connection.call(&delete).await.unwrap();
    assert_eq!(refused.results[0].error_code, NON_EMPTY_GROUP);
    assert_eq!(classic(&mut connection).await, before);
}

fn consumer(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        member_epoch: epoch,
        instance_id: Some("i".into()),
        ..first_heartbeat(member)
    }
}

#[tokio::test]
async fn a_consumer_group_refuses_in_kafkas_numbers_and_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = connection.call(&consumer("m", 0)).await.unwrap();
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let epoch = joined.member_epoch;
    let before = consumers(&mut connection).await;

    let without_instance = |member, epoch| ConsumerGroupHeartbeatRequest {
        instance_id: None,
        ..consumer(member, epoch)
    };
    let by_expression = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some("t[".into()),
        ..consumer("m", epoch)
    };
    let by_whom = ConsumerGroupHeartbeatRequest {
        server_assignor: Some("best".into()),
        ..consumer("m", epoch)
    };
    for (request, code) in [
        (consumer("m", epoch + 1), FENCED_MEMBER_EPOCH),
        (consumer("other", 0), UNRELEASED_INSTANCE_ID),
        (consumer("other", epoch), FENCED_INSTANCE_ID),
        (without_instance("nobody", epoch), UNKNOWN_MEMBER_ID),
        (by_expression, INVALID_REGULAR_EXPRESSION),
        (by_whom, UNSUPPORTED_ASSIGNOR),
    ] {
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code, "{request:?}");
    }
    for (epoch, code) in [(epoch + 1, STALE_MEMBER_EPOCH), (epoch - 1, STALE_MEMBER_EPOCH)] {
        assert_eq!(commit_one(&mut connection, &commit("g", "m", epoch, 0, 1)).await, code);
    }
    let topics = vec![OffsetDeleteRequestTopic {
        name: "t".into(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    }];
    let forget = OffsetDeleteRequest { group_id: "g".into(), topics };
    let refused = connection.call(&forget).await.unwrap();
    assert_eq!(refused.topics[0].partitions[0].error_code, GROUP_SUBSCRIBED_TO_TOPIC);
    assert_eq!(consumers(&mut connection).await, before);
    assert_eq!(committed(&mut connection, "g", 0).await, (0, -1));
}

#[tokio::test]
async fn a_full_group_turns_newcomers_away() {
    let dir = tempfile::tempdir().unwrap();
    let limits = [("group.max.size", "1"), ("group.consumer.max.size", "1")];
    let (_broker, mut connection) = start_with(dir.path(), &limits).await;
    stable(&mut connection, "classic").await;
    let refused = connection.call(&join("classic", "")).await.unwrap();
    assert_eq!(refused.error_code, GROUP_MAX_SIZE_REACHED);
    assert_eq!(connection.call(&consumer("m", 0)).await.unwrap().error_code, 0);
    let refused = connection.call(&consumer("second", 0)).await.unwrap();
    assert_eq!(refused.error_code, GROUP_MAX_SIZE_REACHED);
    assert_eq!(consumers(&mut connection).await.members.len(), 1);
}

#[tokio::test]
async fn an_offset_below_the_log_start_is_taken_as_kafka_does() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let topic_id = connection.metadata(Some(&["t"]), false).await.unwrap().topics[0].topic_id;
    let partition = PartitionRef { topic: "t".into(), topic_id, index: PartitionIndex(0) };
    let mut batch = highwater_core::record::BatchBuilder::new();
    (0..3).for_each(|_| batch.push(highwater_core::record::NewRecord::default()));
    let produced = connection.produce(&partition, -1, PATIENCE, batch.build()).await.unwrap();
    assert_eq!(produced.error_code, 0);
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 3 }],
        }],
        timeout_ms: 30_000,
    };
    let deleted = connection.call(&delete).await.unwrap();
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, 3);
    assert_eq!(commit_one(&mut connection, &commit("g", "", -1, 0, 1)).await, 0);
    assert_eq!(committed(&mut connection, "g", 0).await, (0, 1));
}
