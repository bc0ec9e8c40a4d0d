//! L8: what a recovery cut off never comes back: a record behind a recovered log's end was sent by
//! somebody after that recovery.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{MarkKind, Moment};

pub const CHECK: Check = Check {
    name: "L8 no resurrection",
    claim: "what a recovery cut off never comes back",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    // What one broker lost, its peers may still have.
    if index.history.promise.is_cluster() {
        return Ok(());
    }
    for boundary in &index.history.boundaries {
        let stopped = boundary.stopped;
        let ready = index.history.marks.iter().find(|mark| {
            mark.at > stopped && matches!(mark.kind, MarkKind::Ready)
        });
        let Some(ready) = ready.map(|mark| mark.at) else { continue };
        for (partition, recovered) in boundary.recovered.iter().flatten().filter(|r| !r.1.rotten) {
            let end = recovered.batches.last().map_or(0, |batch| batch.last_offset + 1);
            let Some(log) = index.online(*partition) else { continue };
            let later = log.batches.iter().filter(|batch| batch.base_offset >= end);
            for batch in later {
                let number = batch.records.first().and_then(|record| record.number);
                if number.is_some_and(|number| !sent_after(index, number, stopped)) {
                    let (name, offset) = (index.name(*partition), batch.base_offset);
                    return violated(format!(
                        "{name}: the batch at {offset} lies behind {end}, where the recovery at \
                         moment {ready} had ended, and nobody sent it since"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether an attempt to send this record may have been under way after a moment.
fn sent_after(index: &Index<'_>, number: u64, moment: Moment) -> bool {
    let attempts = index.attempts.get(&number).map(Vec::as_slice).unwrap_or_default();
    attempts.iter().any(|(call, _)| {
        // A connection dies with the broker, so that a call begun before the stop ends there.
        call.invoked > moment
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;

    #[test]
    fn a_batch_that_comes_back_is_found() {
        let (kept, cut) = (batch(0, 0..2), batch(2, 2..4));
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.produce(2..4, None);
        let before = image(&[kept.clone(), cut.clone()]);
        example.boundary(before.clone(), before, image(std::slice::from_ref(&kept)));
        let mut clean = example.clone();
        clean.produced(4..5, 2);
        clean.finish(vec![kept.clone(), batch(2, 4..5)]);
        assert!(clean.holds(&CHECK));
        example.finish(vec![kept, cut]);
        assert!(!example.holds(&CHECK));
    }
}
