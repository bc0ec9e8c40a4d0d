//! Groups that go from one protocol to the other.

use super::{
    both::*,
    protocols::{subscribe, subscribe_since},
    *,
};
use crate::group::{GroupState, Join, Leaver, MigrationPolicy, Request, Response};
use bytes::Bytes;

#[test]
fn a_classic_group_becomes_a_consumer_group_with_the_first_such_member() {
    let mut groups = Groups::new(&[("t", 3)], MigrationPolicy::Upgrade);
    groups.classic_group();
    let (records, told) = groups.heartbeat(join("c", &["t"]));
    let hash = groups.shard.hard_state().consumer_groups["g"].value.metadata_hash;
    assert_ne!(hash, 0);
    let had = |partition| Some(partitions(&[(1, &[partition])]));
    let has = |partition| Some(stable(1, 1, assigned(&[(1, &[(partition, 1)])])));
    assert_eq!(
        records,
        [
            Record::Group { group: "g".into(), value: None },
            member_record("a", Some(about_classic(&[]))),
            member_record("b", Some(about_classic(&[]))),
            group_record(1, hash),
            target_record("a", had(0)),
            target_record("b", had(1)),
            target_epoch_record(1),
            current_record("a", has(0)),
            current_record("b", has(1)),
            member_record("c", Some(about(&["t"]))),
            group_record(2, hash),
            target_record("c", had(2)),
            target_epoch_record(2),
            current_record("c", Some(stable(2, 0, assigned(&[(1, &[(2, 2)])])))),
        ]
    );
    assert_eq!(told, Ok(answer("c", 2, Some(partitions(&[(1, &[2])])))));
}

#[test]
fn classic_members_follow_by_joining_again() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    groups.classic_group();
    let told = groups.accepted(join("c", &["t"]));
    assert_eq!(told, answer("c", 2, Some(partitions(&[]))));
    assert_eq!(groups.alive("b", 1), Err(GroupError::RebalanceInProgress));
    groups.accepted(leave("a")); // A classic member may leave so, too.
    assert_eq!(groups.alive("b", 1), Err(GroupError::RebalanceInProgress));
    let joined = groups.joined(classic_join("b", &[1])).expect("joined");
    assert_eq!((joined.generation, &*joined.leader), (3, ""));
    assert_eq!(groups.synced("b", 3), Ok(assigns(&[1])));
    assert_eq!(groups.alive("b", 3), Ok(()));
    assert_eq!(groups.accepted(stay("c", 2)), answer("c", 3, Some(partitions(&[(1, &[0])]))));
}

#[test]
fn who_waits_for_the_rebalance_of_a_group_that_becomes_a_consumer_group_joins_again() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    let (parked, _) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("d", &[]) }));
    groups.accepted(join("c", &["t"]));
    match groups.answer(parked) {
        Response::Joined(Err(refused)) => {
            assert_eq!(refused.error, GroupError::RebalanceInProgress);
        }
        other => panic!("{other:?}"),
    }
    let group = &groups.shard.hard_state().consumer_groups["g"];
    assert!(group.member("d").is_some());
}

#[test]
fn members_without_an_assignment_keep_what_they_said_they_own() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    let (_, _) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("a", &[0, 1]) }));
    groups.pass(Duration::from_secs(3));
    let told = groups.accepted(join("c", &["t"]));
    assert_eq!(told, answer("c", 2, Some(partitions(&[]))), "a may have both still");
    let group = &groups.shard.hard_state().consumer_groups["g"];
    let owned = assigned(&[(1, &[(0, 1), (1, 1)])]);
    assert_eq!(group.member("a").expect("a member").current.assigned, owned);
}

