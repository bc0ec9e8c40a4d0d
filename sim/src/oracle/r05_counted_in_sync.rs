//! R5: whom a leader counts as in sync is whom the metadata names in the version of the registration by
//! which the leader goes. It is looked at every 20 ms. A leader that counts fewer acknowledges what
//! somebody else, who may be elected, does not have.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::Miscount;

pub const CHECK: Check = Check {
    name: "R5 counted in sync",
    claim: "a leader counts those as in sync whom the metadata names in the same version",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let Some(found) = index.history.miscounts.first() else { return Ok(()) };
    let Miscount { partition, broker, partition_epoch, counted, isr, .. } = found;
    let message = format!(
        "{}: broker {broker} leads and counts {counted:?} as in sync, and in sync in version \
         {partition_epoch} are {isr:?}",
        index.name(*partition)
    );
    Err(Violation::new(message)
        .in_partition(*partition)
        .on([*broker])
        .saw("version of the registration", partition_epoch)
        .saw("counted", format!("{counted:?}"))
        .saw("in sync", format!("{isr:?}")))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::Miscount;

    #[test]
    fn a_leader_that_counts_others_is_found() {
        let mut example = Example::in_cluster();
        assert!(example.holds(&CHECK));
        example.history.miscounts.push(Miscount {
            at: 1,
            partition: PARTITION,
            broker: 2,
            partition_epoch: 7,
            counted: vec![2],
            isr: vec![1, 2],
        });
        assert!(example.violation(&CHECK).message.contains("broker 2 leads and counts [2]"));
    }
}
