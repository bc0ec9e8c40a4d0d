//! C3: compaction changes no record and moves none.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "C3 offsets stay",
    claim: "a record of a compacted topic is read as it was sent, at the offset it was given, in order",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut seen: BTreeMap<(Partition, i64), u64> = BTreeMap::new();
    for (_, produce, base_offset) in index.history.acknowledged() {
        for (at, sent) in produce.records.iter().enumerate() {
            seen.insert((produce.partition, base_offset + at as i64), sent.number);
        }
    }
    let reads = index.history.reads();
    for (partition, _, batch) in reads.filter(|(of, ..)| index.history.topics[of.topic].compacted) {
        let name = index.name(partition);
        let inside = batch.base_offset..=batch.last_offset;
        let sorted = batch.records.is_sorted_by(|one, other| one.offset < other.offset);
        if !sorted || batch.records.iter().any(|record| !inside.contains(&record.offset)) {
            return violated(format!("{name}: the batch at {} is out of order", batch.base_offset));
        }
        for record in &batch.records {
            let offset = record.offset;
            let sent = record.number.and_then(|number| index.attempts.get(&number)?.first());
            let Some((number, (_, produce))) = record.number.zip(sent) else {
                return violated(format!("{name}: nobody sent what is at {offset}"));
            };
            let as_sent = produce.records.iter().any(|sent| {
                sent.number == number && (batch.append_time || sent.timestamp == record.timestamp)
            });
            if !as_sent || produce.partition != partition {
                return violated(format!("{name}: {number} at {offset} is not as it was sent"));
            }
            let before = *seen.entry((partition, offset)).or_insert(number);
            if before != number {
                return violated(format!("{name}: {offset} was {before} and is {number}"));
            }
        }
    }
    for call in &index.history.calls {
        let (Request::Fetch { partition, .. }, crate::history::Outcome::Fetched { batches, .. }) =
            (&call.request, &call.outcome)
        else {
            continue;
        };
        if !batches.is_sorted_by(|one, other| one.last_offset < other.base_offset) {
            return violated(format!("{}: batches overlap", index.name(*partition)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;
    use crate::batch::{KEYED, ReadBatch};

    fn with(change: impl FnOnce(&mut ReadBatch)) -> bool {
        let mut example = Example::compacted();
        example.produced(KEYED..KEYED + 3, 0);
        let mut read = batch(0, KEYED..KEYED + 3);
        change(&mut read);
        example.fetched(0, 3, vec![read]);
        example.holds(&CHECK)
    }

    #[test]
    fn a_record_that_was_changed_or_moved_is_found() {
        assert!(with(|_| {}));
        assert!(with(|batch| batch.records.truncate(1)));
        assert!(!with(|batch| batch.records[1].number = Some(KEYED + 2)));
        assert!(!with(|batch| batch.records[1].number = None));
        assert!(!with(|batch| batch.records[1].timestamp += 1));
        assert!(!with(|batch| batch.records.swap(0, 1)));
    }
}
