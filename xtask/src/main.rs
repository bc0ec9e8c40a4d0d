//! The automation entry.

mod interop;

use clap::Parser;

/// The automation of Highwater.
#[derive(Parser)]
enum Command {
    /// Run real clients against a release broker.
    Interop(interop::Args),
}

fn main() -> anyhow::Result<()> {
    let counts = match Command::parse() {
        Command::Interop(args) => interop::run(&args)?,
    };
    std::process::exit(i32::from(counts.failed > 0))
}
