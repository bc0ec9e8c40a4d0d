//! First starts, and voters that come back without their logs.

use super::{
    super::storage::Standing,
    cluster::{Cluster, allocate},
};
use crate::{
    peer::messages::{JoinAs, PeerReply, PeerRequest},
    quorum::Quorum,
};
use highwater_core::{metadata::Reply, types::BrokerId};
use std::time::Duration;

/// Many election timeouts.
const LONG: Duration = Duration::from_secs(30);

fn standing(cluster: &Cluster, node: i32) -> Standing {
    cluster.node(node).shared.store.standing()
}

fn is_voter(cluster: &Cluster, at: i32, node: i32) -> bool {
    cluster.node(at).status().voters.contains_key(&BrokerId(node))
}

/// Whether the node takes part as if it had never been wiped.
async fn until_voter_again(cluster: &Cluster, node: i32) {
    cluster
        .until("a voter again", |cluster| {
            standing(cluster, node) == Standing::Full && is_voter(cluster, node, node)
        })
        .await;
}

async fn reply(cluster: &Cluster, node: i32, request: PeerRequest) -> PeerReply {
    cluster.node(node).serve(BrokerId(99), request).await
}

/// Three voters that have committed something, and who of them leads and who follows.
async fn three() -> (Cluster, i32, [i32; 2]) {
    let cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(10)).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let followers: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    (cluster, leader, [followers[0], followers[1]])
}

