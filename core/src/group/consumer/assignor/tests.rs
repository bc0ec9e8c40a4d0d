//! Tables of assignments, and what holds for all of them.

mod racks;

use super::*;
use alloc::{format, vec::Vec};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

/// Partitions by the topic's number.
fn partitions(of: &[(u8, &[u32])]) -> TopicPartitions {
    let indexes = |partitions: &[u32]| partitions.iter().copied().map(PartitionIndex).collect();
    of.iter().map(|(number, partitions)| (topic(*number), indexes(partitions))).collect()
}

/// A member: its id, the numbers of its topics, what it is to own now.
type Row<'a> = (&'a str, &'a [u8], &'a [(u8, &'a [u32])]);

/// Topics are numbered from 1, with so many partitions each.
fn input(topics: &[u32], members: &[Row<'_>]) -> Input {
    let members = members.iter().map(|(id, topics, target)| {
        let subscriber = Subscriber {
            instance: None,
            rack: None,
            topics: Arc::new(topics.iter().copied().map(topic).collect()),
            target: Arc::new(partitions(target)),
        };
        (MemberId::from(*id), subscriber)
    });
    let topics = (1..).zip(topics).map(|(number, count)| (topic(number), *count));
    Input { members: members.collect(), topics: topics.collect(), ..Input::default() }
}

/// What a member is expected to get: its id, and partitions by the topic's number.
type Expected<'a> = (&'a str, &'a [(u8, &'a [u32])]);

fn expect(assignor: Assignor, input: &Input, expected: &[Expected<'_>]) {
    let expected: BTreeMap<MemberId, TopicPartitions> =
        expected.iter().map(|(id, of)| (MemberId::from(*id), partitions(of))).collect();
    assert_eq!(assignor.assign(input), expected);
}

#[test]
fn assignors_have_names() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert_eq!(Assignor::named(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::named("sticky"), None);
}

#[test]
fn nobody_gets_nothing() {
    let nobody = Input::default();
    expect(Assignor::Uniform, &nobody, &[]);
    expect(Assignor::Range, &nobody, &[]);
    let nothing = input(&[], &[("a", &[], &[]), ("b", &[], &[])]);
    expect(Assignor::Uniform, &nothing, &[("a", &[]), ("b", &[])]);
    expect(Assignor::Range, &nothing, &[("a", &[]), ("b", &[])]);
}

#[test]
fn uniform_fills_one_member_after_the_other() {
    let two = input(&[3, 3], &[("a", &[1, 2], &[]), ("b", &[1, 2], &[])]);
    expect(Assignor::Uniform, &two, &[("a", &[(1, &[0, 1, 2])]), ("b", &[(2, &[0, 1, 2])])]);
    let three = input(&[3, 2], &[("a", &[1, 2], &[]), ("b", &[1, 2], &[]), ("c", &[1, 2], &[])]);
    expect(
        Assignor::Uniform,
        &three,
        &[("a", &[(1, &[0, 1])]), ("b", &[(1, &[2]), (2, &[0])]), ("c", &[(2, &[1])])],
    );
}

#[test]
fn uniform_leaves_members_without_when_there_are_more_of_them() {
    let few = input(&[2], &[("a", &[1], &[]), ("b", &[1], &[]), ("c", &[1], &[])]);
    expect(Assignor::Uniform, &few, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])]), ("c", &[])]);
}

#[test]
fn uniform_moves_only_what_a_new_member_needs() {
    let joined = input(
        &[3, 3],
        &[
            ("a", &[1, 2], &[(1, &[0, 1]), (2, &[0])]),
            ("b", &[1, 2], &[(1, &[2]), (2, &[1, 2])]),
            ("c", &[1, 2], &[]),
        ],
    );
    expect(
        Assignor::Uniform,
        &joined,
        &[("a", &[(1, &[0, 1])]), ("b", &[(1, &[2]), (2, &[1])]), ("c", &[(2, &[0, 2])])],
    );
}

#[test]
fn uniform_gives_what_a_member_left_to_those_with_room() {
    let left = input(
        &[3, 3],
        &[("a", &[1, 2], &[(1, &[0]), (2, &[0])]), ("c", &[1, 2], &[(1, &[2]), (2, &[2])])],
    );
    expect(
        Assignor::Uniform,
        &left,
        &[("a", &[(1, &[0, 1]), (2, &[0])]), ("c", &[(1, &[2]), (2, &[1, 2])])],
    );
}

