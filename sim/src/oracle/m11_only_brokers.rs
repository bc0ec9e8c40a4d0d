//! M11: what is no broker is not taken for one: it is not registered, and holds no partition.

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "M11 only brokers",
    claim: "a controller that is no broker is not registered and holds no partition",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let brokers = 1..=index.history.promise.brokers;
    for seen in &index.history.metadata {
        let offset = seen.offset;
        if let Some(other) = seen.brokers.keys().find(|id| !brokers.contains(id)) {
            return violated(format!("{other} is registered at {offset} of the metadata log"));
        }
        for (partition, of) in &seen.partitions {
            if let Some(other) = of.replicas.iter().find(|id| !brokers.contains(id)) {
                let name = index.name(*partition);
                return violated(format!("{name}: {other} is a replica at {offset}"));
            }
        }
    }
    let machines = index.history.boundaries.iter().filter(|end| !brokers.contains(&end.machine));
    for boundary in machines {
        if let Some(partition) = boundary.before.keys().next() {
            let (name, machine) = (index.name(*partition), boundary.machine);
            return violated(format!("{name}: machine {machine}, which is no broker, has a log of it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;
    use crate::history::{Boundary, LogImage, Partition};

    #[test]
    fn a_registration_or_a_replica_of_another_machine_is_found() {
        let mut example = Example::in_cluster();
        example.saw(1, 7, "a", in_sync(1, 1));
        assert!(example.holds(&CHECK));
        let mut registered = example.clone();
        registered.history.metadata[0].brokers.insert(4, 9);
        assert!(!registered.holds(&CHECK));
        let mut replicates = in_sync(1, 1);
        replicates.replicas.push(4);
        example.saw(1, 8, "b", replicates);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_log_on_another_machine_is_found() {
        let mut example = Example::in_cluster();
        let logs = [(Partition { topic: 0, index: 0 }, LogImage::default())];
        let of = |machine| Boundary { machine, before: logs.clone().into(), ..Boundary::default() };
        example.history.boundaries.push(of(3));
        assert!(example.holds(&CHECK));
        example.history.boundaries.push(of(4));
        assert!(!example.holds(&CHECK));
    }
}
