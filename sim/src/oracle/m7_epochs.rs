//! M7: epochs never decrease along the metadata log, and a leader epoch has one leader.

use super::{Check, Verdict, Violation, violated, index::Index};
use crate::history::{MetadataSeen, Partition};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "M7 epochs",
    claim: "epochs never decrease along the metadata log, and a leader epoch has one leader",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut seen: Vec<&MetadataSeen> = index.history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    for pair in seen.windows(2) {
        never_less(index, pair[0], pair[1])?;
    }
    let mut leaders: BTreeMap<(Partition, i32), i32> = BTreeMap::new();
    for (partition, of) in seen.iter().flat_map(|seen| &seen.partitions) {
        let Some(leader) = of.leader else { continue };
        let first = *leaders.entry((*partition, of.leader_epoch)).or_insert(leader);
        if first != leader {
            let (name, epoch) = (index.name(*partition), of.leader_epoch);
            let message = format!("{name}: brokers {first} and {leader} lead in epoch {epoch}");
            return Err(Violation::new(message).in_partition(*partition).on([first, leader]));
        }
    }
    Ok(())
}

fn never_less(index: &Index<'_>, one: &MetadataSeen, next: &MetadataSeen) -> Verdict {
    let (from, to) = (one.offset, next.offset);
    for (partition, now) in &next.partitions {
        let Some(was) = one.partitions.get(partition) else { continue };
        let before = (was.leader_epoch, was.partition_epoch);
        let after = (now.leader_epoch, now.partition_epoch);
        let changed = (&was.isr, &was.leader, &was.replicas) != (&now.isr, &now.leader, &now.replicas);
        let same = changed && was.partition_epoch == now.partition_epoch;
        if after.0 < before.0 || after.1 < before.1 || same {
            let name = index.name(*partition);
            return violated(format!(
                "{name}: leader epoch and partition epoch were {before:?} at {from} of the \
                 metadata log and are {after:?} at {to}, changed: {changed}"
            ));
        }
    }
    for (broker, epoch) in &next.brokers {
        if let Some(was) = one.brokers.get(broker).filter(|was| *was > epoch) {
            return violated(format!("broker {broker}: epoch {was} at {from}, {epoch} at {to}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;

    #[test]
    fn an_epoch_with_two_leaders_is_found() {
        let mut example = Example::in_cluster();
        example.saw(1, 1, "a", in_sync(1, 1));
        example.saw(1, 2, "b", in_sync(2, 2));
        assert!(example.holds(&CHECK));
        example.saw(2, 3, "c", in_sync(3, 2));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        let mut example = Example::in_cluster();
        example.saw(1, 1, "a", in_sync(1, 3));
        example.saw(1, 2, "b", in_sync(2, 2));
        assert!(!example.holds(&CHECK));
    }
}
