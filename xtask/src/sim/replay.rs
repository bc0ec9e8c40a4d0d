//! `cargo xtask sim replay`: one run as readable lines.

use std::path::PathBuf;
use std::process::Stdio;

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

/// Runs the worker with a trace and prints the trace, then what the worker says about the run.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let directory = workspace::root().join("scenarios");
    let scenario = scenario::select(&directory, std::slice::from_ref(&options.scenario))?.remove(0);
    let worker = super::build_worker()?;
    let run = Run { scenario, seed: options.seed, mutant: options.mutant.clone() };
    let trace = match &options.trace {
        Some(file) => std::path::absolute(file)?,
        None => worker.binary.with_file_name(format!("replay-{}.trace", std::process::id())),
    };
    let output = worker
        .command(&run)
        .arg("--trace")
        .arg(&trace)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", worker.binary.display()))?;
    if options.trace.is_none() {
        // A worker that crashed has left no trace, and its error output is already shown.
        if let Ok(lines) = std::fs::read_to_string(&trace) {
            print!("{lines}");
        }
        let _ = std::fs::remove_file(&trace);
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(Counts::one(output.status.success()))
}
