//! What the cluster knows about itself: topics, partitions, configurations, brokers.
//!
//! The metadata log holds [`Command`]s; [`Image::apply`] replays them, everywhere with the same
//! result. A command carries the ids and times that its sender drew; whether it succeeds is
//! decided when it is applied.

mod apply;
mod brokers;
mod command;
mod configs;
mod election;
mod error;
mod features;
mod hash;
mod image;
mod isr;
mod names;
mod partition_change;
mod placement;
mod reassignment;
mod replication_rules;
#[cfg(test)]
mod tests;

pub use command::{Command, ConfigChange, ConfigUpdate, ElectionKind, IsrChange, NewTopic, Reply};
pub use error::MetadataError;
pub use features::{Feature, GROUP_VERSION, SUPPORTED_FEATURES};
pub(crate) use hash::Fnv;
pub use image::{
    BrokerRegistration, Endpoint, Image, MAX_PARTITIONS_PER_TOPIC, PartitionRegistration, Topic,
};
pub use names::{MAX_TOPIC_NAME_BYTES, OFFSETS_TOPIC, is_internal_topic, validate_topic_name};
