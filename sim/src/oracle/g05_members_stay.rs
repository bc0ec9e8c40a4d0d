//! G5: a member that asks in time stays a member, whoever coordinates. What a coordinator knows of
//! members it finds in the log again, and a move only gives them more time.
//!
//! Judged are members without an instance id: all that speak the consumer protocol, and those of groups
//! that know the classic one alone. A broker that stands still removes them later, not sooner.

use super::{
    Check, Verdict, Violation,
    groups::{
        self, Asked, FENCED_MEMBER_EPOCH, ILLEGAL_GENERATION, Limits, REBALANCE_IN_PROGRESS,
        UNKNOWN_MEMBER_ID,
    },
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{Call, History, Outcome},
};

pub const CHECK: Check = Check {
    name: "G5 members stay",
    claim: "a member that is never silent and does everything in time is not removed",
    judge,
};

/// What is known of a member.
#[derive(Clone)]
struct Known<'a> {
    /// The last call that shows that it is one.
    call: &'a Call,
    /// Its session began anew then or later, in simulated nanoseconds.
    heard: u64,
    /// There was nothing that it had to do in time up to here, in simulated nanoseconds; `None` while
    /// nobody can tell.
    undisturbed: Option<u64>,
    /// Of a consumer: the epoch that it was told; of a classic member: the generation.
    epoch: i32,
    /// Of a consumer: what it was told to have; `None` while an answer that it has missed may have told
    /// it something else.
    target: Option<Partitions>,
    /// Of a consumer: whether it has heard every answer since.
    heard_all: bool,
}

fn judge(index: &Index<'_>) -> Verdict {
    let limits = Limits::of(index.history);
    for (group, calls) in groups::by_group(index.history) {
        let classic = groups::is_classic(&calls);
        for (member, calls) in groups::by_member(&calls) {
            let mut known: Option<Known<'_>> = None;
            let mut missed: Option<u64> = None;
            let dynamic = calls.iter().filter(|asked| asked.of.instance.is_none());
            for asked in dynamic {
                if is_wrong(index.history, limits, asked, known.as_ref()) {
                    let shows = known.map(|known| known.call).into_iter().chain([asked.call]);
                    let message =
                        format!("{group}: {member} was removed and had done everything in time");
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by(shows)
                        .saw("member", member)
                        .saw("asked", format!("{:?}", asked.of.ask))
                        .saw("told", format!("{:?}", asked.call.outcome)));
                }
                let before = (known, missed);
                (known, missed) = match asked.of.ask {
                    Ask::ConsumerHeartbeat { .. } => {
                        (as_consumer(index.history, asked, before.0), None)
                    }
                    _ if classic => as_classic(index.history, limits, asked, before),
                    _ => before,
                };
            }
        }
    }
    Ok(())
}

/// Whether the answer says that somebody is no member, or not with this epoch, who must be.
fn is_wrong(
    history: &History,
    limits: Limits,
    asked: &Asked<'_>,
    known: Option<&Known<'_>>,
) -> bool {
    let Outcome::Failed(code) = asked.call.outcome else { return false };
    let arrived = limits.arrived(asked.call);
    let in_time = known.is_some_and(|known| {
        let has_time = |since: u64| arrived < since + limits.rebalance;
        arrived < known.heard + limits.session && known.undisturbed.is_some_and(has_time)
    });
    let is_removed = match (&asked.of.ask, code) {
        // Whatever has become of it, it may join.
        (Ask::ConsumerHeartbeat { epoch: 0, .. }, UNKNOWN_MEMBER_ID | FENCED_MEMBER_EPOCH) => true,
        (Ask::ConsumerHeartbeat { epoch: 1.., .. }, UNKNOWN_MEMBER_ID) => in_time,
        (Ask::ConsumerHeartbeat { epoch: went_by @ 1.., .. }, FENCED_MEMBER_EPOCH) => {
            in_time && known.is_some_and(|known| known.heard_all && known.epoch == *went_by)
        }
        (Ask::Join | Ask::Sync { .. } | Ask::Heartbeat { .. }, UNKNOWN_MEMBER_ID) => in_time,
        _ => false,
    };
    is_removed && groups::is_by_coordinator(history, asked)
}

fn as_consumer<'a>(
    history: &History,
    asked: &Asked<'a>,
    known: Option<Known<'a>>,
) -> Option<Known<'a>> {
    let Ask::ConsumerHeartbeat { epoch: went_by, owned } = &asked.of.ask else { return known };
    let is_of_old = known.as_ref().is_some_and(|known| known.epoch != *went_by);
    if asked.call.outcome == Outcome::Failed(FENCED_MEMBER_EPOCH) && *went_by > 0 && is_of_old {
        // What is refused changes nothing, and what has to be done in time is due as it was.
        return known;
    }
    if *went_by < 0 || asked.is_fenced() {
        return None;
    }
    let told = asked.heard().filter(|_| groups::is_by_coordinator(history, asked));
    let Some(Heard::Told { epoch, assigned }) = told else {
        return known.map(|known| Known { target: None, heard_all: false, ..known });
    };
    let began = asked.call.began;
    let (before, target) = known.map_or((None, None), |known| (known.undisturbed, known.target));
    // An answer that has no assignment says that it is as before.
    let target = assigned.clone().or(target);
    let has_given_up = target.as_ref().is_some_and(|target| owned.is_subset(target));
    let undisturbed = if has_given_up { Some(began) } else { before };
    let (call, epoch) = (asked.call, *epoch);
    Some(Known { call, heard: began, undisturbed, epoch, target, heard_all: true })
}

