//! M8: a partition is led from its ISR by a broker that is not fenced, and no fenced broker is in an
//! ISR that has another member (KIP-841).

use super::{Check, Verdict, Violation, index::Index};

pub const CHECK: Check = Check {
    name: "M8 only the living",
    claim: "no fenced broker leads, or is in an ISR that has another member",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for seen in &index.history.metadata {
        for (partition, of) in &seen.partitions {
            let fenced = |broker: &i32| seen.fenced.contains(broker);
            let (name, offset) = (index.name(*partition), seen.offset);
            let shows = |message: String, brokers: Vec<i32>| {
                let leader = of.leader.map_or("nobody".into(), |leader| format!("broker {leader}"));
                Violation::new(message)
                    .in_partition(*partition)
                    .on(brokers)
                    .saw("leader", leader)
                    .saw("in sync", format!("{:?}", of.isr))
                    .saw("fenced", format!("{:?}", seen.fenced))
            };
            if let Some(leader) = of.leader.filter(|it| fenced(it) || !of.isr.contains(it)) {
                let message = format!(
                    "{name}: broker {leader} leads at {offset} of the metadata log; in sync are {:?}, \
                     fenced are {:?}",
                    of.isr, seen.fenced
                );
                return Err(shows(message, vec![leader]));
            }
            if of.isr.len() > 1 && of.isr.iter().any(fenced) {
                let message = format!(
                    "{name}: in sync at {offset} of the metadata log are {:?}, fenced are {:?}",
                    of.isr, seen.fenced
                );
                return Err(shows(message, of.isr.iter().copied().filter(|it| fenced(it)).collect()));
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
    fn a_fenced_leader_or_member_is_found() {
        for fenced in [1, 2] {
            let mut example = Example::in_cluster();
            example.saw(1, 7, "a", in_sync(1, 1));
            assert!(example.holds(&CHECK));
            example.history.metadata[0].fenced = vec![fenced];
            assert!(!example.holds(&CHECK));
        }
    }

    #[test]
    fn the_last_member_stays_though_it_is_fenced() {
        let mut example = Example::in_cluster();
        let mut alone = in_sync(1, 1);
        (alone.isr, alone.leader) = (vec![2], None);
        example.saw(1, 7, "a", alone);
        example.history.metadata[0].fenced = vec![2];
        assert!(example.holds(&CHECK));
    }
}
