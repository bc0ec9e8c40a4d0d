//! Exchanges partitions between members until as many as can be have a replica in their member's rack,
//! while everybody's share stays as even as it was.
//!
//! Only the rack of a member matters, not which member of the rack it is. So this is a flow between
//! racks: a partition that is read across racks goes to one of its own racks and drives another one
//! out of it, which goes on to another of its racks, and so on, until one is driven out that loses
//! nothing. Where shares are not all equal, a rack may also take one more, and another rack one less.
//! Every such chain brings one more partition home; a partition for which there is none never gets
//! one, so that all are looked at once, and nothing moves when it is looked at again (Ford and
//! Fulkerson).

use super::{Input, Owners, Rack, Slot, owner_of, set_owner};
use crate::types::TopicId;
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

/// Exchanges what can be exchanged: partitions of topics that have the same subscribers. Where all
/// members subscribe to the same, larger shares move, too.
pub(super) fn exchange(input: &Input, owners: &mut Owners) {
    if input.racks.is_empty() {
        return;
    }
    let mut exchange = Exchange::new(input, owners);
    let slots: Vec<Slot> = owners
        .iter()
        .flat_map(|(topic, of_topic)| (0..of_topic.len()).map(|partition| (*topic, partition)))
        .collect();
    for slot in slots {
        exchange.bring_home(owners, slot);
    }
}

/// The members of a rack, or those without one.
type Group = Option<Rack>;

/// Where a partition that has to leave a rack can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// It is read across racks already, wherever it goes.
    Anywhere,
    /// It has a replica in this rack, too.
    To(Rack),
}

/// What a chain leads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Group(Group),
    /// The right to one partition more than others have.
    LargerShare,
}

/// How a chain goes on from a node: which partition leaves it; none where a larger share changes hands.
type Step = (Node, Option<Slot>);

struct Exchange<'a> {
    input: &'a Input,
    /// By the member's place.
    groups: Vec<Group>,
    /// The number of the market in which the partitions of each topic are exchanged.
    markets: BTreeMap<TopicId, usize>,
    /// The partitions that a group owns, by their market and where they can go. Invariant: no empty set.
    held: BTreeMap<(usize, Group, Way), BTreeSet<Slot>>,
    /// The members of each group, by how many partitions they own.
    sizes: BTreeMap<Group, BTreeSet<(usize, usize)>>,
    /// How many partitions each member owns.
    size: Vec<usize>,
    /// What everybody has at least, where shares are even.
    even_share: Option<usize>,
    /// From where no chain leads on.
    dead: BTreeSet<(usize, Node)>,
}

impl<'a> Exchange<'a> {
    fn new(input: &'a Input, owners: &Owners) -> Self {
        let groups: Vec<Group> = input.members.values().map(|member| member.rack).collect();
        let mut size = vec![0; groups.len()];
        for place in owners.values().flatten().flatten() {
            size[*place] += 1;
        }
        let mut sizes: BTreeMap<Group, BTreeSet<(usize, usize)>> = BTreeMap::new();
        for (place, group) in groups.iter().enumerate() {
            sizes.entry(*group).or_default().insert((size[place], place));
        }
        let even_share =
            input.is_homogeneous().then(|| size.iter().copied().min().unwrap_or_default());
        let (markets, held, dead) = (markets(input), BTreeMap::new(), BTreeSet::new());
        let mut exchange = Self { input, groups, markets, held, sizes, size, even_share, dead };
        for (topic, of_topic) in owners {
            for (partition, owner) in of_topic.iter().enumerate() {
                if let Some(place) = owner {
                    exchange.note((*topic, partition), *place, true);
                }
            }
        }
        exchange
    }

    /// Finds a place in one of its racks for a partition that is read across racks.
    fn bring_home(&mut self, owners: &mut Owners, slot: Slot) {
        let Some(owner) = owner_of(owners, slot) else { return };
        if self.is_home(slot, self.groups[owner]) {
            return;
        }
        let Some(steps) = self.chain(slot, self.groups[owner]) else { return };
        // Everyone in the chain takes the place of the next one; who comes last, that of the first.
        let mut coming = Some(slot);
        for (node, leaving) in &steps {
            let place = match (node, leaving) {
                (_, Some(leaving)) => owner_of(owners, *leaving),
                (Node::Group(group), None) => self.smallest(*group).map(|(_, place)| place),
                (Node::LargerShare, None) => None,
            };
            if let Some((coming, place)) = coming.take().zip(place) {
                self.give(owners, coming, place);
            }
            coming = *leaving;
        }
        if let Some(coming) = coming {
            self.give(owners, coming, owner);
        }
        if steps.iter().any(|(node, _)| *node == Node::LargerShare) {
            self.even_out(owners);
        }
    }

