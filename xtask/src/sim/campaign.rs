//! Many seeds of many scenarios: what failed, and which faults never had an effect.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::explain;
use super::pool;
use super::progress::Progress;
use super::scenario::Scenario;
use super::seeds::Seeds;
use super::worker::{Report, Run, Worker};
use crate::counts::Counts;

/// From this many runs that could show an effect, one of them must have shown it.
pub const RUNS_THAT_PROVE_A_FAULT: u64 = 20;

/// How many failed seeds of one scenario are printed in full length.
const FAILURES_SHOWN: u64 = 5;

/// What to run.
pub struct Campaign {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The seeds of each scenario; a frozen failure brings its own.
    pub seeds: Seeds,
    /// Processes at once.
    pub jobs: usize,
    /// The bug to plant in every run.
    pub mutant: Option<String>,
}

/// What a campaign found.
#[derive(Serialize)]
pub struct Summary {
    /// Runs that passed.
    pub passed: u64,
    /// Runs that failed, and effects that never were.
    pub failed: u64,
    /// Wall-clock time, in seconds.
    pub wall_seconds: f64,
    /// The planted bug.
    pub mutant: Option<String>,
    /// Per scenario: what happened over all its seeds.
    pub scenarios: BTreeMap<String, Tally>,
    /// Every run, by scenario and seed.
    pub runs: Vec<Report>,
}

/// The sum over all runs of one scenario.
#[derive(Clone, Debug, Default, Serialize)]
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

impl Campaign {
    /// Runs everything and prints what happens.
    pub fn run(&self, worker: &Worker) -> anyhow::Result<Summary> {
        let started = Instant::now();
        let runs = self.runs();
        anyhow::ensure!(!runs.is_empty(), "there is no scenario to run");
        let mut progress = Progress::start(runs.len() as u64);
        let mut reports: Vec<(usize, Report)> = Vec::with_capacity(runs.len());
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        pool::for_each(
            self.jobs,
            runs.into_iter(),
            |run| worker.run(run),
            |position, run, report| {
                let tally = tallies.entry(report.scenario.clone()).or_default();
                tally.add(&report);
                if !report.passed {
                    announce(&progress, worker, (&run, &report), tally.failed);
                }
                progress.advance(report.passed);
                reports.push((position, report));
                ControlFlow::Continue(())
            },
        );
        progress.clear();
        reports.sort_by_key(|(position, _)| *position);
        let runs = reports.into_iter().map(|(_, report)| report).collect();
        let summary = Summary::new(runs, tallies, self.mutant.clone(), started.elapsed());
        summary.print();
        Ok(summary)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for scenario in &self.scenarios {
            let seeds: Vec<u64> = if scenario.frozen_seeds.is_empty() {
                self.seeds.iter().collect()
            } else {
                scenario.frozen_seeds.clone()
            };
            runs.extend(seeds.into_iter().map(|seed| Run {
                scenario: scenario.clone(),
                seed,
                mutant: self.mutant.clone(),
            }));
        }
        runs
    }
}

impl Summary {
    fn new(
        runs: Vec<Report>,
        mut scenarios: BTreeMap<String, Tally>,
        mutant: Option<String>,
        wall: Duration,
    ) -> Self {
        let (mut passed, mut failed) = (0, 0);
        for tally in scenarios.values_mut() {
            tally.find_missing_effects();
            passed += tally.passed;
            failed += tally.failed + tally.missing_effects.len() as u64;
        }
        Self { passed, failed, wall_seconds: wall.as_secs_f64(), mutant, scenarios, runs }
    }

