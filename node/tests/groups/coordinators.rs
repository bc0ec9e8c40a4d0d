//! Coordinators that end and begin anew: what they knew is in their log.

use super::support::*;
use highwater_node::{
    client::Connection,
    wire::{ErrorCode, generated::describe_groups::DescribeGroupsRequest},
};

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
async fn groups_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    stable(&mut connection, "g").await;
    assert_eq!(commit_one(&mut connection, &commit("simple", "", -1, 0, 3)).await, 0);
    let metrics = broker.metrics();
    let shown = |line: &str| metrics.render().lines().any(|shown| shown == line);
    for _ in 0..500 {
        if shown("highwater_group_members 1") && shown("highwater_groups{state=\"Empty\"} 1") {
            break;
        }
        pause().await;
    }
    for line in [
        "highwater_group_members 1",
        "highwater_groups{state=\"Stable\"} 1",
        "highwater_groups{state=\"Empty\"} 1",
        "highwater_group_rebalances_total 1",
        "highwater_group_rebalance_seconds_count 1",
        "highwater_group_offset_commits_total 1",
        "highwater_group_answers_deferred 0",
        "highwater_group_loads_total 4",
        "highwater_group_coordinators_loading 0",
        "highwater_group_load_seconds_count 4",
    ] {
        assert!(shown(line), "{line} is not in {}", metrics.render());
    }
    broker.shutdown().await;
}
