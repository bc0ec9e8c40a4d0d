//! I2: the sequences of a producer's epoch follow each other in the log without a gap.

use super::{Check, Verdict, violated, index::Index};
use crate::batch::{Producer, ReadBatch};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I2 no gap",
    claim: "a producer's sequences follow each other in the log, and a new epoch begins at zero",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        let mut last: BTreeMap<i64, (Producer, i32)> = BTreeMap::new();
        for batch in &log.batches {
            let Some(producer) = batch.producer else { continue };
            let before = last.insert(producer.id, (producer, next_sequence(batch, producer)));
            let Some((before, expected)) = before else { continue };
            let fits = if before.epoch == producer.epoch {
                producer.base_sequence == expected
            } else {
                producer.base_sequence == 0
            };
            if !fits {
                let (name, offset) = (index.name(*partition), batch.base_offset);
                return violated(format!("{name}: {producer:?} at {offset} follows {before:?}"));
            }
        }
    }
    Ok(())
}

/// The sequence after a batch's last; sequences wrap to zero behind the largest.
fn next_sequence(batch: &ReadBatch, producer: Producer) -> i32 {
    let count = batch.last_offset - batch.base_offset + 1;
    ((i64::from(producer.base_sequence) + count) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::CHECK;

    #[test]
    fn a_gap_in_the_sequences_is_found() {
        let with_second = |second| {
            let mut example = Example::new();
            let first = batch_by(0, 0..2, producer(0, i32::MAX - 1));
            example.finish(vec![first, batch_by(2, 2..4, second)]);
            example.holds(&CHECK)
        };
        assert!(with_second(producer(0, 0)));
        assert!(with_second(producer(1, 0)));
        assert!(!with_second(producer(0, 1)));
        assert!(!with_second(producer(1, 5)));
    }
}
