//! `cargo xtask sim replay`: one run as readable lines, of a seed or of a script.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use clap::Args;

use super::subject::OneRun;
use crate::counts::Counts;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    one: OneRun,
    /// Write the readable lines to this file instead of printing them.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Runs the worker with a trace and prints the trace, then what the worker says about the run.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let subject = options.one.subject()?;
    let worker = options.program.worker()?;
    let trace = match &options.trace {
        Some(file) => std::path::absolute(file)?,
        None => worker.binary.with_file_name(format!("replay-{}.trace", std::process::id())),
    };
    let output = subject
        .command(&worker, "run")
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
