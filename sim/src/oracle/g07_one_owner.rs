//! G7 and G9: a partition has one owner at a time, in both protocols.
//!
//! A member is known to own a partition from when it was told to until the last answer that took it
//! for the owner: what it asked then shows that it was a member and had not given the partition up.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{Call, History, Moment, Partition},
};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "G7 one owner",
    claim: "a partition is given to a member when the one before has given it up or is gone",
    judge,
};

/// A time in which a partition was surely a member's.
struct Held<'a> {
    member: &'a str,
    from: Moment,
    until: Moment,
}

/// A time that may go on.
struct Open {
    from: Moment,
    until: Moment,
    /// Whether the member has said that it has the partition.
    is_said: bool,
}

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let mut by_member: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
        for asked in calls {
            by_member.entry(&asked.of.member).or_default().push(asked);
        }
        let mut held: BTreeMap<Partition, Vec<Held<'_>>> = BTreeMap::new();
        for (member, calls) in by_member.into_iter().filter(|(member, _)| !member.is_empty()) {
            for (partition, from, until) in times_of(index.history, &calls) {
                held.entry(partition).or_default().push(Held { member, from, until });
            }
        }
        for (partition, mut times) in held {
            times.sort_by_key(|time| time.from);
            for (at, one) in times.iter().enumerate() {
                let rest = &times[at + 1..];
                let other = rest.iter().find(|other| {
                    other.member != one.member && other.from < one.until
                });
                if let Some(other) = other {
                    let message = format!(
                        "{group}: {} was given to {} while {} had it",
                        index.name(partition),
                        other.member,
                        one.member
                    );
                    let shows = |call: &&Call| {
                        let ends = [one.from, one.until, other.from, other.until];
                        ends.contains(&call.invoked) || call.ended.is_some_and(|at| ends.contains(&at))
                    };
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by(index.history.calls.iter().filter(shows))
                        .saw("partition", index.name(partition))
                        .saw("had it", one.member)
                        .saw("was given it", other.member));
                }
            }
        }
    }
    Ok(())
}

/// When a member surely had which partition.
fn times_of(history: &History, calls: &[Asked<'_>]) -> Vec<(Partition, Moment, Moment)> {
    let mut times = Vec::new();
    let mut open: BTreeMap<Partition, Open> = BTreeMap::new();
    for asked in calls {
        if gives_up_everything(asked) {
            times.extend(std::mem::take(&mut open));
        }
        if let Ask::ConsumerHeartbeat { owned, .. } = &asked.of.ask {
            // Whoever answers, and if nobody does: what a member had and says no more it has given up.
            times.extend(open.extract_if(.., |of, open| open.is_said && !owned.contains(of)));
            open.iter_mut().for_each(|(of, open)| open.is_said |= owned.contains(of));
        }
        let Some(heard) = asked.heard() else { continue };
        // What a broker says that was replaced proves nothing.
        if !groups::is_by_coordinator(history, asked) {
            continue;
        }
        let (invoked, ended) = (asked.call.invoked, asked.call.ended.unwrap_or(Moment::MAX));
        match (&asked.of.ask, heard) {
            (Ask::Heartbeat { .. }, Heard::Alive) => {
                open.values_mut().for_each(|open| open.until = invoked);
            }
            (Ask::Sync { .. }, Heard::Assigned(assigned)) => take(&mut open, assigned, ended),
            (Ask::ConsumerHeartbeat { owned, .. }, Heard::Told { assigned, .. }) => {
                for (_, open) in open.iter_mut().filter(|(of, _)| owned.contains(of)) {
                    open.until = invoked;
                }
                if let Some(assigned) = assigned {
                    take(&mut open, assigned, ended);
                }
            }
            _ => {}
        }
    }
    times.extend(open);
    times.into_iter().map(|(partition, open)| (partition, open.from, open.until)).collect()
}

fn take(open: &mut BTreeMap<Partition, Open>, assigned: &Partitions, at: Moment) {
    for partition in assigned {
        open.entry(*partition).or_insert(Open { from: at, until: at, is_said: false });
    }
}

fn gives_up_everything(asked: &Asked<'_>) -> bool {
    let leaves =
        matches!(asked.of.ask, Ask::Join | Ask::Leave | Ask::ConsumerHeartbeat { epoch: ..=0, .. });
    leaves || asked.is_fenced()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, CHECK, Heard};
    use crate::history::Outcome;

    #[test]
    fn a_partition_that_is_granted_before_it_was_revoked_is_found() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        example.told("a", 1, &[0, 1], 1, None);
        let mut early = example.clone();
        early.told("b", 0, &[], 2, Some(partitions(&[1])));
        early.told("a", 1, &[0, 1], 1, None);
        assert!(!early.holds(&CHECK));
        let evidence = early.violation(&CHECK).evidence;
        assert_eq!((evidence.group.as_deref(), evidence.calls.len()), (Some("g"), 3));
        example.told("b", 0, &[], 2, Some(partitions(&[])));
        example.told("a", 1, &[0, 1], 1, Some(partitions(&[0])));
        example.told("a", 1, &[0], 2, None);
        example.told("b", 2, &[], 2, Some(partitions(&[1])));
        example.told("b", 2, &[1], 2, None);
        example.told("a", 2, &[0], 2, None);
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn a_heartbeat_that_was_taken_by_whom_does_not_know_the_group_yet_proves_nothing() {
        let mut example = Example::new();
        example.synced("a", 1, &partitions(&[0]));
        example.told("b", 0, &[], 2, Some(partitions(&[0])));
        let ask = Ask::Heartbeat { generation: 1 };
        example.asked("a", None, ask, Outcome::Heard(Heard::Taken));
        assert!(example.holds(&CHECK));
        example.alive("a", 1, None);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn what_a_member_said_to_whomever_that_it_has_no_more_is_not_its_own() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        // Nobody hears that it has both, and then that it has one of them.
        for owned in [&[0, 1][..], &[0]] {
            let ask = Ask::ConsumerHeartbeat { epoch: 1, owned: partitions(owned) };
            example.asked("a", None, ask, Outcome::Unknown);
        }
        example.told("b", 0, &[], 2, Some(partitions(&[1])));
        let mut both = example.clone();
        example.told("a", 1, &[0], 2, None);
        assert!(example.holds(&CHECK));
        both.told("a", 1, &[0, 1], 2, Some(partitions(&[0, 1])));
        both.told("b", 2, &[1], 2, None);
        both.told("a", 2, &[0, 1], 2, None);
        assert!(!both.holds(&CHECK), "it was given to both");
    }

    #[test]
    fn a_classic_member_that_is_alive_beside_its_successor_is_found() {
        let mut example = Example::new();
        example.synced("a", 1, &partitions(&[0]));
        example.synced("b", 2, &partitions(&[0]));
        assert!(example.holds(&CHECK));
        example.alive("a", 1, None);
        assert!(!example.holds(&CHECK));
    }
}
