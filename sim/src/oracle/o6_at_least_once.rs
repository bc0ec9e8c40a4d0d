//! O6: a group commits no further than it has read.

use super::{Check, Verdict, Violation, groups, index::Index};
use crate::history::{History, Moment, Outcome, Partition, Request};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "O6 at least once",
    claim: "every record below a committed offset was delivered to a member before the commit",
    judge,
};

/// What somebody was delivered: from this offset up to that one, by when.
type Delivered = (i64, i64, Moment);

fn judge(index: &Index<'_>) -> Verdict {
    let starts = log_starts(index.history);
    for (group, calls) in groups::by_group(index.history) {
        let delivered = deliveries(index.history, &groups::clients(&calls));
        for (partition, commits) in groups::commits(&calls) {
            let of_partition = delivered.get(&partition).map(Vec::as_slice).unwrap_or_default();
            let start = starts.get(&partition).copied().unwrap_or(0);
            for commit in commits.iter().filter(|commit| commit.acknowledged) {
                let read = read_up_to(of_partition, start, commit.asked.call.invoked);
                if read < commit.offset {
                    let (name, told) = (index.name(partition), commit.offset);
                    let message = format!("{group}: {name} is at {told}, but {read} was not read");
                    return Err(Violation::new(message)
                        .at(partition, read)
                        .in_group(group)
                        .shown_by([commit.asked.call])
                        .saw("committed", told)
                        .saw("read up to", read));
                }
            }
        }
    }
    Ok(())
}

/// How far everything was delivered before a moment. What lies before the log start is gone.
fn read_up_to(delivered: &[Delivered], start: i64, before: Moment) -> i64 {
    let mut reached = start;
    for (from, to, at) in delivered {
        if *at < before && *from <= reached {
            reached = reached.max(*to);
        }
    }
    reached
}

/// What these clients were delivered, by partition, in the order of offsets.
fn deliveries(history: &History, clients: &BTreeSet<u32>) -> BTreeMap<Partition, Vec<Delivered>> {
    let mut all: BTreeMap<Partition, Vec<Delivered>> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| clients.contains(&call.client)) {
        if let (Request::Fetch { partition, offset }, Outcome::Fetched { batches, .. }) =
            (&call.request, &call.outcome)
            && let (Some(last), Some(ended)) = (batches.last(), call.ended)
        {
            let delivered = (*offset, last.last_offset + 1, ended);
            all.entry(*partition).or_default().push(delivered);
        }
    }
    all.values_mut().for_each(|of_partition| of_partition.sort_unstable());
    all
}

/// The highest log start that anybody was told of each partition.
fn log_starts(history: &History) -> BTreeMap<Partition, i64> {
    const EARLIEST: i64 = -2;
    let mut starts: BTreeMap<Partition, i64> = BTreeMap::new();
    let mut note = |partition: Partition, start: i64| {
        let highest = starts.entry(partition).or_default();
        *highest = start.max(*highest);
    };
    for call in &history.calls {
        match (&call.request, &call.outcome) {
            (Request::Fetch { partition, .. }, Outcome::Fetched { log_start, .. }) => {
                note(*partition, *log_start);
            }
            (Request::ListOffsets { partition, timestamp: EARLIEST }, Outcome::Offset { offset, .. })
            | (
                Request::DeleteRecords { partition, .. },
                Outcome::Deleted { low_watermark: offset },
            ) => note(*partition, *offset),
            _ => {}
        }
    }
    for log in &history.finals {
        log.partition.into_iter().for_each(|partition| note(partition, log.log_start));
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn a_commit_of_what_nobody_has_read_is_found() {
        let mut example = Example::new();
        example.committed("a", 1, 0, 0);
        example.fetched(0, 9, vec![batch(0, 0..2)]);
        example.committed("a", 1, 0, 2);
        assert!(example.holds(&CHECK));
        let mut early = example.clone();
        early.committed("a", 1, 0, 4);
        early.fetched(2, 9, vec![batch(2, 2..4)]);
        assert!(!early.holds(&CHECK));
        example.fetched(3, 9, vec![batch(3, 3..4)]);
        example.committed("a", 1, 0, 4);
        assert!(!example.holds(&CHECK));
    }
}
