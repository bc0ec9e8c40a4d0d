//! What a campaign found: for people at its end, and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::grouping::{self, Group};
use super::identity::Identity;
use super::journal::Ended;
use super::ledger::{FailedRun, Ledger, Speed, Tally};
use super::situations::Situations;
use super::time::clock;
use crate::counts::Counts;

/// The version of the JSON report.
const FORMAT: u32 = 1;

/// How many groups of failures are printed.
const GROUPS_SHOWN: usize = 20;

/// How many situations that were not reached are printed when they need not be.
const SITUATIONS_SHOWN: usize = 10;

/// What a campaign found.
#[derive(Serialize)]
pub struct Summary {
    /// The version of this report.
    pub format: u32,
    /// What was run, if a file tells of it.
    pub campaign: Option<Identity>,
    /// Why there were no more runs.
    pub ended: Ended,
    /// Runs that are done.
    pub runs: u64,
    /// Runs that passed.
    pub passed: u64,
    /// Runs that failed, effects that never were, situations that had to be reached and were not,
    /// and shards that are missing.
    pub failed: u64,
    /// Wall-clock time of all sittings, in seconds; of several shards, that of the longest.
    pub wall_seconds: f64,
    /// Time simulated, in seconds.
    pub simulated_seconds: f64,
    /// Events in all traces.
    pub events: u64,
    /// Runs in each second of wall-clock time.
    pub seeds_per_second: f64,
    /// Simulated hours in each minute of wall-clock time.
    pub simulated_hours_per_minute: f64,
    /// How often each fault had an effect, over all scenarios.
    pub effects: BTreeMap<String, u64>,
    /// Which situations were reached.
    pub situations: Situations,
    /// Per scenario: what happened over all its seeds.
    pub scenarios: BTreeMap<String, Tally>,
    /// Failures that are probably the same.
    pub groups: Vec<Group>,
    /// Every run that failed, by scenario and seed.
    pub failures: Vec<FailedRun>,
    /// What is wrong with the shards that were summed up.
    pub shards: Vec<String>,
}

impl Summary {
    /// Sums up.
    #[must_use]
    pub fn new(ledger: Ledger, ended: Ended, wall: Duration, situations: Situations) -> Self {
        let Ledger { mut scenarios, mut failures, total, .. } = ledger;
        scenarios.values_mut().for_each(Tally::find_missing_effects);
        let missing: usize = scenarios.values().map(|tally| tally.missing_effects.len()).sum();
        failures
            .sort_by(|one, other| (&one.scenario, one.seed).cmp(&(&other.scenario, other.seed)));
        let seconds = wall.as_secs_f64().max(0.001);
        Self {
            format: FORMAT,
            campaign: None,
            ended,
            runs: total.runs(),
            passed: total.passed,
            failed: total.failed + missing as u64 + situations.failures(),
            wall_seconds: wall.as_secs_f64(),
            simulated_seconds: total.simulated_seconds,
            events: total.events,
            seeds_per_second: total.runs() as f64 / seconds,
            simulated_hours_per_minute: total.simulated_seconds / 60.0 / seconds,
            effects: total.effects,
            situations,
            scenarios,
            groups: grouping::groups(&failures),
            failures,
            shards: Vec::new(),
        }
    }

    /// The runs, faults and situations that passed and failed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { passed: self.passed, failed: self.failed }
    }

    /// Prints it for people.
    pub fn print(&self) {
        print!("{}", self.text());
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let width = self.scenarios.keys().map(String::len).max().unwrap_or(0);
        for (name, tally) in &self.scenarios {
            of_scenario(&mut lines, width, name, tally);
        }
        self.situations(&mut lines);
        self.failure_groups(&mut lines);
        lines.extend(self.shards.iter().map(|wrong| format!("FAILED {wrong}")));
        lines.push(format!(
            "{} runs in {}, {:.1} seeds/s, {:.1} simulated hours per wall minute",
            self.runs,
            clock(Duration::from_secs_f64(self.wall_seconds)),
            self.seeds_per_second,
            self.simulated_hours_per_minute,
        ));
        lines.push(String::new());
        lines.join("\n")
    }

    fn situations(&self, lines: &mut Vec<String>) {
        let Situations { reached, never, required } = &self.situations;
        let count = self.situations.count();
        if count == 0 {
            return;
        }
        let shown = if *required { never.len() } else { SITUATIONS_SHOWN };
        let mut names: Vec<String> = never.iter().take(shown).cloned().collect();
        if never.len() > names.len() {
            names.push(format!("and {} more", never.len() - names.len()));
        }
        let names =
            if names.is_empty() { String::new() } else { format!(", never: {}", names.join(", ")) };
        let word = if self.situations.failures() > 0 { "FAILED " } else { "" };
        lines.push(format!("{word}situations reached: {} of {count}{names}", reached.len()));
    }

    fn failure_groups(&self, lines: &mut Vec<String>) {
        if self.groups.is_empty() {
            return;
        }
        let (runs, groups) = (self.failures.len(), self.groups.len());
        lines.push(format!("{runs} failed runs in {groups} groups of check and shape:"));
        lines.extend(self.groups.iter().take(GROUPS_SHOWN).map(Group::to_string));
        if groups > GROUPS_SHOWN {
            lines.push(format!("       and {} groups more", groups - GROUPS_SHOWN));
        }
    }
}

