//! What followers and leaders wait for.

use super::support::*;
use highwater_node::env::{Clock, OsClock};
use std::time::Duration;

/// So long may a leader let a fetch wait.
const WAIT: Duration = Duration::from_secs(10);

fn patient(_: i32) -> Vec<(&'static str, String)> {
    vec![("replica.fetch.wait.max.ms", WAIT.as_millis().to_string())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_new_partition_do_not_wait_for_the_fetch_that_could_not_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), patient).await;
    let clock = OsClock::new();
    // Two of four have the same leader, whose followers wait for records of the first one.
    for name in ["a", "b", "c", "d"] {
        let (partition, leader) = create_topic(&nodes, name, 3).await;
        let mut connection = connect(&nodes[&leader]).await;
        // The leader opens its log first, which is not what is measured.
        let code = async || connection.list_offset(&partition, -2).await.unwrap().error_code;
        until("the leader leads", code, |code| *code != NOT_LEADER_OR_FOLLOWER).await;
        let began = clock.now().monotonic;
        assert_eq!(produce(&mut connection, &partition, b"record").await, 0);
        let took = clock.now().monotonic.since(began);
        assert!(took < WAIT / 2, "{name}: {took:?}");
    }
    shut_down(nodes).await;
}
