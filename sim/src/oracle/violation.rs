//! What a check says when it does not hold, and what it points at: the picture of a failed run starts
//! from there.

use super::index::Index;
use crate::history::{Call, Moment, Partition};
use std::collections::BTreeSet;

/// What a check says about a history.
pub type Verdict = Result<(), Violation>;

/// A check that does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violation {
    /// What was found, where.
    pub message: String,
    /// What it was found in.
    pub evidence: Box<Evidence>,
}

/// The parts of a history that show a violation. Empty where a check cannot say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The partition.
    pub partition: Option<Partition>,
    /// The offsets in it.
    pub offsets: BTreeSet<i64>,
    /// The brokers whose disks, or whose metadata, show it.
    pub brokers: BTreeSet<i32>,
    /// The group.
    pub group: Option<String>,
    /// The calls, by the moment at which each was invoked.
    pub calls: BTreeSet<Moment>,
    /// What the check compared: a name and its value, in the order in which people read them.
    pub facts: Vec<(String, String)>,
}

/// The verdict of a check that has nothing to point at.
pub fn violated(message: impl Into<String>) -> Verdict {
    Err(Violation::new(message))
}

impl Violation {
    /// A violation with nothing to point at yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), evidence: Box::default() }
    }

    /// It was found in this partition, whose name goes before the message.
    #[must_use]
    pub fn of(mut self, index: &Index<'_>, partition: Partition) -> Self {
        self.message = format!("{}: {}", index.name(partition), self.message);
        self.in_partition(partition)
    }

    /// It was found in this partition.
    #[must_use]
    pub fn in_partition(mut self, partition: Partition) -> Self {
        self.evidence.partition = Some(partition);
        self
    }

    /// It was found at this offset of this partition.
    #[must_use]
    pub fn at(mut self, partition: Partition, offset: i64) -> Self {
        self.evidence.offsets.insert(offset);
        self.in_partition(partition)
    }

    /// It was found in what this group was told.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.evidence.group = Some(group.to_owned());
        self
    }

    /// These brokers' disks, or their metadata, show it.
    #[must_use]
    pub fn on(mut self, brokers: impl IntoIterator<Item = i32>) -> Self {
        self.evidence.brokers.extend(brokers);
        self
    }

    /// These calls show it.
    #[must_use]
    pub fn shown_by<'a>(mut self, calls: impl IntoIterator<Item = &'a Call>) -> Self {
        self.evidence.calls.extend(calls.into_iter().map(|call| call.invoked));
        self
    }

    /// One of the things that were compared.
    #[must_use]
    pub fn saw(mut self, name: &str, value: impl ToString) -> Self {
        self.evidence.facts.push((name.to_owned(), value.to_string()));
        self
    }
}
