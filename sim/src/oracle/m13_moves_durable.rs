//! M13: a partition is in the end where it was moved to last, and was nowhere on the way but where it
//! began or somebody moved it: a move that is taken back gives back the replicas of before. Partitions of
//! which nobody was told that they move are not judged in the end.

use super::{
    Check, Verdict, Violation, changes::{Write, changes, is_done, may_concern}, index::Index,
};
use crate::history::{Change, MetadataSeen, Moment, Partition, PartitionSeen};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "M13 moves durable",
    claim: "a partition has the replicas that a reassignment gave it last, or those of before where it was taken back",
    judge,
};

/// Some replicas, in whatever order.
type Replicas = BTreeSet<i32>;

fn judge(index: &Index<'_>) -> Verdict {
    was_nowhere_else(index)?;
    for end in &index.history.final_replicas {
        if let Some(partition) = end.partition {
            is_where_it_went(index, partition, &end.seen)?;
        }
    }
    Ok(())
}

fn is_where_it_went(index: &Index<'_>, partition: Partition, end: &PartitionSeen) -> Verdict {
    let history = index.history;
    let mut writes: Vec<Write<Option<Replicas>>> = Vec::new();
    let mut was_told = false;
    for (call, change) in changes(history) {
        let Change::Reassign { topic: named, index: of, replicas } = change else { continue };
        if *of != partition.index || !may_concern(history, call, named, partition.topic) {
            continue;
        }
        was_told |= is_done(call);
        let target = replicas.as_ref().map(|replicas| replicas.iter().copied().collect());
        writes.push(Write::of(history, call, target));
    }
    let found = without(&end.replicas, &end.removing);
    if !was_told || may_be_there(&writes, &found) {
        return Ok(());
    }
    let name = index.name(partition);
    let asked: Vec<_> = writes.iter().map(|write| &write.value).collect();
    let message = format!("{name} is on {found:?} in the end; it was moved, in this order, to {asked:?}");
    Err(Violation::new(message).in_partition(partition).on(found))
}

/// Whether these replicas may be there in the end. Where a move was taken back, only what followed
/// everything else for certain says where the partition is, or is not.
fn may_be_there(writes: &[Write<Option<Replicas>>], found: &Replicas) -> bool {
    if writes.iter().all(|write| write.value.is_some()) {
        return Write::may_be_last(writes, &Some(found.clone()));
    }
    let Some(last) = surely_last(writes) else { return true };
    let Some(target) = &writes[last].value else {
        let before = [&writes[..last], &writes[last + 1..]].concat();
        let taken_back = surely_last(&before).and_then(|last| before[last].value.clone());
        return taken_back.is_none_or(|target| target != *found);
    };
    target == found
}

/// The write that certainly happened when all others were over.
fn surely_last(writes: &[Write<Option<Replicas>>]) -> Option<usize> {
    let is_over = |write: &Write<_>, at: Moment| write.until.is_some_and(|until| until < at);
    writes.iter().enumerate().position(|(at, last)| {
        let others = writes.iter().enumerate().filter(|(other, _)| *other != at);
        last.is_sure && others.into_iter().all(|(_, other)| is_over(other, last.from))
    })
}

fn without(replicas: &[i32], left_out: &[i32]) -> Replicas {
    replicas.iter().copied().filter(|replica| !left_out.contains(replica)).collect()
}

/// Whether every partition was always where it began or where somebody had asked to move it.
fn was_nowhere_else(index: &Index<'_>) -> Verdict {
    let mut seen: Vec<&MetadataSeen> = index.history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    let mut first: BTreeMap<Partition, Replicas> = BTreeMap::new();
    let mut epochs: BTreeMap<Partition, i32> = BTreeMap::new();
    for seen in seen {
        for (partition, now) in &seen.partitions {
            if epochs.insert(*partition, now.partition_epoch) == Some(now.partition_epoch) {
                continue;
            }
            // What a move goes back to when it is taken back.
            let original = without(&now.replicas, &now.adding);
            let first = first.entry(*partition).or_insert_with(|| original.clone());
            if original == *first || was_moved_there(index, *partition, &original, seen.at) {
                continue;
            }
            let name = index.name(*partition);
            let message = format!(
                "{name}: at {} of the metadata log it is on {original:?}, where it did not begin and \
                 nobody moved it",
                seen.offset
            );
            return Err(Violation::new(message).in_partition(*partition).on(original));
        }
    }
    Ok(())
}

