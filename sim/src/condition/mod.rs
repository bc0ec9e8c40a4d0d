//! The language in which scenarios speak of the cluster's state: conditions such as
//! `high_watermark(t0/0) < log_end_offset(leader(t0/0))`, brokers such as `isr(t0/0) - leader`, and
//! changes such as `first leader_epoch change of t0/0`.
//!
//! An expression is parsed and checked when a scenario is read, with the place of every mistake, and
//! evaluated over a read-only [`View`] of the cluster. Nothing in it draws or waits, so that the
//! same state always gives the same value.

mod arguments;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod spans;

#[cfg(test)]
mod tests;

pub use evaluate::{PartitionView, ReplicaView, Value, View};
pub use functions::{FUNCTIONS, Function};
pub use parser::{Known, parse_brokers, parse_change, parse_condition, parse_partition};
pub use spans::Crowd;

use std::{fmt, ops::Range};

/// One partition by its name: `t0/0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionName {
    /// The topic.
    pub topic: String,
    /// The partition, from zero.
    pub index: u32,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// An expression that was checked, with the text it was written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// As it was written.
    pub text: String,
    node: Node,
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The change of a value that a fault waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As it was written.
    pub text: String,
    /// Which change, from one; every one when absent.
    pub nth: Option<u64>,
    of: Node,
}

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the expression's text.
    pub at: Range<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Truth,
    /// One broker, or none.
    Broker,
    Brokers,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::Broker => "one broker",
            Self::Brokers => "a set of brokers",
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// What a replica of a partition knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfReplica {
    LeaderEpoch,
    LogStartOffset,
    HighWatermark,
    FlushedOffset,
    LogEndOffset,
}

/// What the metadata says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfPartition {
    Leader,
    LeaderEpoch,
    PartitionEpoch,
    Isr,
    Elr,
    Replicas,
    Followers,
    Acknowledged,
}

/// What is known of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfBroker {
    Alive,
    Fenced,
    Epoch,
}

/// A checked expression: the kinds of its parts fit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Number(i64),
    Truth(bool),
    Broker(i32),
    All,
    Controller,
    Term,
    Now,
    Held,
    Coordinator(String),
    Generation(String),
    Partition(OfPartition, PartitionName),
    /// On the leader when no broker is named.
    Replica(OfReplica, PartitionName, Option<Box<Node>>),
    OfBroker(OfBroker, Box<Node>),
    Count(Box<Node>),
    Plus(Box<Node>, Box<Node>),
    Minus(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
}
