//! `cargo xtask bench`: what a release broker does on this machine.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub struct Options {
    /// Also write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(_options: &Options) -> anyhow::Result<()> {
    Ok(())
}