#[tokio::test(start_paused = true)]
async fn three_new_voters_found_a_quorum_and_all_of_them_vote_at_once() {
    let cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(1)).await;
    cluster.agree().await;
    for node in 1..=3 {
        assert_eq!(standing(&cluster, node), Standing::Full);
        assert_eq!(cluster.node(node).status().voters.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_three_new_voters_founds_nothing_and_two_of_them_do() {
    let mut cluster = Cluster::configured(3);
    cluster.boot(1).await.unwrap();
    cluster.sleep(LONG).await;
    assert_eq!(standing(&cluster, 1), Standing::Outside);
    cluster.boot(2).await.unwrap();
    let (_, first) = cluster.propose(1, allocate(1)).await;
    assert_eq!(first, Reply::ProducerIds { first: 0, count: 1 });
    cluster.boot(3).await.unwrap();
    until_voter_again(&cluster, 3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    cluster.kill(leader, 0).await;
    let survivor = *cluster.nodes.keys().next().unwrap();
    let (_, second) = cluster.propose(survivor.0, allocate(1)).await;
    assert_eq!(second, Reply::ProducerIds { first: 1, count: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_founds_at_once_without_asking() {
    let cluster = Cluster::start(1).await;
    assert_eq!(standing(&cluster, 1), Standing::Full);
    assert_eq!(cluster.node(1).leadership().leader, Some(BrokerId(1)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_tells_whether_there_has_been_a_leader_and_where_the_log_ends() {
    let mut cluster = Cluster::configured(3);
    cluster.boot(1).await.unwrap();
    let PeerReply::QuorumProbed { founded, last_log } =
        reply(&cluster, 1, PeerRequest::QuorumProbe).await
    else {
        panic!()
    };
    assert_eq!((founded, last_log.0), (false, 0));
    cluster.boot(2).await.unwrap();
    cluster.boot(3).await.unwrap();
    cluster.propose(1, allocate(1)).await;
    let end = cluster.agree().await;
    let probed = reply(&cluster, 1, PeerRequest::QuorumProbe).await;
    assert_eq!(probed, PeerReply::QuorumProbed { founded: true, last_log: end });
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_restarts_with_its_log_is_not_taken_for_a_wiped_one() {
    let (mut cluster, _, followers) = three().await;
    let node = followers[0];
    cluster.kill(node, 3).await;
    cluster.boot(node).await.unwrap();
    assert_eq!(standing(&cluster, node), Standing::Full);
    let end = cluster.agree().await;
    cluster.sleep(LONG).await;
    assert!(is_voter(&cluster, node, node));
    assert_eq!(cluster.agree().await, end, "the members were not changed");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_voter_does_not_make_a_leader_of_one_that_lacks_what_was_committed() {
    let (mut cluster, leader, [wiped, behind]) = three().await;
    cluster.cut_off(behind);
    let (_, committed) = cluster.propose(leader, allocate(1)).await;
    assert_eq!(committed, Reply::ProducerIds { first: 10, count: 1 });
    cluster.kill(leader, 0).await;
    cluster.kill(wiped, 1).await;
    cluster.wipe(wiped);
    cluster.heal();
    cluster.boot(wiped).await.unwrap();
    for _ in 0..300 {
        cluster.sleep(LONG / 300).await;
        assert_ne!(cluster.node(behind).leadership().leader, Some(BrokerId(behind)));
    }
    assert_eq!(standing(&cluster, wiped), Standing::Outside);
    cluster.boot(leader).await.unwrap();
    let (_, next) = cluster.propose(behind, allocate(1)).await;
    assert_eq!(next, Reply::ProducerIds { first: 11, count: 1 }, "nothing was lost");
    until_voter_again(&cluster, wiped).await;
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_voter_catches_up_becomes_a_voter_and_stays_one() {
    let (mut cluster, leader, [wiped, other]) = three().await;
    cluster.kill(wiped, 0).await;
    cluster.wipe(wiped);
    cluster.propose(leader, allocate(1)).await;
    cluster.boot(wiped).await.unwrap();
    until_voter_again(&cluster, wiped).await;
    let end = cluster.agree().await;
    cluster.kill(wiped, 1).await;
    cluster.boot(wiped).await.unwrap();
    assert_eq!(standing(&cluster, wiped), Standing::Full, "it remembers");
    cluster.kill(other, 2).await;
    let (offset, reply) = cluster.propose(wiped, allocate(1)).await;
    assert!(offset > end);
    assert_eq!(reply, Reply::ProducerIds { first: 11, count: 1 }, "its acknowledgement counts");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_leader_comes_back_as_a_voter_too() {
    let (mut cluster, leader, _) = three().await;
    cluster.kill(leader, 0).await;
    cluster.wipe(leader);
    cluster.boot(leader).await.unwrap();
    until_voter_again(&cluster, leader).await;
    let (_, reply) = cluster.propose(leader, allocate(1)).await;
    assert_eq!(reply, Reply::ProducerIds { first: 10, count: 1 });
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_voter_goes_on_where_it_was_when_it_or_the_leader_dies_meanwhile() {
    for stop in 0..12 {
        let (mut cluster, leader, [wiped, _]) = three().await;
        cluster.kill(wiped, 0).await;
        cluster.wipe(wiped);
        cluster.boot(wiped).await.unwrap();
        cluster.sleep(Duration::from_millis(150) * stop).await;
        let dies = if stop % 2 == 0 { leader } else { wiped };
        cluster.kill(dies, stop.into()).await;
        cluster.sleep(Duration::from_secs(1)).await;
        cluster.boot(dies).await.unwrap();
        until_voter_again(&cluster, wiped).await;
        let (_, reply) = cluster.propose(wiped, allocate(1)).await;
        assert_eq!(reply, Reply::ProducerIds { first: 10, count: 1 });
        cluster.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_is_wiped_again_before_it_has_its_vote_back_starts_over() {
    for stop in 0..6 {
        let (mut cluster, leader, [wiped, _]) = three().await;
        for round in 0..2 {
            cluster.kill(wiped, round).await;
            cluster.wipe(wiped);
            cluster.boot(wiped).await.unwrap();
            cluster.sleep(Duration::from_millis(200) * stop).await;
        }
        until_voter_again(&cluster, wiped).await;
        cluster.agree().await;
        assert_eq!(cluster.node(leader).status().voters.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn two_wiped_voters_of_three_do_not_found_another_quorum() {
    let (mut cluster, kept, wiped) = three().await;
    let end = cluster.agree().await;
    for node in 1..=3 {
        cluster.kill(node, 0).await;
    }
    cluster.boot(kept).await.unwrap();
    for node in wiped {
        cluster.wipe(node);
        cluster.boot(node).await.unwrap();
    }
    cluster.sleep(LONG).await;
    for node in wiped {
        assert_eq!(standing(&cluster, node), Standing::Outside);
        assert_eq!(cluster.node(node).status().last_log_offset.0, 0);
    }
    assert!(cluster.node(kept).status().last_log_offset >= end);
    assert_ne!(cluster.node(kept).leadership().leader, Some(BrokerId(kept)));
}

#[tokio::test(start_paused = true)]
async fn a_wiped_learner_follows_from_the_start_and_gets_no_vote() {
    let (mut cluster, leader, _) = three().await;
    for round in 0..2 {
        cluster.boot(4).await.unwrap();
        cluster
            .until("node 4 follows", |cluster| {
                cluster.node(4).image().applied() == cluster.node(leader).image().applied()
            })
            .await;
        cluster.sleep(LONG).await;
        assert!(!is_voter(&cluster, leader, 4));
        cluster.kill(4, round).await;
        cluster.wipe(4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_lead_lets_nobody_in() {
    let (cluster, leader, [follower, other]) = three().await;
    let (node, endpoint) = (BrokerId(other), super::cluster::endpoint(other));
    let join = PeerRequest::Join { node, endpoint, join_as: JoinAs::LostLog };
    let refused = reply(&cluster, follower, join).await;
    assert_eq!(refused, PeerReply::NotLeader { leader: Some(BrokerId(leader)) });
    assert!(is_voter(&cluster, leader, other));
}
