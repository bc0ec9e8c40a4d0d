//! L6: a batch acknowledged before another was first sent has the smaller offset.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Call, Moment, Partition, Produce};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L6 append linearizable",
    claim: "a batch acknowledged before another was sent has the smaller offset",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut begins: Vec<(Moment, Partition, i64)> = Vec::new();
    let mut ends: Vec<(Moment, Partition, i64)> = Vec::new();
    for (call, produce, base_offset) in index.history.acknowledged() {
        // A retry of an idempotent batch may be answered with the offset of its first attempt.
        let first = match produce.producer {
            Some(_) => index.attempts[&produce.records[0].number][0].0.invoked,
            None => call.invoked,
        };
        begins.push((first, produce.partition, base_offset));
        ends.extend(call.ended.map(|ended| (ended, produce.partition, base_offset)));
    }
    begins.sort_unstable();
    ends.sort_unstable();
    let mut highest: BTreeMap<Partition, i64> = BTreeMap::new();
    let mut done = ends.into_iter().peekable();
    for (invoked, partition, offset) in begins {
        while let Some((_, of, acknowledged)) = done.next_if(|(ended, ..)| *ended < invoked) {
            let entry = highest.entry(of).or_insert(acknowledged);
            *entry = (*entry).max(acknowledged);
        }
        if let Some(before) = highest.get(&partition).filter(|before| **before >= offset) {
            let name = index.name(partition);
            let message = format!("{name}: {offset} was given after {before} was acknowledged");
            let shows = |(_, produce, base): &(&Call, &Produce, i64)| {
                produce.partition == partition && [offset, *before].contains(base)
            };
            let calls = index.history.acknowledged().filter(shows).map(|(call, ..)| call);
            return Err(Violation::new(message)
                .at(partition, offset)
                .at(partition, *before)
                .shown_by(calls)
                .saw("acknowledged before", before)
                .saw("given then", offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, producer};
    use super::CHECK;

    #[test]
    fn a_later_batch_with_a_smaller_offset_is_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.produced(2..4, 2);
        assert!(example.holds(&CHECK));
        example.produced(4..6, 1);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_duplicate_may_be_answered_with_its_old_offset() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        example.produced_by(2..4, 2, producer(0, 2));
        example.produced_by(0..2, 0, producer(0, 0));
        assert!(example.holds(&CHECK));
    }
}
