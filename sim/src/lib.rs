//! The Highwater simulator: simulated disks and clocks, faults, workloads, oracles and traces around
//! the real node.
//!
//! The pure parts (models, histories, oracles, scenarios) build everywhere; whatever runs on
//! simulated time exists under `--cfg madsim` only.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(madsim)]
mod aging;
pub mod batch;
pub mod choices;
pub mod clock;
#[cfg(madsim)]
mod cluster;
pub mod condition;
pub mod dice;
pub mod disk;
pub mod explain;
pub mod group;
#[cfg(madsim)]
mod heal;
pub mod history;
pub mod inspect;
pub mod kept;
#[cfg(madsim)]
pub mod lab;
#[cfg(madsim)]
mod machine;
#[cfg(madsim)]
mod metadata;
#[cfg(madsim)]
mod nemesis;
pub mod network;
pub mod oracle;
#[cfg(madsim)]
mod recorder;
#[cfg(madsim)]
pub mod replay;
pub mod report;
#[cfg(madsim)]
pub mod run;
pub mod scenario;
#[cfg(madsim)]
mod stuck;
#[cfg(madsim)]
mod swarm;
#[cfg(madsim)]
mod tally;
pub mod trace;
#[cfg(madsim)]
mod view;
#[cfg(madsim)]
mod witness;
#[cfg(madsim)]
mod workload;
