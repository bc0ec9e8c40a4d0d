//! The range assignor: the partitions of each topic are cut into ranges, as even as can be, and
//! dealt to its subscribers in their order.

use super::{Input, Subscriber};
use crate::{
    group::{MemberId, TopicPartitions},
    types::{PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, vec::Vec};

/// Deals the ranges. Static members come first, by their instance ids, so that they keep their
/// ranges when they come back under other member ids.
pub(super) fn assign(input: &Input) -> BTreeMap<MemberId, TopicPartitions> {
    let mut members: Vec<(&MemberId, &Subscriber)> = input.members.iter().collect();
    members.sort_by(|(left_id, left), (right_id, right)| {
        match (&left.instance, &right.instance) {
            (Some(left), Some(right)) => left.cmp(right),
            (left, right) => right.is_some().cmp(&left.is_some()),
        }
        .then(left_id.cmp(right_id))
    });
    let mut cuts: BTreeMap<TopicId, Cut> = BTreeMap::new();
    for topic in members.iter().flat_map(|(_, member)| member.topics.iter()) {
        if let Some(partitions) = input.topics.get(topic) {
            let cut =
                cuts.entry(*topic).or_insert(Cut { partitions: *partitions, among: 0, dealt: 0 });
            cut.among += 1;
        }
    }
    let deal = |(id, member): (&MemberId, &Subscriber)| {
        let mut assigned = TopicPartitions::new();
        for topic in member.topics.iter() {
            let Some(range) = cuts.get_mut(topic).and_then(Cut::next) else { continue };
            assigned.insert(*topic, range.map(PartitionIndex).collect());
        }
        (id.clone(), assigned)
    };
    members.into_iter().map(deal).collect()
}

/// How far a topic has been dealt.
struct Cut {
    partitions: u32,
    /// How many members are still to get a range.
    among: u32,
    /// How many partitions have been dealt.
    dealt: u32,
}

impl Cut {
    /// The next member's range; `None` if it is empty.
    fn next(&mut self) -> Option<core::ops::Range<u32>> {
        let left = self.partitions - self.dealt;
        let range = self.dealt..self.dealt + left.div_ceil(self.among);
        self.dealt = range.end;
        self.among -= 1;
        (!range.is_empty()).then_some(range)
    }
}
