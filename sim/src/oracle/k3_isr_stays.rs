//! K3: wall clocks change no ISR. How long a replica lags is monotonic time of its leader's, so that in
//! a run in which nothing else goes wrong with brokers nobody who was in sync leaves.

use super::{Check, Verdict, Violation, index::Index, k2_no_elections::under_faults};
use crate::history::{Partition, PartitionSeen};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "K3 ISR stays",
    claim: "where nothing but wall clocks goes wrong, a replica that is in sync stays so",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let history = index.history;
    if !history.promise.is_undisturbed {
        return Ok(());
    }
    let mut before: BTreeMap<Partition, &PartitionSeen> = BTreeMap::new();
    for seen in under_faults(history) {
        for (partition, now) in &seen.partitions {
            let Some(was) = before.insert(*partition, now) else { continue };
            // A reassignment takes replicas away, and another one may give the same back at once.
            let is_moved = |broker: &i32| {
                let comes_anew = now.adding.contains(broker) && !was.adding.contains(broker);
                comes_anew || !now.replicas.contains(broker)
            };
            let left = |broker: &&i32| !now.isr.contains(broker) && !is_moved(broker);
            if let Some(broker) = was.isr.iter().find(left) {
                let (name, offset) = (index.name(*partition), seen.offset);
                let message = format!(
                    "{name}: broker {broker} is not in sync any more at {offset} of the metadata \
                     log; in sync were {:?}, and are {:?}",
                    was.isr, now.isr
                );
                return Err(Violation::new(message).in_partition(*partition).on([*broker]));
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
    fn a_replica_that_leaves_the_isr_is_found() {
        let mut example = Example::undisturbed();
        let mut smaller = in_sync(1, 1);
        smaller.isr = vec![1, 2];
        smaller.replicas = vec![1, 2];
        example.saw(1, 2, "b", smaller.clone());
        assert!(example.holds(&CHECK), "it is no replica any more");
        example.history.metadata.pop();
        smaller.replicas = vec![1, 2, 3];
        example.saw(1, 2, "b", smaller);
        assert!(!example.holds(&CHECK));
        let seen = example.history.metadata.last_mut().unwrap();
        let partition = seen.partitions.values_mut().next().unwrap();
        partition.adding = vec![3];
        assert!(example.holds(&CHECK), "it was taken away and comes again");
        example.history.metadata.last_mut().unwrap().partitions.values_mut().for_each(|partition| partition.adding.clear());
        example.history.promise.is_undisturbed = false;
        assert!(example.holds(&CHECK), "something else may be to blame");
    }
}
