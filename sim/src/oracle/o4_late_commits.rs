//! O4: a commit of an older member epoch counts for partitions alone that its sender has had ever since
//! (KIP-1251): nobody else can have consumed them. It has a partition until a heartbeat says that it has
//! not, whenever it was told to give it up.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked, FENCED_MEMBER_EPOCH},
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{Outcome, Partition},
};

pub const CHECK: Check = Check {
    name: "O4 late commits",
    claim: "an older member epoch commits partitions alone that the member has had ever since",
    judge,
};

/// What a member was told by one heartbeat.
struct Told<'a> {
    epoch: i32,
    /// What it said that it has.
    owned: &'a Partitions,
    /// What it is to have; `None` while that is not known: answers that it has missed may have said so,
    /// and those since have said no more than that it is no news.
    target: Option<Partitions>,
    /// Whether it has missed an answer before.
    after_gap: bool,
}

impl Told<'_> {
    /// Whether it has a partition, or may have it.
    fn has(&self, of: &Partition) -> bool {
        self.target.as_ref().is_none_or(|target| target.contains(of)) || self.owned.contains(of)
    }
}

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        for (member, calls) in groups::by_member(&calls) {
            let (mut told, mut gap): (Vec<Told<'_>>, bool) = (Vec::new(), false);
            for asked in &calls {
                let wrong = wrongly_committed(asked, &told)
                    .filter(|_| groups::is_by_coordinator(index.history, asked));
                if let Some(partition) = wrong {
                    let name = index.name(partition);
                    let message = format!(
                        "{group}: {member} committed {name} in epoch {:?}, and has not had it since",
                        asked.generation()
                    );
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by([asked.call])
                        .saw("member", member)
                        .saw("partition", name));
                }
                let Ask::ConsumerHeartbeat { epoch: went_by, owned } = &asked.of.ask else {
                    continue;
                };
                if *went_by <= 0 {
                    (told, gap) = (Vec::new(), false);
                }
                let Some(Heard::Told { epoch, assigned }) = asked.heard() else {
                    // A heartbeat of an epoch long past is refused and changes nothing.
                    gap |= asked.call.outcome != Outcome::Failed(FENCED_MEMBER_EPOCH);
                    continue;
                };
                let known = told.last().filter(|_| !gap).and_then(|told| told.target.clone());
                let target = assigned.clone().or(known);
                told.push(Told { epoch: *epoch, owned, target, after_gap: gap });
                gap &= assigned.is_none();
            }
        }
    }
    Ok(())
}

/// A partition that an older epoch commits and may not.
fn wrongly_committed(asked: &Asked<'_>, told: &[Told<'_>]) -> Option<Partition> {
    let Ask::Commit { generation, .. } = &asked.of.ask else { return None };
    let Some(Heard::Committed(codes)) = asked.heard() else { return None };
    let at = told.iter().rposition(|told| told.epoch <= *generation)?;
    let (then, since) = (&told[at], &told[at + 1..]);
    let is_wrong = |of: &&Partition| {
        let got_later = !then.has(of) && !since[0].after_gap;
        got_later || since.iter().any(|told| !told.has(of))
    };
    let taken = codes.iter().filter(|(_, code)| **code == 0).map(|(of, _)| of);
    taken.filter(|_| !since.is_empty()).find(is_wrong).copied()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{CHECK, FENCED_MEMBER_EPOCH};

    fn committed(before: &[i32], after: &[i32], epoch: i32) -> bool {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(before)));
        example.told("a", 1, &[], 2, Some(partitions(after)));
        example.committed("a", epoch, 0, 5);
        example.holds(&CHECK)
    }

    #[test]
    fn what_a_member_is_to_give_up_is_its_own_until_it_says_that_it_is_not() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        example.told("a", 1, &[0, 1], 2, None);
        example.told("a", 2, &[0, 1], 2, Some(partitions(&[1])));
        example.committed("a", 1, 0, 5);
        assert!(example.holds(&CHECK));
        example.told("a", 2, &[1], 3, None);
        example.committed("a", 1, 0, 6);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn what_a_member_may_have_been_told_in_an_answer_that_it_missed_may_be_its_own() {
        let after = |missed: bool, index: i32| {
            let mut example = Example::new();
            example.told("a", 0, &[], 1, Some(partitions(&[0])));
            example.told("a", 1, &[0], 2, None);
            if missed {
                example.unheard("a", 2, &[0]);
            }
            example.told("a", 2, &[0], 2, None);
            example.told("a", 2, &[0], 3, None);
            example.told("a", 3, &[0], 3, Some(partitions(&[0, 1])));
            example.committed("a", 2, index, 5);
            example.holds(&CHECK)
        };
        assert!(after(true, 1));
        assert!(!after(true, 2), "it never had it");
        assert!(!after(false, 1), "it got it later");
    }

    #[test]
    fn an_old_heartbeat_that_is_refused_tells_nothing_and_hides_nothing() {
        let mut example = Example::new();
        example.told("a", 0, &[], 3, Some(partitions(&[0])));
        example.refused("a", 1, FENCED_MEMBER_EPOCH);
        example.told("a", 3, &[0], 4, Some(partitions(&[0, 1])));
        example.committed("a", 3, 1, 5);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn an_older_epoch_that_commits_what_was_given_up_or_got_since_is_found() {
        assert!(committed(&[0, 1], &[0], 1));
        assert!(committed(&[], &[0], 2));
        assert!(!committed(&[0], &[1], 1));
        assert!(!committed(&[1], &[0], 1));
    }
}
