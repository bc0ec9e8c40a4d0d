//! What the runs of a campaign add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::grouping::{Shape, ShapeOf};
use super::journal::Written;
use crate::sim::worker::{Report, replay_command};

/// From this many runs that could show an effect, one of them must have shown it.
pub const RUNS_THAT_PROVE_A_FAULT: u64 = 20;

/// The sum over all runs so far.
#[derive(Default)]
pub struct Ledger {
    /// Per scenario.
    pub scenarios: BTreeMap<String, Tally>,
    /// Every run that failed, in the order in which they ended.
    pub failures: Vec<FailedRun>,
    /// How often each situation was reached; those that never were are not in it.
    pub situations: BTreeMap<String, u64>,
    /// The sum over all scenarios.
    pub total: Tally,
    mutant: Option<String>,
}

/// The sum over all runs of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Runs that passed.
    pub passed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Time simulated, in seconds.
    pub simulated_seconds: f64,
    /// Events in all traces.
    pub events: u64,
    /// Wall-clock time of all runs, one behind the other, in milliseconds.
    pub wall_ms: u64,
    /// Client calls with success, an error, and an unknown outcome.
    pub operations: [u64; 3],
    /// How often each fault had an effect.
    pub effects: BTreeMap<String, u64>,
    /// In how many runs a fault that has this effect was switched on.
    pub enabled: BTreeMap<String, u64>,
    /// Effects that should have been seen and never were: their fault was not tested.
    pub missing_effects: Vec<String>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedRun {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The oracle, or `worker` when the process itself went wrong.
    pub check: String,
    /// What it saw.
    pub message: String,
    /// What it takes for this failure to happen, as far as that is known.
    pub shape: Shape,
    /// Whether that is what was left, or all there was.
    pub shape_of: ShapeOf,
    /// The hash of its trace; empty when it came to no end.
    pub hash: String,
    /// The command line that shows it again.
    pub replay: String,
}

impl Ledger {
    /// Nothing yet, of runs with this bug planted.
    #[must_use]
    pub fn new(mutant: Option<&str>) -> Self {
        Self { mutant: mutant.map(str::to_owned), ..Self::default() }
    }

    /// Adds one run; how many runs of its scenario have failed by now.
    pub fn add(&mut self, report: &Report) -> u64 {
        let tally = self.scenarios.entry(report.scenario.clone()).or_default();
        tally.add(report);
        self.total.add(report);
        for (situation, count) in report.situations.iter().filter(|(_, count)| **count > 0) {
            *self.situations.entry(situation.clone()).or_default() += count;
        }
        if !report.passed {
            self.failures.push(FailedRun::of(report, self.mutant.as_deref()));
        }
        tally.failed
    }

    /// Adds everything that is written down, each run once; which runs these are.
    pub fn add_written(&mut self, written: &Written) -> BTreeSet<(String, u64)> {
        let mut done = BTreeSet::new();
        for report in &written.reports {
            if done.insert((report.scenario.clone(), report.seed)) {
                self.add(report);
            }
        }
        for ((scenario, seed), shape) in &written.shrunk {
            self.shrunk(scenario, *seed, shape);
        }
        done
    }

    /// A failed run was shrunk to this.
    pub fn shrunk(&mut self, scenario: &str, seed: u64, shape: &Shape) {
        let is_it = |run: &&mut FailedRun| run.scenario == scenario && run.seed == seed;
        if let Some(run) = self.failures.iter_mut().find(is_it) {
            run.shape = shape.clone();
            run.shape_of = ShapeOf::Shrunk;
        }
    }

    /// How many runs each check has failed.
    #[must_use]
    pub fn failures_by_check(&self) -> BTreeMap<&str, u64> {
        let mut checks = BTreeMap::new();
        for failure in &self.failures {
            *checks.entry(failure.check.as_str()).or_default() += 1;
        }
        checks
    }
}

impl FailedRun {
    fn of(report: &Report, mutant: Option<&str>) -> Self {
        let failure = report.failure.clone().unwrap_or_default();
        Self {
            scenario: report.scenario.clone(),
            seed: report.seed,
            check: failure.check,
            message: failure.message,
            shape: Shape::of_run(report),
            shape_of: ShapeOf::Run,
            hash: report.hash.clone(),
            replay: replay_command(&report.scenario, report.seed, mutant),
        }
    }
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.passed += u64::from(report.passed);
        self.failed += u64::from(!report.passed);
        self.simulated_seconds += report.simulated_seconds;
        self.events += report.events;
        self.wall_ms += report.wall_ms;
        let counted = [report.ops.ok, report.ops.fail, report.ops.unknown];
        for (sum, count) in self.operations.iter_mut().zip(counted) {
            *sum += count;
        }
        for (effect, count) in &report.effects {
            *self.effects.entry(effect.clone()).or_default() += count;
            *self.enabled.entry(effect.clone()).or_default() += 1;
        }
    }

    /// How many runs there were.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.passed + self.failed
    }

    /// The effects that were seen, with how often.
    pub fn seen_effects(&self) -> impl Iterator<Item = (&str, u64)> {
        let seen = self.effects.iter().filter(|(_, count)| **count > 0);
        seen.map(|(effect, count)| (effect.as_str(), *count))
    }

    /// Finds out which effects were possible often enough and never were.
    pub fn find_missing_effects(&mut self) {
        self.missing_effects = self
            .enabled
            .iter()
            .filter(|(effect, runs)| {
                **runs >= RUNS_THAT_PROVE_A_FAULT && self.effects[*effect] == 0
            })
            .map(|(effect, _)| effect.clone())
            .collect();
    }
}

/// How fast runs are, on one core that other processes may share.
pub struct Speed {
    simulated_hours_per_minute: f64,
    events_per_simulated_second: f64,
    seeds_per_minute: f64,
}

impl Speed {
    /// The speed of these runs.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let minutes = (tally.wall_ms as f64 / 60_000.0).max(f64::MIN_POSITIVE);
        Self {
            simulated_hours_per_minute: tally.simulated_seconds / 3_600.0 / minutes,
            events_per_simulated_second: tally.events as f64
                / tally.simulated_seconds.max(f64::MIN_POSITIVE),
            seeds_per_minute: tally.runs() as f64 / minutes,
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.1} simulated hours per minute and core, {:.0} events per simulated second, \
             {:.0} seeds per minute and core",
            self.simulated_hours_per_minute,
            self.events_per_simulated_second,
            self.seeds_per_minute
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::Failure;

    fn report(seed: u64, situations: &[(&str, u64)], check: Option<&str>) -> Report {
        let failure = |check: &str| Failure { check: check.to_owned(), message: "x".into() };
        Report {
            scenario: "a".into(),
            seed,
            passed: check.is_none(),
            situations: situations.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            failure: check.map(failure),
            ..Report::default()
        }
    }

    #[test]
    fn situations_and_failures_add_up() {
        let mut ledger = Ledger::new(Some("early"));
        assert_eq!(ledger.add(&report(1, &[("split", 2), ("odd", 0)], None)), 0);
        assert_eq!(ledger.add(&report(2, &[("split", 1)], Some("L7"))), 1);
        assert_eq!(ledger.add(&report(3, &[], Some("L7"))), 2);
        assert_eq!(ledger.total.runs(), 3);
        assert_eq!(ledger.situations, [("split".to_owned(), 3)].into());
        assert_eq!(ledger.failures_by_check(), [("L7", 2)].into());
        let replay = "cargo xtask sim replay a --seed 2 --mutant early";
        assert_eq!(ledger.failures[0].replay, replay);
    }
}
