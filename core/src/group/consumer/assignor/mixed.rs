//! The uniform assignor where members subscribe to different topics: every partition stays where
//! it is if it may, free ones go to the subscriber that has the fewest, and then partitions move
//! from subscribers that have more to such that have less.
//!
//! Topics whose subscribers subscribe to the same end up balanced within one partition. Where
//! subscriptions overlap in part, each topic's balance is right by itself when nothing moves any
//! more, as in Kafka.

use super::{Input, Owners};
use crate::types::TopicId;
use alloc::{
    collections::{BTreeMap, BinaryHeap},
    vec,
    vec::Vec,
};
use core::cmp::Reverse;

/// How often all topics are looked through for a better balance. Two rounds do unless
/// subscriptions overlap in part; a round halves what is left of the imbalance, roughly.
const MAX_ROUNDS: usize = 16;

/// Gives every partition to one of its subscribers.
pub(super) fn assign(input: &Input) -> Owners {
    let mut assignment = Assignment::new(input);
    for topic in assignment.order.clone() {
        assignment.assign_free(topic);
    }
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for topic in assignment.order.clone() {
            moved |= assignment.balance(topic);
        }
        if !moved {
            break;
        }
    }
    assignment.owners
}

struct Assignment {
    /// Invariant: has every topic that somebody subscribes to, and no other.
    owners: Owners,
    /// By topic, the places of its subscribers. Invariant: never empty.
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    /// How many partitions each member has.
    sizes: Vec<usize>,
    /// The topics in the order in which they are assigned: where a subscriber gets the most first,
    /// since later topics even out what earlier ones left uneven.
    order: Vec<TopicId>,
}

impl Assignment {
    fn new(input: &Input) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (place, member) in input.members.values().enumerate() {
            for topic in member.topics.iter().filter(|topic| input.topics.contains_key(topic)) {
                subscribers.entry(*topic).or_default().push(place);
            }
        }
        let mut owners = input.present_owners();
        owners.retain(|topic, _| subscribers.contains_key(topic));
        let mut sizes = vec![0; input.members.len()];
        for place in owners.values().flatten().flatten() {
            sizes[*place] += 1;
        }
        let mut order: Vec<TopicId> = owners.keys().copied().collect();
        let counts = |topic: &TopicId| (owners[topic].len(), subscribers[topic].len());
        order.sort_by(|left, right| {
            let ((left_count, left_among), (right_count, right_among)) =
                (counts(left), counts(right));
            // left_count / left_among against right_count / right_among, without fractions.
            (right_count * left_among)
                .cmp(&(left_count * right_among))
                .then(left_among.cmp(&right_among))
                .then(left.cmp(right))
        });
        Self { owners, subscribers, sizes, order }
    }

    /// Gives the partitions of a topic that nobody has to the subscribers with the fewest.
    fn assign_free(&mut self, topic: TopicId) {
        let Self { owners, subscribers, sizes, .. } = self;
        let (Some(of_topic), Some(among)) = (owners.get_mut(&topic), subscribers.get(&topic))
        else {
            return;
        };
        let mut least: BinaryHeap<_> =
            among.iter().map(|place| Reverse((sizes[*place], *place))).collect();
        for owner in of_topic.iter_mut().filter(|owner| owner.is_none()) {
            let Some(Reverse((size, place))) = least.pop() else { return };
            *owner = Some(place);
            sizes[place] = size + 1;
            least.push(Reverse((size + 1, place)));
        }
    }

    /// Moves partitions of a topic until those of its subscribers that have some to give have at
    /// most one more than the one with the fewest. Returns whether any moved. Every move makes the
    /// sum of the squares of the sizes smaller.
    fn balance(&mut self, topic: TopicId) -> bool {
        let Self { owners, subscribers, sizes, .. } = self;
        let (Some(of_topic), Some(among)) = (owners.get_mut(&topic), subscribers.get(&topic))
        else {
            return false;
        };
        let extent = |sizes: &[usize]| {
            let (least, most) = among.iter().fold((usize::MAX, 0), |(least, most), place| {
                (least.min(sizes[*place]), most.max(sizes[*place]))
            });
            most.saturating_sub(least)
        };
        if extent(sizes) <= 1 {
            return false;
        }
        let mut held: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in of_topic.iter().enumerate() {
            if let Some(place) = owner {
                held.entry(*place).or_default().push(partition);
            }
        }
        let mut least: BinaryHeap<_> =
            among.iter().map(|place| Reverse((sizes[*place], *place))).collect();
        let mut most: BinaryHeap<_> = held.keys().map(|place| (sizes[*place], *place)).collect();
        let mut moved = false;
        while let Some((size, giver)) = most.pop() {
            if sizes[giver] != size {
                continue;
            }
            let taker = loop {
                match least.pop() {
                    Some(Reverse((size, place))) if sizes[place] == size => break Some(place),
                    Some(_) => {}
                    None => break None,
                }
            };
            let Some(taker) = taker else { break };
            if sizes[giver] <= sizes[taker] + 1 {
                break;
            }
            let Some(partition) = held.get_mut(&giver).and_then(Vec::pop) else {
                // It has more than others, but none of this topic.
                least.push(Reverse((sizes[taker], taker)));
                continue;
            };
            of_topic[partition] = Some(taker);
            sizes[giver] -= 1;
            sizes[taker] += 1;
            moved = true;
            most.push((sizes[giver], giver));
            least.push(Reverse((sizes[giver], giver)));
            least.push(Reverse((sizes[taker], taker)));
        }
        moved
    }
}