/// Whether somebody may have moved a partition to these replicas before.
fn was_moved_there(index: &Index<'_>, partition: Partition, there: &Replicas, at: Moment) -> bool {
    changes(index.history).any(|(call, change)| match change {
        Change::Reassign { topic, index: of, replicas: Some(replicas) } => {
            *of == partition.index
                && may_concern(index.history, call, topic, partition.topic)
                && call.invoked < at
                && without(replicas, &[]) == *there
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, in_sync};
    use super::CHECK;
    use crate::history::{Change, FinalReplicas, Named, Outcome, PartitionSeen};

    fn move_to(example: &mut Example, replicas: Option<&[i32]>, outcome: Outcome) {
        let topic = Named { name: "t".into(), topic: 0 };
        let replicas = replicas.map(<[i32]>::to_vec);
        example.changed(Change::Reassign { topic, index: 0, replicas }, outcome);
    }

    fn ends_on(example: &mut Example, replicas: &[i32]) {
        let mut seen = in_sync(1, 1);
        seen.replicas = replicas.to_vec();
        let end = FinalReplicas { partition: Some(PARTITION), seen, ..FinalReplicas::default() };
        example.history.final_replicas = vec![end];
    }

    #[test]
    fn a_partition_that_is_not_where_it_was_moved_to_is_found() {
        let mut example = Example::in_cluster();
        ends_on(&mut example, &[1, 2]);
        assert!(example.holds(&CHECK), "nobody moved it");
        move_to(&mut example, Some(&[2, 3]), Outcome::Done);
        assert!(!example.holds(&CHECK));
        ends_on(&mut example, &[3, 2, 1]);
        example.history.final_replicas[0].seen.removing = vec![1];
        assert!(example.holds(&CHECK), "it is on its way there");
    }

    #[test]
    fn moves_that_may_have_happened_excuse_their_own_target_and_no_other() {
        let mut example = Example::in_cluster();
        move_to(&mut example, Some(&[2, 3]), Outcome::Done);
        move_to(&mut example, Some(&[1, 3]), Outcome::Unknown);
        for (end, holds) in [([2, 3], true), ([3, 1], true), ([1, 2], false)] {
            ends_on(&mut example, &end);
            assert_eq!(example.holds(&CHECK), holds, "{end:?}");
        }
        move_to(&mut example, None, Outcome::Done);
        assert!(example.holds(&CHECK), "nobody knows from where it was taken back");
    }

    #[test]
    fn a_move_that_was_taken_back_and_goes_on_is_found() {
        let mut example = Example::in_cluster();
        move_to(&mut example, Some(&[2, 3]), Outcome::Done);
        move_to(&mut example, None, Outcome::Done);
        for (end, holds) in [([1, 2], true), ([2, 3], false)] {
            ends_on(&mut example, &end);
            assert_eq!(example.holds(&CHECK), holds, "{end:?}");
        }
        move_to(&mut example, Some(&[2, 3]), Outcome::Done);
        assert!(example.holds(&CHECK));
        ends_on(&mut example, &[1, 2]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_move_that_was_taken_back_gives_back_the_replicas_of_before() {
        for (after, holds) in [(&[1, 2][..], true), (&[2, 3], true), (&[2, 3, 1], false)] {
            let mut example = Example::in_cluster();
            let seen = |epoch, replicas: &[i32], adding: &[i32]| PartitionSeen {
                replicas: replicas.to_vec(),
                adding: adding.to_vec(),
                ..in_sync(1, epoch)
            };
            example.saw(1, 7, "a", seen(1, &[1, 2], &[]));
            move_to(&mut example, Some(&[2, 3]), Outcome::Done);
            example.saw(1, 8, "b", seen(2, &[2, 3, 1], &[3]));
            move_to(&mut example, None, Outcome::Done);
            example.saw(1, 9, "c", seen(3, after, &[]));
            assert_eq!(example.holds(&CHECK), holds, "{after:?}");
        }
    }
}