#[test]
fn of_two_that_say_they_own_a_partition_the_newer_generation_has_it() {
    // Both claim partition 0, by a version and with a generation; `a` comes first.
    type Said = (i16, i32);
    let table: [(Said, Said, &str); 7] = [
        ((3, 4), (3, 5), "b"),
        ((3, 5), (3, 4), "a"),
        ((3, 5), (3, 5), "a"),
        ((3, -1), (3, 0), "b"),
        ((1, -1), (2, 0), "b"),
        ((2, 0), (1, -1), "a"),
        ((1, -1), (1, -1), "a"),
    ];
    for (of_a, of_b, expected) in table {
        let mut groups = Groups::new(&[("t", 1)], MigrationPolicy::Upgrade);
        for (member, (version, generation)) in [("a", of_a), ("b", of_b)] {
            let metadata = subscribe_since(version, &["t"], (&[0], generation), None);
            let protocols = vec![("range".into(), metadata.into())];
            let join = Join { member: "".into(), protocols, ..classic_join(member, &[]) };
            groups.ask(Request::Join(join));
        }
        groups.pass(Duration::from_secs(3));
        groups.pass(Duration::from_secs(3));
        assert_eq!(groups.state(), Some(GroupState::CompletingRebalance));
        groups.accepted(join("c", &["t"]));
        let group = &groups.shard.hard_state().consumer_groups["g"];
        for member in ["a", "b"] {
            let has_it = !group.member(member).expect("a member").current.assigned.is_empty();
            assert_eq!(has_it, member == expected, "{member}: {of_a:?} {of_b:?}");
        }
    }
}

#[test]
fn who_was_assigned_a_partition_has_it_whatever_others_say() {
    let mut groups = Groups::new(&[("t", 1)], MigrationPolicy::Upgrade);
    let joins = ["a", "b"].map(|member| {
        let metadata = subscribe_since(3, &["t"], (&[0], 9), None);
        let protocols = vec![("range".into(), metadata.into())];
        let join = Join { member: "".into(), protocols, ..classic_join(member, &[]) };
        groups.ask(Request::Join(join)).0
    });
    groups.pass(Duration::from_secs(3));
    groups.pass(Duration::from_secs(3));
    joins.into_iter().for_each(|join| drop(groups.answer(join)));
    // The leader says nothing of itself.
    groups.ask(Request::Sync(classic_sync("a", 1, &[("b", assigns(&[0]))])));
    assert_eq!(groups.state(), Some(GroupState::Stable));
    groups.accepted(join("c", &["t"]));
    let group = &groups.shard.hard_state().consumer_groups["g"];
    let has = |member| group.member(member).expect("a member").current.assigned.clone();
    assert_eq!((has("a"), has("b")), (assigned(&[]), assigned(&[(1, &[(0, 1)])])));
}

#[test]
fn a_classic_group_stays_one_where_that_is_the_policy() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut groups = Groups::new(&[("t", 2)], policy);
        groups.classic_group();
        let (records, told) = groups.heartbeat(join("c", &["t"]));
        assert_eq!((records, told), (vec![], Err(GroupError::GroupIdNotFound)));
        assert_eq!(groups.alive("a", 1), Ok(()));
    }
}

#[test]
fn a_classic_group_stays_one_if_it_is_none_of_consumers_or_says_what_cannot_be_read() {
    let table: [(&str, Bytes); 2] = [
        ("connect", subscribe(1, &["t"], &[], None).into()),
        ("consumer", Bytes::from_static(b"?")),
    ];
    for (protocol_type, metadata) in table {
        let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
        let join_of_other = Join {
            member: "".into(),
            protocol_type: protocol_type.into(),
            protocols: vec![("p".into(), metadata)],
            ..classic_join("a", &[])
        };
        let (parked, _) = groups.ask(Request::Join(join_of_other));
        let (records, told) = groups.heartbeat(join("c", &["t"]));
        assert_eq!((records, told), (vec![], Err(GroupError::GroupIdNotFound)));
        groups.pass(Duration::from_secs(3));
        assert!(matches!(groups.answer(parked), Response::Joined(Ok(_))), "it goes on");
    }
}

#[test]
fn an_empty_classic_group_makes_room_whatever_the_policy() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.classic_group();
    for member in ["a", "b"] {
        let leaver = Leaver { member: member.into(), instance: None, reason: None };
        groups.ask(Request::Leave { group: "g".into(), members: vec![leaver] });
        groups.pass(REBALANCE);
    }
    assert_eq!(groups.state(), Some(GroupState::Empty));
    let (records, told) = groups.heartbeat(join("c", &["t"]));
    assert_eq!(records[0], Record::Group { group: "g".into(), value: None });
    assert_eq!(told, Ok(answer("c", 1, Some(partitions(&[(1, &[0, 1])])))));
}

#[test]
fn members_that_do_not_join_a_classic_group_are_not_found() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    for request in [stay("a", 1), leave("a")] {
        assert_eq!(groups.heartbeat(request).1, Err(GroupError::GroupIdNotFound));
    }
}

