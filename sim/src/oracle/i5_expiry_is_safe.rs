//! I5: however the clocks run, a record of an idempotent producer is in the log once.

use super::{Check, Verdict, violated, index::Index};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I5 expiry is safe",
    claim: "however the clocks run, a record of an idempotent producer is in the log once",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        let mut seen: BTreeMap<u64, i64> = BTreeMap::new();
        for batch in log.batches.iter().filter(|batch| batch.producer.is_some()) {
            for record in &batch.records {
                let Some(number) = record.number else { continue };
                if let Some(first) = seen.insert(number, record.offset) {
                    let (name, again) = (index.name(*partition), record.offset);
                    return violated(format!("{name}: record {number} is at {first} and at {again}"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::CHECK;

    #[test]
    fn a_record_that_is_there_twice_is_found() {
        let first = batch_by(0, 0..2, producer(0, 0));
        let mut example = Example::new();
        example.finish(vec![first.clone(), batch_by(2, 2..4, producer(0, 2))]);
        assert!(example.holds(&CHECK));
        example.history.finals.clear();
        example.finish(vec![first, batch_by(2, 1..2, producer(3, 0))]);
        assert!(!example.holds(&CHECK));
    }
}
