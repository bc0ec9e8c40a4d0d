//! Effects that are seen when a run is over, in its history.

use crate::{
    history::{FinalLog, Partition, Topic},
    oracle,
    recorder::Recorder,
    trace::Effect,
};
use std::collections::{BTreeMap, BTreeSet};

/// Log starts that moved although nobody asked for it: retention at work.
pub fn retired(recorder: &Recorder) {
    let history = recorder.history();
    let moved = |log: &&FinalLog| {
        let topic = log.partition.map(|partition| &history.topics[partition.topic]);
        log.log_start > 0 && topic.is_some_and(Topic::has_retention)
    };
    let retired = history.finals.iter().filter(moved).count() as u64;
    if retired > 0 {
        recorder.trace.effect(Effect::SegmentsRetired, retired);
    }
}

/// Records of compacted topics that are not there any more: compaction at work.
pub fn compacted(recorder: &Recorder) {
    let history = recorder.history();
    let is_compacted = |log: &&FinalLog| {
        log.partition.is_some_and(|partition| history.topics[partition.topic].compacted)
    };
    let gone = |log: &FinalLog| {
        let kept = log.batches.iter().map(|batch| batch.records.len()).sum::<usize>();
        u64::try_from(log.end - log.log_start).unwrap_or(0).saturating_sub(kept as u64)
    };
    let gone: u64 = history.finals.iter().filter(is_compacted).map(gone).sum();
    if gone > 0 {
        recorder.trace.effect(Effect::RecordCompacted, gone);
    }
}

/// What became of leaders and in-sync replicas, as the metadata tells.
pub fn changes(recorder: &Recorder) {
    let history = recorder.history();
    let mut seen: Vec<_> = history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    let mut leaders: BTreeMap<Partition, i32> = BTreeMap::new();
    let mut in_sync: BTreeMap<Partition, &[i32]> = BTreeMap::new();
    for (partition, now) in seen.into_iter().flat_map(|seen| &seen.partitions) {
        let before = now.leader.and_then(|leader| leaders.insert(*partition, leader));
        if before.is_some_and(|before| Some(before) != now.leader) {
            recorder.trace.effect(Effect::LeaderChanged, 1);
        }
        let before = in_sync.insert(*partition, &now.isr).unwrap_or_default();
        if before.iter().any(|member| !now.isr.contains(member)) {
            recorder.trace.effect(Effect::IsrShrunk, 1);
        }
    }
}

/// What topics gave up that may: the moments at which they did, and the acknowledged records that are
/// not there any more. Whether they were allowed to is judged by the oracles.
pub fn given_up(recorder: &Recorder) {
    let history = recorder.history();
    let losses = oracle::given_up(&history);
    let count = |is_election: bool| {
        let all = losses.values().flatten();
        all.filter(|loss| loss.is_election == is_election).count() as u64
    };
    let there: BTreeSet<(Partition, i64, u64)> = history
        .finals
        .iter()
        .flat_map(|log| log.batches.iter().map(move |batch| (log.partition, batch)))
        .flat_map(|(partition, batch)| batch.records.iter().map(move |it| (partition, it)))
        .filter_map(|(partition, it)| Some((partition?, it.offset, it.number?)))
        .collect();
    let read_back: BTreeSet<Partition> =
        history.finals.iter().filter_map(|log| log.partition).collect();
    let gone = history
        .acknowledged()
        .filter(|(_, produce, _)| {
            losses.contains_key(&produce.partition) && read_back.contains(&produce.partition)
        })
        .flat_map(|(_, produce, base)| {
            let records = (base..).zip(&produce.records);
            records.map(|(offset, record)| (produce.partition, offset, record.number))
        })
        .filter(|record| !there.contains(record))
        .count() as u64;
    let counts = [
        (Effect::UncleanElection, count(true)),
        (Effect::CopiesCrashed, count(false)),
        (Effect::RecordGivenUp, gone),
    ];
    for (effect, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        recorder.trace.effect(effect, count);
    }
}