    /// The shortest chain that gets a partition out of a group and into one of its racks.
    fn chain(&mut self, slot: Slot, home: Group) -> Option<Vec<Step>> {
        let market = *self.markets.get(&slot.0)?;
        let starts = self.input.racks_of(slot.0, slot.1).iter();
        let starts: Vec<Node> = starts.map(|rack| Node::Group(Some(*rack))).collect();
        // How each node was reached.
        let mut reached: BTreeMap<Node, Option<Step>> = BTreeMap::new();
        let mut next = VecDeque::new();
        let mut reach = |next: &mut VecDeque<Node>, dead: &BTreeSet<_>, node, by| {
            if !dead.contains(&(market, node)) && !reached.contains_key(&node) {
                reached.insert(node, by);
                next.push_back(node);
            }
        };
        starts.into_iter().for_each(|node| reach(&mut next, &self.dead, node, None));
        let mut end = None;
        while let Some(node) = next.pop_front() {
            if let Node::Group(group) = node {
                let loses_nothing = self.first(market, group, Way::Anywhere);
                if group == home || loses_nothing.is_some() {
                    end = Some((node, loses_nothing.filter(|_| group != home)));
                    break;
                }
            }
            for (to, leaving) in self.ways_out(market, node) {
                reach(&mut next, &self.dead, to, Some((node, leaving)));
            }
        }
        let Some((mut node, last)) = end else {
            self.dead.extend(reached.into_keys().map(|node| (market, node)));
            return None;
        };
        let mut steps: Vec<Step> = last.map(|slot| (node, Some(slot))).into_iter().collect();
        while let Some(Some(step)) = reached.get(&node) {
            steps.push(*step);
            node = step.0;
        }
        steps.reverse();
        Some(steps)
    }

    fn ways_out(&self, market: usize, node: Node) -> Vec<(Node, Option<Slot>)> {
        let to_group = |group: &Group| (Node::Group(*group), None);
        match (node, self.even_share) {
            (Node::LargerShare, Some(share)) => {
                let has_larger = |group: &&Group| {
                    let largest = self.sizes.get(group).and_then(BTreeSet::last);
                    largest.is_some_and(|(size, _)| *size > share)
                };
                self.sizes.keys().filter(has_larger).map(to_group).collect()
            }
            (Node::LargerShare, None) => Vec::new(),
            (Node::Group(group), share) => {
                let (from, to) = (Way::To(Rack(0)), Way::To(Rack(usize::MAX)));
                let ways = self.held.range((market, group, from)..=(market, group, to));
                let mut ways: Vec<(Node, Option<Slot>)> = ways
                    .filter_map(|((_, _, way), slots)| match way {
                        Way::To(rack) => Some((Node::Group(Some(*rack)), slots.first().copied())),
                        Way::Anywhere => None,
                    })
                    .collect();
                let takes_one_more = self.smallest(group).zip(share);
                if takes_one_more.is_some_and(|((size, _), share)| size <= share) {
                    ways.push((Node::LargerShare, None));
                }
                ways
            }
        }
    }

    /// The member of a group that has the fewest partitions, and how many.
    fn smallest(&self, group: Group) -> Option<(usize, usize)> {
        self.sizes.get(&group)?.first().copied()
    }

    fn first(&self, market: usize, group: Group, way: Way) -> Option<Slot> {
        self.held.get(&(market, group, way))?.first().copied()
    }

    /// Who of a group has lost a larger share that another one of it had gets one from that one.
    fn even_out(&mut self, owners: &mut Owners) {
        let uneven = self.sizes.values().filter_map(|members| {
            let ((least, taker), (most, giver)) = (members.first()?, members.last()?);
            (*most > *least + 1).then_some((*giver, *taker))
        });
        for (giver, taker) in uneven.collect::<Vec<_>>() {
            let mut slots = owners.iter().flat_map(|(topic, of_topic)| {
                of_topic.iter().enumerate().map(|(partition, owner)| ((*topic, partition), *owner))
            });
            let slot = slots.find(|(_, owner)| *owner == Some(giver));
            if let Some((slot, _)) = slot {
                self.give(owners, slot, taker);
            }
        }
    }

    fn give(&mut self, owners: &mut Owners, slot: Slot, to: usize) {
        let Some(from) = owner_of(owners, slot) else { return };
        self.note(slot, from, false);
        self.resize(from, self.size[from] - 1);
        set_owner(owners, slot, Some(to));
        self.resize(to, self.size[to] + 1);
        self.note(slot, to, true);
    }

    fn resize(&mut self, place: usize, size: usize) {
        let before = core::mem::replace(&mut self.size[place], size);
        if let Some(members) = self.sizes.get_mut(&self.groups[place]) {
            members.remove(&(before, place));
            members.insert((size, place));
        }
    }

    /// Writes down that a member has a partition, or has it no more.
    fn note(&mut self, slot: Slot, place: usize, has: bool) {
        let (group, market) = (self.groups[place], self.markets.get(&slot.0).copied());
        let Some(market) = market else { return };
        let ways: Vec<Way> = if self.is_home(slot, group) {
            let racks = self.input.racks_of(slot.0, slot.1).iter().copied();
            racks.filter(|rack| Some(*rack) != group).map(Way::To).collect()
        } else {
            vec![Way::Anywhere]
        };
        for way in ways {
            let key = (market, group, way);
            if has {
                self.held.entry(key).or_default().insert(slot);
            } else if let Some(slots) = self.held.get_mut(&key) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.held.remove(&key);
                }
            }
        }
    }

    /// Whether a partition has a replica in the rack of a group.
    fn is_home(&self, (topic, partition): Slot, group: Group) -> bool {
        group.is_some_and(|rack| self.input.racks_of(topic, partition).contains(&rack))
    }
}

/// Numbers the topics by who subscribes to them.
fn markets(input: &Input) -> BTreeMap<TopicId, usize> {
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (place, member) in input.members.values().enumerate() {
        for topic in member.topics.iter() {
            subscribers.entry(*topic).or_default().push(place);
        }
    }
    let mut numbers: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let number = |(topic, among): (TopicId, Vec<usize>)| {
        let next = numbers.len();
        (topic, *numbers.entry(among).or_insert(next))
    };
    subscribers.into_iter().map(number).collect()
}
