//! I6: a producer's records are in the log in the order in which it sent them first.

use super::{Check, Verdict, violated, index::Index};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I6 order per producer",
    claim: "an idempotent producer's records are in the log in the order in which it sent them",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        // Clients number their records in the order of sending.
        let mut last: BTreeMap<u32, (u64, i64)> = BTreeMap::new();
        for batch in log.batches.iter().filter(|batch| batch.producer.is_some()) {
            for record in &batch.records {
                let Some(number) = record.number else { continue };
                let Some((call, _)) = index.attempts.get(&number).and_then(|all| all.first())
                else {
                    continue;
                };
                let before = last.insert(call.client, (number, record.offset));
                if let Some((earlier, offset)) = before.filter(|before| before.0 >= number) {
                    let (name, at) = (index.name(*partition), record.offset);
                    return violated(format!(
                        "{name}: record {number} at {at} was sent before record {earlier} at \
                         {offset}"
                    ));
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
    fn records_out_of_order_are_found() {
        let mut example = Example::new();
        example.produced_by(0..2, 0, producer(0, 0));
        example.produced_by(2..4, 2, producer(0, 2));
        let mut wrong = example.clone();
        example.finish(vec![batch_by(0, 0..2, producer(0, 0)), batch_by(2, 2..4, producer(0, 2))]);
        assert!(example.holds(&CHECK));
        wrong.finish(vec![batch_by(0, 2..4, producer(0, 2)), batch_by(2, 0..2, producer(0, 0))]);
        assert!(!wrong.holds(&CHECK));
    }
}
