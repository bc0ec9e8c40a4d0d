//! L12: a batch is in the log whole or not at all, whatever the disk did.

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "L12 failed append",
    claim: "a batch is in the log whole or not at all",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, _, batch) in index.history.reads() {
        let numbers: Vec<u64> = batch.records.iter().filter_map(|record| record.number).collect();
        let Some(attempts) = numbers.first().and_then(|number| index.attempts.get(number)) else {
            continue;
        };
        let same = |sent: &[crate::batch::Sent]| sent.iter().map(|s| s.number).eq(numbers.clone());
        if !attempts.iter().any(|(_, produce)| same(&produce.records)) {
            let (name, offset, count) =
                (index.name(partition), batch.base_offset, batch.records.len());
            return violated(format!("{name}: the {count} records at {offset} were no batch"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn half_a_batch_is_found() {
        let mut example = Example::new();
        example.produced(0..4, 0);
        example.fetched(0, 4, vec![batch(0, 0..4)]);
        assert!(example.holds(&CHECK));
        example.fetched(0, 4, vec![batch(0, 0..2)]);
        assert!(!example.holds(&CHECK));
    }
}
