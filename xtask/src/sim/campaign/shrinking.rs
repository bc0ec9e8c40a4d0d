//! Which failures of a campaign are shrunk, so that failures with one cause become one group.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context as _;

use super::grouping::{Shape, ShapeOf};
use super::ledger::FailedRun;
use super::plan::Plan;
use crate::sim::scripts;
use crate::sim::shrink::{self, LimitOptions};
use crate::sim::worker::{Run, Worker};

/// How long one failure is shrunk: long enough to lose the faults that do not matter.
const TIME_FOR_EACH: Duration = Duration::from_secs(30);

/// How much is shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrinking {
    /// How many failures at most.
    pub failures: usize,
    /// How long one of them may take.
    pub time_for_each: Duration,
}

impl Shrinking {
    /// Nothing is shrunk.
    pub const NONE: Self = Self::of(0);

    /// So many failures at most.
    #[must_use]
    pub const fn of(failures: usize) -> Self {
        Self { failures, time_for_each: TIME_FOR_EACH }
    }

    /// The failures to shrink: one of each check and of all that took effect, then a second one of
    /// each, and so on. What has come to no end has no script, and cannot be shrunk.
    #[must_use]
    pub fn choose(&self, failures: &[FailedRun]) -> Vec<FailedRun> {
        let mut seen: BTreeMap<(&str, &Shape), usize> = BTreeMap::new();
        let candidates = failures.iter().filter(|run| !run.hash.is_empty());
        let mut ranked: Vec<(usize, &FailedRun)> = candidates
            .map(|run| {
                let alike = seen.entry((&run.check, &run.shape)).or_default();
                *alike += 1;
                (*alike, run)
            })
            .filter(|(_, run)| run.shape_of == ShapeOf::Run)
            .collect();
        ranked.sort_by_key(|(rank, run)| (*rank, run.seed, &run.scenario));
        ranked.into_iter().take(self.failures).map(|(_, run)| run.clone()).collect()
    }

    /// Shrinks one failure, leaves what is left beside its script, and tells what it takes.
    pub fn shrink(
        &self,
        worker: &Worker,
        plan: &Plan,
        jobs: usize,
        failed: &FailedRun,
    ) -> anyhow::Result<Shape> {
        let scenario = plan.scenarios().iter().find(|one| one.name == failed.scenario);
        let scenario = scenario.context("its scenario is not of this campaign")?.clone();
        let run = Run { scenario, seed: failed.seed, mutant: plan.mutant().map(str::to_owned) };
        let file = worker.script_of(&run).context("scripts are not kept")?;
        let limits = LimitOptions::within(
            self.time_for_each,
            NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN),
        );
        let shrunk = shrink::shrink_script(worker, &scripts::read(&file)?, &limits, false)?;
        let written = shrink::write_beside(&file, &shrunk.after)?;
        let least = written.first().map(|file| file.display().to_string()).unwrap_or_default();
        println!("{} seed {}: {}: {least}", run.scenario.name, run.seed, shrunk.summary());
        Ok(Shape::of_kinds(shrunk.after.decisions.fault_kinds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(seed: u64, check: &str, shape: &str) -> FailedRun {
        FailedRun {
            scenario: "a".into(),
            seed,
            check: check.into(),
            message: String::new(),
            shape: Shape::of_kinds([shape]),
            shape_of: ShapeOf::Run,
            hash: "1".into(),
            replay: String::new(),
        }
    }

    fn chosen(failures: usize, of: &[FailedRun]) -> Vec<u64> {
        Shrinking::of(failures).choose(of).iter().map(|run| run.seed).collect()
    }

    #[test]
    fn one_of_each_kind_comes_before_a_second_one_of_any() {
        let failures = [
            failed(1, "L3", "kills"),
            failed(2, "L3", "kills"),
            failed(3, "L3", "kills"),
            failed(4, "L7", "kills"),
            failed(5, "L3", "cuts"),
        ];
        assert!(chosen(0, &failures).is_empty());
        assert_eq!(chosen(4, &failures), [1, 4, 5, 2]);
        assert_eq!(chosen(9, &failures), [1, 4, 5, 2, 3]);
    }

    #[test]
    fn what_has_no_script_or_was_shrunk_before_is_left_alone() {
        let crashed = FailedRun { hash: String::new(), ..failed(1, "worker", "kills") };
        let done = FailedRun { shape_of: ShapeOf::Shrunk, ..failed(2, "L3", "kills") };
        assert_eq!(chosen(9, &[crashed, done, failed(3, "L3", "cuts")]), [3]);
    }
}