/// What is known after a call of a classic member, and since when it may be in a generation that it has
/// not heard of: one whose join nobody heard to be answered, or that is not in the generation any more
/// that it knows.
fn as_classic<'a>(
    history: &History,
    limits: Limits,
    asked: &Asked<'a>,
    (known, missed): (Option<Known<'a>>, Option<u64>),
) -> (Option<Known<'a>>, Option<u64>) {
    let Asked { call, of } = *asked;
    if matches!(of.ask, Ask::Leave) || asked.is_removed() {
        return (None, None);
    }
    let is_told = groups::is_by_coordinator(history, asked);
    let heard = asked.heard().filter(|_| is_told);
    let alive = |heard: u64, undisturbed: Option<u64>, epoch: i32| {
        let (target, heard_all) = (None, true);
        Some(Known { call, heard, undisturbed, epoch, target, heard_all })
    };
    let decided = limits.decided(call);
    match (&of.ask, heard) {
        (_, Some(Heard::Joined { generation, .. })) => {
            let again = known.as_ref().filter(|known| known.epoch == *generation);
            // To be told again of a generation gives no more time for it.
            let since = again.map_or(Some(missed.unwrap_or(decided)), |known| known.undisturbed);
            (alive(decided, since, *generation), None)
        }
        (Ask::Sync { generation, .. }, Some(Heard::Assigned(_))) => {
            (alive(decided, Some(decided), *generation), missed)
        }
        (Ask::Heartbeat { generation }, Some(Heard::Alive)) => {
            (alive(call.began, Some(call.began), *generation), missed)
        }
        (Ask::Heartbeat { .. }, _) if call.outcome == Outcome::Failed(REBALANCE_IN_PROGRESS) => {
            let after = |known: Known<'a>| alive(call.began, known.undisturbed, known.epoch);
            let after = if is_told { known.and_then(after) } else { known };
            (after, missed)
        }
        (Ask::Join, _) => (known, Some(missed.unwrap_or(call.began))),
        _ if call.outcome == Outcome::Failed(ILLEGAL_GENERATION) => {
            let since = known.as_ref().and_then(|known| known.undisturbed);
            (known, missed.or(since))
        }
        _ => (known, missed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{
        Ask, CHECK, FENCED_MEMBER_EPOCH, ILLEGAL_GENERATION, Outcome, REBALANCE_IN_PROGRESS,
        UNKNOWN_MEMBER_ID,
    };

    #[test]
    fn a_consumer_that_is_removed_before_its_session_is_over_is_found() {
        let after = |silent: u64, code: i16| {
            let mut example = Example::new();
            example.told("a", 0, &[], 1, Some(partitions(&[0])));
            example.passes(silent);
            example.refused("a", 1, code);
            example.holds(&CHECK)
        };
        assert!(after(1_600, UNKNOWN_MEMBER_ID));
        assert!(!after(700, UNKNOWN_MEMBER_ID));
        assert!(!after(700, FENCED_MEMBER_EPOCH));
    }

    #[test]
    fn a_consumer_that_has_not_given_up_what_it_was_to_may_be_removed() {
        let after = |owned: &[i32]| {
            let mut example = Example::new();
            example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
            for _ in 0..4 {
                example.passes(300);
                example.told("a", 1, owned, 1, Some(partitions(&[0])));
            }
            example.refused("a", 1, UNKNOWN_MEMBER_ID);
            example.holds(&CHECK)
        };
        assert!(after(&[0, 1]));
        assert!(!after(&[0]));
    }

    #[test]
    fn a_consumer_that_missed_an_answer_may_be_fenced_and_joins_again() {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, None);
        example.unheard("a", 1, &[]);
        example.refused("a", 1, FENCED_MEMBER_EPOCH);
        assert!(example.holds(&CHECK));
        example.refused("a", 0, FENCED_MEMBER_EPOCH);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_classic_member_whose_join_is_refused_although_it_was_alive_is_found() {
        let after = |late: u64| {
            let mut example = Example::new();
            example.joined("a", 1);
            example.synced("a", 1, &partitions(&[0]));
            example.passes(late);
            example.refused_beat("a", 1, REBALANCE_IN_PROGRESS);
            example.asked("a", None, Ask::Join, Outcome::Failed(UNKNOWN_MEMBER_ID));
            example.holds(&CHECK)
        };
        assert!(!after(300));
        assert!(after(1_000));
    }

    #[test]
    fn an_old_heartbeat_that_is_refused_gives_no_more_time_to_give_up_what_is_owed() {
        let after = |owned: &[i32], code: i16| {
            let mut example = Example::new();
            example.told("a", 0, &[], 5, Some(partitions(&[0, 1])));
            example.told("a", 5, &[0, 1], 5, Some(partitions(&[0])));
            example.passes(300);
            example.refused("a", 2, FENCED_MEMBER_EPOCH);
            example.passes(300);
            example.told("a", 5, owned, 5, None);
            example.passes(350);
            example.refused("a", 5, code);
            example.holds(&CHECK)
        };
        assert!(after(&[0, 1], UNKNOWN_MEMBER_ID));
        assert!(!after(&[0], UNKNOWN_MEMBER_ID), "it has given up what it was to");
        assert!(!after(&[0], FENCED_MEMBER_EPOCH), "it goes by its own epoch");
    }

    #[test]
    fn a_consumer_that_may_not_have_heard_what_it_is_to_give_up_may_be_removed() {
        let after = |hears_all: bool| {
            let mut example = Example::new();
            example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
            example.unheard("a", 1, &[0, 1]);
            for _ in 0..3 {
                example.passes(300);
                let all = hears_all.then(|| partitions(&[0, 1]));
                example.told("a", 1, &[0, 1], 1, all);
            }
            example.passes(50);
            example.refused("a", 1, UNKNOWN_MEMBER_ID);
            example.holds(&CHECK)
        };
        assert!(after(false));
        assert!(!after(true));
    }

    #[test]
    fn a_consumer_of_which_only_this_is_known_that_it_has_too_much_may_be_removed() {
        let after = |assigned: Option<&[i32]>| {
            let mut example = Example::new();
            example.told("a", 3, &[0, 1], 3, assigned.map(partitions));
            example.passes(100);
            example.refused("a", 3, UNKNOWN_MEMBER_ID);
            example.holds(&CHECK)
        };
        assert!(after(None));
        assert!(after(Some(&[0])));
        assert!(!after(Some(&[0, 1])));
    }

    #[test]
    fn a_generation_that_is_told_again_gives_no_more_time_to_sync() {
        let after = |again: i32| {
            let mut example = Example::new();
            example.joined("a", 1);
            example.passes(800);
            example.joined("a", again);
            example.passes(200);
            let ask = Ask::Sync { generation: again, given: [].into() };
            example.asked("a", None, ask, Outcome::Failed(UNKNOWN_MEMBER_ID));
            example.holds(&CHECK)
        };
        assert!(after(1));
        assert!(!after(2));
    }

    #[test]
    fn a_generation_that_a_member_may_have_missed_began_when_it_may_have() {
        let after = |missed: &dyn Fn(&mut Example)| {
            let mut example = Example::new();
            example.joined("a", 1);
            example.synced("a", 1, &partitions(&[0]));
            example.passes(100);
            missed(&mut example);
            example.passes(750);
            example.joined("a", 2);
            example.passes(200);
            example.refused_beat("a", 2, UNKNOWN_MEMBER_ID);
            example.holds(&CHECK)
        };
        assert!(after(&|example| example.asked("a", None, Ask::Join, Outcome::Unknown)));
        assert!(after(&|example| example.refused_beat("a", 1, ILLEGAL_GENERATION)));
        assert!(!after(&|_| {}));
    }

    #[test]
    fn the_first_generation_of_a_member_may_have_begun_before_it_hears_of_it() {
        let mut example = Example::new();
        example.asked("a", None, Ask::Join, Outcome::Unknown);
        example.passes(800);
        example.joined("a", 1);
        example.passes(200);
        example.refused_beat("a", 1, UNKNOWN_MEMBER_ID);
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn who_does_not_know_when_a_call_arrived_goes_by_when_it_was_answered() {
        let after = |takes: u64, is_prompt: bool| {
            let mut example = Example::new();
            example.history.promise.groups.is_prompt = is_prompt;
            example.told("a", 0, &[], 1, Some(partitions(&[])));
            example.passes(700);
            let call = example.asks("a", Ask::ConsumerHeartbeat { epoch: 1, owned: [].into() });
            example.passes(takes);
            example.history.end(call, Outcome::Failed(UNKNOWN_MEMBER_ID));
            example.holds(&CHECK)
        };
        assert!(!after(50, false));
        assert!(after(300, false));
        assert!(!after(300, true), "it arrived soon, and had time then");
    }

    #[test]
    fn a_member_that_is_removed_too_early_is_found_also_where_machines_stand_still() {
        let after = |silent: u64| {
            let mut example = Example::new();
            example.history.promise.groups.paces = (0, 100);
            example.told("a", 0, &[], 1, Some(partitions(&[])));
            example.passes(silent);
            example.refused("a", 1, UNKNOWN_MEMBER_ID);
            example.holds(&CHECK)
        };
        assert!(!after(850));
        assert!(after(1_550));
    }
}
