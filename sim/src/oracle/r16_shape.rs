//! R16: who is in sync, and who is eligible, holds the partition; nobody is both, or twice the same;
//! and who leads is in sync.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::PartitionSeen;

pub const CHECK: Check = Check {
    name: "R16 shape",
    claim: "the brokers in sync and the eligible ones are different replicas, and the leader is in sync",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for seen in &index.history.metadata {
        for (partition, of) in &seen.partitions {
            if let Some(what) = wrong_with(of) {
                let (name, offset) = (index.name(*partition), seen.offset);
                let message = format!("{name}: at {offset} of the metadata log {what}");
                return Err(Violation::new(message)
                    .in_partition(*partition)
                    .on([seen.machine])
                    .saw("leader", of.leader.map_or("nobody".into(), |it| format!("broker {it}")))
                    .saw("replicas", format!("{:?}", of.replicas))
                    .saw("in sync", format!("{:?}", of.isr))
                    .saw("eligible", format!("{:?}", of.elr)));
            }
        }
    }
    Ok(())
}

fn wrong_with(of: &PartitionSeen) -> Option<String> {
    let PartitionSeen { leader, isr, replicas, elr, adding, .. } = of;
    let lists = [("replicas", replicas), ("in sync", isr), ("eligible", elr), ("added", adding)];
    for (what, brokers) in lists {
        let mut rest = brokers.iter();
        while let Some(broker) = rest.next() {
            if rest.as_slice().contains(broker) {
                return Some(format!("broker {broker} is twice among the {what}: {brokers:?}"));
            }
            if !replicas.contains(broker) {
                return Some(format!("{what} is broker {broker}, and replicas are {replicas:?}"));
            }
        }
    }
    if let Some(broker) = elr.iter().find(|broker| isr.contains(broker)) {
        return Some(format!("broker {broker} is in sync and eligible"));
    }
    let leader = leader.filter(|leader| !isr.contains(leader))?;
    Some(format!("broker {leader} leads, and in sync are {isr:?}"))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;
    use crate::history::PartitionSeen;

    fn holds(change: impl Fn(&mut PartitionSeen)) -> bool {
        let mut example = Example::in_cluster();
        let mut seen = in_sync(1, 1);
        change(&mut seen);
        example.saw(1, 7, "a", seen);
        example.holds(&CHECK)
    }

    #[test]
    fn every_shape_that_is_wrong_is_found() {
        assert!(holds(|_| {}));
        assert!(holds(|of| (of.isr, of.elr) = (vec![1], vec![2, 3])));
        assert!(holds(|of| (of.isr, of.leader) = (vec![2], None)));
        assert!(!holds(|of| of.isr.push(4)));
        assert!(!holds(|of| of.isr.push(2)));
        assert!(!holds(|of| of.elr.push(4)));
        assert!(!holds(|of| of.elr.push(2)));
        assert!(!holds(|of| (of.isr, of.elr) = (vec![1], vec![2, 2])));
        assert!(!holds(|of| of.replicas.push(3)));
        assert!(!holds(|of| of.adding.push(4)));
        assert!(!holds(|of| of.isr = vec![2, 3]));
    }
}
