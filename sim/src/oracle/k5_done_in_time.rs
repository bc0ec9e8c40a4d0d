//! K5: where faults do nothing but stop processes, a controller with a quorum fences whoever does not
//! run, and a replica takes the role that its broker knows of, both in time. It is looked at every 20
//! ms. Whatever is not done here would keep a partition without a leader for ever.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::Undone;

pub const CHECK: Check = Check {
    name: "K5 done in time",
    claim: "who does not run is fenced in time, and replicas take the role that was given to them",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let Some(overdue) = index.history.overdue.first() else { return Ok(()) };
    let (broker, millis) = (overdue.broker, overdue.millis);
    Err(match &overdue.what {
        Undone::Fences(absent) => {
            let message = format!(
                "broker {broker}, the controller, has not fenced broker {absent} in {millis} ms, \
                 which does not run"
            );
            Violation::new(message).on([broker, *absent]).saw("waited for, in ms", millis)
        }
        Undone::Follows { partition, told, found } => {
            let name = index.name(*partition);
            let message = format!(
                "{name}: broker {broker} knows {told} for {millis} ms, and its replica: {found}"
            );
            Violation::new(message)
                .in_partition(*partition)
                .on([broker])
                .saw("in the metadata", told)
                .saw("its replica", found)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::{Overdue, Undone};

    #[test]
    fn what_is_not_done_in_time_is_found() {
        let (told, found) = ("leader Some(2) in epoch 3".to_owned(), "no open log".to_owned());
        let follows = Undone::Follows { partition: PARTITION, told, found };
        for (what, said) in [(Undone::Fences(3), "not fenced broker 3"), (follows, "no open log")] {
            let mut example = Example::in_cluster();
            assert!(example.holds(&CHECK));
            example.history.overdue.push(Overdue { at: 1, broker: 2, millis: 1_600, what });
            assert!(example.violation(&CHECK).message.contains(said));
        }
    }
}
