//! What a quorum does when nodes die or cannot reach each other.

use super::{
    super::types::{Types, Vote},
    cluster::{Cluster, allocate},
};
use crate::{
    config::MetadataSnapshots,
    quorum::{ProposeError, Quorum},
};
use highwater_core::{metadata::Reply, types::BrokerId};
use openraft::{async_runtime::WatchReceiver, raft::VoteRequest, storage::RaftLogStorage};
use std::{io, time::Duration};

/// Whether a node votes for a candidate whose log is as long as its own.
async fn votes_for(cluster: &Cluster, node: i32, candidate: i32, term: u64) -> bool {
    let shared = &cluster.node(node).shared;
    let log = shared.store.clone().get_log_state().await.unwrap();
    let vote = Vote::new(term, BrokerId(candidate));
    let request = VoteRequest::<Types>::new(vote, log.last_log_id);
    shared.world.scope(shared.raft.vote(request)).await.unwrap().vote_granted
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_leaders_die() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..6 {
        let leader = cluster.leader().await;
        let (_, reply) = cluster.propose(leader, allocate(1)).await;
        assert_eq!(reply, Reply::ProducerIds { first: round, count: 1 });
        cluster.kill(leader, round).await;
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        cluster.boot(leader).await.unwrap();
    }
    cluster.agree().await;
    let (_, reply) = cluster.propose(1, allocate(1)).await;
    assert_eq!(reply, Reply::ProducerIds { first: 6, count: 1 });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_all_nodes_die_at_once() {
    let mut cluster = Cluster::start(3).await;
    let mut first = 0;
    for round in 0..6 {
        for _ in 0..5 {
            let (_, reply) = cluster.propose(1, allocate(1)).await;
            assert_eq!(reply, Reply::ProducerIds { first, count: 1 });
            first += 1;
        }
        for node in 1..=3 {
            cluster.kill(node, round * 3 + u64::from(node.unsigned_abs())).await;
        }
        for node in 1..=3 {
            cluster.boot(node).await.unwrap();
        }
    }
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_votes_for_one_candidate_of_a_term_on_both_sides_of_a_power_cut() {
    const TERM: u64 = 1000;
    for seed in 0..10 {
        let mut cluster = Cluster::start(3).await;
        cluster.propose(1, allocate(1)).await;
        cluster.agree().await;
        cluster.kill(1, 0).await;
        cluster.kill(2, 0).await;
        // Longer than it keeps faith with the leader that it heard last.
        cluster.sleep(Duration::from_secs(5)).await;
        assert!(votes_for(&cluster, 3, 1, TERM).await);
        cluster.kill(3, seed).await;
        cluster.boot(3).await.unwrap();
        let again = votes_for(&cluster, 3, 2, TERM).await;
        assert!(!again, "seed {seed}: brokers 1 and 2 could both lead in this term");
        assert!(votes_for(&cluster, 3, 1, TERM).await, "seed {seed}: what it promised stands");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_commits_nothing_and_catches_up_afterwards() {
    let cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(1)).await;
    let old = cluster.leader().await;
    let before = cluster.node(old).leadership();
    cluster.cut_off(old);
    let stuck = cluster.node(old).propose(allocate(100)).await;
    assert!(matches!(stuck, Err(ProposeError::Unknown(_))), "{stuck:?}");
    let barrier = cluster.node(old).read_barrier().await;
    assert!(matches!(barrier, Err(ProposeError::NotLeader { .. })), "{barrier:?}");
    let late = cluster.node(old).propose(allocate(100)).await;
    assert!(matches!(late, Err(ProposeError::NotLeader { leader: None })), "{late:?}");
    let new = cluster.leader().await;
    assert_ne!(new, old);
    let (_, reply) = cluster.propose(new, allocate(1)).await;
    assert_eq!(reply, Reply::ProducerIds { first: 1, count: 1 });
    cluster.heal();
    cluster.node(old).leadership_changed(before).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_proposal_at_a_leader_that_was_replaced_is_not_waited_for_to_its_limit() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.propose(leader, allocate(1)).await;
    let follower = cluster.follower().await;
    let began = cluster.elapsed();
    let (outcome, ()) = tokio::join!(cluster.node(follower).propose(allocate(1)), async {
        // The leader has the proposal, and no follower has it yet.
        cluster.sleep(Duration::from_micros(1500)).await;
        cluster.cut_off(leader);
    });
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    let took = cluster.elapsed() - began;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_ne!(cluster.leader().await, leader);
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_a_leader_says_so() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    for node in (1..=3).filter(|node| *node != follower) {
        cluster.kill(node, 0).await;
    }
    let refused = cluster.node(follower).propose(allocate(1)).await;
    let Err(ProposeError::NotLeader { leader: known }) = refused else { panic!("{refused:?}") };
    assert!(known.is_none_or(|known| known.0 == leader));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_fails_takes_no_part_until_it_is_started_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(1)).await;
    let leader = cluster.leader().await;
    cluster.disks[&cluster.node(leader).shared.node].fail_sync(io::ErrorKind::Other);
    let unknown = cluster.node(leader).propose(allocate(1)).await;
    assert!(!matches!(unknown, Err(ProposeError::Refused(_))), "{unknown:?}");
    cluster
        .until("the leader gives up", |cluster| cluster.node(leader).leadership().leader.is_none())
        .await;
    let stopped = cluster.node(leader).propose(allocate(1)).await;
    assert!(matches!(stopped, Err(ProposeError::Stopped)), "{stopped:?}");
    cluster.kill(leader, 7).await;
    cluster.leader().await;
    cluster.boot(leader).await.unwrap();
    cluster.propose(leader, allocate(1)).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lags_too_far_gets_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(1)).await;
    let lagging = cluster.follower().await;
    cluster.kill(lagging, 0).await;
    for _ in 0..10 {
        cluster.propose(cluster.leader().await, allocate(1)).await;
    }
    let offset = cluster.agree().await;
    for quorum in cluster.nodes.values() {
        let shared = &quorum.shared;
        let purge = async {
            shared.raft.trigger().snapshot().await.unwrap();
            let wait = shared.raft.wait(Some(Duration::from_secs(10)));
            wait.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await.unwrap();
            shared.raft.trigger().purge_log(offset.0 - 1).await.unwrap();
            let wait = shared.raft.wait(Some(Duration::from_secs(10)));
            wait.metrics(|metrics| metrics.purged.is_some(), "purged").await.unwrap();
        };
        shared.world.scope(purge).await;
    }
    cluster.boot(lagging).await.unwrap();
    cluster.agree().await;
    cluster.kill(lagging, 1).await;
    cluster.boot(lagging).await.unwrap();
    assert!(
        cluster.node(lagging).image().applied() >= offset,
        "the snapshot is there at once after a restart"
    );
    cluster.propose(lagging, allocate(1)).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_gives_way_to_snapshots_as_often_as_the_nodes_are_told() {
    let mut cluster = Cluster::configured(3);
    cluster.snapshots = MetadataSnapshots { entries: 5, entries_kept: 1, rewrite_bytes_min: 0 };
    for node in 1..=3 {
        cluster.boot(node).await.unwrap();
    }
    cluster.propose(1, allocate(1)).await;
    let lagging = cluster.follower().await;
    let before = cluster.node(lagging).image().applied();
    cluster.kill(lagging, 0).await;
    for _ in 0..20 {
        cluster.propose(cluster.leader().await, allocate(1)).await;
    }
    let leader = cluster.leader().await;
    let is_purged = |cluster: &Cluster| {
        let raft = &cluster.node(leader).shared.raft;
        raft.metrics().borrow_watched().purged.is_some_and(|at| at.index > before.0)
    };
    cluster.until("the leader's log is behind a snapshot", is_purged).await;
    cluster.boot(lagging).await.unwrap();
    let offset = cluster.agree().await;
    assert!(offset.0 > before.0 + 20, "only a snapshot brings it so far");
    for node in 1..=3 {
        cluster.kill(node, 1).await;
    }
    for node in 1..=3 {
        cluster.boot(node).await.unwrap();
    }
    let (_, reply) = cluster.propose(1, allocate(1)).await;
    assert_eq!(reply, Reply::ProducerIds { first: 21, count: 1 });
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_lost_on_the_way_is_soon_sent_again() {
    let mut cluster = Cluster::configured(3);
    cluster.snapshots = MetadataSnapshots { entries: 5, entries_kept: 1, ..Default::default() };
    for node in 1..=3 {
        cluster.boot(node).await.unwrap();
    }
    cluster.propose(1, allocate(1)).await;
    let lagging = cluster.follower().await;
    cluster.kill(lagging, 0).await;
    for _ in 0..20 {
        cluster.propose(cluster.leader().await, allocate(1)).await;
    }
    cluster.swallow(lagging);
    cluster.boot(lagging).await.unwrap();
    cluster.sleep(Duration::from_secs(5)).await;
    cluster.heal();
    let healed = cluster.elapsed();
    cluster.agree().await;
    let took = cluster.elapsed() - healed;
    assert!(took < Duration::from_secs(10), "{took:?}");
}
