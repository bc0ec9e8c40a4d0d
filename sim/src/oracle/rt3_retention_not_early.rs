//! R-T3: time retention removes a record only when the broker's clock has shown a time at which it
//! was old enough.

use super::{Check, index::Index};
use crate::history::Request;

pub const CHECK: Check = Check {
    name: "R-T3 retention not early",
    claim: "retention removes a record only when the broker's clock showed that it was old enough",
    judge,
};

fn judge(index: &Index<'_>) -> Result<(), String> {
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
        for (at, sent) in produce.records.iter().enumerate() {
            let offset = base_offset + at as i64;
            let expires = sent.timestamp.saturating_add(retention);
            let gone = offset < log.log_start && !was_asked(produce.partition, offset);
            if gone && expires > index.history.latest_wall {
                let (name, latest) = (index.name(produce.partition), index.history.latest_wall);
                return Err(format!(
                    "{name}: {offset} is gone; it expires at {expires}, and the clock never \
                     showed more than {latest}"
                ));
            }
        }
    }
    Ok(())
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
        example.history.latest_wall = 1_501;
        example.finish(vec![batch(2, 2..4)]).log_start = 2;
        assert!(example.holds(&CHECK));
        example.history.latest_wall = 1_499;
        assert!(!example.holds(&CHECK));
    }
}
