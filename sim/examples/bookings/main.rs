//! An application of one's own in the simulated cluster: orders are booked in a topic, and customers
//! are told whether theirs was.
//!
//! `cargo xtask sim --example bookings connections-cut --seeds 0..1000` runs it under the faults of
//! a scenario; `docs/lab.md` explains it.

#[cfg(madsim)]
mod check;
#[cfg(madsim)]
mod workload;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    use highwater_sim::lab::{Lab, main};

    main(&Lab::new().workload(workload::Bookings).check(check::NoFalseRefusal))
}

#[cfg(not(madsim))]
fn main() {
    eprintln!("start it with `cargo xtask sim --example bookings`");
}
