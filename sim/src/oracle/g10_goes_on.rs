//! G10: a generation whose members are all there goes on, whoever coordinates: what its leader has given
//! is in the log, and a new coordinator asks nobody to join again.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked, Limits, REBALANCE_IN_PROGRESS},
    index::Index,
};
use crate::{
    group::{Ask, Heard},
    history::{History, Outcome},
};
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "G10 generation goes on",
    claim: "a classic generation ends when somebody joins, leaves or is silent, and for no other reason",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let limits = Limits::of(index.history);
    let everything = groups::by_group(index.history);
    for (group, calls) in everything.into_iter().filter(|(_, calls)| groups::is_classic(calls)) {
        for asked in &calls {
            let Ask::Heartbeat { generation } = asked.of.ask else { continue };
            if asked.call.outcome != Outcome::Failed(REBALANCE_IN_PROGRESS) {
                continue;
            }
            if let Some(before) = ends_for_nothing(index.history, limits, &calls, asked) {
                let member = &asked.of.member;
                let message = format!(
                    "{group}: {member} is to join again, and nothing has happened to generation \
                     {generation}"
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([before.call, asked.call])
                    .saw("generation", generation));
            }
        }
    }
    Ok(())
}

/// The call that shows that the generation went on, if nothing has happened from then on up to the
/// heartbeat that was told that it has ended.
fn ends_for_nothing<'a>(
    history: &History,
    limits: Limits,
    calls: &[Asked<'a>],
    asked: &Asked<'a>,
) -> Option<Asked<'a>> {
    let generation = asked.generation()?;
    let ended = asked.call.ended?;
    let shows = |other: &&Asked<'a>| {
        let good = matches!(other.heard(), Some(Heard::Alive | Heard::Assigned(_)));
        good && other.generation() == Some(generation)
            && other.is_before(asked)
            && groups::is_by_coordinator(history, other)
    };
    let signs: Vec<Asked<'a>> = calls.iter().filter(shows).copied().collect();
    let before = *signs.iter().rfind(|sign| sign.of.member == asked.of.member)?;
    let happens = |other: &Asked<'_>| {
        matches!(other.of.ask, Ask::Join | Ask::Leave)
            && other.call.invoked < ended
            && limits.may_arrive_until(other.call) >= before.call.began
    };
    if calls.iter().any(happens) {
        return None;
    }
    let members: BTreeSet<&str> = signs
        .iter()
        .filter_map(|sign| match &sign.of.ask {
            Ask::Sync { given, .. } => Some(given.keys().map(String::as_str)),
            _ => None,
        })
        .flatten()
        .collect();
    let is_there = |member: &&str| {
        let own = || signs.iter().filter(|sign| sign.of.member == **member);
        let arrived = limits.arrived(asked.call);
        let recent = |sign: &Asked<'_>| arrived < sign.call.began + limits.session;
        own().any(recent) && own().any(|sign| matches!(sign.of.ask, Ask::Sync { .. }))
    };
    let all = !members.is_empty() && members.iter().all(is_there);
    (all && groups::is_by_coordinator(history, asked)).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, CHECK, Heard, Outcome, REBALANCE_IN_PROGRESS};

    /// `a` leads and has given to both.
    fn settled() -> Example {
        let mut example = Example::new();
        example.joined("a", 1);
        example.joined("b", 1);
        example.passes(200);
        let given = ["a", "b"].map(|member| (member.to_owned(), partitions(&[0]))).into();
        let ask = Ask::Sync { generation: 1, given };
        example.asked("a", None, ask, Outcome::Heard(Heard::Assigned(partitions(&[0]))));
        example.synced("b", 1, &partitions(&[1]));
        example.passes(500);
        example
    }

    #[test]
    fn a_generation_that_ends_for_nothing_is_found() {
        let mut example = settled();
        example.alive("a", 1, None);
        example.refused_beat("b", 1, REBALANCE_IN_PROGRESS);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_join_that_nobody_waits_for_may_arrive_when_a_machine_goes_on_that_stood_still() {
        let after = |slowest: u64| {
            let mut example = Example::new();
            example.history.promise.groups.paces = (slowest, 100);
            example.asked("c", None, Ask::Join, Outcome::Unknown);
            example.passes(2_000);
            example.joined("a", 1);
            example.led("a", 1, "a", &partitions(&[0]));
            example.passes(300);
            example.alive("a", 1, None);
            example.passes(300);
            example.refused_beat("a", 1, REBALANCE_IN_PROGRESS);
            example.holds(&CHECK)
        };
        assert!(after(0));
        assert!(!after(100));
    }

    #[test]
    fn a_member_is_silent_while_its_call_is_on_the_way() {
        let after = |on_the_way: u64, is_prompt: bool| {
            let mut example = settled();
            example.history.promise.groups.is_prompt = is_prompt;
            example.alive("a", 1, None);
            example.alive("b", 1, None);
            example.passes(1_000);
            let call = example.asks("b", Ask::Heartbeat { generation: 1 });
            example.passes(on_the_way);
            example.history.end(call, Outcome::Failed(REBALANCE_IN_PROGRESS));
            example.holds(&CHECK)
        };
        assert!(!after(400, false));
        assert!(after(600, false));
        assert!(!after(600, true), "it was answered late, and decided on soon");
    }

    #[test]
    fn a_member_that_joins_or_was_silent_ends_a_generation() {
        let mut joined = settled();
        joined.asked("c", None, Ask::Join, Outcome::Unknown);
        joined.refused_beat("b", 1, REBALANCE_IN_PROGRESS);
        assert!(joined.holds(&CHECK));
        let mut silent = settled();
        silent.passes(800);
        silent.alive("b", 1, None);
        silent.passes(300);
        silent.refused_beat("b", 1, REBALANCE_IN_PROGRESS);
        assert!(silent.holds(&CHECK));
    }
}