fn of_scenario(lines: &mut Vec<String>, width: usize, name: &str, tally: &Tally) {
    let effects: Vec<String> =
        tally.seen_effects().map(|(effect, count)| format!("{effect} {count}")).collect();
    let [ok, fail, unknown] = tally.operations;
    lines.push(format!(
        "{name:width$}  {} of {} passed, {:.0} s simulated, \
         calls {ok} ok {fail} failed {unknown} unknown; {}",
        tally.passed,
        tally.runs(),
        tally.simulated_seconds,
        if effects.is_empty() { "no fault had an effect".into() } else { effects.join(", ") },
    ));
    lines.push(format!("{:width$}    {}", "", Speed::of(tally)));
    lines.extend(tally.missing_effects.iter().map(|effect| {
        let runs = tally.enabled[effect];
        format!("FAILED {name}: `{effect}` was possible in {runs} runs and never happened")
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::{Failure, Report};

    fn summary(nightly: bool, ended: Ended) -> Summary {
        let mut ledger = Ledger::new(None);
        for seed in 0..4 {
            let failure = Failure { check: "L7".into(), message: format!("offset {seed}") };
            ledger.add(&Report {
                scenario: "a".into(),
                seed,
                passed: seed != 2,
                failure: (seed == 2).then_some(failure),
                simulated_seconds: 900.0,
                effects: [("power_cuts".to_owned(), seed)].into(),
                situations: [("odd".to_owned(), 1)].into(),
                ..Report::default()
            });
        }
        let known = ["even", "odd"].map(String::from);
        let situations = Situations::new(&known, ledger.situations.clone(), nightly);
        Summary::new(ledger, ended, Duration::from_secs(120), situations)
    }

    #[test]
    fn the_report_has_the_documented_form() {
        let mut summary = summary(true, Ended::Time);
        summary.campaign = Some(Identity::default());
        assert_eq!(summary.counts(), Counts { passed: 3, failed: 2 });
        let json = serde_json::to_value(&summary).unwrap();
        let expected = serde_json::json!({
            "format": 1,
            "campaign": {"scenarios": {}, "mutant": null, "shard": "", "worker": ""},
            "ended": "time",
            "runs": 4,
            "passed": 3,
            "failed": 2,
            "wall_seconds": 120.0,
            "simulated_seconds": 3600.0,
            "events": 0,
            "seeds_per_second": 4.0 / 120.0,
            "simulated_hours_per_minute": 0.5,
            "effects": {"power_cuts": 6},
            "situations": {"reached": {"odd": 4}, "never": ["even"], "required": true},
            "scenarios": {"a": {
                "passed": 3, "failed": 1, "simulated_seconds": 3600.0, "events": 0, "wall_ms": 0,
                "operations": [0, 0, 0], "effects": {"power_cuts": 6},
                "enabled": {"power_cuts": 4}, "missing_effects": [],
            }},
            "groups": [{
                "check": "L7", "shape": ["power_cuts"], "shape_of": "run", "count": 1, "examples": [{
                    "seed": 2, "scenario": "a", "message": "offset 2",
                    "replay": "cargo xtask sim replay a --seed 2",
                }],
            }],
            "failures": [{
                "scenario": "a", "seed": 2, "check": "L7", "message": "offset 2",
                "shape": ["power_cuts"], "shape_of": "run", "hash": "",
                "replay": "cargo xtask sim replay a --seed 2",
            }],
            "shards": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_text_has_situations_groups_and_speed() {
        let text = summary(true, Ended::Complete).text();
        for part in [
            "a  3 of 4 passed, 3600 s simulated",
            "FAILED situations reached: 1 of 2, never: even",
            "1 failed runs in 1 groups of check and shape:",
            "     1 x L7 among [power_cuts]",
            "4 runs in 2:00, 0.0 seeds/s, 0.5 simulated hours per wall minute",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        let by_day = summary(false, Ended::Complete);
        assert_eq!(by_day.failed, 1);
        assert!(by_day.text().contains("\nsituations reached: 1 of 2, never: even\n"));
    }
}
