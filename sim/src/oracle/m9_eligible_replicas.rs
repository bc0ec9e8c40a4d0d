//! M9: the eligible leader replicas are those that left an ISR which is too small by now (KIP-966):
//! there are none while `min.insync.replicas` are in sync, whatever it was before (KAFKA-16540).

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "M9 eligible replicas",
    claim: "nobody outside of an ISR of min.insync.replicas members may lead",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for seen in &index.history.metadata {
        for (partition, of) in &seen.partitions {
            let clash = of.elr.iter().any(|replica| of.isr.contains(replica));
            if clash || (!of.elr.is_empty() && of.isr.len() >= of.min_insync as usize) {
                let name = index.name(*partition);
                return violated(format!(
                    "{name}: at {} of the metadata log eligible are {:?}, in sync are {:?}, and {} \
                     must be",
                    seen.offset, of.elr, of.isr, of.min_insync
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
    fn eligible_replicas_of_an_isr_that_is_large_enough_are_found() {
        for (min_insync, holds) in [(2, true), (1, false)] {
            let mut example = Example::in_cluster();
            let mut alone = in_sync(1, 1);
            (alone.isr, alone.elr, alone.min_insync) = (vec![1], vec![2], min_insync);
            example.saw(1, 7, "a", alone);
            assert_eq!(example.holds(&CHECK), holds);
        }
    }
}
