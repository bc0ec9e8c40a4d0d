//! G13: a broker that was replaced as a group's coordinator, and has not heard of it, says nothing any more
//! when it could have been replaced for a session. What it said before was true when it was replaced.
//!
//! It may believe in itself until it has missed the controller for `broker.session.timeout.ms`, which it
//! finds with one of its next heartbeats, or for as long as followers have fetched from it that did not
//! know better. Nobody can tell how long that takes where machines or clocks stand still.

use super::{
    Check, Verdict, Violation,
    groups::{self, Limits},
    index::Index,
};

pub const CHECK: Check = Check {
    name: "G13 replaced coordinators are silent",
    claim: "a broker that has not led a group's partition for longer than its session answers nobody",
    judge,
};

/// When a broker that hears nothing has found that out, at the latest, in nanoseconds of its clock: a
/// session of 1,000 ms, and three heartbeats of 200 ms, since one waits for its answer for two. What a
/// follower vouches for, which is a session and 300 ms, is over before that.
const DOUBTS_WITHIN: u64 = 1_600_000_000;
/// How long it may yet hear from those who could know, and do not, in the same nanoseconds.
const LEARNED_WITHIN: u64 = 1_400_000_000;

fn judge(index: &Index<'_>) -> Verdict {
    let bound = Limits::of(index.history).at_most(DOUBTS_WITHIN + LEARNED_WITHIN);
    let bound = bound.filter(|_| index.history.promise.is_cluster());
    let Some(bound) = bound else { return Ok(()) };
    for (group, calls) in groups::by_group(index.history) {
        for asked in calls.iter().filter(|asked| asked.heard().is_some()) {
            let replaced = groups::replaced_for(index.history, asked);
            if replaced > bound {
                let (broker, millis) = (asked.call.broker, replaced / 1_000_000);
                let message = format!(
                    "{group}: broker {broker} answers, {millis} ms after it was replaced as coordinator"
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([asked.call])
                    .saw("broker", broker)
                    .saw("asked", format!("{:?}", asked.of.ask))
                    .saw("told", format!("{:?}", asked.call.outcome)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;
    use crate::history::CoordinatorsSeen;

    /// A cluster in which these brokers led the one partition of groups, one after the other, in these
    /// epochs, each for so many milliseconds; then a member is told by broker 1 that it is alive.
    fn led(leaders: &[(i32, i32, u64)], slowest: u64) -> Example {
        let mut example = Example::in_cluster();
        example.history.promise.groups.paces = (slowest, 100);
        for (leader, epoch, millis) in leaders {
            sees(&mut example, *leader, *epoch);
            example.passes(*millis);
        }
        example.alive("a", 1, None);
        example
    }

    fn sees(example: &mut Example, leader: i32, epoch: i32) {
        sees_led_by(example, Some(leader), epoch);
    }

    fn sees_led_by(example: &mut Example, leader: Option<i32>, epoch: i32) {
        let (at, nanos) = (example.history.tick(), example.history.nanos);
        let leaders = vec![(leader, epoch)];
        example.history.coordinators.push(CoordinatorsSeen { at, nanos, leaders });
    }

    #[test]
    fn a_broker_that_answers_long_after_it_was_replaced_is_found() {
        let held = |millis: u64, slowest: u64| {
            let mut example = led(&[(1, 4, 500), (2, 5, millis)], slowest);
            sees(&mut example, 2, 5);
            example.holds(&CHECK)
        };
        assert!(held(2_900, 100));
        assert!(!held(3_100, 100));
        assert!(held(5_900, 50), "its clock is slow");
        assert!(!held(6_100, 50));
        assert!(held(60_000, 0), "it may have stood still");
    }

    #[test]
    fn a_broker_that_may_lead_again_when_it_answers_may_answer() {
        let held = |leader: i32, epoch: i32| {
            let mut example = led(&[(1, 4, 500), (2, 5, 9_000)], 100);
            sees(&mut example, leader, epoch);
            example.holds(&CHECK)
        };
        assert!(!held(3, 6));
        assert!(held(1, 6));
        assert!(held(2, 7), "it may have led in epoch 6");
        let nobody_looked = led(&[(1, 4, 500), (2, 5, 9_000)], 100);
        assert!(nobody_looked.holds(&CHECK));
    }

    #[test]
    fn who_is_alone_in_the_isr_is_replaced_by_nobody_until_somebody_else_leads() {
        let held = |leaders: &[(Option<i32>, i32, u64)]| {
            let mut example = Example::in_cluster();
            example.history.promise.groups.paces = (100, 100);
            for (leader, epoch, millis) in leaders {
                sees_led_by(&mut example, *leader, *epoch);
                example.passes(*millis);
            }
            example.alive("a", 1, None);
            let (leader, epoch, _) = leaders.last().copied().expect("somebody led");
            sees_led_by(&mut example, leader, epoch);
            example.holds(&CHECK)
        };
        assert!(held(&[(Some(1), 4, 500), (None, 5, 9_000)]));
        assert!(held(&[(Some(1), 4, 500), (None, 5, 9_000), (Some(2), 6, 2_900)]));
        assert!(!held(&[(Some(1), 4, 500), (None, 5, 500), (Some(2), 6, 3_100)]));
        assert!(!held(&[(Some(1), 4, 500), (Some(2), 5, 500), (None, 6, 2_600)]));
    }

    #[test]
    fn a_broker_that_refuses_may_do_so_for_ever() {
        let mut example = led(&[(1, 4, 500), (2, 5, 9_000)], 100);
        example.history.calls.clear();
        example.refused_beat("a", 1, 16);
        example.committed_in_part("a", &[16, 100]);
        sees(&mut example, 2, 5);
        assert!(example.holds(&CHECK));
        example.committed_in_part("a", &[0, 100]);
        sees(&mut example, 2, 5);
        assert!(!example.holds(&CHECK), "one of its partitions was taken");
    }
}