#[test]
fn uniform_leaves_the_larger_share_where_it_is() {
    let uneven = input(&[3], &[("a", &[1], &[(1, &[0])]), ("b", &[1], &[(1, &[1, 2])])]);
    expect(Assignor::Uniform, &uneven, &[("a", &[(1, &[0])]), ("b", &[(1, &[1, 2])])]);
}

#[test]
fn uniform_forgets_partitions_and_topics_that_are_gone() {
    let gone = input(&[2], &[("a", &[1], &[(1, &[0, 7]), (9, &[0])]), ("b", &[1], &[])]);
    expect(Assignor::Uniform, &gone, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])])]);
}

#[test]
fn uniform_assigns_what_two_members_claim_once() {
    let both = input(&[2], &[("a", &[1], &[(1, &[0, 1])]), ("b", &[1], &[(1, &[0, 1])])]);
    expect(Assignor::Uniform, &both, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])])]);
}

#[test]
fn mixed_subscriptions_are_balanced_too() {
    let mixed = input(&[6, 2], &[("a", &[1], &[]), ("b", &[1, 2], &[]), ("c", &[2], &[])]);
    expect(
        Assignor::Uniform,
        &mixed,
        &[("a", &[(1, &[0, 2, 4])]), ("b", &[(1, &[1, 3, 5])]), ("c", &[(2, &[0, 1])])],
    );
}

#[test]
fn mixed_subscriptions_keep_what_they_may() {
    let kept = input(
        &[2, 2],
        &[
            ("a", &[1], &[(1, &[1])]),
            ("b", &[1, 2], &[(1, &[0]), (2, &[1])]),
            ("c", &[2], &[(2, &[0])]),
        ],
    );
    expect(
        Assignor::Uniform,
        &kept,
        &[("a", &[(1, &[1])]), ("b", &[(1, &[0]), (2, &[1])]), ("c", &[(2, &[0])])],
    );
}

#[test]
fn mixed_subscriptions_lose_what_is_not_subscribed_to() {
    let moved = input(&[2, 1], &[("a", &[1], &[(2, &[0])]), ("b", &[1, 2], &[(1, &[0, 1])])]);
    expect(Assignor::Uniform, &moved, &[("a", &[(1, &[1])]), ("b", &[(1, &[0]), (2, &[0])])]);
}

#[test]
fn a_chain_of_subscriptions_is_evened_out_topic_by_topic() {
    let chain = input(
        &[4, 4],
        &[
            ("a", &[1], &[]),
            ("b", &[1, 2], &[(1, &[0, 1, 2, 3]), (2, &[0, 1])]),
            ("c", &[2], &[(2, &[2, 3])]),
        ],
    );
    let assigned = Assignor::Uniform.assign(&chain);
    let sizes: Vec<usize> = assigned.values().map(size).collect();
    assert_eq!(sizes, [3, 3, 2]);
}

