//! Scripts of failures: a run leaves one that gives the same run again, in whole and in part, and
//! the failure of a planted bug shrinks to what it needs.
#![cfg(madsim)]

use highwater_core::mutant::Mutant;
use highwater_script::{
    Script, Source, Value, render,
    shrink::{Laboratory, shrink, size},
};
use highwater_sim::{
    choices::Branch,
    lab::Lab,
    replay::{leave, replay, script_of},
    run::{Course, Ran, follow},
    scenario::Scenario,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A planted bug is one of the whole process.
static PLANTED: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a seed of a scenario of the repository with a bug planted; its script.
fn record(name: &str, text: &str, seed: u64, mutant: Mutant) -> (Ran, Script) {
    let scenario = Scenario::parse(name, text).unwrap();
    mutant.plant();
    let ran = follow(&scenario, Course::of_seed(seed), false);
    let source = Source { name: name.into(), text: text.into() };
    let script = script_of(source, seed, Some(mutant.name().into()), &ran);
    (ran, script)
}

/// A run that acknowledges before its fsync, and loses what it acknowledged.
fn lossy() -> Script {
    let text = include_str!("../../scenarios/power-cut-under-load.toml");
    let red =
        (0..20).map(|seed| record("power-cut-under-load", text, seed, Mutant::AckBeforeFsync));
    let lossy = |script: &Script| script.check() == Some("L3 immutable");
    red.map(|(_, script)| script).find(lossy).expect("the bug shows within twenty seeds")
}

/// Runs candidates here, one behind the other.
struct Here {
    check: String,
    left: u32,
}

impl Laboratory for Here {
    fn first_red(&mut self, candidates: &[Script]) -> Option<Script> {
        for candidate in candidates {
            if self.is_over() {
                return None;
            }
            self.left -= 1;
            let ran = replay(candidate, false, &Lab::new()).unwrap();
            let Script { scenario, network_seed, mutant, .. } = candidate.clone();
            let script = script_of(scenario, network_seed, mutant, &ran);
            if script.check() == Some(&self.check) {
                return Some(script);
            }
        }
        None
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn progress(&mut self, _what: &str, _best: &Script) {}
}

#[test]
fn the_failure_of_a_planted_bug_shrinks_to_what_it_needs() {
    let _alone = alone();
    let script = lossy();
    let mut here = Here { check: "L3 immutable".into(), left: 800 };
    let least = shrink(&script, &mut here, 8);
    let (faults, operations) = size(&least);
    assert!(faults <= 5 && operations <= 20, "{faults} fault events, {operations} operations");
    let again = replay(&Script::parse(&least.to_text()).unwrap(), false, &Lab::new()).unwrap();
    assert_eq!(again.report.divergence, None);
    assert_eq!(again.report.failure.unwrap().check, "L3 immutable");
}

#[test]
fn a_script_gives_the_same_run_again() {
    let _alone = alone();
    for (name, text) in [
        ("swarm", include_str!("../../scenarios/swarm.toml")),
        ("leader-isolated", include_str!("../../scenarios/leader-isolated.toml")),
        ("group-churn", include_str!("../../scenarios/group-churn.toml")),
        ("compaction-apart", include_str!("../../scenarios/compaction-apart.toml")),
        ("zombie-leader", include_str!("../../scenarios/zombie-leader.toml")),
    ] {
        let (ran, script) = record(name, text, 3, Mutant::Canary);
        let again = replay(&Script::parse(&script.to_text()).unwrap(), false, &Lab::new()).unwrap();
        assert_eq!(again.report.divergence, None, "{name}");
        assert_eq!(again.report.hash, ran.report.hash, "{name}");
        assert_eq!(again.decisions, ran.decisions, "{name}");
        Scenario::parse(name, &render::scenario(&script)).unwrap();
    }
}

#[test]
fn a_script_that_was_changed_parts_where_the_change_shows() {
    let _alone = alone();
    let script = lossy();
    let mut changed = script.clone();
    let strike = changed.decisions.strikes.values_mut().next().unwrap();
    let at = strike.number("at").unwrap();
    strike.set("at", vec![Value::Number(at + 1)]);
    let ran = replay(&changed, true, &Lab::new()).unwrap();
    let divergence = ran.report.divergence.unwrap();
    let nanos = |line: &str| {
        let (seconds, rest) = line.split_once(' ').unwrap().0.split_once('.').unwrap();
        seconds.parse::<i64>().unwrap() * 1_000 + rest[..3].parse::<i64>().unwrap()
    };
    assert!(nanos(&divergence.line) >= at, "{divergence:?}");
    assert_eq!(divergence.line, ran.lines[divergence.event as usize]);
}

#[test]
fn a_decision_that_does_not_apply_is_the_first_divergence() {
    let _alone = alone();
    let mut script = lossy();
    let strike = script.decisions.strikes.values_mut().next().unwrap();
    strike.set("on", vec![Value::Text("full-moon".into())]);
    let divergence = replay(&script, false, &Lab::new()).unwrap().report.divergence.unwrap();
    assert!(divergence.reason.contains("its on is full-moon"), "{divergence:?}");
}

#[test]
fn a_number_that_no_scenario_could_say_is_drawn_anew() {
    let _alone = alone();
    let script = lossy();
    for (name, number) in [
        ("partitions", -1),
        ("topics", 0),
        ("log.segment.bytes", 0),
        ("log.retention.check.interval.ms", 0),
        ("consumers", i64::MAX),
        ("producers", -3),
        ("millis", i64::MAX),
    ] {
        let mut hostile = script.clone();
        hostile.decisions.run.set(name, vec![Value::Number(number)]);
        let report = replay(&hostile, false, &Lab::new()).unwrap().report;
        let reason = report.divergence.unwrap().reason;
        assert!(reason.contains(&format!("its {name} is {number}, which is not")), "{reason}");
        assert_ne!(report.failure.map(|failure| failure.check).as_deref(), Some("panic"), "{name}");
    }
    let mut hostile = script.clone();
    for strike in hostile.decisions.strikes.values_mut() {
        strike.set("at", vec![Value::Number(i64::MAX)]);
        strike.set("pause", vec![Value::Number(i64::MAX)]);
    }
    let report = replay(&hostile, false, &Lab::new()).unwrap().report;
    assert!(report.divergence.is_some());
    assert_ne!(report.failure.map(|failure| failure.check).as_deref(), Some("panic"));
}

#[test]
fn a_run_that_leaves_its_script_is_the_same_up_to_that_point() {
    let _alone = alone();
    let script = lossy();
    let before = replay(&script, true, &Lab::new()).unwrap();
    let point = before.lines.len() / 2;
    let (seconds, rest) = before.lines[point].split_once('.').unwrap();
    let millis = seconds.parse::<u64>().unwrap() * 1_000 + rest[..3].parse::<u64>().unwrap();
    let branch = Branch { nanos: millis * 1_000_000, seed: 5 };
    let left = leave(&script, branch, &Lab::new()).unwrap();
    let same = before.prefixes.iter().zip(&left.prefixes).take_while(|(one, other)| one == other);
    let same = same.count();
    assert!(same < before.prefixes.len(), "it never left");
    let (seconds, rest) = before.lines[same].split_once('.').unwrap();
    let parted = seconds.parse::<u64>().unwrap() * 1_000 + rest[..3].parse::<u64>().unwrap();
    assert!(parted >= millis, "it left at {parted} ms instead of {millis} ms");
}
