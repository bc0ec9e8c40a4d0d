//! Who is to own which partition: pure functions from subscriptions and the present target to a new
//! target. Same input, same output, in every process.
//!
//! Like Kafka's, neither looks at racks.

mod mixed;
mod range;
#[cfg(test)]
mod tests;
mod uniform;

use crate::{
    group::{InstanceId, MemberId, TopicPartitions},
    types::{PartitionIndex, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

/// How partitions are spread over members (`group.consumer.assignors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Everybody gets as many partitions as anybody else, and keeps as many as possible of those
    /// that they have.
    Uniform,
    /// Each topic is cut into ranges, in the order of the members; topics with equally many
    /// partitions are cut alike. Nobody's present partitions count.
    Range,
}

impl Assignor {
    /// The assignor of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Gives every partition of every subscribed topic to one of its subscribers. Every member is
    /// in the answer.
    #[must_use]
    pub fn assign(self, input: &Input) -> BTreeMap<MemberId, TopicPartitions> {
        match self {
            Self::Uniform if input.is_homogeneous() => uniform::assign(input),
            Self::Uniform => mixed::assign(input),
            Self::Range => range::assign(input),
        }
    }
}

/// What an assignor goes by.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The members.
    pub members: BTreeMap<MemberId, Subscriber>,
    /// How many partitions each topic has. Invariant: has every topic that is subscribed to.
    pub topics: BTreeMap<TopicId, u32>,
}

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// The topics that it subscribes to; shared by members that subscribe to the same.
    pub topics: Arc<BTreeSet<TopicId>>,
    /// What it is to own at present. May name topics and partitions that are gone.
    pub target: Arc<TopicPartitions>,
}

impl Input {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return true };
        members.all(|member| {
            Arc::ptr_eq(&member.topics, &first.topics) || member.topics == first.topics
        })
    }

    /// The present owner of each partition, by the member's place among the members, for topics
    /// and partitions that exist and that the owner subscribes to.
    fn present_owners(&self) -> Owners {
        let mut owners: Owners = self
            .topics
            .iter()
            .map(|(topic, count)| (*topic, alloc::vec![None; *count as usize]))
            .collect();
        for (place, member) in self.members.values().enumerate() {
            for (topic, partitions) in member.target.iter() {
                if !member.topics.contains(topic) {
                    continue;
                }
                let Some(of_topic) = owners.get_mut(topic) else { continue };
                for partition in partitions {
                    if let Some(owner @ None) = of_topic.get_mut(partition.0 as usize) {
                        *owner = Some(place);
                    }
                }
            }
        }
        owners
    }

    /// The answer: what each member owns.
    fn by_member(&self, owners: &Owners) -> BTreeMap<MemberId, TopicPartitions> {
        let mut assigned: Vec<TopicPartitions> = Vec::new();
        assigned.resize_with(self.members.len(), BTreeMap::new);
        for (topic, of_topic) in owners {
            for (partition, owner) in (0..).map(PartitionIndex).zip(of_topic) {
                if let Some(place) = owner {
                    assigned[*place].entry(*topic).or_default().insert(partition);
                }
            }
        }
        self.members.keys().cloned().zip(assigned).collect()
    }
}

/// The owner of each partition, by the member's place among the members.
type Owners = BTreeMap<TopicId, Vec<Option<usize>>>;
