//! I1: a sequence of a producer is in the log once, and a repeated batch gets its first offset.

use super::{Check, index::Index};
use crate::history::Partition;
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "I1 no duplicate",
    claim: "a producer's sequence is in the log once, and a repeated batch gets its first offset",
    judge,
};

fn judge(index: &Index<'_>) -> Result<(), String> {
    once_in_the_log(index)?;
    one_answer(index)
}

fn once_in_the_log(index: &Index<'_>) -> Result<(), String> {
    for (partition, log) in &index.finals {
        let mut seen = BTreeSet::new();
        for batch in &log.batches {
            if let Some(producer) = batch.producer.filter(|producer| !seen.insert(*producer)) {
                let (name, offset) = (index.name(*partition), batch.base_offset);
                return Err(format!("{name}: {producer:?} is there again at {offset}"));
            }
        }
    }
    Ok(())
}

fn one_answer(index: &Index<'_>) -> Result<(), String> {
    let mut answers: BTreeMap<(Partition, crate::batch::Producer), i64> = BTreeMap::new();
    for (_, produce, base_offset) in index.history.acknowledged() {
        let Some(producer) = produce.producer else { continue };
        match answers.insert((produce.partition, producer), base_offset) {
            Some(first) if first != base_offset => {
                let name = index.name(produce.partition);
                return Err(format!(
                    "{name}: {producer:?} was acknowledged at {first} and at {base_offset}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::CHECK;

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
}
