//! The nouns of the protocol as distinct types, so that an epoch is never mistaken for another.
//!
//! Kafka's `-1` sentinels do not enter core: absence is an `Option`.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }
    };
}

newtype! {
    /// Position of a record in a partition's log. Client offsets are never negative.
    Offset(u64)
}
newtype! {
    /// Generation of a partition's leadership (KIP-101).
    LeaderEpoch(u32)
}
newtype! {
    /// Version of a partition's registration: bumped by every change of it (KIP-497).
    PartitionEpoch(u32)
}
newtype! {
    /// Identity of a broker in its cluster (`node.id`).
    BrokerId(i32)
}
newtype! {
    /// Granted at each registration of a broker, once (KIP-380).
    BrokerEpoch(u64)
}
newtype! {
    /// Identity of one run of a broker process, drawn at random at its start (KIP-631).
    Incarnation(u128)
}
newtype! {
    /// Identity of a data directory, drawn at random when it is first used (KIP-858): a broker that
    /// comes back with another one has lost what it had.
    DirectoryId(u128)
}
newtype! {
    /// Index of a partition in its topic, from zero.
    PartitionIndex(u32)
}
newtype! {
    /// Identity of an idempotent producer (KIP-98).
    ProducerId(u64)
}
newtype! {
    /// Generation of a producer id (KIP-98, KIP-360); at most `i16::MAX`.
    ProducerEpoch(i16)
}
newtype! {
    /// Sequence number of a record in its producer's stream to one partition, 0 to `i32::MAX`,
    /// wrapping to 0.
    Sequence(i32)
}
newtype! {
    /// One append to one log; never reused within an incarnation of the process.
    WriteId(u64)
}
newtype! {
    /// One request to one machine; never reused within an incarnation of the process.
    RequestId(u64)
}
newtype! {
    /// Position in the metadata log: the offset of the last applied command plus one.
    MetadataOffset(u64)
}

/// Identity of a topic: unlike its name, never reused (KIP-516).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Offset {
    /// The offset `count` records later. Panics past `u64::MAX`, which no log reaches.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl Sequence {
    /// The sequence number `count` records later, wrapping from `i32::MAX` to 0 (KIP-98).
    /// `self` and `count` must not be negative.
    #[must_use]
    pub const fn plus(self, count: i32) -> Self {
        assert!(self.0 >= 0 && count >= 0, "sequence numbers are never negative");
        Self(self.0.wrapping_add(count) & i32::MAX)
    }
}
