//! J lost-write and unseen: whatever was acknowledged is read by somebody in the end.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::Partition;
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "J lost-write",
    claim: "an acknowledged record is read in the end, however little anybody knows about the log",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut read: BTreeSet<u64> = BTreeSet::new();
    let mut furthest: BTreeMap<Partition, i64> = BTreeMap::new();
    for (partition, _, batch) in index.history.reads() {
        read.extend(batch.records.iter().filter_map(|record| record.number));
        let bound = furthest.entry(partition).or_insert(batch.last_offset);
        *bound = batch.last_offset.max(*bound);
    }
    for (call, produce, base_offset) in index.history.acknowledged() {
        let Some(log) = index.online(produce.partition) else { continue };
        for (at, sent) in produce.records.iter().enumerate() {
            let offset = base_offset + at as i64;
            if offset < log.log_start || read.contains(&sent.number) {
                continue;
            }
            let (name, number) = (index.name(produce.partition), sent.number);
            let bound = furthest.get(&produce.partition).copied().unwrap_or(-1);
            let what = if offset <= bound { "lost" } else { "unseen" };
            let message = format!(
                "{name}: record {number}, acknowledged at {offset}, is {what}; reads went to {bound}"
            );
            return Err(Violation::new(message)
                .at(produce.partition, offset)
                .shown_by([call])
                .saw("acknowledged", format!("record {number} at {offset}"))
                .saw("reads went to", bound));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn an_acknowledged_record_that_nobody_reads_is_found() {
        let mut example = Example::in_cluster();
        example.produced(0..2, 0);
        example.produced(2..4, 2);
        let mut lost = example.clone();
        example.finish(vec![batch(0, 0..2), batch(2, 2..4)]);
        assert!(example.holds(&CHECK));
        lost.finish(vec![batch(0, 0..2), batch(2, 7..9)]);
        assert!(!lost.holds(&CHECK));
    }

    #[test]
    fn what_only_one_broker_acknowledged_may_be_lost_in_a_cluster() {
        let mut example = Example::in_cluster();
        let call = example.produce(0..2, None);
        if let crate::history::Request::Produce(produce) = &mut example.history.calls[call].request {
            produce.acks = 1;
        }
        example.acknowledge(call, 0);
        example.finish(vec![]);
        assert!(example.holds(&CHECK));
    }
}
