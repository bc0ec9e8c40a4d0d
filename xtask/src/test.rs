//! `cargo xtask test`: every check and every test, with the counts as the last line.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::counts::{Counts, Usage};
use crate::sim::campaign::Campaign;
use crate::sim::{self, determinism, freeze, mutants, scenario, seeds::Seeds};
use crate::{codegen, tidy, workspace};

/// Seeds of every scenario that are run twice.
const DETERMINISM_SEEDS: Seeds = Seeds { start: 0, end: 2 };

/// Seeds within which an oracle must see each planted bug.
const MUTANT_SEEDS: Seeds = Seeds { start: 0, end: 200 };

#[derive(Args)]
pub struct Options {
    /// Only the stages with these names; may be given more than once.
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// Print the names of the stages and stop.
    #[arg(long)]
    list: bool,
}

/// One part of the test run.
struct Stage {
    name: &'static str,
    run: fn() -> anyhow::Result<Counts>,
}

/// Every stage, the quickest judgement first.
const STAGES: &[Stage] = &[
    Stage { name: "format", run: format },
    Stage { name: "tidy", run: tidy::run },
    Stage { name: "codegen", run: generated_code },
    Stage { name: "clippy", run: clippy },
    Stage { name: "clippy-simulation", run: clippy_simulation },
    Stage { name: "tests", run: tests },
    Stage { name: "tests-simulation", run: tests_simulation },
    Stage { name: "smoke", run: smoke },
    Stage { name: "regressions", run: regressions },
    Stage { name: "determinism", run: deterministic },
    Stage { name: "mutants", run: planted_bugs },
];

/// Runs the stages; one that fails does not keep the others from running.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
    if let Some(name) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        let message = format!("no stage is called `{name}`; known: {}", known.join(", "));
        return Err(Usage(message).into());
    }
    if options.list {
        println!("{}", known.join("\n"));
        return Ok(Counts::default());
    }
    install_missing_components()?;
    let chosen =
        |stage: &&Stage| options.only.is_empty() || options.only.iter().any(|n| n == stage.name);
    let mut rows = Vec::new();
    for stage in STAGES.iter().filter(chosen) {
        println!("== {}", stage.name);
        let started = Instant::now();
        let counts = (stage.run)().unwrap_or_else(|error| {
            println!("FAILED {}: {error:#}", stage.name);
            Counts::one(false)
        });
        rows.push((stage.name, counts, started.elapsed()));
    }
    Ok(sum(&rows))
}

fn sum(rows: &[(&str, Counts, Duration)]) -> Counts {
    let mut total = Counts::default();
    println!("== summary");
    for (name, counts, elapsed) in rows {
        println!("{name:18} {:>7.1} s  {counts}", elapsed.as_secs_f64());
        total += *counts;
    }
    total
}

