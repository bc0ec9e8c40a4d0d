//! Highwater's pure core: the state machines that decide, with nothing that touches the world.
//!
//! A machine takes inputs and returns effects; its driver in `highwater-node` performs the effects
//! in order before the next step. There is no clock, no file, no entropy, no task and no unordered
//! map in here, so a machine can be cloned, replayed and hashed.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
pub mod controller;
pub mod coordinator;
pub mod encoding;
pub mod epochs;
pub mod fetch_session;
pub mod group;
pub mod metadata;
pub mod mutant;
pub mod partition;
pub mod producers;
pub mod record;
pub mod replica_session;
pub mod situation;
pub mod throttle;
pub mod time;
pub mod types;
