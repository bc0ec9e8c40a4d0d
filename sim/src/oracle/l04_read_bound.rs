//! L4: readers see committed records only: below the high watermark, which never goes back, and
//! what was read stays readable.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L4 read bound",
    claim: "readers see records below the high watermark only, and none of them goes away again",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    below_the_high_watermark(index)?;
    // A new leader learns the high watermark that readers saw from its followers' fetches.
    if !index.history.promise.is_cluster() {
        high_watermark_never_goes_back(index)?;
    }
    read_records_stay(index)
}

fn below_the_high_watermark(index: &Index<'_>) -> Verdict {
    for call in &index.history.calls {
        let (Request::Fetch { partition, .. }, Outcome::Fetched { high_watermark, batches, .. }) =
            (&call.request, &call.outcome)
        else {
            continue;
        };
        if let Some(batch) = batches.iter().find(|batch| batch.last_offset >= *high_watermark) {
            let (name, offset) = (index.name(*partition), batch.last_offset);
            let message = format!("{name}: {offset} was read, the high watermark {high_watermark}");
            return Err(Violation::new(message)
                .at(*partition, offset)
                .on([call.broker])
                .shown_by([call])
                .saw("read up to", offset)
                .saw("high watermark", high_watermark));
        }
    }
    Ok(())
}

fn high_watermark_never_goes_back(index: &Index<'_>) -> Verdict {
    // (moment, partition, high watermark) at the end and at the beginning of each fetch.
    let mut ends = Vec::new();
    let mut begins = Vec::new();
    for call in &index.history.calls {
        if let (
            Request::Fetch { partition, .. },
            Outcome::Fetched { high_watermark, .. },
            Some(ended),
        ) = (&call.request, &call.outcome, call.ended)
        {
            ends.push((ended, *partition, *high_watermark));
            begins.push((call.invoked, *partition, *high_watermark));
        }
    }
    ends.sort_unstable();
    begins.sort_unstable();
    let mut highest: BTreeMap<Partition, i64> = BTreeMap::new();
    let mut done = ends.into_iter().peekable();
    for (invoked, partition, seen) in begins {
        while let Some((_, of, high)) = done.next_if(|(ended, ..)| *ended < invoked) {
            let entry = highest.entry(of).or_insert(high);
            *entry = (*entry).max(high);
        }
        if let Some(before) = highest.get(&partition).filter(|before| **before > seen) {
            let name = index.name(partition);
            let message = format!("{name}: the high watermark went from {before} back to {seen}");
            return Err(Violation::new(message)
                .at(partition, seen)
                .saw("high watermark before", before)
                .saw("high watermark then", seen));
        }
    }
    Ok(())
}

fn read_records_stay(index: &Index<'_>) -> Verdict {
    for (partition, call, batch) in index.history.reads() {
        let Some(log) = index.online(partition) else { continue };
        let records = &index.records[&partition];
        let gone = |offset: &i64| *offset >= log.log_start && !records.contains_key(offset);
        if let Some(offset) = batch.records.iter().map(|record| record.offset).find(gone) {
            let (name, end) = (index.name(partition), log.end);
            let message = format!("{name}: {offset} was read once and the log now ends at {end}");
            return Err(Violation::new(message)
                .at(partition, offset)
                .shown_by(call)
                .saw("read once", offset)
                .saw("the log ends at", end));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn a_read_past_the_high_watermark_is_found() {
        let mut example = Example::new();
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(example.holds(&CHECK));
        example.fetched(2, 3, vec![batch(2, 2..4)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_high_watermark_that_goes_back_is_found() {
        let mut example = Example::new();
        example.fetched(0, 9, vec![]);
        example.fetched(0, 9, vec![]);
        assert!(example.holds(&CHECK));
        example.fetched(0, 8, vec![]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_record_that_was_read_and_went_away_is_found() {
        let mut example = Example::new();
        example.fetched(0, 2, vec![batch(0, 0..2)]);
        example.finish(vec![batch(0, 0..1)]);
        assert!(!example.holds(&CHECK));
    }
}
