//! Who is to own which partition: pure functions from subscriptions and the present target to a new
//! target. Same input, same output, in every process.
//!
//! The uniform assignor puts even shares first, then reading within a rack, then leaving partitions
//! where they are (KIP-848, KIP-881). The range assignor does not look at racks: who chooses it wants
//! partitions of one number at one member, and their replicas are in racks of their own.

mod mixed;
mod racks;
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
    /// Everybody gets as many partitions as anybody else; as many as can be of them have a replica in
    /// the rack of their member; and they stay where they are, if need be a few less than could where
    /// racks count. Where members subscribe to different topics, partitions come into racks among topics
    /// with the same subscribers.
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
            Self::Uniform => {
                let is_alike = input.is_homogeneous();
                let mut owners =
                    if is_alike { uniform::assign(input) } else { mixed::assign(input) };
                racks::exchange(input, &mut owners);
                input.by_member(&owners)
            }
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
    /// The racks of each partition's replicas, in their order, without those in which no member is. A
    /// topic that is not here is in no rack.
    pub racks: BTreeMap<TopicId, Vec<Vec<Rack>>>,
}

/// A rack in which members are, by a number of this input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rack(pub usize);

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Its rack, if it has told it.
    pub rack: Option<Rack>,
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

    /// The racks in which a partition can be read without leaving them.
    fn racks_of(&self, topic: TopicId, partition: usize) -> &[Rack] {
        let of_topic = self.racks.get(&topic);
        of_topic.and_then(|racks| racks.get(partition)).map_or(&[], Vec::as_slice)
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

/// A partition.
type Slot = (TopicId, usize);

fn owner_of(owners: &Owners, (topic, partition): Slot) -> Option<usize> {
    *owners.get(&topic)?.get(partition)?
}

fn set_owner(owners: &mut Owners, (topic, partition): Slot, to: Option<usize>) {
    if let Some(owner) = owners.get_mut(&topic).and_then(|of| of.get_mut(partition)) {
        *owner = to;
    }
}
