//! The Highwater simulator: simulated disks and clocks, faults, workloads, oracles and traces around
//! the real node.
//!
//! The pure parts (models, histories, oracles, scenarios) build everywhere; whatever runs on
//! simulated time exists under `--cfg madsim` only.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod batch;
pub mod clock;
pub mod dice;
pub mod disk;
pub mod history;
pub mod oracle;
pub mod report;
pub mod scenario;
pub mod trace;
