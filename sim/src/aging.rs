//! Logs that nobody writes to any more grow old: retention must come for what is due (R-T4).

use crate::{
    cluster::Cluster,
    history::{Aged, Partition},
    inspect::{self, Place, Segment},
    machine::Machine,
    recorder::now_nanos,
};
use highwater_core::types::{BrokerId, PartitionIndex, TopicId};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// How long brokers have for it once everything is due: two looks, one for the active segment to be
/// closed and one for it to go, and what it takes to remove a file.
const RETIRED_WITHIN: Duration = Duration::from_millis(2_500);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until retention has come for everything that is due, but not for ever; what is left then is
/// judged by an oracle. Only where every clock tells the time.
pub async fn let_age(cluster: &Cluster) {
    let topics = cluster.recorder.history().topics.clone();
    let is_due = |of: &Partition| {
        let topic = &topics[of.topic];
        topic.lifetime_millis().is_some() || topic.retention_bytes.is_some()
    };
    let due: Vec<Partition> = {
        let history = cluster.recorder.history();
        let logs = history.finals.iter().filter(|log| log.error.is_none());
        logs.filter_map(|log| log.partition).filter(is_due).collect()
    };
    if due.is_empty() || !cluster.recorder.history().promise.has_true_clocks {
        return;
    }
    let lifetimes = due.iter().filter_map(|of| topics[of.topic].lifetime_millis());
    let longest = lifetimes.max().unwrap_or(0).unsigned_abs();
    let patience = RETIRED_WITHIN + Duration::from_millis(longest);
    let deadline = now_nanos() + patience.as_nanos() as u64;
    loop {
        let looks = look(cluster, &due);
        let is_done = looks.iter().all(|aged| aged.overdue(&topics).is_none());
        if is_done || now_nanos() > deadline {
            cluster.recorder.history().aged = looks;
            return;
        }
        time::sleep(LOOK_EVERY).await;
    }
}

fn look(cluster: &Cluster, due: &[Partition]) -> Vec<Aged> {
    let sizes: BTreeMap<BrokerId, _> =
        cluster.machines.iter().map(|machine| (machine.id, sizes_of(machine))).collect();
    let mut looks = Vec::new();
    for partition in due.iter().copied() {
        let id = TopicId(cluster.recorder.history().topics[partition.topic].id);
        let index = PartitionIndex(partition.index as u32);
        let known = cluster.image().and_then(|image| image.partition(id, index).cloned());
        let Some(known) = known else { continue };
        for machine in cluster.machines.iter().filter(|it| known.replicas.contains(&it.id)) {
            let broker = machine.broker();
            let Some(replica) = broker.and_then(|broker| broker.replica(id, index)) else {
                continue;
            };
            let log_start = replica.log_start_offset.0 as i64;
            let files = sizes[&machine.id].get(&partition);
            looks.push(Aged {
                partition,
                broker: machine.id.0,
                leads: known.leader == Some(machine.id),
                log_start,
                end: replica.log_end_offset.0 as i64,
                segments: files.map_or_else(Vec::new, |files| from(files, log_start)),
            });
        }
    }
    looks
}

/// The bytes of each segment file of each log, by the offset with which it begins.
fn sizes_of(machine: &Machine) -> BTreeMap<Partition, BTreeMap<Segment, u64>> {
    let topics = machine.recorder.history().topics.clone();
    let mut sizes: BTreeMap<Partition, BTreeMap<Segment, u64>> = BTreeMap::new();
    for (path, bytes) in machine.disk.model().live_files() {
        if let Place::Segment(partition, segment) = inspect::place_of(&path, &topics) {
            sizes.entry(partition).or_default().insert(segment, bytes.len() as u64);
        }
    }
    sizes
}

/// The sizes of those that hold something from an offset on, the oldest first: the others are only
/// waiting to be removed.
fn from(files: &BTreeMap<Segment, u64>, log_start: i64) -> Vec<u64> {
    let first = files.keys().rfind(|segment| segment.base <= log_start);
    let is_part = |segment: &Segment| first.is_none_or(|first| segment.base >= first.base);
    files.iter().filter(|(segment, _)| is_part(segment)).map(|(_, bytes)| *bytes).collect()
}
