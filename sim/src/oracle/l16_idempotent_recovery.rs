//! L16: recovering again changes nothing: what one recovery made visible, the next one finds.

use super::{Check, Verdict, violated, index::Index};
use crate::history::LogImage;

pub const CHECK: Check = Check {
    name: "L16 idempotent recovery",
    claim: "what one recovery made visible, every later recovery finds",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    // Between two recoveries a replica may have truncated what its leader does not have.
    if index.history.promise.is_cluster() {
        return Ok(());
    }
    for pair in index.history.boundaries.windows(2) {
        let (Some(first), Some(second)) = (&pair[0].recovered, &pair[1].recovered) else {
            continue;
        };
        for (partition, earlier) in first {
            let Some(later) = second.get(partition) else { continue };
            if earlier.rotten || later.rotten {
                continue;
            }
            kept(earlier, later)
                .map_err(|found| found.of(index, *partition))?;
        }
    }
    Ok(())
}

/// Below its log start the later log may lack what was removed by request or retention.
fn kept(earlier: &LogImage, later: &LogImage) -> Verdict {
    let start = match later.batches.first() {
        Some(first) => first.base_offset,
        None => later.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start),
    };
    for batch in earlier.batches.iter().filter(|batch| batch.base_offset >= start) {
        let same = |other: &&crate::history::BatchImage| other.base_offset == batch.base_offset;
        match later.batches.iter().find(same) {
            Some(other) if other.crc == batch.crc => {}
            Some(_) => return violated(format!("{} is another batch now", batch.base_offset)),
            None => return violated(format!("{} was recovered once, not again", batch.base_offset)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;

    #[test]
    fn a_batch_that_only_one_recovery_found_is_found() {
        let (first, second) = (image(&[batch(0, 0..2), batch(2, 2..3)]), image(&[batch(0, 0..2)]));
        let mut example = Example::new();
        example.boundary(first.clone(), first.clone(), first.clone());
        let mut clean = example.clone();
        clean.boundary(first.clone(), first.clone(), first.clone());
        assert!(clean.holds(&CHECK));
        example.boundary(first.clone(), first, second);
        assert!(!example.holds(&CHECK));
    }
}
