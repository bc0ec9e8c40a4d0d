//! Which faults strike in a run, and what members of groups may rely on for all that.

use super::{FaultKind, FaultPlan, Scenario, Trigger};
use crate::{choices::Journal, dice::Dice, history::GroupPromise};

impl FaultPlan {
    /// How often it strikes in the run of this seed, or how often at most if it waits for something.
    #[must_use]
    pub fn times_in(&self, seed: u64) -> u32 {
        Dice::new(seed, &self.name()).within(&self.times).max(0) as u32
    }

    /// Whether it may strike in the run of this seed. What waits for something may always come.
    fn may_strike(&self, seed: u64, journal: &Journal) -> bool {
        let times = self.times_in(seed);
        match &self.trigger {
            Trigger::Drawn | Trigger::At(_) => !journal.strikes(&self.name(), times).is_empty(),
            Trigger::When(_) | Trigger::After(_) => times > 0,
        }
    }
}

/// Those of the faults that may strike in the run of this seed.
#[must_use]
pub fn that_may_strike(plans: &[FaultPlan], seed: u64, journal: &Journal) -> Vec<FaultPlan> {
    plans.iter().filter(|plan| plan.may_strike(seed, journal)).cloned().collect()
}

impl GroupPromise {
    /// What members of groups may rely on in a run of this scenario in which these faults may strike.
    #[must_use]
    pub fn under(scenario: &Scenario, plans: &[FaultPlan]) -> Self {
        let manners = &scenario.workload.group_manners;
        let mut promise = Self {
            session_millis: manners.session_millis,
            rebalance_millis: manners.rebalance_millis,
            ..Self::default()
        };
        let (slowest, fastest) = &mut promise.paces;
        for plan in plans {
            match plan.kind {
                FaultKind::MachinePause | FaultKind::ClockFreeze => *slowest = 0,
                FaultKind::ClientIsolation => promise.is_prompt = false,
                // A broker alone answers when its own disk has stored what it decided.
                FaultKind::SlowDisk if *scenario.cluster.brokers.start() == 1 => {
                    promise.is_prompt = false;
                }
                FaultKind::ClockDrift => {
                    *slowest = plan.pace.start().unsigned_abs().min(*slowest);
                    *fastest = plan.pace.end().unsigned_abs().max(*fastest);
                }
                _ => {}
            }
        }
        promise
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    const TEXT: &str = r#"# Machines stand still, perhaps.
why = "Why: what is promised holds where nothing takes it away."

[cluster]
brokers = 3

[faults.machine-pause]
times = [0, 1]

[faults.clock-drift]
times = 1
pace = [50, 200]

[faults.clock-freeze]
when = "high_watermark(t0/0) > 10"
pause = 300

[faults.client-isolation]
times = [0, 1]
"#;

    fn scenario() -> Scenario {
        Scenario::parse("x", TEXT).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The kinds that may strike in the run of a seed.
    fn kinds(seed: u64) -> Vec<FaultKind> {
        let journal = Journal::new(seed, Trace::new(false));
        let plans = that_may_strike(&scenario().faults, seed, &journal);
        plans.iter().map(|plan| plan.kind).collect()
    }

    #[test]
    fn a_fault_that_strikes_in_some_seeds_is_reckoned_with_in_those_alone() {
        for kind in [FaultKind::MachinePause, FaultKind::ClientIsolation] {
            let strikes = |seed: u64| kinds(seed).contains(&kind);
            assert!((0..50).any(strikes) && !(0..50).all(strikes), "{kind:?}");
        }
        for seed in 0..50 {
            let always = [FaultKind::ClockDrift, FaultKind::ClockFreeze];
            assert!(always.iter().all(|kind| kinds(seed).contains(kind)), "what waits may come");
        }
    }

    #[test]
    fn each_fault_takes_from_the_promise_what_it_makes_uncertain() {
        let under = |kinds: &[FaultKind]| {
            let scenario = scenario();
            let plans = scenario.faults.iter().filter(|plan| kinds.contains(&plan.kind));
            let promise = GroupPromise::under(&scenario, &plans.cloned().collect::<Vec<_>>());
            (promise.paces, promise.is_prompt)
        };
        assert_eq!(under(&[]), ((100, 100), true));
        assert_eq!(under(&[FaultKind::ClockDrift]), ((50, 200), true));
        assert_eq!(under(&[FaultKind::MachinePause]), ((0, 100), true));
        assert_eq!(under(&[FaultKind::ClockFreeze, FaultKind::ClockDrift]), ((0, 200), true));
        assert_eq!(under(&[FaultKind::ClientIsolation]), ((100, 100), false));
    }
}
