//! `cargo xtask sim`: simulated scenarios over many seeds, one process per seed.
//!
//! The parent knows nothing about brokers: it spawns the simulator's worker, reads one JSON line
//! per run and adds up. A worker that crashes, hangs or says something else has failed.

mod branch;
pub mod campaign;
pub mod determinism;
pub mod directed;
pub mod explain;
pub mod freeze;
pub mod mutants;
pub mod pool;
pub mod progress;
mod replay;
pub mod scenario;
pub mod scripts;
pub mod seeds;
pub mod shrink;
mod stats;
pub mod subject;
mod table;
pub mod worker;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::counts::{Counts, Usage};
use crate::workspace;
use scenario::Scenario;
use seeds::Seeds;
use worker::Worker;

/// A run that takes longer than this on the wall clock has failed.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    campaign: CampaignOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Print one run as readable lines: of a seed, or of the script of a failure.
    Replay(replay::Options),
    /// Find the least of a failure's script that still fails the same check.
    Shrink(shrink::Options),
    /// Make a failure a regression that every test run replays.
    Freeze(freeze::Options),
    /// Find the moment at which a failure became likely.
    Branch(branch::Options),
    /// Say how many clean seeds show that a failure is gone.
    Stats(stats::Options),
    /// Tell what led to the failure of one run, of a seed or of a script, as text and as a page.
    Explain(explain::Options),
    /// Run every seed twice, in two processes, and compare the trace hashes.
    Determinism(SelectionOptions),
    /// Plant every known bug in turn and count the seeds until an oracle sees it.
    Mutants(mutants::Options),
    /// Make the reference in `scenarios/README.md` anew.
    Reference,
}

#[derive(Args)]
struct CampaignOptions {
    #[command(flatten)]
    selection: SelectionOptions,
    /// Also write every result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plant this bug (`highwater-sim mutants` lists them).
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// As many seeds of each scenario as its `[budget]` has for a night.
    #[arg(long, conflicts_with_all = ["seeds", "seed"])]
    nightly: bool,
}

/// Which scenarios, which seeds, and how many processes at once.
#[derive(Args)]
pub struct SelectionOptions {
    /// Scenarios by name or file; all of `scenarios/*.toml` when none is given.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// A range of seeds, the end excluded.
    #[arg(long, value_name = "A..B", default_value = "0..20", conflicts_with = "seed")]
    seeds: Seeds,
    /// A single seed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Processes at once; as many as the machine has processors when not given.
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
}

impl SelectionOptions {
    fn seeds(&self) -> Seeds {
        self.seed.map_or(self.seeds, Seeds::single)
    }

    fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        scenario::select(&workspace::root().join("scenarios"), &self.scenarios)
    }
}

/// Runs the command; `None` when it only printed.
pub fn run(options: &Options) -> anyhow::Result<Option<Counts>> {
    match &options.command {
        Some(Command::Replay(options)) => replay::run(options).map(Some),
        Some(Command::Shrink(options)) => shrink::run(options).map(Some),
        Some(Command::Freeze(options)) => freeze::run(options).map(Some),
        Some(Command::Branch(options)) => branch::run(options).map(Some),
        Some(Command::Stats(options)) => stats::run(options).map(|()| None),
        Some(Command::Explain(options)) => explain::run(options).map(Some),
        Some(Command::Determinism(selection)) => {
            let scenarios = selection.scenarios()?;
            let worker = build_worker()?;
            determinism::run(&worker, &scenarios, selection.seeds(), jobs(selection.jobs)).map(Some)
        }
        Some(Command::Mutants(options)) => mutants::run(options).map(Some),
        Some(Command::Reference) => renew_reference().map(|()| None),
        None => run_campaign(&options.campaign).map(Some),
    }
}

fn renew_reference() -> anyhow::Result<()> {
    let worker = build_worker()?;
    let status = std::process::Command::new(&worker.binary)
        .current_dir(&worker.directory)
        .args(["reference", "scenarios/README.md"])
        .status()
        .with_context(|| format!("cannot start {}", worker.binary.display()))?;
    anyhow::ensure!(status.success(), "the reference was not made ({status})");
    Ok(())
}

fn run_campaign(options: &CampaignOptions) -> anyhow::Result<Counts> {
    let mut scenarios = options.selection.scenarios()?;
    if options.nightly {
        let nightly = |one: Scenario| one.within(|budget| budget.nightly);
        scenarios = scenarios.into_iter().map(nightly).collect();
    }
    let worker = build_worker()?;
    if let Some(name) = &options.mutant {
        let known = worker.mutants()?;
        if !known.contains(name) {
            let message = format!("no mutant is called `{name}`; known: {}", known.join(", "));
            return Err(Usage(message).into());
        }
    }
    let campaign = campaign::Campaign {
        scenarios,
        seeds: options.selection.seeds(),
        jobs: jobs(options.selection.jobs),
        mutant: options.mutant.clone(),
    };
    let summary = campaign.run(&worker)?;
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&summary)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(summary.counts())
}

/// The number of worker processes at once.
pub fn jobs(wanted: Option<NonZeroUsize>) -> usize {
    wanted.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// Builds the simulator once and names its worker.
pub fn build_worker() -> anyhow::Result<Worker> {
    let status = workspace::simulation_cargo()
        .args(["build", "--quiet", "--package", "highwater-sim", "--bin", "highwater-sim"])
        .status()
        .context("cannot start cargo to build the simulator")?;
    anyhow::ensure!(status.success(), "the simulator does not build ({status})");
    let binary = workspace::root().join(workspace::SIMULATION_TARGET).join("debug/highwater-sim");
    let failures = Some(scripts::failures()?);
    Ok(Worker { binary, directory: workspace::root(), timeout: RUN_TIMEOUT, failures })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Line::try_parse_from(std::iter::once("sim").chain(line.split_whitespace()))
            .map(|line| line.options)
    }

    #[test]
    fn scenarios_and_ranges_are_read() {
        let options = parse("power-cut disk-full --seeds 5..9 --jobs 3").unwrap();
        let selection = options.campaign.selection;
        assert_eq!(selection.scenarios, ["power-cut", "disk-full"]);
        assert_eq!(selection.seeds().iter().collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert_eq!(jobs(selection.jobs), 3);
    }

    #[test]
    fn a_subcommand_is_not_taken_for_a_scenario() {
        assert!(matches!(
            parse("replay power-cut --seed 7").unwrap().command,
            Some(Command::Replay(_))
        ));
        assert!(matches!(
            parse("determinism --seeds 0..2").unwrap().command,
            Some(Command::Determinism(_))
        ));
        let line = "shrink a.json --seconds 9 --tries 2 --jobs 1";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Shrink(_))));
        assert!(matches!(parse("branch a.json").unwrap().command, Some(Command::Branch(_))));
        let line = "freeze a.json --name lost-tail";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Freeze(_))));
        let line = "stats --failures 3 --seeds 200";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Stats(_))));
    }

    #[test]
    fn bad_usage_is_refused() {
        for line in [
            "--seeds 9..3",
            "--seeds x",
            "--seed 1 --seeds 0..2",
            "--jobs 0",
            "replay",
            "stats --failures 3",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("`{line}` was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
