//! L14: a record is read from the partition it was sent to and from no other.

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "L14 misdirection",
    claim: "a record is read from the partition it was sent to and from no other",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, _, batch) in index.history.reads() {
        for number in batch.records.iter().filter_map(|record| record.number) {
            let Some(attempts) = index.attempts.get(&number) else { continue };
            if attempts.iter().all(|(_, produce)| produce.partition != partition) {
                let (here, there) = (index.name(partition), index.name(attempts[0].1.partition));
                return violated(format!("record {number}, sent to {there}, was read from {here}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, batch};
    use super::CHECK;
    use crate::history::{Partition, Request};

    #[test]
    fn a_record_of_another_partition_is_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(example.holds(&CHECK));
        let other = Partition { index: 1, ..PARTITION };
        for call in &mut example.history.calls {
            if let Request::Produce(produce) = &mut call.request {
                produce.partition = other;
            }
        }
        assert!(!example.holds(&CHECK));
    }
}
