//! Failures that are probably the same: of one check, and of one shape.
//!
//! The shape of a failure that was shrunk is what is left of its faults; without that it is all that
//! took effect in its run, of which most did not matter.
//!
//! The words of a check name offsets and brokers, which differ from seed to seed, so they say
//! nothing about whether two failures are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ledger::FailedRun;
use crate::sim::worker::Report;

/// So many runs of a group are named.
const EXAMPLES: usize = 3;

/// What it takes for a failure to happen: the kinds of faults, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape(BTreeSet<String>);

/// What a shape was taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShapeOf {
    /// What is left of the run when it is shrunk: what it takes.
    Shrunk,
    /// All that took effect in the run: what it takes is among it.
    #[default]
    Run,
}

impl Shape {
    /// The shape with these kinds.
    pub fn of_kinds<T: Into<String>>(kinds: impl IntoIterator<Item = T>) -> Self {
        Self(kinds.into_iter().map(Into::into).collect())
    }

    /// What took effect in the run: more than it takes, until the failure is shrunk.
    #[must_use]
    pub fn of_run(report: &Report) -> Self {
        let seen = report.effects.iter().filter(|(_, count)| **count > 0);
        Self::of_kinds(seen.map(|(effect, _)| effect.as_str()))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no fault");
        }
        let kinds: Vec<&str> = self.0.iter().map(String::as_str).collect();
        formatter.write_str(&kinds.join(", "))
    }
}

impl fmt::Display for ShapeOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Shrunk => "takes",
            Self::Run => "among",
        })
    }
}

/// Failures of one check and one shape.
#[derive(Debug, PartialEq, Serialize)]
pub struct Group {
    /// The check.
    pub check: String,
    /// The shape.
    pub shape: Shape,
    /// What the shape is of.
    pub shape_of: ShapeOf,
    /// How many runs are in it.
    pub count: u64,
    /// Those of the smallest seeds.
    pub examples: Vec<Example>,
}

/// One run of a group.
#[derive(Debug, PartialEq, Serialize)]
pub struct Example {
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: String,
    /// What the check said.
    pub message: String,
    /// The command line that shows it again.
    pub replay: String,
}

/// The groups, the largest first.
#[must_use]
pub fn groups(failures: &[FailedRun]) -> Vec<Group> {
    let mut by_key: BTreeMap<(&str, ShapeOf, &Shape), Vec<&FailedRun>> = BTreeMap::new();
    for failure in failures {
        let key = (failure.check.as_str(), failure.shape_of, &failure.shape);
        by_key.entry(key).or_default().push(failure);
    }
    let mut groups: Vec<Group> = by_key.into_values().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// The group of runs that are alike; there is at least one.
fn group(mut runs: Vec<&FailedRun>) -> Group {
    runs.sort_by_key(|run| (run.seed, &run.scenario));
    let first = runs[0];
    let example = |run: &&FailedRun| Example {
        seed: run.seed,
        scenario: run.scenario.clone(),
        message: run.message.clone(),
        replay: run.replay.clone(),
    };
    Group {
        check: first.check.clone(),
        shape: first.shape.clone(),
        shape_of: first.shape_of,
        count: runs.len() as u64,
        examples: runs.iter().take(EXAMPLES).map(example).collect(),
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, check, shape, shape_of, .. } = self;
        writeln!(formatter, "{count:>6} x {check} {shape_of} [{shape}]")?;
        let runs: Vec<String> = self
            .examples
            .iter()
            .map(|example| format!("{} seed {}", example.scenario, example.seed))
            .collect();
        writeln!(formatter, "         {}", runs.join(", "))?;
        let first = self.examples.first().map_or("", |example| &example.replay);
        write!(formatter, "         {first}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::campaign::ledger::Ledger;
    use crate::sim::worker::Failure;

    fn red(scenario: &str, seed: u64, check: &str, effects: &[(&str, u64)]) -> Report {
        Report {
            scenario: scenario.into(),
            seed,
            effects: effects.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            failure: Some(Failure { check: check.into(), message: format!("offset {seed}") }),
            ..Report::default()
        }
    }

    #[test]
    fn failures_are_one_group_by_check_and_by_what_took_effect_not_by_their_words() {
        let mut ledger = Ledger::new(None);
        for report in [
            red("b", 9, "L7", &[("power_cuts", 1)]),
            red("a", 4, "L7", &[("power_cuts", 3), ("never", 0)]),
            red("a", 5, "L7", &[("power_cuts", 3), ("writes_torn", 1)]),
            red("a", 6, "L3", &[("power_cuts", 1)]),
            red("b", 3, "L7", &[("power_cuts", 2)]),
            red("a", 3, "L7", &[("power_cuts", 2)]),
            red("c", 1, "worker", &[]),
        ] {
            ledger.add(&report);
        }
        let groups = groups(&ledger.failures);
        let rows: Vec<(&str, String, u64)> = groups
            .iter()
            .map(|group| (group.check.as_str(), group.shape.to_string(), group.count))
            .collect();
        let expected = [
            ("L7", "power_cuts".to_owned(), 4),
            ("L3", "power_cuts".to_owned(), 1),
            ("L7", "power_cuts, writes_torn".to_owned(), 1),
            ("worker", "no fault".to_owned(), 1),
        ];
        assert_eq!(rows, expected);
        let examples: Vec<(&str, u64)> =
            groups[0].examples.iter().map(|one| (one.scenario.as_str(), one.seed)).collect();
        assert_eq!(examples, [("a", 3), ("b", 3), ("a", 4)]);
        let text = groups[0].to_string();
        assert!(text.contains("4 x L7 among [power_cuts]"), "{text}");
        assert!(text.ends_with("cargo xtask sim replay a --seed 3"), "{text}");
    }

    #[test]
    fn what_is_left_of_two_failures_makes_them_one_group_whatever_else_happened() {
        let mut ledger = Ledger::new(None);
        for seed in 0..3 {
            ledger.add(&red("a", seed, "L7", &[("power_cuts", seed), ("calls_cut", 1)]));
        }
        for seed in 0..2 {
            ledger.shrunk("a", seed, &Shape::of_kinds(["power-cut"]));
        }
        ledger.shrunk("a", 7, &Shape::of_kinds(["isolation"]));
        let groups: Vec<String> = groups(&ledger.failures)
            .iter()
            .map(|group| format!("{} {} {}", group.count, group.shape_of, group.shape))
            .collect();
        assert_eq!(groups, ["2 takes power-cut", "1 among calls_cut, power_cuts"]);
    }
}
