//! L9: a lookup through an index finds what a scan finds, by offset and by timestamp.

use super::{Check, Verdict, violated, index::Index};
use crate::{batch::ReadRecord, history::FinalLog};

pub const CHECK: Check = Check {
    name: "L9 index = scan",
    claim: "a lookup by offset or timestamp finds what a scan of the log finds",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in index.finals.iter().filter(|(_, log)| log.error.is_none()) {
        timestamps(log)
            .and_then(|()| newest(log))
            .and_then(|()| points(log))
            .map_err(|found| found.of(index, *partition))?;
    }
    Ok(())
}

fn visible(log: &FinalLog) -> impl Iterator<Item = &ReadRecord> {
    let records = log.batches.iter().flat_map(|batch| &batch.records);
    records.filter(|record| record.offset >= log.log_start)
}

fn timestamps(log: &FinalLog) -> Verdict {
    for (asked, answer) in &log.lookups {
        let first = visible(log).find(|record| record.timestamp >= *asked);
        let expected = first.map(|record| (record.offset, record.timestamp));
        if expected != *answer {
            return violated(format!(
                "the first record from timestamp {asked} is {expected:?} by scan and {answer:?} \
                 by lookup"
            ));
        }
    }
    Ok(())
}

fn newest(log: &FinalLog) -> Verdict {
    let Some((offset, timestamp)) = log.newest else { return Ok(()) };
    let maximum = visible(log).map(|record| record.timestamp).max();
    let there = visible(log).any(|record| (record.offset, record.timestamp) == (offset, timestamp));
    if maximum == Some(timestamp) && there {
        return Ok(());
    }
    violated(format!("the newest timestamp is {maximum:?} by scan, {timestamp} at {offset} by lookup"))
}

fn points(log: &FinalLog) -> Verdict {
    for (asked, answer) in &log.points {
        let covering = log
            .batches
            .iter()
            .find(|batch| (batch.base_offset..=batch.last_offset).contains(asked))
            .map(|batch| (batch.base_offset, batch.last_offset));
        if covering != *answer {
            return violated(format!(
                "offset {asked} lies in the batch {covering:?} by scan and {answer:?} by lookup"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    fn example(
        lookup: Option<(i64, i64)>,
        newest: (i64, i64),
        point: Option<(i64, i64)>,
    ) -> Example {
        let mut example = Example::new();
        let log = example.finish(vec![batch(0, 0..3), batch(3, 3..6)]);
        log.lookups.push((1_004, lookup));
        log.newest = Some(newest);
        log.points.push((4, point));
        example
    }

    #[test]
    fn a_lookup_that_differs_from_the_scan_is_found() {
        let (lookup, newest, point) = (Some((4, 1_004)), (5, 1_005), Some((3, 5)));
        assert!(example(lookup, newest, point).holds(&CHECK));
        assert!(!example(Some((3, 1_003)), newest, point).holds(&CHECK));
        assert!(!example(None, newest, point).holds(&CHECK));
        assert!(!example(lookup, (4, 1_004), point).holds(&CHECK));
        assert!(!example(lookup, newest, Some((0, 2))).holds(&CHECK));
    }
}
