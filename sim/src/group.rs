//! What members of groups ask their coordinator and hear from it, as the history keeps it.

use crate::history::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// Some partitions.
pub type Partitions = BTreeSet<Partition>;

/// One call to the coordinator of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCall {
    /// The group's name.
    pub group: String,
    /// The member's id; empty while it has none, and of somebody who is no member.
    pub member: String,
    /// Its `group.instance.id`, if it is static.
    pub instance: Option<String>,
    /// What is asked.
    pub ask: Ask,
    /// What a heartbeat of a consumer group subscribes to, when it says so.
    pub subscription: Option<Subscription>,
}

/// What a member of a consumer group subscribes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscription {
    /// The names of topics.
    pub topics: Vec<String>,
    /// A regular expression that matches names of topics, besides.
    pub expression: Option<&'static Expression>,
}

impl Subscription {
    /// Whether a topic of this name belongs to it.
    #[must_use]
    pub fn includes(&self, topic: &str) -> bool {
        let is_matched = |expression: &&Expression| (expression.matches)(topic);
        self.topics.iter().any(|name| name == topic)
            || self.expression.as_ref().is_some_and(is_matched)
    }
}

/// A regular expression that members subscribe with (KIP-848).
#[derive(Debug)]
pub struct Expression {
    /// As it is sent.
    pub text: &'static str,
    /// The same without any engine for expressions: whether it matches a whole name.
    pub matches: fn(&str) -> bool,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The expressions that members choose from. Each matches every topic that lives as long as the run,
/// and the last every topic.
pub static EXPRESSIONS: [Expression; 4] = [
    Expression { text: "t.*", matches: |name| name.starts_with('t') },
    Expression { text: "t[0-9]+|churn-[0-9]+-[01]", matches: lasts_or_is_early },
    Expression { text: "[^c]+|.*-[23]", matches: lasts_or_is_late },
    Expression { text: ".*", matches: |_| true },
];

fn lasts_or_is_early(name: &str) -> bool {
    name.starts_with('t') || name.ends_with("-0") || name.ends_with("-1")
}

fn lasts_or_is_late(name: &str) -> bool {
    name.starts_with('t') || name.ends_with("-2") || name.ends_with("-3")
}

/// What is asked of a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// JoinGroup.
    Join,
    /// SyncGroup.
    Sync {
        /// The generation that the member was told.
        generation: i32,
        /// What the leader of the generation gives to each member; empty from the others.
        given: BTreeMap<String, Partitions>,
    },
    /// Heartbeat.
    Heartbeat {
        /// The generation that the member was told.
        generation: i32,
    },
    /// ConsumerGroupHeartbeat (KIP-848).
    ConsumerHeartbeat {
        /// 0 to join, -1 and -2 to leave, otherwise the epoch that the member was told.
        epoch: i32,
        /// What the member has and reads. A heartbeat that does not say it leaves it as the last one
        /// said it that was answered.
        owned: Partitions,
    },
    /// LeaveGroup.
    Leave,
    /// OffsetCommit.
    Commit {
        /// The generation or the member epoch; -1 of somebody who is no member.
        generation: i32,
        /// The next offset to read, by partition.
        offsets: BTreeMap<Partition, i64>,
    },
    /// OffsetFetch.
    Offsets {
        /// Of which partitions.
        partitions: Partitions,
    },
}

/// What a coordinator answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// To JoinGroup: the next generation.
    Joined {
        /// Its number.
        generation: i32,
        /// The member's id.
        member: String,
        /// Who assigns; empty in a group whose coordinator does.
        leader: String,
    },
    /// To SyncGroup: what the member is to read.
    Assigned(Partitions),
    /// To Heartbeat: the generation goes on.
    Alive,
    /// To Heartbeat, by a coordinator that may have been loading: it takes every heartbeat then, and
    /// does not know from whom.
    Taken,
    /// To ConsumerGroupHeartbeat.
    Told {
        /// The member epoch.
        epoch: i32,
        /// What the member is to read, when that is news.
        assigned: Option<Partitions>,
    },
    /// To LeaveGroup.
    Left,
    /// To OffsetCommit: the error code of each partition, 0 for none.
    Committed(BTreeMap<Partition, i16>),
    /// To OffsetFetch: the committed offsets; those without one are absent.
    Offsets(BTreeMap<Partition, i64>),
}

/// A group at the end, when healthy members have had time to read everything.
#[derive(Clone, Debug, Default)]
pub struct FinalGroup {
    /// Its name.
    pub name: String,
    /// What was committed, by partition.
    pub committed: BTreeMap<Partition, i64>,
    /// The ends of the partitions that it subscribes to.
    pub ends: BTreeMap<Partition, i64>,
    /// What each member had, by its id.
    pub members: BTreeMap<String, Partitions>,
}

impl FinalGroup {
    /// Whether every partition has exactly one reader, and was read to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.ends.is_empty() && self.is_shared_out() && self.is_read()
    }

    /// Whether every partition has exactly one reader.
    #[must_use]
    pub fn is_shared_out(&self) -> bool {
        let readers =
            |of: &Partition| self.members.values().filter(|held| held.contains(of)).count();
        self.ends.keys().all(|of| readers(of) == 1)
    }

    /// Whether everything was read and committed.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.ends.iter().all(|(of, end)| self.committed.get(of) == Some(end))
    }
}
