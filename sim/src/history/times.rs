//! When something is due: times in which nothing goes wrong, stops in good order, logs that were left
//! alone until retention was due, and how long a call may wait by itself.

use super::{Moment, Partition, PartitionSeen, Request, Topic};
use std::collections::BTreeMap;

/// What clients say in requests that have a time limit.
const REQUEST_TIMEOUT_NANOS: u64 = 1_000_000_000;

/// A time in which nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// When it began, in simulated nanoseconds.
    pub from: u64,
    /// When it was over.
    pub until: u64,
    /// Whether the cluster had converged before, and messages between brokers took no longer than
    /// most do.
    pub is_settled: bool,
}

/// A broker was asked to stop, and nobody was made to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanStop {
    /// Which broker.
    pub machine: i32,
    /// When it was asked, in simulated nanoseconds.
    pub asked: u64,
    /// The moment at which it had stopped, or was waited for no longer.
    pub over: Moment,
    /// Whether somebody else was stopped, or not there, meanwhile.
    pub is_disturbed: bool,
    /// Whether a majority of the voters ran all the time, itself among them if it is one.
    pub had_quorum: bool,
    /// Whether it had handed over what others could lead, by its own word, when it had stopped; `None`
    /// when it was waited for no longer.
    pub handed_over: Option<bool>,
    /// The partitions then, by the newest metadata that anybody has applied.
    pub partitions: BTreeMap<Partition, PartitionSeen>,
    /// The other brokers that ran then, and were not fenced by that metadata.
    pub living: Vec<i32>,
    /// Whether everything was in sync once more when it was there again; `None` where that was not
    /// waited for.
    pub in_sync_again: Option<bool>,
}

/// One replica of a log that nobody had written to for so long that retention was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Of which partition.
    pub partition: Partition,
    /// On which broker.
    pub broker: i32,
    /// Whether that broker leads it.
    pub leads: bool,
    /// Where it starts.
    pub log_start: i64,
    /// Where it ends.
    pub end: i64,
    /// The bytes of its segments, the oldest first; the last one is the active one.
    pub segments: Vec<u64>,
}

/// Records that are kept longer are not waited for.
const LONGEST_RETENTION_MILLIS: i64 = 10_000;

impl Topic {
    /// Whether records go by themselves, by age or by size.
    #[must_use]
    pub const fn has_retention(&self) -> bool {
        self.retention_millis.is_some() || self.retention_bytes.is_some()
    }

    /// After how many milliseconds everything has to be gone that nobody adds to, if that is worth
    /// waiting for.
    #[must_use]
    pub fn lifetime_millis(&self) -> Option<i64> {
        self.retention_millis.filter(|millis| *millis <= LONGEST_RETENTION_MILLIS)
    }
}

impl Aged {
    /// What retention should have come for, and has not.
    #[must_use]
    pub fn overdue(&self, topics: &[Topic]) -> Option<String> {
        let topic = &topics[self.partition.topic];
        if topic.lifetime_millis().is_some() && self.log_start < self.end {
            return Some(format!("everything is too old from {} to {}", self.log_start, self.end));
        }
        let limit = topic.retention_bytes.and_then(|bytes| u64::try_from(bytes).ok())?;
        let total: u64 = self.segments.iter().sum();
        let (oldest, rest) = self.segments.split_first()?;
        let is_over = !rest.is_empty() && total - oldest >= limit;
        is_over.then(|| {
            format!("{total} bytes are there, {oldest} of them in the oldest segment; {limit} are to stay")
        })
    }
}

/// How long a broker may wait with an answer that says nothing else.
pub(super) const fn waits_by_itself(request: &Request) -> u64 {
    match request {
        Request::Produce(_) | Request::DeleteRecords { .. } | Request::Admin(_) => {
            REQUEST_TIMEOUT_NANOS
        }
        _ => 0,
    }
}

/// Something that should have happened by the time at which somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// When somebody looked.
    pub at: Moment,
    /// Who had not done it.
    pub broker: i32,
    /// For how long it could have, in simulated milliseconds.
    pub millis: u64,
    /// What it was.
    pub what: Undone,
}

/// What should have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// A controller that has its quorum fences a broker that does not run.
    Fences(i32),
    /// A broker that has applied what the metadata says of a partition does what is said there.
    Follows {
        /// Of which partition.
        partition: Partition,
        /// What the metadata says.
        told: String,
        /// What its replica does.
        found: String,
    },
}
