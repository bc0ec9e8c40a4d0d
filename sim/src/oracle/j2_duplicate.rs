//! J duplicate: a record that was sent once, or by an idempotent producer, is at one offset.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Call, Partition, Produce};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "J duplicate",
    claim: "a record sent once, or by an idempotent producer, is never at two offsets",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut places: BTreeMap<u64, (Partition, i64, Option<&Call>)> = BTreeMap::new();
    for (partition, call, batch) in index.history.reads() {
        for record in &batch.records {
            let Some(number) = record.number.filter(|number| is_unique(index, *number)) else {
                continue;
            };
            let here = (partition, record.offset, call);
            let there = *places.entry(number).or_insert(here);
            if (there.0, there.1) != (partition, record.offset) {
                let (name, other) = (index.name(partition), index.name(there.0));
                let (offset, first) = (record.offset, there.1);
                let message = format!(
                    "record {number} is at {offset} of {name} and at {first} of {other}"
                );
                return Err(Violation::new(message)
                    .at(partition, offset)
                    .at(there.0, first)
                    .shown_by(attempts(index, number).iter().map(|(call, _)| *call))
                    .shown_by(there.2.into_iter().chain(call))
                    .saw("record", number)
                    .saw("first at", format!("{other} {first}"))
                    .saw("then at", format!("{name} {offset}")));
            }
        }
    }
    Ok(())
}

/// Whether the broker may not have taken it twice: others are sent again when nobody knows.
fn is_unique(index: &Index<'_>, number: u64) -> bool {
    let attempts = attempts(index, number);
    attempts.len() == 1 || attempts.iter().all(|(_, produce)| produce.producer.is_some())
}

fn attempts<'i, 'a>(index: &'i Index<'a>, number: u64) -> &'i [(&'a Call, &'a Produce)] {
    index.attempts.get(&number).map(Vec::as_slice).unwrap_or_default()
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
