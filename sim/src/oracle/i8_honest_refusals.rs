//! I8: a producer that goes on where its acknowledged batches end is not told that one is missing.
//!
//! A leader that was replaced without knowing it lacks what its successor acknowledged. If it judges
//! sequence numbers nevertheless, clients take their own state for damaged and end.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{Call, Moment, Outcome, Partition, Produce};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I8 honest refusals",
    claim: "no sequence number is refused that follows what was acknowledged before",
    judge,
};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// The acknowledged batches of one producer's epoch in one partition: by their first sequence
/// number, the one that follows, and when that was known.
type Acknowledged = BTreeMap<i64, (i64, Moment)>;

fn judge(index: &Index<'_>) -> Verdict {
    let mut acknowledged: BTreeMap<(Partition, i64, i16), Acknowledged> = BTreeMap::new();
    for (call, produce, _) in index.history.acknowledged() {
        if let (Some(producer), Some(ended)) = (produce.producer, call.ended) {
            let (base, next) = span(produce, i64::from(producer.base_sequence));
            let key = (produce.partition, producer.id, producer.epoch);
            let known = acknowledged.entry(key).or_default().entry(base).or_insert((next, ended));
            known.1 = known.1.min(ended);
        }
    }
    let refused = |call: &Call| call.outcome == Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (call, produce) in index.history.produces().filter(|(call, _)| refused(call)) {
        let Some(producer) = produce.producer else { continue };
        let key = (produce.partition, producer.id, producer.epoch);
        let Some(before) = acknowledged.get(&key) else { continue };
        if end_of_acknowledged(before, call.invoked) == i64::from(producer.base_sequence) {
            let name = index.name(produce.partition);
            return violated(format!(
                "{name}: {producer:?} was told that a sequence number is missing, but all before it \
                 were acknowledged"
            ));
        }
    }
    Ok(())
}

fn span(produce: &Produce, base: i64) -> (i64, i64) {
    (base, base + produce.records.len() as i64)
}

/// Where the acknowledged sequence numbers end that begin with zero and that the producer knew of at
/// a moment.
fn end_of_acknowledged(batches: &Acknowledged, by: Moment) -> i64 {
    let mut end = 0;
    while let Some((next, ended)) = batches.get(&end)
        && *ended < by
    {
        end = *next;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, producer};
    use super::{CHECK, OUT_OF_ORDER_SEQUENCE_NUMBER};
    use crate::history::Outcome;

    fn refused(example: &mut Example, base_sequence: i32) {
        let call = example.produce(9..10, Some(producer(0, base_sequence)));
        example.history.end(call, Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER));
    }

    #[test]
    fn a_refusal_of_what_follows_the_acknowledged_batches_is_found() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        example.produced_by(2..3, 2, producer(0, 2));
        refused(&mut example, 3);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn gaps_and_what_was_not_yet_acknowledged_may_be_refused() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        refused(&mut example, 5);
        let late = example.produce(2..3, Some(producer(0, 2)));
        refused(&mut example, 3);
        example.acknowledge(late, 2);
        assert!(example.holds(&CHECK));
    }
}
