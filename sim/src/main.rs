//! `highwater-sim`: runs one seed of one scenario in this process and prints one line of JSON.

use std::process::ExitCode;

#[cfg(madsim)]
fn main() -> ExitCode {
    highwater_sim::lab::main(&highwater_sim::lab::Lab::new())
}

/// Outside the simulation build there is no simulated time to run on.
#[cfg(not(madsim))]
fn main() -> ExitCode {
    eprintln!(
        "highwater-sim was built without simulated time; start it through `cargo xtask sim`, or \
         build it with RUSTFLAGS=\"--cfg madsim\" CARGO_TARGET_DIR=target/sim"
    );
    ExitCode::from(2)
}
