//! Coordinators that end and begin anew: what they knew is in their log.

use super::{patience::until, support::*};
use highwater_node::{
    client::Connection,
    wire::{
        ErrorCode,
        generated::{
            consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
            describe_groups::DescribeGroupsRequest,
        },
    },
};
use std::path::Path;

#[tokio::test]
async fn a_group_outlives_its_coordinator() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = stable(&mut connection, "g").await;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    assert_eq!(commit_one(&mut connection, &commit("g", &member, generation, 1, 8)).await, 0);
    for offset in 0..500 {
        let code = commit_one(&mut connection, &commit("simple", "", -1, 0, offset)).await;
        assert_eq!(code, 0);
    }
    drop(connection);
    broker.shutdown().await;
    drop(broker);

    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    assert_eq!(find(&mut connection, "g").await, 1);
    for group in ["g", "simple"] {
        wait_until_loaded(&mut connection, group).await;
    }
    assert_eq!(heartbeat(&mut connection, "g", &member, generation).await, 0);
    assert_eq!(committed(&mut connection, "g", 1).await, (0, 8));
    assert_eq!(committed(&mut connection, "simple", 0).await, (0, 499));
    let describe = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    let described = connection.call(&describe).await.unwrap().groups;
    assert_eq!(&*described[0].group_state, "Stable");
    assert_eq!(&described[0].members[0].member_assignment[..], b"mine");
    // The member is the leader still, and a rebalance counts on.
    let again = connection.call(&join("g", &member)).await.unwrap();
    assert_eq!((again.error_code, again.generation_id), (0, generation + 1));
}

async fn wait_until_loaded(connection: &mut Connection, group: &str) {
    let loading = ErrorCode::CoordinatorLoadInProgress.code();
    let opening = ErrorCode::CoordinatorNotAvailable.code();
    for _ in 0..1_000 {
        let (code, _) = committed(connection, group, 0).await;
        if code != loading && code != opening {
            assert_eq!(code, 0);
            return;
        }
        pause().await;
    }
    panic!("the coordinator does not load");
}

#[tokio::test]
async fn a_partition_with_a_commit_that_cannot_be_decoded_is_not_served_and_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    // Four partitions: not all of these are in that of `g`.
    let groups = ["g", "h", "i", "j", "k"];
    for group in groups {
        for offset in [100, 0x1234] {
            let code = commit_one(&mut connection, &commit(group, "", -1, 0, offset)).await;
            assert_eq!(code, 0);
        }
    }
    drop(connection);
    broker.shutdown().await;
    drop(broker);
    let spoiled = spoil_a_commit(dir.path(), "g", 0x1234);

    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    for group in groups {
        find(&mut connection, group).await;
        let index = highwater_node::coordinator::partition_of(group, 4);
        let expected = if index.0 == spoiled { (16, -9) } else { (0, 0x1234) };
        for tries in 0.. {
            let answer = committed(&mut connection, group, 0).await;
            assert_ne!(answer, (0, 100), "what was before");
            if answer == expected {
                break;
            }
            assert!(tries < 1_000, "{group} is answered {answer:?}");
            pause().await;
        }
    }
    broker.shutdown().await;
}

/// Gives the value of a group's commit a version that nobody knows; the partition that holds it.
#[expect(clippy::disallowed_methods, reason = "a test spoils what a broker has written")]
fn spoil_a_commit(dir: &Path, group: &str, offset: u16) -> u32 {
    let key = [b"\0\x01\0\x01", group.as_bytes()].concat();
    let value = [&b"\0\x04\0\0\0\0\0\0"[..], &offset.to_be_bytes()].concat();
    for partition in std::fs::read_dir(dir.join("topics/__consumer_offsets")).unwrap() {
        let partition = partition.unwrap();
        for file in std::fs::read_dir(partition.path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "log") {
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            let mut start = 0;
            while start < bytes.len() {
                let size = 12 + u32::from_be_bytes(*bytes[start + 8..].first_chunk().unwrap());
                let batch = &mut bytes[start..start + size as usize];
                let found = find_in(batch, &key).and_then(|_| find_in(batch, &value));
                if let Some(at) = found {
                    batch[at + 1] = 99;
                    let crc = highwater_core::record::crc_of(&batch[21..]);
                    batch[17..21].copy_from_slice(&crc.to_be_bytes());
                    std::fs::write(&path, &bytes).unwrap();
                    let name = partition.file_name().into_string().unwrap();
                    return name.split('.').next().unwrap().parse().unwrap();
                }
                start += size as usize;
            }
        }
    }
    panic!("there is no such commit");
}

fn find_in(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[tokio::test]
async fn groups_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    stable(&mut connection, "g").await;
    assert_eq!(commit_one(&mut connection, &commit("simple", "", -1, 0, 3)).await, 0);
    // A consumer group whose only member has everything at once.
    let alone = ConsumerGroupHeartbeatRequest {
        group_id: "c".into(),
        member_id: "m".into(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(connection.call(&alone).await.unwrap().error_code, 0);
    let metrics = broker.metrics();
    let shown = |line: &str| metrics.render().lines().any(|shown| shown == line);
    let expected = [
        "highwater_group_members 2",
        "highwater_groups{state=\"Stable\"} 2",
        "highwater_groups{state=\"Empty\"} 1",
        "highwater_group_rebalances_total 2",
        "highwater_group_rebalance_seconds_count 2",
        "highwater_group_offset_commits_total 1",
        "highwater_group_answers_deferred 0",
        "highwater_group_loads_total 4",
        "highwater_group_coordinators_loading 0",
        "highwater_group_load_seconds_count 4",
    ];
    // Each coordinator counts once a second.
    let missing = async || expected.iter().filter(|line| !shown(line)).collect::<Vec<_>>();
    until("lines are not in the metrics", missing, Vec::is_empty).await;
    broker.shutdown().await;
}