fn install_missing_components() -> anyhow::Result<()> {
    for component in ["rustfmt", "clippy"] {
        let tool = if component == "rustfmt" { "fmt" } else { component };
        let there = workspace::cargo()
            .args([tool, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if there {
            continue;
        }
        let status = Command::new("rustup").args(["component", "add", component]).status();
        let status = status.with_context(|| {
            format!("{component} is missing and rustup cannot be started; install {component}")
        })?;
        anyhow::ensure!(status.success(), "rustup could not add {component}");
    }
    Ok(())
}

fn format() -> anyhow::Result<Counts> {
    check(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn generated_code() -> anyhow::Result<Counts> {
    codegen::run(true)?;
    Ok(Counts::one(true))
}

fn clippy() -> anyhow::Result<Counts> {
    let arguments = [
        "clippy",
        "--quiet",
        "--keep-going",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    check(workspace::cargo().args(arguments))
}

/// The command line and the admin server do not exist in the simulation build, so of node only
/// the library is looked at.
fn clippy_simulation() -> anyhow::Result<Counts> {
    let libraries = ["-p", "highwater-core", "-p", "highwater-node", "--lib"];
    let mut command = workspace::simulation_cargo();
    command
        .args(["clippy", "--quiet", "--keep-going"])
        .args(libraries)
        .args(["--", "-D", "warnings"]);
    let mut counts = check(&mut command)?;
    let mut command = workspace::simulation_cargo();
    let simulator = ["-p", "highwater-sim", "--all-targets"];
    command
        .args(["clippy", "--quiet", "--keep-going"])
        .args(simulator)
        .args(["--", "-D", "warnings"]);
    counts += check(&mut command)?;
    Ok(counts)
}

fn tests() -> anyhow::Result<Counts> {
    cargo_test(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))
}

fn tests_simulation() -> anyhow::Result<Counts> {
    // Of core, too: only in this build its pure simulations can plant bugs.
    let packages = ["-p", "highwater-core", "-p", "highwater-sim"];
    cargo_test(workspace::simulation_cargo().arg("test").args(packages).arg("--no-fail-fast"))
}

fn smoke() -> anyhow::Result<Counts> {
    let directory = workspace::root().join("scenarios");
    run_campaign(scenario::all(&directory)?)
}

fn regressions() -> anyhow::Result<Counts> {
    let directory = workspace::root().join("scenarios/regressions");
    if !directory.is_dir() {
        println!("no failure was frozen yet");
        return Ok(Counts::default());
    }
    let mut counts = freeze::replay_all(&sim::build_worker()?, &directory)?;
    let scenarios = scenario::all(&directory)?;
    if !scenarios.is_empty() {
        counts += run_campaign(scenarios)?;
    }
    Ok(counts)
}

fn run_campaign(scenarios: Vec<scenario::Scenario>) -> anyhow::Result<Counts> {
    let worker = sim::build_worker()?;
    let scenarios = scenarios.into_iter().map(|one| one.within(|budget| budget.smoke)).collect();
    // Every scenario brings its own seeds.
    let seeds = Seeds::single(0);
    let campaign = Campaign { scenarios, seeds, jobs: sim::jobs(None), mutant: None };
    Ok(campaign.run(&worker)?.counts())
}

fn deterministic() -> anyhow::Result<Counts> {
    let scenarios = scenario::all(&workspace::root().join("scenarios"))?;
    let worker = sim::build_worker()?;
    determinism::run(&worker, &scenarios, DETERMINISM_SEEDS, sim::jobs(None))
}

fn planted_bugs() -> anyhow::Result<Counts> {
    let worker = sim::build_worker()?;
    let places = mutants::directed_places(&worker.mutants()?)?;
    mutants::hunt_all(&worker, &[], &places, MUTANT_SEEDS, sim::jobs(None))
}

/// A command that passes or fails as a whole.
fn check(command: &mut Command) -> anyhow::Result<Counts> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Counts::one(status.success()))
}

/// Runs `cargo test`, shows what is not routine, and adds up the results of its binaries.
fn cargo_test(command: &mut Command) -> anyhow::Result<Counts> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the output of cargo test")?;
        if let Some(result) = Counts::from_test_result(&line) {
            counts += result;
        }
        if !is_routine(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok(with_exit(counts, status.success()))
}

/// A test binary that does not build or that dies leaves no result line, so the exit status counts.
fn with_exit(mut counts: Counts, success: bool) -> Counts {
    if !success && counts.failed == 0 {
        counts.failed = 1;
    }
    counts
}

/// Whether a line of `cargo test` tells nothing that the counts do not tell.
fn is_routine(line: &str) -> bool {
    let empty = line.is_empty() || line.starts_with("running ");
    let good_test = line.starts_with("test ") && line.ends_with("... ok");
    let good_result = line.starts_with("test result: ok. ");
    empty || good_test || good_result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_that_died_is_a_failure() {
        let passed = Counts { passed: 3, failed: 0 };
        assert_eq!(with_exit(passed, false), Counts { passed: 3, failed: 1 });
        assert_eq!(with_exit(passed, true), passed);
        let failed = Counts { passed: 3, failed: 2 };
        assert_eq!(with_exit(failed, false), failed);
    }

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let script = "echo 'running 2 tests'; echo 'test a ... ok'; echo 'test b ... FAILED'
            echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out'
            echo 'test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'
            exit 101";
        let counts = cargo_test(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(counts, Counts { passed: 5, failed: 1 });
    }

    #[test]
    fn failures_are_shown_and_routine_is_not() {
        for line in ["", "running 3 tests", "test a::b ... ok", "test result: ok. 3 passed; x"] {
            assert!(is_routine(line), "{line}");
        }
        for line in ["test a::b ... FAILED", "---- a::b stdout ----", "test result: FAILED. 1"] {
            assert!(!is_routine(line), "{line}");
        }
    }

    #[test]
    fn stages_have_names_of_their_own() {
        let mut names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGES.len());
    }
}