#[test]
fn range_cuts_each_topic_alike() {
    let members: [Row<'_>; 3] = [("a", &[1, 2], &[]), ("b", &[1, 2], &[]), ("c", &[1, 2], &[])];
    expect(
        Assignor::Range,
        &input(&[4, 4], &members),
        &[
            ("a", &[(1, &[0, 1]), (2, &[0, 1])]),
            ("b", &[(1, &[2]), (2, &[2])]),
            ("c", &[(1, &[3]), (2, &[3])]),
        ],
    );
    expect(
        Assignor::Range,
        &input(&[1, 2], &members),
        &[("a", &[(1, &[0]), (2, &[0])]), ("b", &[(2, &[1])]), ("c", &[])],
    );
}

#[test]
fn range_cuts_by_subscribers() {
    let mixed = input(&[3, 3, 2], &[("a", &[1, 2], &[]), ("b", &[3], &[]), ("c", &[2, 3], &[])]);
    expect(
        Assignor::Range,
        &mixed,
        &[
            ("a", &[(1, &[0, 1, 2]), (2, &[0, 1])]),
            ("b", &[(3, &[0])]),
            ("c", &[(2, &[2]), (3, &[1])]),
        ],
    );
}

#[test]
fn range_puts_static_members_first_by_their_instances() {
    let mut three = input(&[3], &[("a", &[1], &[]), ("b", &[1], &[]), ("c", &[1], &[])]);
    for (id, instance) in [("b", "2"), ("c", "1")] {
        three.members.get_mut(id).expect("a member").instance = Some(instance.into());
    }
    expect(
        Assignor::Range,
        &three,
        &[("a", &[(1, &[2])]), ("b", &[(1, &[1])]), ("c", &[(1, &[0])])],
    );
}

fn size(of: &TopicPartitions) -> usize {
    of.values().map(BTreeSet::len).sum()
}

/// Up to 12 members and 8 topics; each member subscribes to all topics, or to some.
fn random(rng: &mut ChaCha8Rng, all_alike: bool) -> Input {
    let topics: BTreeMap<TopicId, u32> = (1..=rng.random_range(1..9))
        .map(|number| (topic(number), rng.random_range(1..12)))
        .collect();
    let members = (0..rng.random_range(1..13)).map(|number| {
        let all = topics.keys().copied();
        let subscribed: BTreeSet<TopicId> =
            all.filter(|_| all_alike || rng.random_bool(0.6)).collect();
        let subscriber = Subscriber {
            instance: rng.random_bool(0.3).then(|| format!("i{}", 20 - number).as_str().into()),
            rack: None,
            topics: Arc::new(subscribed),
            target: Arc::default(),
        };
        (MemberId::from(format!("m{number}").as_str()), subscriber)
    });
    Input { members: members.collect(), topics: topics.clone(), ..Input::default() }
}

/// The members come, go, and subscribe to something else; topics grow, go and come.
fn evolve(rng: &mut ChaCha8Rng, input: &mut Input, all_alike: bool) {
    for (id, target) in Assignor::Uniform.assign(input) {
        input.members.get_mut(&id).expect("a member").target = Arc::new(target);
    }
    let next = random(rng, all_alike);
    if rng.random_bool(0.5) {
        input.topics = next.topics.clone();
        input.members.retain(|_, member| {
            member.topics = Arc::new(
                member.topics.iter().copied().filter(|t| next.topics.contains_key(t)).collect(),
            );
            true
        });
        if all_alike {
            let all = Arc::new(input.topics.keys().copied().collect());
            input.members.values_mut().for_each(|member| member.topics = Arc::clone(&all));
        }
    }
    input.members.retain(|_, _| rng.random_bool(0.8));
    for (id, member) in next.members {
        let known = input.topics.keys().copied();
        let topics: BTreeSet<TopicId> =
            known.filter(|topic| all_alike || member.topics.contains(topic)).collect();
        if rng.random_bool(0.3) && !input.members.contains_key(&id) {
            input.members.insert(id, Subscriber { topics: Arc::new(topics), ..member });
        }
    }
}

/// Every partition of every topic that is subscribed to belongs to one of its subscribers.
fn assert_legal(input: &Input, assigned: &BTreeMap<MemberId, TopicPartitions>) {
    assert!(assigned.keys().eq(input.members.keys()));
    let mut owners: BTreeMap<(TopicId, PartitionIndex), usize> = BTreeMap::new();
    for (id, of) in assigned {
        for (topic, partitions) in of {
            assert!(input.members[id].topics.contains(topic), "{id} does not subscribe");
            assert!(!partitions.is_empty());
            for partition in partitions {
                *owners.entry((*topic, *partition)).or_default() += 1;
            }
        }
    }
    let subscribed: BTreeSet<TopicId> =
        input.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    let expected = subscribed.iter().flat_map(|topic| {
        (0..input.topics[topic]).map(move |index| ((*topic, PartitionIndex(index)), 1))
    });
    assert!(owners.into_iter().eq(expected), "every partition once");
}

#[test]
fn every_partition_is_assigned_once_whatever_came_before() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for round in 0..600 {
        let all_alike = round % 2 == 0;
        let mut input = random(&mut rng, all_alike);
        for _ in 0..4 {
            for assignor in [Assignor::Uniform, Assignor::Range] {
                let assigned = assignor.assign(&input);
                assert_legal(&input, &assigned);
                assert_eq!(assigned, assignor.assign(&input.clone()), "the same again");
            }
            evolve(&mut rng, &mut input, all_alike);
        }
    }
}

