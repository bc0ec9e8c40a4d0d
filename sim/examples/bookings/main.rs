//! An application of one's own in the simulated cluster: orders are booked in a topic, and customers
//! are told whether theirs was.
//!
//! `docs/lab.md` explains it, and how to build it with simulated time and run it under the faults of a
//! scenario.

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
    eprintln!("docs/lab.md says how to build and start it");
}
