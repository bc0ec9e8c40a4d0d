//! R2, R3: in the end, every record acknowledged with acks=all is in its leader's log, and on as many
//! disks as min.insync.replicas says.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{LogImage, Produce};

pub const CHECK: Check = Check {
    name: "R2 acknowledged is kept",
    claim: "an acknowledged record is in the leader's log and on min.insync.replicas disks",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (call, produce, base_offset) in index.history.acknowledged() {
        let of = |replicas: &&crate::history::FinalReplicas| {
            replicas.partition == Some(produce.partition)
        };
        let Some(replicas) = index.history.final_replicas.iter().find(of) else { continue };
        let last = base_offset + produce.records.len() as i64 - 1;
        if replicas.logs.values().any(|log| starts_behind(log, last)) {
            // It was removed by request or retention, here at least.
            continue;
        }
        let holders: Vec<i32> = replicas
            .logs
            .iter()
            .filter(|(_, log)| holds(log, produce, base_offset))
            .map(|(machine, _)| *machine)
            .collect();
        let name = index.name(produce.partition);
        let shows = |message: String| {
            let leader = replicas.seen.leader.map_or("nobody".into(), |it| format!("broker {it}"));
            Violation::new(message)
                .at(produce.partition, base_offset)
                .on(replicas.logs.keys().copied())
                .shown_by([call])
                .saw("leader", leader)
                .saw("on the disks of", format!("{holders:?}"))
        };
        if let Some(leader) = replicas.seen.leader.filter(|leader| !holders.contains(leader)) {
            return Err(shows(format!(
                "{name}: {base_offset} was acknowledged and is not in the log of its leader, \
                 broker {leader}; it is on {holders:?}"
            )));
        }
        if holders.len() < index.history.promise.min_insync as usize {
            return Err(shows(format!(
                "{name}: {base_offset} was acknowledged, and is on {holders:?} only"
            )));
        }
    }
    Ok(())
}

fn holds(log: &LogImage, produce: &Produce, base_offset: i64) -> bool {
    let first = produce.records.first().map(|record| record.number);
    log.batches.iter().any(|b| (b.base_offset, b.first_number) == (base_offset, first))
}

fn starts_behind(log: &LogImage, offset: i64) -> bool {
    log.start() > offset
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;

    #[test]
    fn an_acknowledged_record_that_too_few_disks_hold_is_found() {
        let (whole, short) = (image(&[batch(0, 0..2), batch(2, 2..4)]), image(&[batch(0, 0..2)]));
        let with = |logs| {
            let mut example = Example::in_cluster();
            example.produced(0..2, 0);
            example.produced(2..4, 2);
            example.replicated(logs);
            example.holds(&CHECK)
        };
        assert!(with([whole.clone(), whole.clone(), short.clone()]));
        assert!(!with([whole.clone(), short.clone(), short.clone()]));
        assert!(!with([short.clone(), whole.clone(), whole]));
    }
}
