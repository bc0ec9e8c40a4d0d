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

/// The earliest and the latest time that the wall clock has shown since a call began. A segment
/// ages from its last append by the clock of that moment, which may have been stepped back.
fn walls_around(index: &Index<'_>, call: &Call) -> (i64, i64) {
    let since = index.history.walls.iter().filter(|(at, _)| *at >= call.invoked);
    let walls = since.map(|(_, wall)| *wall);
    (walls.clone().fold(call.wall, i64::min), walls.fold(call.wall, i64::max))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

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
}
