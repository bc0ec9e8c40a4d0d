//! C1: compaction keeps the newest record of each key, and brings no older one back.

use super::{Check, Verdict, violated, index::Index};
use crate::{
    batch::{compaction_key, is_deletion},
    history::{Outcome, Partition},
};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "C1 latest survives",
    claim: "in the end a key has its last acknowledged record or a later one; only a deletion goes",
    judge,
};

/// The offset and the number of a key's newest record.
type Newest = BTreeMap<(Partition, u64), (i64, u64)>;

fn judge(index: &Index<'_>) -> Verdict {
    let mut acknowledged = Newest::new();
    for (_, produce, base_offset) in index.history.acknowledged() {
        for (at, sent) in produce.records.iter().enumerate() {
            let Some(key) = compaction_key(sent.number) else { continue };
            let offset = base_offset + at as i64;
            let newest = acknowledged.entry((produce.partition, key)).or_default();
            *newest = (*newest).max((offset, sent.number));
        }
    }
    let mut kept = Newest::new();
    for (partition, records) in &index.records {
        for (offset, record) in records {
            let Some(number) = record.number else { continue };
            let key = compaction_key(number);
            kept.extend(key.map(|key| ((*partition, key), (*offset, number))));
        }
    }
    let perhaps_deleted = perhaps_deleted(index);
    for ((partition, key), (offset, number)) in acknowledged {
        if index.online(partition).is_none() {
            continue;
        }
        let name = index.name(partition);
        match kept.get(&(partition, key)) {
            Some((at, _)) if *at < offset => {
                return violated(format!("{name}: key {key} is back at {at}, it had come to {offset}"));
            }
            None if !is_deletion(number) && !perhaps_deleted.contains(&(partition, key)) => {
                return violated(format!("{name}: the newest record of key {key}, at {offset}, is gone"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The keys with a deletion that was never acknowledged and may be in the log all the same: it may
/// have come last, done its work and gone.
fn perhaps_deleted(index: &Index<'_>) -> BTreeSet<(Partition, u64)> {
    let open = index.history.produces().filter(|(call, _)| {
        !matches!(call.outcome, Outcome::Produced { .. })
    });
    let deletions = open.flat_map(|(_, produce)| {
        let numbers = produce.records.iter().map(|sent| sent.number);
        let keys = numbers.filter(|number| is_deletion(*number)).filter_map(compaction_key);
        keys.map(|key| (produce.partition, key))
    });
    deletions.collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;
    use crate::batch::KEYED;

    /// Two records of one key, of which the second deletes it when `number` says so.
    fn with(number: u64, kept: Vec<crate::batch::ReadBatch>) -> bool {
        let mut example = Example::compacted();
        example.produced(KEYED + 1..KEYED + 2, 0);
        example.produced(number..number + 1, 1);
        example.finish(kept);
        example.holds(&CHECK)
    }

    #[test]
    fn a_newest_record_that_is_gone_is_found() {
        let same_key = KEYED + 1 + 4 * 61;
        assert!(with(same_key, vec![batch(1, same_key..same_key + 1)]));
        assert!(!with(same_key, vec![batch(0, KEYED + 1..KEYED + 2)]));
        assert!(!with(same_key, vec![]));
    }

    #[test]
    fn a_deletion_that_nobody_acknowledged_may_have_done_its_work() {
        let mut example = Example::compacted();
        example.produced(KEYED + 1..KEYED + 2, 0);
        example.finish(vec![]);
        assert!(!example.holds(&CHECK));
        let deletion = KEYED + 1 + 2 * 61;
        example.produce(deletion..deletion + 1, None);
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn a_deleted_key_that_is_back_is_found() {
        let deletion = KEYED + 1 + 2 * 61;
        assert!(with(deletion, vec![batch(1, deletion..deletion + 1)]));
        assert!(with(deletion, vec![]));
        assert!(!with(deletion, vec![batch(0, KEYED + 1..KEYED + 2)]));
    }
}
