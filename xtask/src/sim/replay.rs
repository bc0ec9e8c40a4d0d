//! `cargo xtask sim replay`: one run as readable lines.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::scenario;
use super::worker::Run;
use crate::counts::Counts;
use crate::workspace;

#[derive(Args)]
pub struct Options {
    /// The scenario, by name or file.
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    /// The seed.
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Plant this bug.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Write the readable lines to this file instead of printing them.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Runs the worker with its output left as it is.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let directory = workspace::root().join("scenarios");
    let scenario = scenario::select(&directory, std::slice::from_ref(&options.scenario))?.remove(0);
    let worker = super::build_worker()?;
    let run = Run { scenario, seed: options.seed, mutant: options.mutant.clone() };
    let mut command = worker.command(&run);
    if let Some(file) = &options.trace {
        command.arg("--trace").arg(std::path::absolute(file)?);
    }
    let status =
        command.status().with_context(|| format!("cannot start {}", worker.binary.display()))?;
    Ok(Counts::one(status.success()))
}
