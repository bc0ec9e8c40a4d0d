//! J duplicate: a record that was sent once, or by an idempotent producer, is at one offset.

use super::{Check, index::Index};
use crate::history::Partition;
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "J duplicate",
    claim: "a record sent once, or by an idempotent producer, is never at two offsets",
    judge,
};

fn judge(index: &Index<'_>) -> Result<(), String> {
    let mut places: BTreeMap<u64, (Partition, i64)> = BTreeMap::new();
    for (partition, _, batch) in index.history.reads() {
        for record in &batch.records {
            let Some(number) = record.number.filter(|number| is_unique(index, *number)) else {
                continue;
            };
            let here = (partition, record.offset);
            let there = *places.entry(number).or_insert(here);
            if there != here {
                let (name, other) = (index.name(partition), index.name(there.0));
                let (offset, first) = (record.offset, there.1);
                return Err(format!(
                    "record {number} is at {offset} of {name} and at {first} of {other}"
                ));
            }
        }
    }
    Ok(())
}

/// Whether the broker may not have taken it twice: others are sent again when nobody knows.
fn is_unique(index: &Index<'_>, number: u64) -> bool {
    let attempts = index.attempts.get(&number).map(Vec::as_slice).unwrap_or_default();
    attempts.len() == 1 || attempts.iter().all(|(_, produce)| produce.producer.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, producer};
    use super::CHECK;

    #[test]
    fn a_record_at_two_offsets_is_found() {
        let mut example = Example::in_cluster();
        example.produced_by(0..2, 0, producer(0, 0));
        example.produced_by(0..2, 0, producer(0, 0));
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(example.holds(&CHECK));
        example.fetched(2, 4, vec![batch(2, 0..2)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_producer_without_identity_may_send_twice() {
        let mut example = Example::in_cluster();
        example.produce(0..2, None);
        example.produced(0..2, 2);
        example.finish(vec![batch(0, 0..2), batch(2, 0..2)]);
        assert!(example.holds(&CHECK));
    }
}
