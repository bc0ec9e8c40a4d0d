//! I1: a sequence of a producer is in the log once, and a repeated batch gets its first offset.

use super::{Check, Verdict, Violation, index::Index};
use crate::{
    batch::Producer,
    history::{Moment, Outcome, Partition},
};
use std::collections::{BTreeMap, BTreeSet};

/// Batches that the broker must remember for each producer (KIP-98).
const REMEMBERED: usize = 5;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

pub const CHECK: Check = Check {
    name: "I1 no duplicate",
    claim: "a producer's sequence is in the log once, and a repeated batch gets its first offset",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    once_in_the_log(index)?;
    one_answer(index)?;
    no_refusal(index)
}

fn once_in_the_log(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        let mut seen = BTreeSet::new();
        for batch in &log.batches {
            if let Some(producer) = batch.producer.filter(|producer| !seen.insert(*producer)) {
                let (name, offset) = (index.name(*partition), batch.base_offset);
                let message = format!("{name}: {producer:?} is there again at {offset}");
                let before = log.batches.iter().find(|other| other.producer == Some(producer));
                let first = before.map_or(offset, |before| before.base_offset);
                let sent = index.history.produces();
                let sent = sent.filter(|(_, produce)| produce.producer == Some(producer));
                return Err(Violation::new(message)
                    .at(*partition, offset)
                    .at(*partition, first)
                    .shown_by(sent.map(|(call, _)| call))
                    .saw("first at", first)
                    .saw("again at", offset));
            }
        }
    }
    Ok(())
}

fn one_answer(index: &Index<'_>) -> Verdict {
    let mut answers: BTreeMap<(Partition, Producer), i64> = BTreeMap::new();
    for (call, produce, base_offset) in index.history.acknowledged() {
        let Some(producer) = produce.producer else { continue };
        match answers.insert((produce.partition, producer), base_offset) {
            Some(first) if first != base_offset => {
                let name = index.name(produce.partition);
                let message = format!(
                    "{name}: {producer:?} was acknowledged at {first} and at {base_offset}"
                );
                return Err(Violation::new(message)
                    .at(produce.partition, first)
                    .at(produce.partition, base_offset)
                    .shown_by([call]));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A batch that was acknowledged and is among the last five of its producer is never refused.
fn no_refusal(index: &Index<'_>) -> Verdict {
    let mut newest: BTreeMap<(Partition, i64), (i16, BTreeSet<i32>)> = BTreeMap::new();
    let mut acknowledged: BTreeMap<(Partition, Producer), Moment> = BTreeMap::new();
    for (call, produce, _) in index.history.acknowledged() {
        if let (Some(producer), Some(ended)) = (produce.producer, call.ended) {
            let first = acknowledged.entry((produce.partition, producer)).or_insert(ended);
            *first = ended.min(*first);
        }
    }
    for (call, produce) in index.history.produces() {
        let Some(producer) = produce.producer else { continue };
        let (epoch, sequences) =
            newest.entry((produce.partition, producer.id)).or_insert((producer.epoch, BTreeSet::new()));
        if producer.epoch > *epoch {
            (*epoch, *sequences) = (producer.epoch, BTreeSet::new());
        }
        sequences.insert(producer.base_sequence);
        let known = acknowledged.get(&(produce.partition, producer));
        let in_window = producer.epoch == *epoch
            && sequences.range(producer.base_sequence..).count() <= REMEMBERED;
        let refused = matches!(
            call.outcome,
            Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER | DUPLICATE_SEQUENCE_NUMBER)
        );
        if refused && in_window && known.is_some_and(|ended| *ended < call.invoked) {
            let (name, outcome) = (index.name(produce.partition), &call.outcome);
            let message =
                format!("{name}: {producer:?} was acknowledged, and repeated: {outcome:?}");
            let same = index.history.produces();
            let same = same.filter(|(_, other)| other.producer == Some(producer));
            return Err(Violation::new(message)
                .in_partition(produce.partition)
                .shown_by(same.map(|(call, _)| call)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::{CHECK, DUPLICATE_SEQUENCE_NUMBER};
    use crate::history::Outcome;

    #[test]
    fn a_sequence_that_is_there_twice_is_found() {
        let mut example = Example::new();
        example.finish(vec![batch_by(0, 0..2, producer(0, 0)), batch_by(2, 2..4, producer(0, 2))]);
        assert!(example.holds(&CHECK));
        example.history.finals.clear();
        example.finish(vec![batch_by(0, 0..2, producer(0, 0)), batch_by(2, 0..2, producer(0, 0))]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_repeated_batch_with_another_answer_is_found() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        example.produced_by(0..2, 0, producer(0, 0));
        assert!(example.holds(&CHECK));
        example.produced_by(0..2, 2, producer(0, 0));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_repeated_batch_that_is_refused_is_found() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        let call = example.produce(0..2, Some(producer(0, 0)));
        example.history.end(call, Outcome::Failed(DUPLICATE_SEQUENCE_NUMBER));
        assert!(!example.holds(&CHECK));
    }
}
