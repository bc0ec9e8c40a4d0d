//! The uniform assignor where all members subscribe to the same topics: no two members differ by
//! more than one partition, and no partition moves that could have stayed.

use super::{Input, Owners};
use crate::{
    group::{MemberId, TopicPartitions},
    types::{PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};

/// Gives every member its share. Takes O(members + partitions) steps of logarithmic cost.
pub(super) fn assign(input: &Input) -> BTreeMap<MemberId, TopicPartitions> {
    let Some(first) = input.members.values().next() else { return BTreeMap::new() };
    let mut owners = input.present_owners();
    owners.retain(|topic, _| first.topics.contains(topic));
    let mut room = quotas(&owners, input.members.len());
    let mut free: Vec<(TopicId, PartitionIndex)> = Vec::new();
    for (topic, of_topic) in &mut owners {
        for (partition, owner) in (0..).map(PartitionIndex).zip(of_topic) {
            match *owner {
                Some(place) if room[place] > 0 => room[place] -= 1,
                Some(_) | None => {
                    *owner = None;
                    free.push((*topic, partition));
                }
            }
        }
    }
    let mut free = free.into_iter();
    for (place, room) in room.into_iter().enumerate() {
        for (topic, partition) in free.by_ref().take(room) {
            if let Some(of_topic) = owners.get_mut(&topic) {
                of_topic[partition.0 as usize] = Some(place);
            }
        }
    }
    assert!(free.next().is_none(), "the quotas add up to the partitions");
    input.by_member(&owners)
}

/// How many partitions each member gets. The shares that are larger by one go to members that have
/// so many already, then to the first ones.
fn quotas(owners: &Owners, members: usize) -> Vec<usize> {
    let total: usize = owners.values().map(Vec::len).sum();
    let share = total / members;
    let mut larger = total % members;
    let mut held = vec![0; members];
    for place in owners.values().flatten().flatten() {
        held[*place] += 1;
    }
    let mut quotas = vec![share; members];
    for has_more in [true, false] {
        for (held, quota) in held.iter().zip(&mut quotas) {
            if larger > 0 && (*held > share) == has_more {
                *quota += 1;
                larger -= 1;
            }
        }
    }
    quotas
}
