//! M8: a partition is led from its ISR by a broker that is not fenced, and no fenced broker is in an
//! ISR that has another member (KIP-841).

use super::{Check, index::Index};

pub const CHECK: Check = Check {
    name: "M8 only the living",
    claim: "no fenced broker leads, or is in an ISR that has another member",
    judge,
};

fn judge(index: &Index<'_>) -> Result<(), String> {
    for seen in &index.history.metadata {
        for (partition, of) in &seen.partitions {
            let fenced = |broker: &i32| seen.fenced.contains(broker);
            let (name, offset) = (index.name(*partition), seen.offset);
            if let Some(leader) = of.leader.filter(|it| fenced(it) || !of.isr.contains(it)) {
                return Err(format!(
                    "{name}: broker {leader} leads at {offset} of the metadata log; in sync are {:?}, \
                     fenced are {:?}",
                    of.isr, seen.fenced
                ));
            }
            if of.isr.len() > 1 && of.isr.iter().any(fenced) {
                return Err(format!(
                    "{name}: in sync at {offset} of the metadata log are {:?}, fenced are {:?}",
                    of.isr, seen.fenced
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
