//! R19: in the end every replica is in sync, all logs are the same, and all of it is committed.

use super::{Check, Verdict, Violation, violated, index::Index};
use crate::history::{BatchImage, FinalReplicas, LogImage};
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "R19 convergence",
    claim: "in the end every replica is in sync, has the same log, and all of it is committed",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for replicas in &index.history.final_replicas {
        let Some(partition) = replicas.partition else { continue };
        if index.history.topics[partition.topic].deleted {
            continue;
        }
        let end = index.online(partition).map(|log| log.end);
        converged(replicas, end).map_err(|found| found.of(index, partition))?;
    }
    Ok(())
}

fn converged(replicas: &FinalReplicas, end: Option<i64>) -> Verdict {
    let seen = &replicas.seen;
    let set = |brokers: &[i32]| brokers.iter().copied().collect::<BTreeSet<i32>>();
    let Some(leader) = seen.leader else { return violated("nobody leads") };
    if set(&seen.isr) != set(&seen.replicas) {
        return Err(Violation::new(format!("in sync are {:?} of {:?}", seen.isr, seen.replicas))
            .on(set(&seen.replicas).difference(&set(&seen.isr)).copied()));
    }
    let empty = LogImage::default();
    let log_of = |broker: &i32| replicas.logs.get(broker).unwrap_or(&empty);
    let of_leader = log_of(&leader);
    let leader_end = end_of(of_leader);
    if let Some(end) = end.filter(|end| *end != leader_end && !of_leader.batches.is_empty()) {
        return violated(format!("the high watermark is {end} and the log ends at {leader_end}"));
    }
    for broker in seen.replicas.iter().filter(|broker| **broker != leader) {
        let log = log_of(broker);
        let start = log.start().max(of_leader.start());
        let kept = |batch: &&BatchImage| batch.last_offset >= start;
        if !log.batches.iter().filter(kept).eq(of_leader.batches.iter().filter(kept)) {
            let log_end = end_of(log);
            let message = format!(
                "broker {broker} ends at {log_end} and its leader, broker {leader}, at \
                 {leader_end}, and their logs are not the same"
            );
            return Err(Violation::new(message)
                .on([*broker, leader])
                .saw(&format!("broker {broker} ends at"), log_end)
                .saw(&format!("broker {leader}, the leader, ends at"), leader_end));
        }
    }
    Ok(())
}

fn end_of(log: &LogImage) -> i64 {
    log.batches.last().map_or(0, |batch| batch.last_offset + 1)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;

    #[test]
    fn a_replica_that_stays_behind_is_found() {
        let (whole, short) = (image(&[batch(0, 0..2), batch(2, 2..4)]), image(&[batch(0, 0..2)]));
        let with = |third| {
            let mut example = Example::in_cluster();
            example.finish(vec![batch(0, 0..2), batch(2, 2..4)]);
            example.replicated([whole.clone(), whole.clone(), third]);
            example.holds(&CHECK)
        };
        assert!(with(whole.clone()));
        assert!(!with(short));
    }

    #[test]
    fn a_replica_that_is_not_in_sync_is_found() {
        let log = image(&[batch(0, 0..2)]);
        let mut example = Example::in_cluster();
        example.replicated([log.clone(), log.clone(), log]).seen.isr = vec![1, 2];
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn records_that_are_never_committed_are_found() {
        let log = image(&[batch(0, 0..2), batch(2, 2..4)]);
        let mut example = Example::in_cluster();
        example.finish(vec![batch(0, 0..2)]);
        example.replicated([log.clone(), log.clone(), log]);
        assert!(!example.holds(&CHECK));
    }
}
