//! L1: offsets have no gap, in what is read and in what lies on disk.

use super::{Check, Verdict, violated, index::Index};
use crate::batch::ReadBatch;

pub const CHECK: Check = Check {
    name: "L1 dense",
    claim: "each batch begins where the one before it ended",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        dense(&log.batches).map_err(|found| found.of(index, *partition))?;
        let end = log.batches.last().map_or(log.log_start, |batch| batch.last_offset + 1);
        if log.error.is_none() && end != log.end {
            let (name, told) = (index.name(*partition), log.end);
            return violated(format!("{name}: the last record ends at {end}, the broker says {told}"));
        }
    }
    for boundary in &index.history.boundaries {
        for (partition, image) in boundary.recovered.iter().flatten() {
            let mut pairs = image.batches.windows(2);
            if let Some(pair) = pairs.find(|pair| pair[1].base_offset != pair[0].last_offset + 1) {
                let (name, end, next) =
                    (index.name(*partition), pair[0].last_offset, pair[1].base_offset);
                return violated(format!("{name}: {next} follows {end} on the recovered disk"));
            }
        }
    }
    Ok(())
}

fn dense(batches: &[ReadBatch]) -> Verdict {
    for batch in batches {
        let offsets = batch.records.iter().map(|record| record.offset);
        if !offsets.eq(batch.base_offset..=batch.last_offset) {
            return violated(format!("the batch at {} has other offsets inside", batch.base_offset));
        }
    }
    match batches.windows(2).find(|pair| pair[1].base_offset != pair[0].last_offset + 1) {
        Some(pair) => violated(format!("{} follows {}", pair[1].base_offset, pair[0].last_offset)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn a_gap_is_found() {
        let mut example = Example::new();
        example.finish(vec![batch(0, 0..2), batch(2, 2..5)]);
        assert!(example.holds(&CHECK));
        example.history.finals.clear();
        example.finish(vec![batch(0, 0..2), batch(3, 2..5)]);
        assert!(!example.holds(&CHECK));
    }
}
