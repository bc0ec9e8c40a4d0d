//! The uniform assignor where all members subscribe to the same topics: no two members differ by
//! more than one partition, and, where no racks count, no partition moves that could have stayed.

use super::{Input, Owners, Rack, Slot, set_owner};
use alloc::{collections::BTreeMap, vec, vec::Vec};

/// Gives every member its share. Takes O(members + partitions) steps of logarithmic cost.
pub(super) fn assign(input: &Input) -> Owners {
    let Some(first) = input.members.values().next() else { return Owners::new() };
    let mut owners = input.present_owners();
    owners.retain(|topic, _| first.topics.contains(topic));
    let mut room = quotas(&owners, input.members.len());
    let racks: Vec<Option<Rack>> = input.members.values().map(|member| member.rack).collect();
    let free = give_up(input, &racks, (&mut owners, &mut room));
    let left = fill_in_racks(input, &racks, (&mut owners, &mut room), free);
    fill(&mut owners, room, left);
    owners
}

/// Takes from members what they have beyond their room, what they read across racks first. Returns what
/// nobody has then.
fn give_up(
    input: &Input,
    racks: &[Option<Rack>],
    (owners, room): (&mut Owners, &mut [usize]),
) -> Vec<Slot> {
    let mut free = Vec::new();
    for in_rack in [true, false] {
        for (topic, of_topic) in owners.iter() {
            for (partition, owner) in of_topic.iter().enumerate() {
                let readable_in = input.racks_of(*topic, partition);
                let own_rack = owner.and_then(|place| racks[place]);
                if own_rack.is_some_and(|rack| readable_in.contains(&rack)) != in_rack {
                    continue;
                }
                match *owner {
                    Some(place) if room[place] > 0 => room[place] -= 1,
                    Some(_) | None => free.push((*topic, partition)),
                }
            }
        }
    }
    free.sort_unstable();
    free.iter().for_each(|slot| set_owner(owners, *slot, None));
    free
}

/// Gives free partitions to members in whose racks they can be read, while these have room. Returns
/// the others.
fn fill_in_racks(
    input: &Input,
    racks: &[Option<Rack>],
    (owners, room): (&mut Owners, &mut [usize]),
    free: Vec<Slot>,
) -> Vec<Slot> {
    let mut with_room: BTreeMap<Rack, Vec<usize>> = BTreeMap::new();
    for (place, rack) in racks.iter().enumerate().rev() {
        if let Some(rack) = rack.filter(|_| room[place] > 0) {
            with_room.entry(rack).or_default().push(place);
        }
    }
    let mut take = |slot: Slot| {
        let mut readable_in = input.racks_of(slot.0, slot.1).iter();
        let taker = readable_in.find_map(|rack| {
            let members = with_room.get_mut(rack)?;
            let place = *members.last()?;
            room[place] -= 1;
            if room[place] == 0 {
                members.pop();
            }
            Some(place)
        });
        set_owner(owners, slot, taker);
        taker.is_some()
    };
    free.into_iter().filter(|slot| !take(*slot)).collect()
}

/// Gives free partitions to whoever has room.
fn fill(owners: &mut Owners, room: Vec<usize>, free: Vec<Slot>) {
    let mut free = free.into_iter();
    for (place, room) in room.into_iter().enumerate() {
        free.by_ref().take(room).for_each(|slot| set_owner(owners, slot, Some(place)));
    }
    assert!(free.next().is_none(), "the quotas add up to the partitions");
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
