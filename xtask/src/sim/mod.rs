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
    campaign: campaign::options::CampaignOptions,
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
    /// Run every seed several times, in other processes and surroundings, and compare the traces.
    Determinism(determinism::Options),
    /// Plant every known bug in turn and count the seeds until an oracle sees it.
    Mutants(mutants::Options),
    /// Sum up what the state files of a campaign or of all its shards say.
    Summary(campaign::fleet::Options),
    /// List the situations that a nightly campaign must reach.
    Situations,
    /// Make the reference in `scenarios/README.md` anew.
    Reference,
}

/// Which scenarios, which seeds, and how many processes at once.
#[derive(Args)]
pub struct SelectionOptions {
    /// Scenarios by name or file; all of `scenarios/*.toml` when none is given.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// A range of seeds, the end excluded.
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// A single seed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Processes at once; as many as the machine has processors when not given.
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
}

impl SelectionOptions {
    /// The seeds, if any were asked for.
    fn seeds(&self) -> Option<Seeds> {
        self.seed.map(Seeds::single).or(self.seeds)
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
        Some(Command::Determinism(options)) => determinism::run(options).map(Some),
        Some(Command::Mutants(options)) => mutants::run(options).map(Some),
        Some(Command::Summary(options)) => campaign::fleet::run(options).map(Some),
        Some(Command::Situations) => campaign::situations::print(&build_worker()?).map(|()| None),
        Some(Command::Reference) => renew_reference().map(|()| None),
        None => campaign::options::run(&options.campaign).map(Some),
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

/// The number of worker processes at once.
pub fn jobs(wanted: Option<NonZeroUsize>) -> usize {
    wanted.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// Which program carries out the runs.
#[derive(Args)]
pub struct Program {
    /// Run this program instead of the simulator: one that calls `highwater_sim::lab::main` (see
    /// docs/lab.md).
    #[arg(long, value_name = "PROGRAM")]
    worker: Option<PathBuf>,
    /// Build the simulator with every optimisation and without assertions for debugging: that takes
    /// minutes, and then runs take two thirds of the time. Seeds do what they do without it.
    #[arg(long, conflicts_with = "worker")]
    release: bool,
}

impl Program {
    /// The program as a worker; the simulator is built first.
    pub fn worker(&self) -> anyhow::Result<Worker> {
        let Some(program) = &self.worker else {
            return if self.release { build_release_worker() } else { build_worker() };
        };
        let binary = std::path::absolute(program)?;
        if !binary.is_file() {
            let message = format!("--worker {}: there is no such file", program.display());
            return Err(Usage(message).into());
        }
        Ok(Worker { binary, ..worker_in("debug")? })
    }

    /// What the command lines that were printed lack, when another program has run.
    pub fn print_hint(&self) {
        if let Some(program) = &self.worker {
            println!("these were runs of another program: add --worker {}", program.display());
        }
    }
}

/// Builds the simulator once and names its worker.
pub fn build_worker() -> anyhow::Result<Worker> {
    build_worker_with(&[], "debug")
}

/// The same with every optimisation and without assertions for debugging. It is built beside the
/// other one and takes minutes.
pub fn build_release_worker() -> anyhow::Result<Worker> {
    build_worker_with(&["--release"], "release")
}

fn build_worker_with(arguments: &[&str], directory: &str) -> anyhow::Result<Worker> {
    let status = workspace::simulation_cargo()
        .args(["build", "--quiet", "--package", "highwater-sim", "--bin", "highwater-sim"])
        .args(arguments)
        .status()
        .context("cannot start cargo to build the simulator")?;
    anyhow::ensure!(status.success(), "the simulator does not build ({status})");
    worker_in(directory)
}

fn worker_in(profile: &str) -> anyhow::Result<Worker> {
    let target = workspace::root().join(workspace::SIMULATION_TARGET);
    let binary = target.join(profile).join("highwater-sim");
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
        assert_eq!(selection.seeds(), Some("5..9".parse().unwrap()));
        assert_eq!(jobs(selection.jobs), 3);
    }

    #[test]
    fn a_subcommand_is_not_taken_for_a_scenario() {
        assert!(matches!(
            parse("replay power-cut --seed 7").unwrap().command,
            Some(Command::Replay(_))
        ));
        assert!(matches!(
            parse("determinism --seeds 0..2 --release").unwrap().command,
            Some(Command::Determinism(_))
        ));
        let line = "shrink a.json --seconds 9 --tries 2 --jobs 1";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Shrink(_))));
        assert!(matches!(parse("branch a.json").unwrap().command, Some(Command::Branch(_))));
        let line = "freeze a.json --name lost-tail";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Freeze(_))));
        let line = "stats --failures 3 --seeds 200";
        assert!(matches!(parse(line).unwrap().command, Some(Command::Stats(_))));
        assert!(matches!(parse("summary a b").unwrap().command, Some(Command::Summary(_))));
        assert!(matches!(parse("situations").unwrap().command, Some(Command::Situations)));
    }

    #[test]
    fn bad_usage_is_refused() {
        for line in [
            "--seeds 9..3",
            "--seeds x",
            "--seed 1 --seeds 0..2",
            "--jobs 0",
            "replay",
            "summary",
            "stats --failures 3",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("`{line}` was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
