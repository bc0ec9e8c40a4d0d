//! Members read within their racks where they can, and nobody gets more or fewer for it.

use super::*;
use alloc::vec;

/// Puts the members into racks, in their order, and the replicas of the partitions of each topic.
fn in_racks(mut input: Input, members: &[usize], topics: &[&[&[usize]]]) -> Input {
    for (member, rack) in input.members.values_mut().zip(members) {
        member.rack = Some(Rack(*rack));
    }
    let racks = |replicas: &&[usize]| replicas.iter().copied().map(Rack).collect();
    let of_topic = |partitions: &&[&[usize]]| partitions.iter().map(racks).collect();
    input.racks = (1..).map(topic).zip(topics.iter().map(of_topic)).collect();
    input
}

#[test]
fn free_partitions_go_to_members_in_their_racks() {
    let two = input(&[4], &[("a", &[1], &[]), ("b", &[1], &[])]);
    let two = in_racks(two, &[0, 1], &[&[&[1], &[0], &[1], &[0]]]);
    expect(Assignor::Uniform, &two, &[("a", &[(1, &[1, 3])]), ("b", &[(1, &[0, 2])])]);
}

#[test]
fn shares_stay_even_where_most_partitions_are_in_one_rack() {
    let two = input(&[4], &[("a", &[1], &[]), ("b", &[1], &[])]);
    let two = in_racks(two, &[0, 1], &[&[&[0], &[0], &[0], &[1]]]);
    expect(Assignor::Uniform, &two, &[("a", &[(1, &[0, 1])]), ("b", &[(1, &[2, 3])])]);
}

#[test]
fn partitions_change_places_where_that_brings_one_home() {
    let swapped = input(&[2], &[("a", &[1], &[(1, &[1])]), ("b", &[1], &[(1, &[0])])]);
    let swapped = in_racks(swapped, &[0, 1], &[&[&[0], &[1]]]);
    expect(Assignor::Uniform, &swapped, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])])]);
    // The one that has to go can be read in either rack.
    let either = input(&[2], &[("a", &[1], &[(1, &[1])]), ("b", &[1], &[(1, &[0])])]);
    let either = in_racks(either, &[0, 1], &[&[&[0, 1], &[1]]]);
    expect(Assignor::Uniform, &either, &[("a", &[(1, &[0])]), ("b", &[(1, &[1])])]);
}

