//! DescribeQuorum (key 55): who votes on the metadata and how far each node is (KIP-595, KIP-836).

use super::{Context, errors};
use crate::{
    quorum::QuorumStatus,
    wire::{
        ErrorCode, Str,
        generated::describe_quorum::{
            DescribeQuorumRequest, DescribeQuorumResponse, DescribeQuorumTopic,
            DescribedQuorumPartition, DescribedQuorumTopic, Listener, Node, ReplicaState,
        },
    },
};
use highwater_core::{time::Now, types::BrokerId};

/// What Kafka calls its metadata log; clients ask for its partition 0.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// What Kafka calls the listener of its controllers.
const LISTENER: &str = "CONTROLLER";

/// Describes the quorum as its leader sees it, which alone knows how far the others are. When it does
/// not say, their offsets are unknown (-1).
pub async fn handle(context: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let is_asked_for = matches!(&request.topics[..], [topic] if is_metadata_log(topic));
    if !is_asked_for {
        return DescribeQuorumResponse {
            error_code: ErrorCode::InvalidRequest as i16,
            error_message: Some(errors::text(format!("ask for {METADATA_TOPIC}-0 alone"))),
            ..Default::default()
        };
    }
    let shared = &context.shared;
    let status = shared.quorum.status_of_leader().await;
    describe(&status, shared.doors.clock.now())
}

fn is_metadata_log(topic: &DescribeQuorumTopic) -> bool {
    let is_first = matches!(&topic.partitions[..], [one] if one.partition_index == 0);
    *topic.topic_name == *METADATA_TOPIC && is_first
}

fn describe(status: &QuorumStatus, now: Now) -> DescribeQuorumResponse {
    let replicas = |nodes: &mut dyn Iterator<Item = BrokerId>| {
        nodes.map(|node| replica(status, node, now)).collect()
    };
    let partition = DescribedQuorumPartition {
        leader_id: status.leadership.leader.map_or(-1, |leader| leader.0),
        leader_epoch: i32::try_from(status.leadership.term).unwrap_or(i32::MAX),
        high_watermark: number(status.committed_offset.0),
        current_voters: replicas(&mut status.voters.keys().copied()),
        observers: replicas(&mut status.learners.keys().copied()),
        ..Default::default()
    };
    let nodes = status.voters.iter().chain(&status.learners);
    let nodes = nodes.filter(|(_, endpoint)| !endpoint.host.is_empty());
    DescribeQuorumResponse {
        topics: vec![DescribedQuorumTopic {
            topic_name: Str::from(METADATA_TOPIC),
            partitions: vec![partition],
        }],
        nodes: nodes
            .map(|(node, endpoint)| Node {
                node_id: node.0,
                listeners: vec![Listener {
                    name: Str::from(LISTENER),
                    host: Str::from(endpoint.host.as_str()),
                    port: endpoint.port,
                }],
            })
            .collect(),
        ..Default::default()
    }
}

fn replica(status: &QuorumStatus, node: BrokerId, now: Now) -> ReplicaState {
    let own = status.seen_by;
    let progress = status.peers.get(&node);
    let known = progress.map(|progress| progress.matched);
    let known = known.or((node == own).then_some(status.last_log_offset));
    // The leader hears itself all the time.
    let leads = status.leadership.leader == Some(own);
    let contact = if leads && node == own {
        Some(now.monotonic)
    } else {
        progress.and_then(|progress| progress.last_contact)
    };
    let wall = |at| {
        let ago = i64::try_from(now.monotonic.since(at).as_millis()).unwrap_or(i64::MAX);
        now.wall.0.saturating_sub(ago)
    };
    let last_fetch_timestamp = contact.map_or(-1, wall);
    let is_caught_up = known.is_some_and(|offset| offset >= status.committed_offset);
    ReplicaState {
        replica_id: node.0,
        log_end_offset: known.map_or(-1, |offset| number(offset.0)),
        last_fetch_timestamp,
        last_caught_up_timestamp: if is_caught_up { last_fetch_timestamp } else { -1 },
        ..Default::default()
    }
}

fn number(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::{Leadership, PeerProgress};
    use highwater_core::{
        metadata::Endpoint,
        time::{Instant, Timestamp},
        types::MetadataOffset,
    };
    use std::collections::BTreeMap;

    const NOW: Now = Now { monotonic: Instant(5_000_000_000), wall: Timestamp(100_000) };

    fn status(seen_by: i32, peers: BTreeMap<BrokerId, PeerProgress>) -> QuorumStatus {
        let endpoint = Endpoint { host: "h".into(), port: 9_093 };
        QuorumStatus {
            seen_by: BrokerId(seen_by),
            leadership: Leadership { term: 4, leader: Some(BrokerId(1)) },
            voters: BTreeMap::from([(BrokerId(1), endpoint.clone()), (BrokerId(2), endpoint)]),
            learners: BTreeMap::from([(BrokerId(3), Endpoint::default())]),
            last_log_offset: MetadataOffset(12),
            committed_offset: MetadataOffset(10),
            peers,
        }
    }

    fn peer(matched: u64, last_contact: Option<Instant>) -> PeerProgress {
        PeerProgress { matched: MetadataOffset(matched), last_contact }
    }

    #[test]
    fn the_leader_tells_how_far_every_node_is_and_when_it_was_heard() {
        let peers = BTreeMap::from([
            (BrokerId(1), peer(12, None)),
            (BrokerId(2), peer(11, Some(Instant(4_000_000_000)))),
            (BrokerId(3), peer(7, Some(Instant(3_000_000_000)))),
        ]);
        let answer = describe(&status(1, peers), NOW);
        let partition = &answer.topics[0].partitions[0];
        let told = (partition.leader_id, partition.leader_epoch, partition.high_watermark);
        assert_eq!(told, (1, 4, 10));
        let of = |state: &ReplicaState| {
            let ReplicaState { replica_id, log_end_offset, .. } = *state;
            let times = (state.last_fetch_timestamp, state.last_caught_up_timestamp);
            (replica_id, log_end_offset, times)
        };
        let voters: Vec<_> = partition.current_voters.iter().map(of).collect();
        assert_eq!(voters, [(1, 12, (100_000, 100_000)), (2, 11, (99_000, 99_000))]);
        assert_eq!(of(&partition.observers[0]), (3, 7, (98_000, -1)));
        let nodes: Vec<_> = answer.nodes.iter().map(|node| node.node_id).collect();
        assert_eq!(nodes, [1, 2], "a node whose endpoint is not known is left out");
    }

    #[test]
    fn a_follower_knows_only_itself() {
        let answer = describe(&status(2, BTreeMap::new()), NOW);
        let partition = &answer.topics[0].partitions[0];
        let ends: Vec<_> = partition.current_voters.iter().map(|one| one.log_end_offset).collect();
        assert_eq!(ends, [-1, 12]);
    }
}