    /// The runs and faults that passed and failed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { passed: self.passed, failed: self.failed }
    }

    fn print(&self) {
        let width = self.scenarios.keys().map(String::len).max().unwrap_or(0);
        for (name, tally) in &self.scenarios {
            let effects: Vec<String> = tally
                .effects
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(effect, count)| format!("{effect} {count}"))
                .collect();
            let [ok, fail, unknown] = tally.operations;
            println!(
                "{name:width$}  {} of {} passed, {:.0} s simulated, \
                 calls {ok} ok {fail} failed {unknown} unknown; {}",
                tally.passed,
                tally.passed + tally.failed,
                tally.simulated_seconds,
                if effects.is_empty() {
                    "no fault had an effect".into()
                } else {
                    effects.join(", ")
                },
            );
            println!("{:width$}    {}", "", Speed::of(tally));
            for effect in &tally.missing_effects {
                println!(
                    "FAILED {name}: `{effect}` was possible in {} runs and never happened",
                    tally.enabled[effect],
                );
            }
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

    fn find_missing_effects(&mut self) {
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
struct Speed {
    simulated_hours_per_minute: f64,
    events_per_simulated_second: f64,
    seeds_per_minute: f64,
}

impl Speed {
    fn of(tally: &Tally) -> Self {
        let minutes = (tally.wall_ms as f64 / 60_000.0).max(f64::MIN_POSITIVE);
        let seeds = tally.passed + tally.failed;
        Self {
            simulated_hours_per_minute: tally.simulated_seconds / 3_600.0 / minutes,
            events_per_simulated_second: tally.events as f64
                / tally.simulated_seconds.max(f64::MIN_POSITIVE),
            seeds_per_minute: seeds as f64 / minutes,
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

fn announce(progress: &Progress, worker: &Worker, (run, report): (&Run, &Report), nth: u64) {
    let failure = report.failure.clone().unwrap_or_default();
    if nth <= FAILURES_SHOWN {
        progress.say(&format!(
            "FAILED {} seed {}: {}: {}\n       {}",
            report.scenario,
            report.seed,
            failure.check,
            failure.message,
            run.replay_command(),
        ));
        // A worker that died has left no script.
        if let Some(script) = worker.script_of(run).filter(|script| script.is_file()) {
            progress.say(&format!("       cargo xtask sim shrink {}", script.display()));
        }
        progress.say(&format!("       {}", picture(worker, run, report)));
    } else if nth == FAILURES_SHOWN + 1 {
        progress.say(&format!("FAILED {}: more seeds fail, not shown", report.scenario));
    }
}

/// Where the page of a failed run is, or why there is none.
fn picture(worker: &Worker, run: &Run, report: &Report) -> String {
    if report.hash.is_empty() {
        return "no picture: the run came to no end".into();
    }
    let page = explain::page_of(worker, run);
    match explain::picture(worker, run, &report.hash, &page) {
        Ok(_) => format!("picture: {}", page.display()),
        Err(error) => format!("no picture: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::{fake_worker, run};

    fn campaign(names: &[&str], seeds: &str) -> Campaign {
        Campaign {
            scenarios: names.iter().map(|name| run(name, 0).scenario).collect(),
            seeds: seeds.parse().unwrap(),
            jobs: 3,
            mutant: None,
        }
    }

    #[test]
    fn every_seed_of_every_scenario_is_run_and_counted() {
        let (_scratch, worker) = fake_worker(
            r#"if [ $scenario-$seed = b-2 ]; then
                 echo '{"passed":false,"hash":"0","failure":{"check":"L4","message":"read ahead"}}'
                 exit 1
               fi
               echo '{"passed":true,"hash":"'$seed'","simulated_seconds":2,"ops":{"ok":5}}'"#,
        );
        let summary = campaign(&["a", "b"], "0..4").run(&worker).unwrap();
        assert_eq!(summary.counts(), Counts { passed: 7, failed: 1 });
        assert_eq!(summary.scenarios["a"].operations, [20, 0, 0]);
        assert_eq!(summary.scenarios["b"].failed, 1);
        let order: Vec<_> =
            summary.runs.iter().map(|report| (report.scenario.as_str(), report.seed)).collect();
        assert_eq!(order[..5], [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0)]);
        assert!(serde_json::to_string(&summary).unwrap().contains("read ahead"));
    }

    #[test]
    fn a_fault_without_any_effect_fails_the_campaign() {
        let (_scratch, worker) = fake_worker(
            r#"echo '{"passed":true,"hash":"1","effects":{"torn":1,"lost":0,"never":0}}'"#,
        );
        let long = campaign(&["a"], "0..20").run(&worker).unwrap();
        assert_eq!(long.scenarios["a"].missing_effects, ["lost", "never"]);
        assert_eq!(long.counts(), Counts { passed: 20, failed: 2 });
        let short = campaign(&["a"], "0..19").run(&worker).unwrap();
        assert_eq!(short.counts(), Counts { passed: 19, failed: 0 });
    }

    #[test]
    fn a_fault_that_is_rarely_on_needs_no_effect() {
        let (_scratch, worker) = fake_worker(
            r#"if [ $seed = 3 ]; then faults='"rare":0'; fi
               echo '{"passed":true,"hash":"1","effects":{'$faults'}}'"#,
        );
        let summary = campaign(&["a"], "0..25").run(&worker).unwrap();
        assert!(summary.counts().is_success());
    }

    #[test]
    fn a_frozen_failure_is_run_with_its_own_seeds() {
        let mut campaign = campaign(&["a", "b"], "0..3");
        campaign.scenarios[1].frozen_seeds = vec![77];
        let seeds: Vec<u64> = campaign.runs().iter().map(|run| run.seed).collect();
        assert_eq!(seeds, [0, 1, 2, 77]);
    }
}