#[test]
fn a_chain_of_three_racks_brings_one_home() {
    let held: [Row<'_>; 3] =
        [("a", &[1], &[(1, &[0])]), ("b", &[1], &[(1, &[1])]), ("c", &[1], &[(1, &[2])])];
    let chain = in_racks(input(&[3], &held), &[0, 1, 2], &[&[&[1], &[1, 2], &[2, 0]]]);
    let expected = [("a", &[(1, &[2][..])][..]), ("b", &[(1, &[0])]), ("c", &[(1, &[1])])];
    expect(Assignor::Uniform, &chain, &expected);
}

#[test]
fn the_larger_share_moves_to_the_member_that_reads_it_in_its_rack() {
    let one = input(&[1], &[("a", &[1], &[(1, &[0])]), ("b", &[1], &[])]);
    let one = in_racks(one, &[0, 1], &[&[&[1]]]);
    expect(Assignor::Uniform, &one, &[("a", &[]), ("b", &[(1, &[0])])]);
}

#[test]
fn a_larger_share_goes_where_it_brings_one_home() {
    // Whoever has the larger share at first, "c" can read two partitions in its rack.
    let held: [Row<'_>; 3] =
        [("a", &[1], &[(1, &[0])]), ("b", &[1], &[(1, &[1, 3])]), ("c", &[1], &[(1, &[2])])];
    let larger = in_racks(input(&[4], &held), &[0, 1, 2], &[&[&[2], &[], &[2], &[1]]]);
    let expected = [("a", &[(1, &[1][..])][..]), ("b", &[(1, &[3])]), ("c", &[(1, &[0, 2])])];
    expect(Assignor::Uniform, &larger, &expected);
    // One look at each partition is enough, in whatever order.
    let held: [Row<'_>; 3] =
        [("a", &[1], &[(1, &[0])]), ("b", &[1], &[(1, &[1, 2])]), ("c", &[1], &[(1, &[3])])];
    let once = in_racks(input(&[4], &held), &[0, 1, 2], &[&[&[2], &[0], &[1], &[2]]]);
    let expected = [("a", &[(1, &[1][..])][..]), ("b", &[(1, &[2])]), ("c", &[(1, &[0, 3])])];
    expect(Assignor::Uniform, &once, &expected);
}

#[test]
fn what_a_new_member_gets_is_what_was_read_across_racks() {
    let joined = input(&[4], &[("a", &[1], &[(1, &[0, 1, 2, 3])]), ("b", &[1], &[])]);
    let joined = in_racks(joined, &[0, 1], &[&[&[1], &[0], &[1], &[0]]]);
    expect(Assignor::Uniform, &joined, &[("a", &[(1, &[1, 3])]), ("b", &[(1, &[0, 2])])]);
}

#[test]
fn nothing_moves_where_no_rack_gains() {
    let rests = input(&[4], &[("a", &[1], &[(1, &[0, 3])]), ("b", &[1], &[(1, &[1, 2])])]);
    let racks: [&[&[usize]]; 3] =
        [&[&[0, 1], &[0, 1], &[0, 1], &[0, 1]], &[&[0], &[0], &[0], &[0]], &[&[], &[], &[], &[]]];
    for racks in racks {
        let rests = in_racks(rests.clone(), &[0, 1], &[racks]);
        expect(Assignor::Uniform, &rests, &[("a", &[(1, &[0, 3])]), ("b", &[(1, &[1, 2])])]);
    }
}

#[test]
fn mixed_subscriptions_exchange_within_topics() {
    let rows: [Row<'_>; 3] = [
        ("a", &[1], &[(1, &[1])]),
        ("b", &[1, 2], &[(1, &[0]), (2, &[1])]),
        ("c", &[2], &[(2, &[0])]),
    ];
    let mixed = in_racks(input(&[2, 2], &rows), &[0, 1, 0], &[&[&[0], &[1]], &[&[1], &[0]]]);
    let expected: [Expected<'_>; 3] =
        [("a", &[(1, &[0])]), ("b", &[(1, &[1]), (2, &[0])]), ("c", &[(2, &[1])])];
    expect(Assignor::Uniform, &mixed, &expected);
}

#[test]
fn topics_with_the_same_subscribers_exchange_where_others_subscribe_to_less() {
    let rows: [Row<'_>; 3] = [
        ("a", &[1, 2, 3], &[(1, &[0]), (3, &[0])]),
        ("b", &[1, 2, 3], &[(2, &[0])]),
        ("c", &[3], &[(3, &[1])]),
    ];
    let mixed = in_racks(input(&[1, 1, 2], &rows), &[0, 1, 2], &[&[&[1]], &[&[0]]]);
    let expected: [Expected<'_>; 3] =
        [("a", &[(2, &[0]), (3, &[0])]), ("b", &[(1, &[0])]), ("c", &[(3, &[1])])];
    expect(Assignor::Uniform, &mixed, &expected);
}

/// Some members in some of four racks, replicas in up to three.
fn scatter(rng: &mut ChaCha8Rng, input: &mut Input) {
    for member in input.members.values_mut() {
        member.rack = rng.random_bool(0.9).then(|| Rack(rng.random_range(0..4)));
    }
    let of_partition = |rng: &mut ChaCha8Rng| {
        let replicas = rng.random_range(0..4);
        let racks: BTreeSet<Rack> = (0..replicas).map(|_| Rack(rng.random_range(0..4))).collect();
        racks.into_iter().collect()
    };
    input.racks = input
        .topics
        .iter()
        .map(|(topic, count)| (*topic, (0..*count).map(|_| of_partition(rng)).collect()))
        .collect();
}

/// How many of the partitions of some topics are read within racks.
fn at_home(
    input: &Input,
    assigned: &BTreeMap<MemberId, TopicPartitions>,
    topics: &[TopicId],
) -> usize {
    let is_home = |member: &MemberId, topic: TopicId, partition: &PartitionIndex| {
        let rack = input.members[member].rack;
        rack.is_some_and(|rack| input.racks_of(topic, partition.0 as usize).contains(&rack))
    };
    let of_member = |(member, of): (&MemberId, &TopicPartitions)| {
        let of_topic = |topic: &TopicId| {
            let owned = of.get(topic).into_iter().flatten();
            owned.filter(|partition| is_home(member, *topic, partition)).count()
        };
        topics.iter().map(of_topic).sum::<usize>()
    };
    assigned.iter().map(of_member).sum()
}

/// The most partitions of some topics that can be read within racks where each rack may read so many.
fn most_at_home(
    input: &Input,
    topics: &[TopicId],
    seats_of: impl IntoIterator<Item = (Option<Rack>, usize)>,
) -> usize {
    let seats = seats_of.into_iter().flat_map(|(rack, count)| vec![(rack, None); count]);
    let mut seats: Vec<(Option<Rack>, Option<usize>)> = seats.collect();
    let readable_in: Vec<&[Rack]> = topics
        .iter()
        .flat_map(|topic| {
            let partitions = 0..input.topics[topic] as usize;
            partitions.map(|partition| input.racks_of(*topic, partition))
        })
        .collect();
    let mut is_seated = |of: &usize| {
        let mut tried = vec![false; seats.len()];
        seat(*of, &readable_in, &mut seats, &mut tried)
    };
    (0..readable_in.len()).filter(|of| is_seated(of)).count()
}

/// Finds a seat in one of its racks for a partition, if need be by giving others another one (Kuhn).
fn seat(
    of: usize,
    readable_in: &[&[Rack]],
    seats: &mut [(Option<Rack>, Option<usize>)],
    tried: &mut [bool],
) -> bool {
    for at in 0..seats.len() {
        let fits = seats[at].0.is_some_and(|rack| readable_in[of].contains(&rack));
        if !fits || core::mem::replace(&mut tried[at], true) {
            continue;
        }
        if seats[at].1.is_none_or(|taken_by| seat(taken_by, readable_in, seats, tried)) {
            seats[at].1 = Some(of);
            return true;
        }
    }
    false
}

/// How many partitions of some topics each member has.
fn seats(
    input: &Input,
    assigned: &BTreeMap<MemberId, TopicPartitions>,
    topics: &[TopicId],
) -> Vec<(Option<Rack>, usize)> {
    let of_member = |(member, of): (&MemberId, &TopicPartitions)| {
        let of_topic = |topic| of.get(topic).map_or(0, BTreeSet::len);
        (input.members[member].rack, topics.iter().map(of_topic).sum())
    };
    assigned.iter().map(of_member).collect()
}

#[test]
fn no_exchange_would_bring_another_partition_home() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut home = 0;
    for round in 0..400 {
        let all_alike = round % 2 == 0;
        let mut input = random(&mut rng, all_alike);
        for _ in 0..3 {
            scatter(&mut rng, &mut input);
            let assigned = Assignor::Uniform.assign(&input);
            assert_legal(&input, &assigned);
            let of_some = |topic: &TopicId| {
                input.members.values().any(|member| member.topics.contains(topic))
            };
            let topics: Vec<TopicId> = input.topics.keys().copied().filter(of_some).collect();
            let markets: Vec<&[TopicId]> =
                if all_alike { vec![&topics] } else { topics.chunks(1).collect() };
            for topics in markets {
                let most = most_at_home(&input, topics, seats(&input, &assigned, topics));
                assert_eq!(at_home(&input, &assigned, topics), most, "{input:?}");
                home += most;
            }
            assert_eq!(stay_put(&input, &assigned), assigned, "a balanced group rests");
            evolve(&mut rng, &mut input, all_alike);
        }
    }
    assert!(home > 1000);
}

/// All ways in which some larger shares can be distributed among racks with so many members.
fn distributions(larger: usize, members: &[usize]) -> Vec<Vec<usize>> {
    let Some((first, rest)) = members.split_first() else {
        return if larger == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    let with = |here: usize| {
        let rest = distributions(larger - here, rest).into_iter();
        rest.map(move |rest| [vec![here], rest].concat())
    };
    (0..=larger.min(*first)).flat_map(with).collect()
}

#[test]
fn no_other_even_shares_would_bring_another_partition_home() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..3_000 {
        let count = rng.random_range(1..9);
        let topics = BTreeMap::from([(topic(1), count)]);
        let all = Arc::new(BTreeSet::from([topic(1)]));
        let mut free: Vec<u32> = (0..count).collect();
        let members = (0..rng.random_range(1..6)).map(|number: u32| {
            let target = free.extract_if(.., |_| rng.random_bool(0.4)).collect::<Vec<_>>();
            let subscriber = Subscriber {
                instance: None,
                rack: None,
                topics: all.clone(),
                target: Arc::new(partitions(&[(1, &target)])),
            };
            (MemberId::from(format!("m{number}").as_str()), subscriber)
        });
        let members: BTreeMap<MemberId, Subscriber> = members.collect();
        let mut input = Input { members, topics, ..Input::default() };
        scatter(&mut rng, &mut input);
        let mut groups: BTreeMap<Option<Rack>, usize> = BTreeMap::new();
        for member in input.members.values() {
            *groups.entry(member.rack).or_default() += 1;
        }
        let (share, larger) =
            (count as usize / input.members.len(), count as usize % input.members.len());
        let sizes: Vec<usize> = groups.values().copied().collect();
        let most = distributions(larger, &sizes).into_iter().map(|larger| {
            let seats = groups.iter().zip(larger);
            let seats = seats.map(|((rack, members), larger)| (*rack, members * share + larger));
            most_at_home(&input, &[topic(1)], seats)
        });
        let assigned = Assignor::Uniform.assign(&input);
        assert_eq!(Some(at_home(&input, &assigned, &[topic(1)])), most.max(), "{input:?}");
        assert_eq!(stay_put(&input, &assigned), assigned, "{input:?}");
    }
}

#[test]
fn a_thousand_members_of_many_racks_share_ten_thousand_partitions() {
    let topics: BTreeMap<TopicId, u32> = (1..=100).map(|number| (topic(number), 100)).collect();
    let all = Arc::new(topics.keys().copied().collect::<BTreeSet<_>>());
    for (member_racks, replica_racks) in [(3, 3), (100, 100), (1000, 3), (2, 3)] {
        let mut members = BTreeMap::new();
        for number in 0..1000 {
            let (rack, target) = (Some(Rack(number % member_racks)), Arc::default());
            let subscriber = Subscriber { instance: None, rack, topics: all.clone(), target };
            members.insert(MemberId::from(format!("m{number:04}").as_str()), subscriber);
        }
        let racks = |partition: u32| {
            [0, 1].map(|replica| Rack((partition as usize / 7 + replica) % replica_racks)).to_vec()
        };
        let of_topic =
            |(topic, count): (&TopicId, &u32)| (*topic, (0..*count).map(racks).collect());
        let racks = topics.iter().map(of_topic).collect();
        let mut input = Input { members, topics: topics.clone(), racks };
        for _ in 0..2 {
            let assigned = Assignor::Uniform.assign(&input);
            assert_legal(&input, &assigned);
            for (id, target) in assigned {
                input.members.get_mut(&id).expect("a member").target = Arc::new(target);
            }
            input.members.pop_first();
        }
    }
}

#[test]
fn racks_change_nobodys_share() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for round in 0..200 {
        let mut input = random(&mut rng, round % 2 == 0);
        let mut without: Vec<usize> = Assignor::Uniform.assign(&input).values().map(size).collect();
        scatter(&mut rng, &mut input);
        let mut with: Vec<usize> = Assignor::Uniform.assign(&input).values().map(size).collect();
        without.sort_unstable();
        with.sort_unstable();
        assert_eq!(with, without);
    }
}