#[test]
fn a_consumer_group_becomes_a_classic_group_when_the_last_such_member_leaves() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Downgrade);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    let (records, told) = groups.heartbeat(leave("c"));
    assert!(told.is_ok());
    assert_eq!(
        records[..8],
        [
            current_record("a", None),
            current_record("c", None),
            target_record("a", None),
            target_record("c", None),
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            member_record("a", None),
            member_record("c", None),
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    let Some(Record::Group { value: Some(value), .. }) = records.get(8) else { panic!("no group") };
    assert_eq!((value.generation, value.leader.clone()), (2, None));
    assert_eq!(value.members[0].assignment, empty(), "c had it all");
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
    assert_eq!(groups.alive("a", 2), Err(GroupError::RebalanceInProgress));
    let joined = groups.joined(classic_join("a", &[])).expect("joined");
    assert_eq!((joined.generation, &*joined.leader, joined.members.len()), (3, "a", 1));
}

#[test]
fn a_consumer_group_becomes_a_classic_group_when_the_last_such_member_is_silent() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    groups.synced("a", 2).expect("synced");
    for _ in 0..5 {
        groups.pass(Duration::from_secs(9));
        let _ = groups.alive("a", 2);
    }
    assert!(!groups.is_consumer_group());
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn a_consumer_group_stays_one_where_that_is_the_policy_or_nobody_is_left() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    groups.accepted(leave("c"));
    assert!(groups.is_consumer_group());
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    assert!(groups.is_consumer_group());
}

#[test]
fn a_group_goes_there_and_back() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    groups.accepted(join("c", &["t"]));
    assert!(groups.is_consumer_group());
    groups.accepted(leave("c"));
    assert!(!groups.is_consumer_group());
    let value = &groups.shard.hard_state().groups["g"];
    let has: Vec<Bytes> = value.members.iter().map(|member| member.assignment.clone()).collect();
    assert_eq!(has, [assigns(&[0]), assigns(&[1])], "nobody has lost anything");
    assert_eq!(value.generation, 2);
}

#[test]
fn a_static_member_that_comes_back_with_the_classic_protocol_takes_the_group_with_it() {
    for rests in [true, false] {
        let mut groups = Groups::new(&[("t", 2), ("u", 1)], MigrationPolicy::Bidirectional);
        let topics: &[&str] = if rests { &["t"] } else { &["u"] };
        groups.accepted(join_static("c", "i", topics));
        let request = Join {
            member: "".into(),
            fresh_member: "d".into(),
            instance: Some("i".into()),
            ..classic_join("d", &[])
        };
        let joined = groups.joined(request).expect("joined");
        assert_eq!(&*joined.member, "d");
        assert!(!groups.is_consumer_group());
        let state = if rests { GroupState::Stable } else { GroupState::PreparingRebalance };
        assert_eq!(groups.state(), Some(state), "{rests}");
        if rests {
            assert_eq!(joined.generation, 1);
            assert_eq!(groups.synced("d", 1), Ok(assigns(&[0, 1])));
        }
    }
}

#[test]
fn an_empty_consumer_group_makes_room_for_a_classic_one() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    let (_, records) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("a", &[]) }));
    assert_eq!(
        records,
        [
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    let unknown = groups.joined(classic_join("a", &[]));
    assert_eq!(unknown, Err(GroupError::UnknownMemberId));
    assert!(groups.is_consumer_group(), "nobody has joined");
}

#[test]
fn each_kind_of_group_is_described_by_its_own_request() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    let (id, _) = groups.ask(Request::DescribeConsumer { group: "g".into() });
    let not_found = GroupError::GroupIdNotFound;
    assert_eq!(groups.answer(id), Response::ConsumerDescribed(Err(not_found.clone())));
    groups.accepted(join("c", &["t"]));
    let (id, _) = groups.ask(Request::Describe { group: "g".into() });
    assert_eq!(groups.answer(id), Response::Described(Err(not_found)));
    let (id, _) = groups.ask(Request::DescribeConsumer { group: "g".into() });
    let Response::ConsumerDescribed(Ok(described)) = groups.answer(id) else { panic!("none") };
    let classic: Vec<bool> = described.members.iter().map(|member| member.is_classic).collect();
    assert_eq!(classic, [true, true, false]);
}
