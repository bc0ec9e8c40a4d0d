//! Failures of the simulator as scripts: every choice of a run by name, small, versioned, and to be
//! replayed elsewhere and later; and how a script shrinks while the same check fails.
//!
//! Nothing here knows brokers or runs anything. The simulator writes scripts and follows them;
//! whoever shrinks one brings a laboratory that runs candidates.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod checkpoints;
pub mod ddmin;
pub mod decisions;
pub mod edit;
pub mod render;
pub mod script;
pub mod shrink;

pub use checkpoints::Checkpoints;
pub use decisions::{Client, Decisions, Drawn, Value};
pub use script::{FORMAT, Failure, Recorded, Script, ScriptError, Source};
