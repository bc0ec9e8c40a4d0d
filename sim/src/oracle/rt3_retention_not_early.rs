//! R-T3: time retention removes a record only when the broker's clock has shown a time at which it
//! was old enough.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{Call, Request};

pub const CHECK: Check = Check {
    name: "R-T3 retention not early",
    claim: "retention removes a record only when the broker's clock showed that it was old enough",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    by_time(index)?;
    by_size(index)
}

fn by_time(index: &Index<'_>) -> Verdict {
    let deleted = index.history.calls.iter().filter_map(|call| match call.request {
        Request::DeleteRecords { partition, before } => Some((partition, before)),
        _ => None,
    });
    let deleted: Vec<_> = deleted.collect();
    let was_asked = |partition, offset| {
        deleted.iter().any(|(of, before)| *of == partition && (*before < 0 || offset < *before))
    };
    for (_, produce, base_offset) in index.history.acknowledged() {
        let topic = &index.history.topics[produce.partition.topic];
        let (Some(retention), Some(log)) =
            (topic.retention_millis, index.online(produce.partition))
        else {
            continue;
        };
        // A repeated batch was appended when it was first sent.
        let first = index.attempts[&produce.records[0].number][0].0;
        let (appended, latest) = walls_around(index, first);
        for (at, sent) in produce.records.iter().enumerate() {
            let offset = base_offset + at as i64;
            // A timestamp ahead of the clock does not keep a record longer than its append would.
            let expires = sent.timestamp.min(appended).saturating_add(retention);
            let gone = offset < log.log_start && !was_asked(produce.partition, offset);
            if gone && expires > latest {
                let name = index.name(produce.partition);
                return violated(format!(
                    "{name}: {offset} is gone; it expires at {expires}, and the clock has not \
                     shown more than {latest} since it was appended"
                ));
            }
        }
    }
    Ok(())
}

/// Size removes nothing that leaves less than `retention.bytes`.
fn by_size(index: &Index<'_>) -> Verdict {
    for aged in &index.history.aged {
        let topic = &index.history.topics[aged.partition.topic];
        let (None, Some(limit)) = (topic.retention_millis, topic.retention_bytes) else { continue };
        let asked = index.history.calls.iter().filter_map(|call| match call.request {
            Request::DeleteRecords { partition, before } if partition == aged.partition => {
                Some(if before < 0 { i64::MAX } else { before })
            }
            _ => None,
        });
        let kept: u64 = aged.segments.iter().sum();
        if aged.log_start > asked.max().unwrap_or(0) && kept < limit.unsigned_abs() {
            let name = index.name(aged.partition);
            return violated(format!(
                "{name}: the log of broker {} starts at {}, and {kept} bytes are left of {limit} \
                 that are to stay",
                aged.broker, aged.log_start
            ));
        }
    }
    Ok(())
}

/// The earliest and the latest time that the wall clock has shown since a call began. A segment
/// ages from its last append by the clock of that moment, which may have been stepped back.
fn walls_around(index: &Index<'_>, call: &Call) -> (i64, i64) {
    let since = index.history.walls.iter().filter(|(at, _)| *at >= call.invoked);
    let walls = since.map(|(_, wall)| *wall);
    (walls.clone().fold(call.wall, i64::min), walls.fold(call.wall, i64::max))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, batch};
    use super::CHECK;
    use crate::history::Aged;

    #[test]
    fn a_record_that_went_too_early_is_found() {
        let mut example = Example::new();
        example.history.topics[0].retention_millis = Some(500);
        example.produced(0..2, 0);
        example.produced(2..4, 2);
        example.finish(vec![batch(2, 2..4)]).log_start = 2;
        let mut early = example.clone();
        example.history.note_wall(1_401);
        assert!(example.holds(&CHECK));
        early.history.note_wall(1_399);
        assert!(!early.holds(&CHECK));
    }

    #[test]
    fn size_that_removes_too_much_is_found() {
        let with = |log_start, segments: &[u64]| {
            let mut example = Example::in_cluster();
            example.history.topics[0].retention_bytes = Some(100);
            let segments = segments.to_vec();
            let (partition, broker, leads) = (PARTITION, 2, false);
            example.history.aged =
                vec![Aged { partition, broker, leads, log_start, end: 9, segments }];
            example.holds(&CHECK)
        };
        assert!(with(4, &[60, 40]));
        assert!(!with(4, &[60, 30]));
        assert!(with(0, &[60, 30]), "nothing was removed");
    }
}
