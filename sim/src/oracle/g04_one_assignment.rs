//! G4: everybody in a generation has what its one leader gave.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::group::{Ask, Heard, Partitions};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "G4 one assignment",
    claim: "a generation has one leader, and every member gets what that leader gave it",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let everything = groups::by_group(index.history);
    for (group, calls) in everything.into_iter().filter(|(_, calls)| groups::is_classic(calls)) {
        let statics = statics(&calls);
        let mut leaders: BTreeMap<i32, &str> = BTreeMap::new();
        let mut given: BTreeMap<(i32, &str), Vec<&Partitions>> = BTreeMap::new();
        for asked in &calls {
            if let Some(Heard::Joined { generation, leader, .. }) = asked.heard() {
                let before = leaders.insert(*generation, leader);
                // A static leader that has come back has another id.
                let is_static = |id: &str| statics.contains(id);
                let other = before.filter(|before| before != leader);
                if let Some(before) = other.filter(|id| !is_static(id) && !is_static(leader)) {
                    let message = format!(
                        "{group}: generation {generation} is led by {before} and by {leader}"
                    );
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by([asked.call])
                        .saw("leader", before)
                        .saw("and leader", leader));
                }
            }
            if let Ask::Sync { generation, given: shares } = &asked.of.ask {
                for (member, share) in shares {
                    given.entry((*generation, member)).or_default().push(share);
                }
            }
        }
        for asked in &calls {
            let (Ask::Sync { generation, .. }, Some(Heard::Assigned(assigned))) =
                (&asked.of.ask, asked.heard())
            else {
                continue;
            };
            // A static member that has come back gets what was given to the one before.
            let Some(shares) = given.get(&(*generation, &*asked.of.member)) else { continue };
            if !shares.contains(&assigned) {
                let member = &asked.of.member;
                let message = format!(
                    "{group}: in generation {generation} {member} has {assigned:?} and was given \
                     {shares:?}"
                );
                let syncs = calls.iter().filter(|other| match &other.of.ask {
                    Ask::Sync { generation: of, given } => of == generation && !given.is_empty(),
                    _ => false,
                });
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by(syncs.map(|sync| sync.call).chain([asked.call]))
                    .saw("given", format!("{shares:?}"))
                    .saw("told", format!("{assigned:?}")));
            }
        }
    }
    Ok(())
}

/// The ids that static members have had.
fn statics<'a>(calls: &[Asked<'a>]) -> BTreeSet<&'a str> {
    let ids = calls.iter().filter(|asked| asked.of.instance.is_some()).flat_map(|asked| {
        let given = match asked.heard() {
            Some(Heard::Joined { member, .. }) => Some(&**member),
            _ => None,
        };
        given.into_iter().chain([&*asked.of.member])
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::CHECK;

    #[test]
    fn what_the_leader_did_not_give_is_found() {
        let with = |indexes: &[i32]| {
            let mut example = Example::new();
            example.led("a", 1, "b", &partitions(&[1]));
            example.synced("b", 1, &partitions(indexes));
            example.holds(&CHECK)
        };
        assert!(with(&[1]));
        assert!(!with(&[0]));
        assert!(!with(&[]));
    }

    #[test]
    fn two_leaders_of_one_generation_are_found() {
        let mut example = Example::new();
        example.joined("a", 1);
        assert!(example.holds(&CHECK));
        example.joined("b", 1);
        assert!(!example.holds(&CHECK));
    }
}
