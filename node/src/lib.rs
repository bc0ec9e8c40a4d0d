//! The Highwater broker as a library: doors, log engine, Kafka wire and drivers.
//!
//! Production runs it on tokio, the simulator runs the same source on madsim; only `env` knows
//! which.
#![deny(unsafe_code)]

pub mod api;
pub mod broker;
pub mod client;
pub mod codec;
pub mod config;
pub mod coordinator;
pub mod env;
pub mod internal;
pub mod log;
pub mod metrics;
pub mod peer;
pub mod quorum;
pub mod server;
pub mod tasks;
pub mod wire;
