//! G4: everybody in a generation has what its one leader gave.
//!
//! Assignments name topics, and a topic may have been made anew between what the leader gave and what a
//! member took: they are compared by name.

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
        let statics = statics(index, group, &calls);
        let is_static = |id: &str| statics.values().any(|ids| ids.contains(id));
        let mut leaders: BTreeMap<i32, &str> = BTreeMap::new();
        let mut given: BTreeMap<(i32, &str), Vec<Named<'_>>> = BTreeMap::new();
        for asked in &calls {
            if let Some(Heard::Joined { generation, leader, .. }) = asked.heard() {
                let before = leaders.insert(*generation, leader);
                // A static leader that has come back has another id.
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
                    given.entry((*generation, member)).or_default().push(named(index, share));
                }
            }
        }
        for asked in &calls {
            let (Ask::Sync { generation, .. }, Some(Heard::Assigned(assigned))) =
                (&asked.of.ask, asked.heard())
            else {
                continue;
            };
            let assigned = named(index, assigned);
            let shares: Vec<_> = ids_of(asked, &statics)
                .filter_map(|id| given.get(&(*generation, id)))
                .flatten()
                .collect();
            let is_given = match shares.is_empty() {
                true => assigned.is_empty(),
                false => shares.contains(&&assigned),
            };
            if !is_given {
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

/// Partitions by the names of their topics.
type Named<'a> = BTreeSet<(&'a str, i32)>;

fn named<'a>(index: &Index<'a>, partitions: &Partitions) -> Named<'a> {
    let topics = &index.history.topics;
    partitions.iter().map(|of| (&*topics[of.topic].name, of.index)).collect()
}

/// The ids to which the share of a member may have been given: of a static one that has come back,
/// also those before.
fn ids_of<'a>(
    asked: &Asked<'a>,
    statics: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> impl Iterator<Item = &'a str> {
    let instance = asked.of.instance.as_deref();
    let others = instance.and_then(|instance| statics.get(instance).cloned()).unwrap_or_default();
    let own = &*asked.of.member;
    [own].into_iter().chain(others.into_iter().filter(move |id| *id != own))
}

/// The ids that static members have had, by their instances: what they were told themselves, and what
/// leaders were, for the answer to a member may be lost.
fn statics<'a>(
    index: &Index<'a>,
    group: &str,
    calls: &[Asked<'a>],
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut statics: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let told = index.history.instances.iter().filter(|((of, _), _)| of == group);
    for ((_, id), instance) in told {
        statics.entry(instance).or_default().insert(id);
    }
    for asked in calls {
        let Some(instance) = asked.of.instance.as_deref() else { continue };
        let ids = statics.entry(instance).or_default();
        ids.insert(&asked.of.member);
        if let Some(Heard::Joined { member, .. }) = asked.heard() {
            ids.insert(member);
        }
    }
    statics
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, BTreeMap, CHECK, Heard};
    use crate::history::{Outcome, Partition, Topic};

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
    fn a_member_that_was_given_nothing_has_nothing() {
        let with = |indexes: &[i32]| {
            let mut example = Example::new();
            example.led("a", 1, "b", &partitions(&[1]));
            example.synced("c", 1, &partitions(indexes));
            example.holds(&CHECK)
        };
        assert!(with(&[]));
        assert!(!with(&[0]));
    }

    #[test]
    fn a_static_member_that_comes_back_has_what_was_given_to_the_one_before() {
        let with = |indexes: &[i32]| {
            let mut example = Example::new();
            example.joined_as("b", 1, "i");
            example.led("a", 1, "b", &partitions(&[1]));
            example.joined_as("c", 1, "i");
            let ask = Ask::Sync { generation: 1, given: BTreeMap::new() };
            let heard = Outcome::Heard(Heard::Assigned(partitions(indexes)));
            example.asked("c", Some("i"), ask, heard);
            example.holds(&CHECK)
        };
        assert!(with(&[1]));
        assert!(!with(&[0]));
        assert!(!with(&[]));
    }

    #[test]
    fn a_static_member_that_never_heard_its_id_has_what_was_given_to_that_id() {
        let with = |told: &str| {
            let mut example = Example::new();
            example.led("a", 1, "b", &partitions(&[1]));
            example.history.instances.insert(("g".into(), "b".into()), told.into());
            example.joined_as("c", 1, "i");
            let ask = Ask::Sync { generation: 1, given: BTreeMap::new() };
            let heard = Outcome::Heard(Heard::Assigned(partitions(&[1])));
            example.asked("c", Some("i"), ask, heard);
            example.holds(&CHECK)
        };
        assert!(with("i"));
        assert!(!with("j"));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_the_one_of_its_name() {
        let with = |name: &str| {
            let mut example = Example::new();
            example.led("a", 1, "b", &partitions(&[1]));
            let again = Topic { name: name.into(), ..example.history.topics[0].clone() };
            example.history.topics.push(again);
            example.synced("b", 1, &[Partition { topic: 1, index: 1 }].into());
            example.holds(&CHECK)
        };
        assert!(with("t"));
        assert!(!with("u"));
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
