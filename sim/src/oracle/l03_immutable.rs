//! L3: an offset that a client has seen, or was told, never holds another record.

use super::{Check, index::Index};
use crate::history::Partition;
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L3 immutable",
    claim: "an offset that was acknowledged or read never holds another record",
    judge,
};

fn judge(index: &Index<'_>) -> Result<(), String> {
    let mut seen: BTreeMap<(Partition, i64), u64> = BTreeMap::new();
    let mut see = |partition: Partition, offset: i64, number: u64| match seen
        .insert((partition, offset), number)
    {
        Some(other) if other != number => Err(format!(
            "{} offset {offset} held record {other} and record {number}",
            index.name(partition)
        )),
        _ => Ok(()),
    };
    for (_, produce, base_offset) in index.history.acknowledged() {
        for (at, record) in produce.records.iter().enumerate() {
            see(produce.partition, base_offset + at as i64, record.number)?;
        }
    }
    for (partition, _, batch) in index.history.reads() {
        for record in &batch.records {
            if let Some(number) = record.number {
                see(partition, record.offset, number)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn an_offset_with_two_records_is_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(example.holds(&CHECK));
        example.fetched(1, 2, vec![batch(1, 5..6)]);
        assert!(!example.holds(&CHECK));
    }
}
