//! G5: a member that asks in time stays a member, whoever coordinates. What a coordinator knows of
//! members it finds in the log again, and a move only gives them more time.
//!
//! Judged are members without an instance id: all that speak the consumer protocol, and those of groups
//! that know the classic one alone. A call is taken to arrive within [`groups::ON_THE_WAY`].

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked, FENCED_MEMBER_EPOCH, Limits, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID},
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
    /// There was nothing that it had to do in time up to here, in simulated nanoseconds.
    undisturbed: u64,
    /// Of a consumer: the epoch that it was told.
    epoch: i32,
    /// Of a consumer: what it was told to have.
    target: Partitions,
    /// Of a consumer: whether it has heard every answer since.
    heard_all: bool,
}

fn judge(index: &Index<'_>) -> Verdict {
    let Some(limits) = Limits::of(index.history) else { return Ok(()) };
    for (group, calls) in groups::by_group(index.history) {
        let classic = groups::is_classic(&calls);
        for (member, calls) in groups::by_member(&calls) {
            let mut known: Option<Known<'_>> = None;
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
                known = match asked.of.ask {
                    Ask::ConsumerHeartbeat { .. } => as_consumer(index.history, asked, known),
                    _ if classic => as_classic(index.history, limits, asked, known),
                    _ => known,
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
    let in_time = known.is_some_and(|known| {
        let arrived = asked.call.began + groups::ON_THE_WAY;
        arrived < known.heard + limits.session && arrived < known.undisturbed + limits.rebalance
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
    if *went_by < 0 || asked.is_fenced() {
        return None;
    }
    let told = asked.heard().filter(|_| groups::is_by_coordinator(history, asked));
    let Some(Heard::Told { epoch, assigned }) = told else {
        return known.map(|known| Known { heard_all: false, ..known });
    };
    let began = asked.call.began;
    let (before, target) = match known {
        Some(known) => (known.undisturbed, known.target),
        None => (began, Partitions::new()),
    };
    let target = assigned.clone().unwrap_or(target);
    let undisturbed = if owned.is_subset(&target) { began } else { before };
    let (call, epoch) = (asked.call, *epoch);
    Some(Known { call, heard: began, undisturbed, epoch, target, heard_all: true })
}

fn as_classic<'a>(
    history: &History,
    limits: Limits,
    asked: &Asked<'a>,
    known: Option<Known<'a>>,
) -> Option<Known<'a>> {
    if matches!(asked.of.ask, Ask::Leave) || asked.is_removed() {
        return None;
    }
    if !groups::is_by_coordinator(history, asked) {
        return known;
    }
    let (call, began) = (asked.call, asked.call.began);
    // An answer that waited for others was decided on when it was to be answered.
    let decided = began.max(call.over.saturating_sub(limits.committed));
    let alive = |heard: u64, undisturbed: u64| {
        let (target, heard_all) = (Partitions::new(), true);
        Some(Known { call, heard, undisturbed, epoch: 0, target, heard_all })
    };
    match (&asked.of.ask, &call.outcome) {
        (_, Outcome::Heard(Heard::Joined { .. } | Heard::Assigned(_))) => alive(decided, decided),
        (_, Outcome::Heard(Heard::Alive)) => alive(began, began),
        (Ask::Heartbeat { .. }, Outcome::Failed(REBALANCE_IN_PROGRESS)) => match known {
            Some(known) => alive(began, known.undisturbed),
            None => None,
        },
        _ => known,
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, CHECK, FENCED_MEMBER_EPOCH, Outcome, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID};

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
        let ask = Ask::ConsumerHeartbeat { epoch: 1, owned: partitions(&[]) };
        example.asked("a", None, ask, Outcome::Unknown);
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
    fn nobody_can_tell_what_is_in_time_where_clocks_stand_still() {
        let mut example = Example::new();
        example.history.promise.groups.paces = None;
        example.told("a", 0, &[], 1, None);
        example.refused("a", 1, UNKNOWN_MEMBER_ID);
        assert!(example.holds(&CHECK));
    }
}
