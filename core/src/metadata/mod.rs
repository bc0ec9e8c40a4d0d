//! What the cluster knows about itself: topics, partitions, configurations, brokers.
//!
//! The metadata log holds [`Command`]s; [`Image::apply`] replays them, everywhere with the same
//! result. A command carries the ids and times that its sender drew; whether it succeeds is
//! decided when it is applied.

mod apply;
mod command;
mod configs;
mod error;
mod hash;
mod image;
mod names;
#[cfg(test)]
mod tests;

pub use command::{Command, ConfigChange, ConfigUpdate, NewTopic, Reply};
pub use error::MetadataError;
pub use image::{
    BrokerRegistration, Endpoint, Image, MAX_PARTITIONS_PER_TOPIC, PartitionRegistration, Topic,
};
pub use names::{MAX_TOPIC_NAME_BYTES, validate_topic_name};
