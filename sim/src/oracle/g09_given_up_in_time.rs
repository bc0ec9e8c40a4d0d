//! G9: who does not give a partition up within its rebalance timeout is no member any more (KIP-848), so
//! that others get it.
//!
//! Judged where one broker coordinates and lives: a move gives members more time.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked, Limits},
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{Call, History},
};

pub const CHECK: Check = Check {
    name: "G9 given up in time",
    claim: "a member that does not give a partition up within its rebalance timeout is removed",
    judge,
};

/// How much later it may be removed, in nanoseconds.
const LENIENCE: u64 = 500_000_000;

/// What a member has to give up.
struct Owed<'a> {
    /// Since when, in simulated nanoseconds.
    since: u64,
    /// Which call told it so.
    call: &'a Call,
    partitions: Partitions,
}

fn judge(index: &Index<'_>) -> Verdict {
    let at_most = Limits::of(index.history).rebalance_at_most;
    let at_most = at_most.filter(|_| !index.history.promise.is_cluster());
    let Some(at_most) = at_most else { return Ok(()) };
    for (group, calls) in groups::by_group(index.history) {
        for (member, calls) in groups::by_member(&calls) {
            if let Some((owed, asked)) = too_late(index.history, at_most, &calls) {
                let kept = format!("{:?}", owed.partitions);
                let millis = (asked.call.began - owed.since) / 1_000_000;
                let message =
                    format!("{group}: {member} is a member with {kept}, {millis} ms too long");
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([owed.call, asked.call])
                    .saw("member", member)
                    .saw("keeps", kept));
            }
        }
    }
    Ok(())
}

/// What a member has not given up in time, and the heartbeat that was taken nevertheless.
fn too_late<'a>(
    history: &History,
    at_most: u64,
    calls: &[Asked<'a>],
) -> Option<(Owed<'a>, Asked<'a>)> {
    let mut target: Option<&Partitions> = None;
    let mut owed: Option<Owed<'a>> = None;
    for asked in calls {
        let Ask::ConsumerHeartbeat { epoch: went_by, owned } = &asked.of.ask else { continue };
        let Some(Heard::Told { assigned, .. }) = asked.heard().filter(|_| *went_by >= 0) else {
            (target, owed) = (None, None);
            continue;
        };
        if let Some(owed) = &mut owed {
            owed.partitions.retain(|of| owned.contains(of));
        }
        owed = owed.filter(|owed| !owed.partitions.is_empty());
        let bound = at_most + LENIENCE;
        if let Some(late) = owed.take_if(|owed| {
            asked.call.began > owed.since + bound
                && groups::is_one_coordinator(history, asked, owed.call.invoked)
        }) {
            return Some((late, *asked));
        }
        let Some(assigned) = assigned.as_ref().filter(|assigned| target != Some(*assigned)) else {
            continue;
        };
        let before = target.replace(assigned);
        let had = before.into_iter().flatten().filter(|of| owned.contains(of));
        let partitions: Partitions = had.filter(|of| !assigned.contains(of)).copied().collect();
        let still = owed.take().map(|owed| owed.partitions).unwrap_or_default();
        let partitions: Partitions = partitions.union(&still).copied().collect();
        let partitions: Partitions = partitions.difference(assigned).copied().collect();
        if !partitions.is_empty() {
            owed = Some(Owed { since: asked.call.over, call: asked.call, partitions });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::CHECK;

    fn kept(for_millis: u64, moved: bool) -> bool {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
        example.told("a", 1, &[0, 1], 1, Some(partitions(&[0])));
        example.passes(for_millis);
        if moved {
            example.restarted();
        }
        example.told("a", 1, &[0, 1], 1, None);
        example.told("a", 1, &[0], 2, None);
        example.passes(5_000);
        example.told("a", 2, &[0], 2, None);
        example.holds(&CHECK)
    }

    #[test]
    fn a_member_that_keeps_a_partition_for_too_long_and_is_still_one_is_found() {
        assert!(kept(1_300, false));
        assert!(!kept(1_500, false));
    }

    #[test]
    fn nobody_can_tell_what_is_too_late_where_clocks_stand_still() {
        let held = |slowest: u64| {
            let mut example = Example::new();
            example.history.promise.groups.paces = (slowest, 100);
            example.told("a", 0, &[], 1, Some(partitions(&[0, 1])));
            example.told("a", 1, &[0, 1], 1, Some(partitions(&[0])));
            example.passes(2_500);
            example.told("a", 1, &[0, 1], 1, None);
            example.holds(&CHECK)
        };
        assert!(held(0));
        assert!(held(40));
        assert!(!held(50));
    }

    #[test]
    fn a_move_of_the_coordinator_gives_a_member_more_time() {
        assert!(kept(1_500, true));
    }
}
