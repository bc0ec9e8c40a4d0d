//! L7: after a crash, the log is a prefix of what was written that holds all that was acknowledged.

use super::{Check, Verdict, Violation, violated, index::{Index, surely_not_appended}};
use crate::history::{BatchImage, Boundary, LogImage};

pub const CHECK: Check = Check {
    name: "L7 crash prefix",
    claim: "a crash leaves a prefix of the log with every acknowledged record, and nothing else",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    acknowledged_records_are_there(index)?;
    nothing_else_is_there(index)?;
    // A replica may have followed its leader already when its broker is ready.
    if index.history.promise.is_cluster() {
        return Ok(());
    }
    index.history.boundaries.iter().try_for_each(|boundary| recovered_a_prefix(index, boundary))
}

fn acknowledged_records_are_there(index: &Index<'_>) -> Verdict {
    for (call, produce, base_offset) in index.history.acknowledged() {
        let Some(log) = index.online(produce.partition) else { continue };
        let records = &index.records[&produce.partition];
        for (at, sent) in produce.records.iter().enumerate() {
            let offset = base_offset + at as i64;
            if offset < log.log_start {
                continue;
            }
            let there = records.get(&offset).and_then(|record| record.number);
            if there != Some(sent.number) {
                let (name, acks, number) =
                    (index.name(produce.partition), produce.acks, sent.number);
                let end = log.end;
                let message = format!(
                    "{name}: record {number} was acknowledged (acks={acks}) at {offset}, where \
                     there is now {there:?}; the log ends at {end}"
                );
                let now = there.map_or("nothing".into(), |number| format!("record {number}"));
                return Err(Violation::new(message)
                    .at(produce.partition, offset)
                    .shown_by([call])
                    .saw("acknowledged", format!("record {number} at {offset}"))
                    .saw("there is now", now)
                    .saw("the log ends at", end));
            }
        }
    }
    Ok(())
}

fn nothing_else_is_there(index: &Index<'_>) -> Verdict {
    for (partition, _, batch) in index.history.reads() {
        for record in &batch.records {
            let Some(attempts) = record.number.and_then(|number| index.attempts.get(&number))
            else {
                continue;
            };
            if attempts.iter().all(|(call, _)| surely_not_appended(&call.outcome)) {
                let (name, offset) = (index.name(partition), record.offset);
                let message = format!("{name}: the record at {offset} had been refused");
                return Err(Violation::new(message)
                    .at(partition, offset)
                    .shown_by(attempts.iter().map(|(call, _)| *call)));
            }
        }
    }
    Ok(())
}

fn recovered_a_prefix(index: &Index<'_>, boundary: &Boundary) -> Verdict {
    for (partition, recovered) in boundary.recovered.iter().flatten() {
        let Some(before) = boundary.before.get(partition) else { continue };
        if before.rotten || recovered.rotten {
            continue;
        }
        prefix(index, before, recovered, boundary.power)
            .map_err(|found| found.of(index, *partition).on([boundary.machine]))?;
    }
    Ok(())
}

/// Below the later of both log starts either may lack what was removed by request or retention.
fn prefix(
    index: &Index<'_>,
    before: &LogImage,
    recovered: &LogImage,
    power: bool,
) -> Verdict {
    let (Some(first), Some(oldest)) = (recovered.batches.first(), before.batches.first()) else {
        return match before.batches.last().filter(|_| !power) {
            Some(last) => violated(format!("a killed process lost all up to {}", last.last_offset)),
            None => Ok(()),
        };
    };
    let start = first.base_offset.max(oldest.base_offset);
    let mut written = before.batches.iter().skip_while(|batch| batch.base_offset < start);
    for batch in recovered.batches.iter().skip_while(|batch| batch.base_offset < start) {
        match written.next() {
            Some(was) if (was.base_offset, was.crc) == (batch.base_offset, batch.crc) => {}
            Some(was) => {
                let (offset, expected) = (batch.base_offset, was.base_offset);
                return violated(format!("{offset} was recovered where {expected} had been written"));
            }
            // A write that failed may have been cut off in the page cache and yet be on the media.
            None if may_be_there(index, batch) => {}
            None => return violated(format!("{} was never written", batch.base_offset)),
        }
    }
    match written.next().filter(|_| !power) {
        Some(lost) => violated(format!("a killed process lost the batch at {}", lost.base_offset)),
        None => Ok(()),
    }
}

fn may_be_there(index: &Index<'_>, batch: &BatchImage) -> bool {
    let attempts = batch.first_number.and_then(|number| index.attempts.get(&number));
    attempts.is_some_and(|all| all.iter().any(|(call, _)| !surely_not_appended(&call.outcome)))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;
    use crate::history::Outcome;

    #[test]
    fn a_lost_acknowledged_record_is_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        example.produced(2..4, 2);
        let mut lost = example.clone();
        example.finish(vec![batch(0, 0..2), batch(2, 2..4)]);
        assert!(example.holds(&CHECK));
        lost.finish(vec![batch(0, 0..2)]);
        assert!(!lost.holds(&CHECK));
    }

    #[test]
    fn a_refused_record_that_is_there_is_found() {
        let mut example = Example::new();
        let call = example.produce(0..2, None);
        example.history.end(call, Outcome::Failed(45));
        example.finish(vec![batch(0, 0..2)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_recovered_log_that_is_no_prefix_is_found() {
        let (first, second, third) = (batch(0, 0..2), batch(2, 2..4), batch(2, 8..9));
        let before = image(&[first.clone(), second]);
        let after_with = |batches: &[_]| {
            let mut example = Example::new();
            example.boundary(before.clone(), before.clone(), image(batches));
            example.holds(&CHECK)
        };
        assert!(after_with(std::slice::from_ref(&first)));
        assert!(!after_with(&[first, third]));
    }
}
