//! L3: an offset that a client has seen, or was told, never holds another record.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Call, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L3 immutable",
    claim: "an offset that was acknowledged or read never holds another record",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut seen: BTreeMap<(Partition, i64), (u64, Option<&Call>)> = BTreeMap::new();
    let mut see = |partition: Partition, offset: i64, number: u64, call| {
        let before = seen.insert((partition, offset), (number, call));
        let Some((other, before)) = before.filter(|(other, _)| *other != number) else {
            return Ok(());
        };
        let name = index.name(partition);
        let violation = Violation::new(format!(
            "{name} offset {offset} held record {other} and record {number}"
        ));
        Err(violation
            .at(partition, offset)
            .shown_by(before.into_iter().chain(call))
            .saw("first", told(other, before))
            .saw("then", told(number, call)))
    };
    for (call, produce, base_offset) in index.history.acknowledged() {
        for (at, record) in produce.records.iter().enumerate() {
            see(produce.partition, base_offset + at as i64, record.number, Some(call))?;
        }
    }
    for (partition, call, batch) in index.history.reads() {
        for record in &batch.records {
            if let Some(number) = record.number {
                see(partition, record.offset, number, call)?;
            }
        }
    }
    Ok(())
}

/// Who was told of a record.
fn told(number: u64, call: Option<&Call>) -> String {
    match call.map(|call| (call.client, &call.request)) {
        Some((client, Request::Produce(_))) => format!("record {number}, as client {client} was told"),
        Some((client, _)) => format!("record {number}, as client {client} read"),
        None => format!("record {number}, as everything was read at the end"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, batch};
    use super::CHECK;

    #[test]
    fn an_offset_with_two_records_is_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(example.holds(&CHECK));
        example.fetched(1, 2, vec![batch(1, 5..6)]);
        assert!(!example.holds(&CHECK));
        let evidence = example.violation(&CHECK).evidence;
        assert_eq!((evidence.partition, evidence.offsets.first()), (Some(PARTITION), Some(&1)));
        assert_eq!(evidence.calls.len(), 2);
    }
}
