//! What a quorum without failures does.

use super::cluster::{Cluster, allocate, endpoint};
use crate::quorum::{Leadership, OpenError, ProposeError, Quorum};
use highwater_core::{
    metadata::{MetadataError, Reply},
    types::{BrokerId, MetadataOffset},
};

#[tokio::test(start_paused = true)]
async fn a_lone_voter_leads_as_soon_as_it_is_open() {
    let cluster = Cluster::start(1).await;
    let leadership = cluster.node(1).leadership();
    assert_eq!(leadership.leader, Some(BrokerId(1)));
    let (offset, reply) = cluster.node(1).propose(allocate(10)).await.unwrap();
    assert_eq!(reply, Reply::ProducerIds { first: 0, count: 10 });
    assert_eq!(cluster.node(1).image().applied(), offset);
    assert_eq!(cluster.node(1).read_barrier().await.unwrap(), offset);
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_has_its_whole_image_as_soon_as_it_is_open_again() {
    let mut cluster = Cluster::start(1).await;
    for _ in 0..20 {
        cluster.node(1).propose(allocate(1)).await.unwrap();
    }
    for seed in 0..5 {
        cluster.kill(1, seed).await;
        cluster.boot(1).await.unwrap();
        let (_, reply) = cluster.node(1).propose(allocate(1)).await.unwrap();
        assert_eq!(reply, Reply::ProducerIds { first: 20 + seed, count: 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn three_voters_elect_one_leader_and_apply_what_any_of_them_proposes() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    for round in 0..30 {
        let (offset, reply) = cluster.propose(1 + round % 3, allocate(1)).await;
        assert_eq!(reply, Reply::ProducerIds { first: round.unsigned_abs().into(), count: 1 });
        assert!(offset.0 > u64::from(round.unsigned_abs()));
    }
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn proposals_made_at_once_are_all_applied_once() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    cluster.propose(1, allocate(1)).await;
    let waiting: Vec<_> =
        (0..60).map(|round| cluster.node(1 + round % 3).propose(allocate(1))).collect();
    let mut first = Vec::new();
    for answer in waiting {
        let (_, Reply::ProducerIds { first: id, .. }) = answer.await.unwrap() else { panic!() };
        first.push(id);
    }
    first.sort_unstable();
    assert_eq!(first, (1..=60).collect::<Vec<_>>());
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_moves_nothing_but_the_offset() {
    let cluster = Cluster::start(3).await;
    for node in [cluster.leader().await, cluster.follower().await] {
        let refused = cluster.node(node).propose(allocate(0)).await;
        assert!(
            matches!(refused, Err(ProposeError::Refused(MetadataError::InvalidProducerIds))),
            "{refused:?}"
        );
    }
    let (_, reply) = cluster.propose(1, allocate(1)).await;
    assert_eq!(reply, Reply::ProducerIds { first: 0, count: 1 });
    cluster.agree().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_answers_for_the_end_of_the_log() {
    let cluster = Cluster::start(3).await;
    let (offset, _) = cluster.propose(1, allocate(1)).await;
    let leader = cluster.leader().await;
    let end = cluster.node(leader).read_barrier().await.unwrap();
    assert!(end >= offset);
    let follower = cluster.follower().await;
    let refused = cluster.node(follower).read_barrier().await;
    assert!(
        matches!(refused, Err(ProposeError::NotLeader { leader: Some(known) }) if known.0 == leader),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn waiters_hear_of_new_images_and_new_leaders() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.node(cluster.follower().await);
    follower.leadership_changed(Leadership::default()).await;
    let before = follower.image().applied();
    let waiting = follower.changed(before);
    cluster.propose(1, allocate(1)).await;
    waiting.await;
    assert!(follower.image().applied() > before);
}

#[tokio::test(start_paused = true)]
async fn the_status_names_voters_offsets_and_what_followers_have() {
    let cluster = Cluster::start(3).await;
    cluster.propose(1, allocate(1)).await;
    let end = cluster.agree().await;
    let leader = cluster.leader().await;
    cluster
        .until("matched", |cluster| {
            let status = cluster.node(leader).status();
            status.peers.len() == 3 && status.peers.values().all(|peer| peer.matched == end)
        })
        .await;
    let status = cluster.node(leader).status();
    assert_eq!(status.voters.keys().map(|node| node.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(status.voters[&BrokerId(2)], endpoint(2));
    assert_eq!((status.last_log_offset, status.committed_offset), (end, end));
    assert!(status.learners.is_empty());
    let others = status.peers.iter().filter(|(node, _)| node.0 != leader);
    assert!(others.clone().all(|(_, peer)| peer.last_contact.is_some()), "{status:?}");
    let follower = cluster.follower().await;
    assert!(cluster.node(follower).status().peers.is_empty());
    assert!(end > MetadataOffset(2));
}

#[tokio::test(start_paused = true)]
async fn a_log_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(1, 0).await;
    cluster.cluster_id = "another".into();
    let refused = cluster.boot(1).await;
    assert!(matches!(refused, Err(OpenError::Foreign { .. })), "{refused:?}");
}
