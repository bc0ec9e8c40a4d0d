//! Committed offsets, by every version of their APIs.

use super::support::*;
use highwater_core::types::TopicId;
use highwater_node::{
    client::Connection,
    wire::{
        ErrorCode,
        generated::{
            delete_topics::{DeleteTopicState, DeleteTopicsRequest},
            offset_delete::{
                OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
            },
            offset_fetch::{
                OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
                OffsetFetchRequestTopics,
            },
        },
    },
};

async fn topic_id(connection: &mut Connection) -> TopicId {
    connection.metadata(Some(&["t"]), false).await.unwrap().topics[0].topic_id
}

#[tokio::test]
async fn an_offset_is_told_as_it_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    assert_eq!(committed(&mut connection, "g", 0).await, (0, -1), "nothing was committed");
    assert_eq!(commit_one(&mut connection, &commit("g", "", -1, 0, 7)).await, 0);
    let id = topic_id(&mut connection).await;

    // One group, by name.
    for (version, topics) in [(1, Some(())), (2, Some(())), (5, None), (7, None)] {
        let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 1] };
        let topics = topics.map(|()| vec![topic]);
        let count = topics.as_ref().map_or(1, |topics| topics[0].partition_indexes.len());
        let request = OffsetFetchRequest { group_id: "g".into(), topics, ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        assert_eq!((answer.error_code, &*answer.topics[0].name), (0, "t"), "version {version}");
        let partitions = &answer.topics[0].partitions;
        assert_eq!(partitions.len(), count);
        assert_eq!((partitions[0].committed_offset, partitions[0].error_code), (7, 0));
        assert_eq!(partitions[0].metadata.as_deref(), Some("note"));
        let epoch = if version >= 5 { 5 } else { -1 };
        assert_eq!(partitions[0].committed_leader_epoch, epoch);
    }
    // Many groups; from version 10 on by the topic's id.
    for version in [8, 9, 10] {
        let topic = OffsetFetchRequestTopics {
            name: if version < 10 { "t".into() } else { "".into() },
            topic_id: if version < 10 { TopicId::default() } else { id },
            partition_indexes: vec![0, 1, 99, -1],
        };
        let group = |name: &str, topics| OffsetFetchRequestGroup {
            group_id: name.into(),
            topics,
            ..Default::default()
        };
        let groups = vec![group("g", Some(vec![topic])), group("g", None), group("other", None)];
        let request = OffsetFetchRequest { groups, ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        let offsets = |group: usize| -> Vec<i64> {
            let topics = answer.groups[group].topics.iter().flat_map(|topic| &topic.partitions);
            topics.map(|partition| partition.committed_offset).collect()
        };
        assert_eq!(offsets(0), [7, -1, -1, -1], "version {version}");
        assert_eq!((offsets(1), offsets(2)), (vec![7], vec![]), "version {version}");
        if version >= 10 {
            assert_eq!(answer.groups[1].topics[0].topic_id, id);
        }
    }
}

