//! Successors: of leaders that are gone, of leaders that go, and of none that only seem to be gone.

use super::{
    super::RaftQuorum,
    cluster::{Cluster, allocate},
};
use crate::quorum::Quorum;
use highwater_core::types::BrokerId;
use std::time::Duration;

/// Of [`Cluster`]: no lease ends before this.
const LEASE: Duration = Duration::from_millis(600);

/// Kills the leader once everything is quiet, and answers how long nobody led and how many terms
/// it took.
async fn replacement(cluster: &mut Cluster, seed: u64) -> (Duration, u64) {
    let leader = cluster.leader().await;
    cluster.propose(leader, allocate(1)).await;
    cluster.agree().await;
    cluster.sleep(Duration::from_millis(10 * seed)).await;
    let term = cluster.node(leader).leadership().term;
    cluster.kill(leader, seed).await;
    let died = cluster.elapsed();
    let next = another_leader(cluster, leader).await;
    let took = (cluster.elapsed() - died, cluster.node(next).leadership().term - term);
    cluster.boot(leader).await.unwrap();
    cluster.agree().await;
    took
}

/// The leader, once every other reachable node knows that it is not `old`.
async fn another_leader(cluster: &Cluster, old: i32) -> i32 {
    let knows_other =
        |node: &RaftQuorum| node.leadership().leader.is_some_and(|leader| leader != BrokerId(old));
    cluster
        .until("another leader", |cluster| {
            let mut others = cluster.nodes.iter().filter(|(node, _)| node.0 != old);
            others.all(|(_, node)| knows_other(node))
        })
        .await;
    cluster.leader().await
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_has_a_successor_before_its_lease_ends() {
    for voters in [3, 5] {
        let mut cluster = Cluster::start(voters).await;
        for seed in 0..12 {
            let (took, terms) = replacement(&mut cluster, seed).await;
            assert!(took < LEASE / 2, "{took:?} of {voters} voters");
            assert_eq!(terms, 1, "no vote was split");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_only_silent_keeps_its_lease() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.propose(leader, allocate(1)).await;
    cluster.agree().await;
    cluster.cut_off(leader);
    let silent = cluster.elapsed();
    another_leader(&cluster, leader).await;
    let took = cluster.elapsed() - silent;
    assert!(took >= LEASE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_voter_that_is_refused_by_a_living_leader_changes_nothing() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.propose(leader, allocate(1)).await;
    cluster.agree().await;
    let before = cluster.node(leader).leadership();
    let deceived = cluster.follower().await;
    cluster.refuse(deceived, leader);
    cluster.refuse(leader, deceived);
    cluster.sleep(LEASE * 10).await;
    assert_eq!(cluster.node(leader).leadership(), before);
    cluster.propose(leader, allocate(1)).await;
    cluster.heal();
    cluster.agree().await;
    assert_eq!(cluster.node(deceived).leadership(), before);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_hands_over_to_one_that_has_everything() {
    let cluster = Cluster::start(3).await;
    for _ in 0..6 {
        let leader = cluster.leader().await;
        cluster.propose(leader, allocate(1)).await;
        let before = cluster.node(leader).leadership();
        let began = cluster.elapsed();
        cluster.node(leader).hand_over().await;
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        assert_eq!(cluster.node(next).leadership().term, before.term + 1);
        let took = cluster.elapsed() - began;
        assert!(took < LEASE / 2, "{took:?}");
    }
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn handing_over_ends_where_nobody_can_take_it() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let began = cluster.elapsed();
    cluster.node(follower).hand_over().await;
    assert_eq!(cluster.elapsed(), began, "it has nothing to hand over");
    for node in (1..=3).filter(|node| *node != leader) {
        cluster.kill(node, 0).await;
    }
    let began = cluster.elapsed();
    cluster.node(leader).hand_over().await;
    assert!(cluster.elapsed() - began <= LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_quorum_is_lost_when_a_majority_is_gone_and_not_when_it_is_only_cut_off() {
    let mut cluster = Cluster::start(3).await;
    cluster.leader().await;
    assert!(!cluster.node(1).is_lost().await);
    cluster.cut_off(1);
    assert!(!cluster.node(1).is_lost().await, "the others may well be there");
    cluster.heal();
    cluster.kill(2, 0).await;
    assert!(!cluster.node(1).is_lost().await, "two are a majority");
    cluster.kill(3, 0).await;
    assert!(cluster.node(1).is_lost().await);
    cluster.boot(3).await.unwrap();
    assert!(!cluster.node(1).is_lost().await);
}
