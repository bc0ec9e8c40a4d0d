//! Consumer groups: who consumes which partition, and how far it has come.

mod config;
pub mod consumer;
mod error;
mod messages;
mod record;

pub use config::{GroupConfig, MigrationPolicy};
pub use error::GroupError;
pub use messages::*;
pub use record::*;