#[tokio::test]
async fn each_offset_is_committed_or_refused_on_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let mut request = commit("g", "", -1, 0, 7);
    let known = request.topics[0].partitions[0].clone();
    let with = |partition_index, committed_offset| {
        let mut partition = known.clone();
        (partition.partition_index, partition.committed_offset) =
            (partition_index, committed_offset);
        partition
    };
    request.topics[0].partitions = vec![with(0, 7), with(2, 7), with(-1, 7), with(1, -3)];
    request.topics[0].partitions[0].committed_metadata = None;
    let mut unknown = request.topics[0].clone();
    unknown.name = "none".into();
    unknown.partitions = vec![with(0, 1)];
    let mut wordy = request.topics[0].clone();
    wordy.partitions = vec![with(1, 9)];
    wordy.partitions[0].committed_metadata = Some("x".repeat(4_097).into());
    request.topics.extend([unknown, wordy]);
    let answer = connection.send(&request, 9).await.unwrap();
    let codes: Vec<_> = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|one| one.error_code).collect::<Vec<_>>())
        .collect();
    let missing = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes[0], [0, missing, missing, ErrorCode::InvalidRequest.code()]);
    assert_eq!(codes[1], [missing]);
    assert_eq!(codes[2], [ErrorCode::OffsetMetadataTooLarge.code()]);
    assert_eq!(committed(&mut connection, "g", 0).await, (0, 7));
    assert_eq!(committed(&mut connection, "g", 1).await, (0, -1));

    // The oldest version, and the one with ids.
    assert_eq!(
        connection.send(&commit("g", "", -1, 1, 3), 2).await.unwrap().topics[0].partitions[0]
            .error_code,
        0
    );
    assert_eq!(committed(&mut connection, "g", 1).await, (0, 3));
    let mut by_id = commit("g", "", -1, 1, 4);
    by_id.topics[0].topic_id = topic_id(&mut connection).await;
    let mut by_wrong_id = by_id.topics[0].clone();
    by_wrong_id.topic_id = TopicId([9; 16]);
    by_id.topics.push(by_wrong_id);
    let answer = connection.send(&by_id, 10).await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(answer.topics[1].partitions[0].error_code, ErrorCode::UnknownTopicId.code());
    assert_eq!(committed(&mut connection, "g", 1).await, (0, 4));
}

#[tokio::test]
async fn only_members_of_the_present_generation_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = stable(&mut connection, "g").await;
    let (member, generation) = (&*joined.member_id, joined.generation_id);
    for (member, generation, code) in [
        ("", -1, ErrorCode::UnknownMemberId),
        ("nobody", generation, ErrorCode::UnknownMemberId),
        (member, generation + 1, ErrorCode::IllegalGeneration),
    ] {
        let found = commit_one(&mut connection, &commit("g", member, generation, 0, 5)).await;
        assert_eq!(found, code.code(), "{member} {generation}");
    }
    assert_eq!(committed(&mut connection, "g", 0).await, (0, -1), "nothing was changed");
    assert_eq!(commit_one(&mut connection, &commit("g", member, generation, 0, 5)).await, 0);
    assert_eq!(committed(&mut connection, "g", 0).await, (0, 5));
}

#[tokio::test]
async fn offsets_go_when_they_are_deleted_or_their_topic_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    for partition in [0, 1] {
        assert_eq!(commit_one(&mut connection, &commit("g", "", -1, partition, 5)).await, 0);
    }
    let request = |group: &str| OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: [0, 8]
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .into(),
        }],
    };
    let missing = connection.call(&request("none")).await.unwrap();
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    let deleted = connection.call(&request("g")).await.unwrap();
    let codes: Vec<_> = deleted.topics[0].partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(committed(&mut connection, "g", 0).await, (0, -1));
    assert_eq!(committed(&mut connection, "g", 1).await, (0, 5));

    let topics = vec![DeleteTopicState { name: Some("t".into()), ..Default::default() }];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    assert_eq!(connection.call(&request).await.unwrap().responses[0].error_code, 0);
    create_topic(&mut connection, "t", 2).await;
    assert_eq!(committed(&mut connection, "g", 1).await, (0, -1), "it is another topic");
}

#[tokio::test]
async fn the_lag_of_a_group_can_be_told_from_the_broker_s_own_page() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    assert_eq!(commit_one(&mut connection, &commit("g", "", -1, 0, 7)).await, 0);
    let page = broker.offsets().await.render();
    let line =
        "kafka_consumergroup_current_offset{consumergroup=\"g\",topic=\"t\",partition=\"0\"} 7";
    assert!(page.lines().any(|found| found == line), "{page}");
    let line = "kafka_topic_partition_current_offset{topic=\"t\",partition=\"1\"} 0";
    assert!(page.lines().any(|found| found == line), "{page}");
    // The commit itself is a record, and those of the coordinators are on the page, too.
    let of_log = "kafka_topic_partition_current_offset{topic=\"__consumer_offsets\"";
    assert_eq!(page.lines().filter(|found| found.starts_with(of_log)).count(), 4, "{page}");
    assert!(page.ends_with("highwater_offsets_truncated 0\n"), "{page}");
}
