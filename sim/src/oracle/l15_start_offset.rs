//! L15: the log start never goes back, moves only when somebody asked or retention may, and nothing
//! below it is served.

use super::{Check, Verdict, Violation, violated, index::Index};
use crate::history::{Call, Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L15 start offset",
    claim: "the log start never goes back, and nothing is served from below it",
    judge,
};

const EARLIEST: i64 = -2;

fn judge(index: &Index<'_>) -> Verdict {
    never_back(index)?;
    nothing_below(index)?;
    moved_by_somebody(index)
}

/// A log start that a call showed: its partition, the value, and whether the call asked for it.
fn shown(call: &Call) -> Option<(Partition, i64)> {
    match (&call.request, &call.outcome) {
        (Request::Fetch { partition, .. }, Outcome::Fetched { log_start, .. }) => {
            Some((*partition, *log_start))
        }
        (Request::DeleteRecords { partition, .. }, Outcome::Deleted { low_watermark }) => {
            Some((*partition, *low_watermark))
        }
        (Request::Produce(produce), Outcome::Produced { log_start, .. }) if *log_start >= 0 => {
            Some((produce.partition, *log_start))
        }
        (
            Request::ListOffsets { partition, timestamp: EARLIEST },
            Outcome::Offset { offset, .. },
        ) => Some((*partition, *offset)),
        _ => None,
    }
}

/// Whether an answer comes from a leader that is still the leader, for all that clients can know: one
/// that nobody follows any more answers reads and acks=1 from what it knows, and nothing that waits
/// for replicas.
fn is_from_the_leader(call: &Call) -> bool {
    match &call.request {
        Request::DeleteRecords { .. } => true,
        Request::Produce(produce) => produce.acks == -1,
        _ => false,
    }
}

fn never_back(index: &Index<'_>) -> Verdict {
    let calls = index.history.calls.iter();
    let seen: Vec<_> = calls.filter_map(|call| Some((call, shown(call)?))).collect();
    // A new leader may not have heard of a log start that the old one had shown, but was not asked for.
    let in_cluster = index.history.promise.is_cluster();
    let binding = seen.iter().filter(|(call, _)| {
        !in_cluster || matches!(call.request, Request::DeleteRecords { .. })
    });
    let mut ends: Vec<_> = binding
        .filter_map(|(call, (of, start))| Some((call.ended?, *of, call.broker, *start)))
        .collect();
    ends.sort_unstable();
    let last = index.finals.values().filter(|log| log.error.is_none());
    let last = last.filter_map(|log| Some((u64::MAX, log.partition?, None, log.log_start)));
    // The broker matters where it may be none that leads.
    let begins = seen.iter().map(|(call, (of, start))| {
        let broker = (in_cluster && !is_from_the_leader(call)).then_some(call.broker);
        (call.invoked, *of, broker, *start)
    });
    let mut highest: BTreeMap<(Partition, Option<i32>), i64> = BTreeMap::new();
    let mut done = ends.into_iter().peekable();
    for (invoked, partition, broker, start) in begins.chain(last) {
        while let Some((_, of, by, before)) = done.next_if(|(ended, ..)| *ended < invoked) {
            for key in [(of, None), (of, Some(by))] {
                let entry = highest.entry(key).or_insert(before);
                *entry = (*entry).max(before);
            }
        }
        if let Some(before) = highest.get(&(partition, broker)).filter(|before| **before > start) {
            let name = index.name(partition);
            let message = format!("{name}: the log start went from {before} back to {start}");
            let shows = |(call, (of, at)): &&(&Call, (Partition, i64))| {
                *of == partition && (at == before || call.invoked == invoked)
            };
            return Err(Violation::new(message)
                .at(partition, start)
                .shown_by(seen.iter().filter(shows).map(|(call, _)| *call).take(3))
                .saw("log start before", before)
                .saw("log start then", start));
        }
    }
    Ok(())
}

fn nothing_below(index: &Index<'_>) -> Verdict {
    for call in &index.history.calls {
        if let (
            Request::Fetch { partition, offset },
            Outcome::Fetched { log_start, batches, high_watermark, .. },
        ) = (&call.request, &call.outcome)
        {
            let name = index.name(*partition);
            if offset < log_start && !batches.is_empty() {
                return violated(format!("{name}: a fetch from {offset} below {log_start} got records"));
            }
            if log_start > high_watermark {
                return violated(format!("{name}: log start {log_start} > {high_watermark}"));
            }
        }
    }
    Ok(())
}

fn moved_by_somebody(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        if index.history.topics[partition.topic].has_retention() || log.error.is_some() {
            continue;
        }
        let asked = index.history.calls.iter().filter_map(|call| match &call.request {
            Request::DeleteRecords { partition: of, before } if of == partition => {
                Some(if *before < 0 { i64::MAX } else { *before })
            }
            _ => None,
        });
        let most = asked.max().unwrap_or(0);
        if log.log_start > most {
            let (name, start) = (index.name(*partition), log.log_start);
            return violated(format!("{name}: the log starts at {start}, deletion was asked to {most}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, WALL, PARTITION, batch};
    use super::CHECK;
    use crate::history::{Outcome, Request};

    fn deleted(example: &mut Example, before: i64) {
        let request = Request::DeleteRecords { partition: PARTITION, before };
        let call = example.history.invoke(2, WALL, request);
        example.history.end(call, Outcome::Deleted { low_watermark: before });
    }

    #[test]
    fn a_log_start_that_goes_back_is_found() {
        let mut example = Example::new();
        deleted(&mut example, 5);
        let mut clean = example.clone();
        clean.fetched_from(5, 5, 9, vec![batch(5, 5..9)]);
        assert!(clean.holds(&CHECK));
        example.fetched_from(5, 3, 9, vec![batch(5, 5..9)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn records_from_below_the_log_start_are_found() {
        let mut example = Example::new();
        example.fetched_from(2, 5, 9, vec![batch(2, 2..4)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_log_start_that_moved_by_itself_is_found() {
        let mut example = Example::new();
        example.finish(vec![]).log_start = 4;
        assert!(!example.holds(&CHECK));
    }
}
