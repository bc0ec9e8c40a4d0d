//! The one automation entry: `cargo xtask COMMAND`.
//!
//! Exit status: 0 when everything passed, 1 when something failed, 2 for bad usage, 130 when somebody
//! stopped it before anything failed.

mod bench;
mod cluster;
mod codegen;
mod conformance;
mod counts;
mod fetch;
mod interop;
#[cfg(test)]
mod scratch;
mod sim;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::counts::{Counts, Interrupted, Usage};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Test, simulate, measure and tidy Highwater", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and every test; the last line is the count.
    Test(test::Options),
    /// Run simulated scenarios over many seeds, one process per seed.
    Sim(sim::Options),
    /// Run real clients, unmodified, against a release broker.
    Interop(interop::Args),
    /// Run test suites that other projects wrote for Kafka, unmodified.
    Conformance(conformance::Options),
    /// Break a cluster of real nodes again and again under real clients.
    Soak(soak::Options),
    /// Generate the wire messages of the node from their schema.
    Codegen {
        /// Write nothing; fail when a generated file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of the house that no compiler knows.
    Tidy,
    /// Measure a release broker over loopback; never part of passing or failing.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test(options) => test::run(&options).map(Some),
        Command::Sim(options) => sim::run(&options),
        Command::Interop(arguments) => interop::run(&arguments).map(Some),
        Command::Conformance(options) => conformance::run(&options).map(Some),
        Command::Soak(options) => soak::run(&options).map(Some),
        Command::Codegen { check } => codegen::run(check).map(|()| None),
        Command::Tidy => tidy::run().map(Some),
        Command::Bench(options) => bench::run(&options).map(|()| None),
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(counts)) => {
            println!("{counts}");
            if counts.is_success() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) if error.is::<Usage>() => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            if let Some(Interrupted(counts)) = error.downcast_ref() {
                println!("{counts}");
                return ExitCode::from(130);
            }
            eprintln!("error: {error:#}");
            println!("{}", Counts { passed: 0, failed: 1 });
            ExitCode::from(1)
        }
    }
}
