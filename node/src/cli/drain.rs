//! `highwater cluster drain`: moves everything off a node.
//!
//! It plans from what the cluster says at each round, so that it can be interrupted and started
//! again, and so that partitions which arrive meanwhile leave too.

use super::{
    arguments::Drain,
    cluster, connect, describe,
    output::Output,
    partition::{Target, elect_leaders, move_partitions},
    topic::name_of,
};
use highwater_node::{
    client::Cluster,
    env::{Clock, OsClock},
    wire::generated::metadata::MetadataResponsePartition,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The pause between two looks at what is left.
const ROUND: Duration = Duration::from_millis(500);
/// Partitions named in one request.
const AT_ONCE_MAX: usize = 500;

pub async fn run(arguments: Drain, output: Output) -> anyhow::Result<()> {
    let node = arguments.node;
    let mut cluster = connect(&arguments.at.broker).await?;
    let (_, brokers) = cluster::brokers(&mut cluster).await?;
    let known = brokers.iter().any(|broker| broker.broker_id == node);
    let mut view = View::take(&mut cluster).await?;
    anyhow::ensure!(known || !view.held(node).is_empty(), "the cluster has no node {node}");
    let leaders = move_leaders(&mut cluster, &view, node, output).await?;
    let mut moved = BTreeSet::new();
    if !arguments.leaders_only {
        let mut before = usize::MAX;
        loop {
            view = View::take(&mut cluster).await?;
            let held = view.held(node);
            if held.len() != before {
                progress(output, &format!("{} partitions left on node {node}", held.len()));
                before = held.len();
            }
            if held.is_empty() {
                break;
            }
            let next = view.next_moves(node, arguments.at_once as usize)?;
            moved.extend(next.iter().map(|(topic, partition, _)| (topic.clone(), *partition)));
            if !next.is_empty() {
                move_partitions(&mut cluster, next).await?;
            }
            pause().await;
        }
    }
    let moved = moved.len();
    let document = || json!({ "node": node, "leaders_moved": leaders, "partitions_moved": moved });
    output.print(document, |out| match arguments.leaders_only {
        true => writeln!(out, "node {node} gave up {leaders} leaders"),
        false => writeln!(out, "node {node} is empty: {moved} partitions moved"),
    })
}

/// Makes another replica in sync the preferred leader of what the node leads, and elects it.
/// Partitions that only this node has in sync stay.
async fn move_leaders(
    cluster: &mut Cluster,
    view: &View,
    node: i32,
    output: Output,
) -> anyhow::Result<usize> {
    let targets = view.leader_moves(node);
    let at = |(topic, partition, _): &Target| (topic.clone(), *partition);
    let mut moved = 0;
    for targets in targets.chunks(AT_ONCE_MAX) {
        move_partitions(cluster, targets.to_vec()).await?;
        let (elected, refused) =
            elect_leaders(cluster, false, Some(targets.iter().map(at).collect())).await?;
        moved += elected.len();
        for ((topic, partition), reason) in refused {
            progress(output, &format!("{topic}-{partition} keeps its leader: {reason}"));
        }
    }
    progress(output, &format!("{moved} leaders moved off node {node}"));
    Ok(moved)
}

fn progress(output: Output, line: &str) {
    if !output.is_json() {
        eprintln!("{line}");
    }
}

async fn pause() {
    let clock = OsClock::new();
    clock.sleep_until(clock.now().monotonic.after(ROUND)).await;
}

/// The cluster at one moment.
struct View {
    /// Live nodes with their racks.
    live: BTreeMap<i32, Option<String>>,
    partitions: BTreeMap<(String, i32), MetadataResponsePartition>,
    moving: BTreeSet<(String, i32)>,
}

impl View {
    async fn take(cluster: &mut Cluster) -> anyhow::Result<Self> {
        let metadata = cluster.metadata(None, false).await?;
        let moving = describe::moves(cluster).await?.into_keys().collect();
        let rack = |rack: &Option<_>| rack.as_ref().map(ToString::to_string);
        let live = metadata.brokers.iter().map(|broker| (broker.node_id, rack(&broker.rack)));
        let live = live.collect();
        let mut partitions = BTreeMap::new();
        for mut topic in metadata.topics {
            for partition in std::mem::take(&mut topic.partitions) {
                partitions
                    .insert((name_of(&topic).to_owned(), partition.partition_index), partition);
            }
        }
        Ok(Self { live, partitions, moving })
    }

    /// The partitions that a node holds.
    fn held(&self, node: i32) -> Vec<&(String, i32)> {
        let held = self.partitions.iter().filter(|(_, one)| one.replica_nodes.contains(&node));
        held.map(|(at, _)| at).collect()
    }

    /// The same replicas in another order, for what the node leads: one in sync first, it last.
    fn leader_moves(&self, node: i32) -> Vec<Target> {
        let led = self
            .partitions
            .iter()
            .filter(|(at, partition)| partition.leader_id == node && !self.moving.contains(*at));
        let reordered = led.filter_map(|((topic, index), partition)| {
            let mut others = partition.replica_nodes.clone();
            others.retain(|id| *id != node);
            let first = others.iter().position(|id| partition.isr_nodes.contains(id))?;
            others.swap(0, first);
            others.push(node);
            Some((topic.clone(), *index, Some(others)))
        });
        reordered.collect()
    }

    /// The next moves off a node, so that at most `at_once` partitions of it are moving.
    ///
    /// # Errors
    /// A partition has a replica on every live node already.
    fn next_moves(&self, node: i32, at_once: usize) -> anyhow::Result<Vec<Target>> {
        let held = self.held(node);
        let moving = held.iter().filter(|at| self.moving.contains(**at)).count();
        let mut replicas = self.replica_counts();
        let mut moves = Vec::new();
        let waiting = held.into_iter().filter(|at| !self.moving.contains(*at));
        for at in waiting.take(at_once.min(AT_ONCE_MAX).saturating_sub(moving)) {
            let mut target = self.partitions[at].replica_nodes.clone();
            let place = target.iter().position(|id| *id == node).expect("the node holds it");
            let Some(successor) = self.successor(&target, node, &replicas) else {
                anyhow::bail!(
                    "no other live node can take {}-{}: add a node, or lower the number of replicas",
                    at.0,
                    at.1
                );
            };
            target[place] = successor;
            *replicas.entry(successor).or_default() += 1;
            moves.push((at.0.clone(), at.1, Some(target)));
        }
        Ok(moves)
    }

    /// Who takes a node's place: a live node without a replica, of a rack that the other replicas
    /// are not in if there is one, and of these the one with the fewest replicas.
    fn successor(&self, replicas: &[i32], node: i32, counts: &BTreeMap<i32, usize>) -> Option<i32> {
        let others = replicas.iter().filter(|id| **id != node);
        let racks: BTreeSet<_> = others.filter_map(|id| self.live.get(id)).collect();
        let free = self.live.iter().filter(|(id, _)| **id != node && !replicas.contains(id));
        let weight = |(id, rack): &(&i32, &Option<String>)| {
            (racks.contains(rack), counts.get(*id).copied().unwrap_or(0), **id)
        };
        free.min_by_key(weight).map(|(id, _)| *id)
    }

    fn replica_counts(&self) -> BTreeMap<i32, usize> {
        let mut counts = BTreeMap::new();
        for id in self.partitions.values().flat_map(|partition| &partition.replica_nodes) {
            *counts.entry(*id).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(live: &[(i32, &str)], partitions: &[(i32, &[i32], &[i32])]) -> View {
        let partition =
            |(leader_id, replicas, isr): &(i32, &[i32], &[i32])| MetadataResponsePartition {
                leader_id: *leader_id,
                replica_nodes: replicas.to_vec(),
                isr_nodes: isr.to_vec(),
                ..Default::default()
            };
        let partitions = partitions.iter().map(partition).zip(0..);
        View {
            live: live.iter().map(|(id, rack)| (*id, Some((*rack).to_owned()))).collect(),
            partitions: partitions.map(|(one, index)| (("t".to_owned(), index), one)).collect(),
            moving: BTreeSet::new(),
        }
    }

    fn replicas(moves: Vec<Target>) -> Vec<(i32, Vec<i32>)> {
        moves.into_iter().map(|(_, index, target)| (index, target.expect("a target"))).collect()
    }

    #[test]
    fn a_replica_moves_to_a_rack_that_has_none() {
        let racks = [(1, "a"), (2, "b"), (3, "b"), (4, "c")];
        let view = view(&racks, &[(1, &[1, 2], &[1, 2]), (2, &[2, 4], &[2, 4])]);
        let moves = replicas(view.next_moves(1, 20).expect("there is room"));
        assert_eq!(moves, [(0, vec![4, 2])]);
    }

    #[test]
    fn successors_take_turns() {
        let racks = [(1, "a"), (2, "b"), (3, "c"), (4, "d")];
        let all: [(i32, &[i32], &[i32]); 3] = [(1, &[1, 2], &[1, 2]); 3];
        let moves = replicas(view(&racks, &all).next_moves(1, 20).expect("there is room"));
        assert_eq!(moves, [(0, vec![3, 2]), (1, vec![4, 2]), (2, vec![3, 2])]);
    }

    #[test]
    fn only_so_many_move_at_a_time() {
        let mut view = view(&[(1, "a"), (2, "b")], &[(1, &[1], &[1]), (1, &[1], &[1])]);
        view.moving.insert(("t".to_owned(), 0));
        assert_eq!(replicas(view.next_moves(1, 2).expect("there is room")), [(1, vec![2])]);
        assert!(view.next_moves(1, 1).expect("there is room").is_empty());
    }

    #[test]
    fn a_partition_on_every_live_node_cannot_leave_one() {
        let view = view(&[(1, "a"), (2, "b")], &[(1, &[1, 2], &[1, 2])]);
        let error = view.next_moves(1, 20).expect_err("nobody is left").to_string();
        assert!(error.starts_with("no other live node can take t-0"), "{error}");
    }

    #[test]
    fn leadership_goes_to_a_replica_in_sync() {
        let racks = [(1, "a"), (2, "b"), (3, "c")];
        let partitions: [(i32, &[i32], &[i32]); 3] =
            [(1, &[1, 2, 3], &[1, 3]), (1, &[1, 2], &[1]), (2, &[1, 2], &[1, 2])];
        let moves = replicas(view(&racks, &partitions).leader_moves(1));
        assert_eq!(moves, [(0, vec![3, 2, 1])], "nobody else is in sync, or another leads already");
    }
}
