//! `cargo xtask sim replay`: one run as readable lines, of a seed or of a script.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;

use super::scenario;
use super::worker::{Run, Worker};
use crate::counts::{Counts, Usage};
use crate::workspace;

#[derive(Args)]
pub struct Options {
    /// The scenario, by name or file; or the script of a failure, a file that ends with `.json`.
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    /// The seed; a script has its own.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Plant this bug; a script says itself which.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Write the readable lines to this file instead of printing them.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Runs the worker with a trace and prints the trace, then what the worker says about the run.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let worker = super::build_worker()?;
    let mut command = command(options, &worker)?;
    let trace = match &options.trace {
        Some(file) => std::path::absolute(file)?,
        None => worker.binary.with_file_name(format!("replay-{}.trace", std::process::id())),
    };
    let output = command
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

/// What to run: a script, or a seed of a scenario.
fn command(options: &Options, worker: &Worker) -> anyhow::Result<Command> {
    if options.scenario.ends_with(".json") {
        if options.seed.is_some() || options.mutant.is_some() {
            let message = "a script has its seed and its mutant".to_owned();
            return Err(Usage(message).into());
        }
        let script = std::path::absolute(&options.scenario)?;
        let mut command = worker.bare_command();
        command.arg("--script").arg(script);
        return Ok(command);
    }
    let Some(seed) = options.seed else {
        return Err(Usage("--seed is missing".to_owned()).into());
    };
    let directory = workspace::root().join("scenarios");
    let scenario = scenario::select(&directory, std::slice::from_ref(&options.scenario))?.remove(0);
    Ok(worker.command(&Run { scenario, seed, mutant: options.mutant.clone() }))
}
