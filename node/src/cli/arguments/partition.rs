//! What can be said about partitions.

use super::Broker;
use clap::{Args, Subcommand};

/// What to do with partitions.
#[derive(Debug, Subcommand)]
pub enum Partition {
    Reassign(Reassign),
    Reassignments(Reassignments),
    Unthrottle(Unthrottle),
    Elect(Elect),
}

/// Move a partition to other nodes, or give a move up.
///
/// The move has only begun when this ends: `highwater partition reassignments` shows what is under
/// way. The replicas given up go on until all the new ones are in sync.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub struct Reassign {
    #[command(flatten)]
    pub at: Broker,
    /// The topic's name.
    pub topic: String,
    /// The partition.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: i32,
    /// The nodes that shall hold it, the preferred leader first.
    #[arg(long, group = "target", value_name = "NODE", value_delimiter = ',')]
    pub replicas: Vec<i32>,
    /// Go back to the replicas from before the move under way.
    #[arg(long, group = "target")]
    pub cancel: bool,
    /// Bytes in a second that each node may give, and take, for the new replicas. The last one that
    /// is said holds for all throttled moves of a node.
    #[arg(long, value_name = "BYTES", conflicts_with = "cancel")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..i64::MAX as u64))]
    pub throttle: Option<u64>,
}

/// Lift the throttles of all moves, once they are done.
#[derive(Args, Debug)]
pub struct Unthrottle {
    #[command(flatten)]
    pub at: Broker,
    /// Also while partitions are moving.
    #[arg(long)]
    pub now: bool,
}

/// List the moves of partitions that are under way.
#[derive(Args, Debug)]
pub struct Reassignments {
    #[command(flatten)]
    pub at: Broker,
}

/// Elect leaders.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("kind").required(true))]
pub struct Elect {
    #[command(flatten)]
    pub at: Broker,
    /// Let the first replica of each partition lead, where it is in sync.
    #[arg(long, group = "kind")]
    pub preferred: bool,
    /// Let any live replica lead a partition that has no leader. Acknowledged records may be lost.
    #[arg(long, group = "kind")]
    pub unclean: bool,
    /// Only in this topic; in all if none is given.
    pub topic: Option<String>,
    /// Only this partition of it.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
}
