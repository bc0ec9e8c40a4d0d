//! Learners and voters that come and go.

use super::cluster::{Cluster, allocate, endpoint};
use crate::quorum::Quorum;
use highwater_core::types::BrokerId;

#[tokio::test(start_paused = true)]
async fn a_node_that_is_no_voter_joins_and_follows() {
    let mut cluster = Cluster::start(3).await;
    for _ in 0..10 {
        cluster.propose(1, allocate(1)).await;
    }
    cluster.boot(4).await.unwrap();
    cluster
        .until("node 4 belongs", |cluster| {
            cluster.node(4).status().learners.contains_key(&BrokerId(4))
        })
        .await;
    cluster.agree().await;
    cluster.propose(4, allocate(1)).await;
    cluster.agree().await;
    cluster.kill(4, 0).await;
    cluster.propose(1, allocate(1)).await;
    cluster.boot(4).await.unwrap();
    cluster.agree().await;
    let leader = cluster.leader().await;
    assert!(leader != 4, "a learner never leads");
    assert_eq!(cluster.node(leader).status().learners[&BrokerId(4)], endpoint(4));
}

#[tokio::test(start_paused = true)]
async fn a_learner_becomes_a_voter_and_a_voter_a_learner() {
    let mut cluster = Cluster::start(3).await;
    cluster.boot(4).await.unwrap();
    let leader = cluster.leader().await;
    cluster.node(leader).add_voter(BrokerId(4), endpoint(4)).await.unwrap();
    cluster.agree().await;
    assert_eq!(cluster.node(4).status().voters.len(), 4);
    let removed = (1..=3).find(|node| *node != leader).unwrap();
    cluster.node(leader).remove_voter(BrokerId(removed)).await.unwrap();
    cluster.agree().await;
    let status = cluster.node(removed).status();
    assert!(!status.voters.contains_key(&BrokerId(removed)), "{status:?}");
    assert!(status.learners.contains_key(&BrokerId(removed)), "{status:?}");
    cluster.propose(removed, allocate(1)).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_removes_itself_hands_over() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.node(leader).remove_voter(BrokerId(leader)).await.unwrap();
    cluster
        .until("another leader", |cluster| {
            cluster
                .nodes
                .values()
                .all(|node| node.leadership().leader.is_some_and(|new| new.0 != leader))
        })
        .await;
    cluster.propose(leader, allocate(1)).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn any_node_passes_a_change_of_the_voters_on_to_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    cluster.node(follower).remove_voter(BrokerId(follower)).await.unwrap();
    cluster.agree().await;
    let own = cluster.node(leader).status();
    assert!(!own.voters.contains_key(&BrokerId(follower)), "{own:?}");
    let told = cluster.node(follower).status_of_leader().await;
    assert_eq!((told.seen_by, &told.voters), (BrokerId(leader), &own.voters));
    assert_eq!(told.peers.len(), 3, "the leader knows how far everybody is: {told:?}");
    let itself = cluster.node(leader).status_of_leader().await;
    assert_eq!(itself.seen_by, BrokerId(leader));
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_grows_to_three_and_survives_its_own_death() {
    let mut cluster = Cluster::start(1).await;
    cluster.propose(1, allocate(1)).await;
    for node in [2, 3] {
        cluster.boot(node).await.unwrap();
        cluster.node(1).add_voter(BrokerId(node), endpoint(node)).await.unwrap();
    }
    cluster.agree().await;
    cluster.kill(1, 0).await;
    cluster.propose(2, allocate(1)).await;
    cluster.boot(1).await.unwrap();
    cluster.agree().await;
}
