//! M10: a reassignment completes when every replica of its target is in sync, and not before
//! (KAFKA-15665).

use super::{Check, Verdict, violated, index::Index};
use crate::history::MetadataSeen;

pub const CHECK: Check = Check {
    name: "M10 reassignments",
    claim: "a replica that a reassignment adds is in sync when the reassignment is done",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut seen: Vec<&MetadataSeen> = index.history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    for pair in seen.windows(2).filter(|pair| pair[0].offset + 1 == pair[1].offset) {
        for (partition, was) in &pair[0].partitions {
            let Some(now) = pair[1].partitions.get(partition) else { continue };
            let arrived = |replica: &i32| was.adding.contains(replica) && !now.adding.contains(replica);
            let lacking = |replica: &&i32| arrived(replica) && !now.isr.contains(replica);
            if let Some(replica) = now.replicas.iter().find(lacking) {
                return violated(format!(
                    "{}: at {} of the metadata log broker {replica} is no longer being added to \
                     {:?}, and in sync are {:?}",
                    index.name(*partition),
                    pair[1].offset,
                    was.replicas,
                    now.isr
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;

    #[test]
    fn a_reassignment_that_completes_too_early_is_found() {
        for (isr, holds) in [(vec![1, 2, 3], true), (vec![1, 2], false)] {
            let mut example = Example::in_cluster();
            let mut moving = in_sync(1, 1);
            moving.adding = vec![3];
            example.saw(1, 7, "a", moving);
            let mut done = in_sync(1, 1);
            done.isr = isr;
            example.saw(1, 8, "b", done);
            assert_eq!(example.holds(&CHECK), holds);
        }
    }
}