#[test]
fn members_alike_differ_by_one_partition_and_nothing_moves_that_need_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut kept_something = 0;
    for _ in 0..600 {
        let mut input = random(&mut rng, true);
        for _ in 0..4 {
            let assigned = Assignor::Uniform.assign(&input);
            let sizes: Vec<usize> = assigned.values().map(size).collect();
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{sizes:?}");
            let mut moved = 0;
            let mut held: Vec<usize> = Vec::new();
            for (id, member) in &input.members {
                let exist = member.target.iter().flat_map(|(topic, partitions)| {
                    let count = input.topics.get(topic).copied().unwrap_or(0);
                    partitions.iter().filter(move |index| index.0 < count).map(|p| (*topic, *p))
                });
                let exist: Vec<(TopicId, PartitionIndex)> = exist.collect();
                held.push(exist.len());
                let keeps = |(topic, index): &(TopicId, PartitionIndex)| {
                    assigned[id].get(topic).is_some_and(|of| of.contains(index))
                };
                moved += exist.iter().filter(|one| !keeps(one)).count();
                kept_something += exist.iter().filter(|one| keeps(one)).count();
            }
            assert_eq!(moved, fewest_moves(&held, &sizes), "{input:?}");
            assert_eq!(stay_put(&input, &assigned), assigned, "a balanced group rests");
            evolve(&mut rng, &mut input, true);
        }
    }
    assert!(kept_something > 1000);
}

/// How many partitions have to move: every member keeps as many as its share, and the larger
/// shares go to those that have the most.
fn fewest_moves(held: &[usize], sizes: &[usize]) -> usize {
    let (mut held, mut sizes) = (held.to_vec(), sizes.to_vec());
    held.sort_unstable();
    sizes.sort_unstable();
    held.iter().zip(&sizes).map(|(held, size)| held.saturating_sub(*size)).sum()
}

/// What is assigned when the assignment is the target already.
fn stay_put(
    input: &Input,
    assigned: &BTreeMap<MemberId, TopicPartitions>,
) -> BTreeMap<MemberId, TopicPartitions> {
    let mut input = input.clone();
    for (id, member) in &mut input.members {
        member.target = Arc::new(assigned[id].clone());
    }
    Assignor::Uniform.assign(&input)
}

#[test]
fn mixed_members_rest_when_no_single_move_makes_a_topic_more_even() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..600 {
        let mut input = random(&mut rng, false);
        for _ in 0..4 {
            let assigned = Assignor::Uniform.assign(&input);
            for (giver, of) in &assigned {
                for topic in of.keys() {
                    let among = input.members.iter().filter(|(_, m)| m.topics.contains(topic));
                    let least = among.map(|(id, _)| size(&assigned[id])).min().unwrap_or(0);
                    assert!(size(of) <= least + 1, "{giver} could give one of {topic}: {input:?}");
                }
            }
            assert_eq!(stay_put(&input, &assigned), assigned, "a balanced group rests");
            evolve(&mut rng, &mut input, false);
        }
    }
}

#[test]
fn range_gives_each_subscriber_its_share_of_each_topic() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for round in 0..300 {
        let input = random(&mut rng, round % 2 == 0);
        let assigned = Assignor::Range.assign(&input);
        for (topic, count) in &input.topics {
            let among: Vec<&MemberId> = input
                .members
                .iter()
                .filter(|(_, member)| member.topics.contains(topic))
                .map(|(id, _)| id)
                .collect();
            for id in &among {
                let none = BTreeSet::new();
                let of = assigned[*id].get(topic).unwrap_or(&none);
                let share = *count as usize / among.len();
                assert!((share..=share + 1).contains(&of.len()));
                let span =
                    of.last().zip(of.first()).map_or(0, |(last, first)| last.0 - first.0 + 1);
                assert_eq!(span as usize, of.len(), "a range has no gaps");
            }
        }
    }
}

#[test]
fn a_thousand_members_share_ten_thousand_partitions() {
    let topics: BTreeMap<TopicId, u32> = (1..=100).map(|number| (topic(number), 100)).collect();
    for mixed in [false, true] {
        let subscribed = |number: usize| -> BTreeSet<TopicId> {
            let half = |(place, _): &(usize, _)| !mixed || (place + number).is_multiple_of(2);
            topics.keys().copied().enumerate().filter(half).map(|(_, topic)| topic).collect()
        };
        let sets = [Arc::new(subscribed(0)), Arc::new(subscribed(1))];
        let members = (0..1000).map(|number| {
            let subscriber = Subscriber {
                instance: None,
                rack: None,
                topics: sets[number % 2].clone(),
                target: Arc::default(),
            };
            (MemberId::from(format!("m{number:04}").as_str()), subscriber)
        });
        let mut input =
            Input { members: members.collect(), topics: topics.clone(), ..Input::default() };
        for assignor in [Assignor::Uniform, Assignor::Range] {
            for _ in 0..3 {
                let assigned = assignor.assign(&input);
                assert_legal(&input, &assigned);
                for (id, target) in assigned {
                    input.members.get_mut(&id).expect("a member").target = Arc::new(target);
                }
                input.members.pop_first();
            }
        }
    }
}
