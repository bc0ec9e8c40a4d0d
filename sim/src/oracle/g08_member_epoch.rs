//! G8: a member gets a newer epoch when it has given up what is not its own any more.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::Outcome,
};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "G8 member epoch",
    claim: "a member whose epoch grows has nothing but what it is assigned",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let mut by_member: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
        for asked in calls {
            by_member.entry(&asked.of.member).or_default().push(asked);
        }
        for (member, calls) in by_member {
            judge_member(&calls).map_err(|found| Violation { message: format!("{group}: {member} {}", found.message), ..found.in_group(group) })?;
        }
    }
    Ok(())
}

fn judge_member(calls: &[Asked<'_>]) -> Verdict {
    let mut target: Option<&Partitions> = None;
    // Whether the member has heard every answer. It sends the epoch before one that it missed, and
    // is then told the newer epoch and what to give up in that one together.
    let mut heard_all = true;
    for asked in calls {
        let Ask::ConsumerHeartbeat { epoch: went_by, owned } = &asked.of.ask else { continue };
        match &asked.call.outcome {
            Outcome::Heard(Heard::Told { epoch, assigned }) => {
                target = assigned.as_ref().or(target);
                let grew = heard_all && *went_by > 0 && epoch > went_by;
                heard_all = true;
                if let Some(target) = target.filter(|target| grew && !owned.is_subset(target)) {
                    let message =
                        format!("is in epoch {epoch} with {owned:?}, assigned {target:?}");
                    return Err(Violation::new(message)
                        .shown_by([asked.call])
                        .saw("epoch before", went_by)
                        .saw("epoch told", epoch)
                        .saw("has", format!("{owned:?}"))
                        .saw("assigned", format!("{target:?}")));
                }
            }
            // What was decided is not known: the next answer may say again what this one said.
            Outcome::Unknown | Outcome::Failed(_) => (target, heard_all) = (None, false),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, CHECK, Outcome};

    #[test]
    fn an_epoch_that_grows_before_partitions_are_given_up_is_found() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        example.told("a", 1, &[0, 1], 1, Some(partitions(&[0])));
        let mut early = example.clone();
        early.told("a", 1, &[0, 1], 2, None);
        assert!(!early.holds(&CHECK));
        example.told("a", 1, &[0], 2, None);
        assert!(example.holds(&CHECK));
    }

    /// The newer epoch came with an answer that was lost, while the partition was still its own.
    #[test]
    fn an_epoch_that_a_member_has_not_heard_of_may_come_with_what_it_is_to_give_up() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        let ask = Ask::ConsumerHeartbeat { epoch: 1, owned: partitions(&[0, 1]) };
        example.asked("a", None, ask, Outcome::Failed(15));
        example.told("a", 1, &[0, 1], 2, Some(partitions(&[0])));
        assert!(example.holds(&CHECK));
        example.told("a", 2, &[0, 1], 3, None);
        assert!(!example.holds(&CHECK));
    }
}
