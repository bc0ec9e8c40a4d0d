//! L5: what is read is what was sent: content, timestamp, and a batch that covers the offset asked.

use super::{Check, Verdict, violated, index::Index};
use crate::{
    batch::ReadBatch,
    history::{Call, Request},
};

pub const CHECK: Check = Check {
    name: "L5 read exact",
    claim: "a record is read with the content and the timestamp it was sent with",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, call, batch) in index.history.reads() {
        content(index, batch)
            .and_then(|()| position(call, batch))
            .map_err(|found| found.of(index, partition))?;
    }
    Ok(())
}

fn content(index: &Index<'_>, batch: &ReadBatch) -> Verdict {
    for record in &batch.records {
        let offset = record.offset;
        let Some(number) = record.number else {
            return violated(format!("the record at {offset} is none that anybody sent"));
        };
        let attempts = index.attempts.get(&number).map(Vec::as_slice).unwrap_or_default();
        let mut sent = attempts.iter().flat_map(|(_, produce)| &produce.records);
        let Some(sent) = sent.find(|sent| sent.number == number) else {
            return violated(format!("record {number} at {offset} was never sent"));
        };
        if !batch.append_time && sent.timestamp != record.timestamp {
            let (was, is) = (sent.timestamp, record.timestamp);
            return violated(format!("record {number} was sent with timestamp {was}, read with {is}"));
        }
    }
    Ok(())
}

fn position(call: Option<&Call>, batch: &ReadBatch) -> Verdict {
    match call.map(|call| &call.request) {
        Some(Request::Fetch { offset, .. }) if batch.last_offset < *offset => {
            violated(format!("a fetch from {offset} returned the batch of {}", batch.base_offset))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn changed_content_and_changed_timestamps_are_found() {
        let mut example = Example::new();
        example.produced(0..2, 0);
        let mut clean = example.clone();
        clean.fetched(0, 2, vec![batch(0, 0..2)]);
        assert!(clean.holds(&CHECK));

        let mut content = example.clone();
        let mut changed = batch(0, 0..2);
        changed.records[1].number = None;
        content.fetched(0, 2, vec![changed]);
        assert!(!content.holds(&CHECK));

        let mut timestamp = example.clone();
        let mut changed = batch(0, 0..2);
        changed.records[1].timestamp += 1;
        timestamp.fetched(0, 2, vec![changed]);
        assert!(!timestamp.holds(&CHECK));

        example.fetched(0, 3, vec![batch(2, 7..8)]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn an_answer_from_before_the_offset_asked_is_found() {
        let mut example = Example::new();
        example.produced(0..4, 0);
        example.fetched(2, 4, vec![batch(0, 0..2)]);
        assert!(!example.holds(&CHECK));
    }
}
