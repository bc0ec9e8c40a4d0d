//! M13: a partition is in the end where it was moved to last. Moves that were taken back, and
//! partitions of which nobody was told that they move, are not judged.

use super::{
    Check, Verdict, Violation, changes::{Write, changes, is_done, may_concern}, index::Index,
};
use crate::history::{Change, Partition, PartitionSeen};
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "M13 moves durable",
    claim: "a partition has the replicas that a reassignment gave it last",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for end in &index.history.final_replicas {
        if let Some(partition) = end.partition {
            is_where_it_went(index, partition, &end.seen)?;
        }
    }
    Ok(())
}

fn is_where_it_went(index: &Index<'_>, partition: Partition, end: &PartitionSeen) -> Verdict {
    let history = index.history;
    let mut writes = Vec::new();
    for (call, change) in changes(history) {
        let Change::Reassign { topic: named, index: of, replicas } = change else { continue };
        if *of != partition.index || !may_concern(history, call, named, partition.topic) {
            continue;
        }
        let Some(replicas) = replicas else { return Ok(()) };
        let target: BTreeSet<i32> = replicas.iter().copied().collect();
        writes.push((is_done(call), Write::of(history, call, target)));
    }
    if !writes.iter().any(|(is_done, _)| *is_done) {
        return Ok(());
    }
    let writes: Vec<_> = writes.into_iter().map(|(_, write)| write).collect();
    let is_staying = |replica: &&i32| !end.removing.contains(replica);
    let found: BTreeSet<i32> = end.replicas.iter().filter(is_staying).copied().collect();
    if Write::may_be_last(&writes, &found) {
        return Ok(());
    }
    let name = index.name(partition);
    let asked: Vec<_> = writes.iter().map(|write| &write.value).collect();
    let message = format!("{name} is on {found:?} in the end; it was moved, in this order, to {asked:?}");
    Err(Violation::new(message).in_partition(partition).on(found))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, in_sync};
    use super::CHECK;
    use crate::history::{Change, FinalReplicas, Named, Outcome};

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
        assert!(example.holds(&CHECK), "it was taken back to where nobody knows");
    }
}
