//! JoinGroup.

use super::*;

#[test]
fn a_member_without_an_id_is_given_one_and_has_to_join_with_it() {
    let mut fixture = Fixture::new();
    let first = Join { must_know_its_id: true, ..first_join("a") };
    let (request, records) = fixture.send(Request::Join(first));
    assert_eq!(fixture.refused(request), (GroupError::MemberIdRequired, "a".to_owned()));
    assert_eq!(records, [], "nothing about it is durable");
    assert_eq!(fixture.state(), GroupState::Empty);

    let second = fixture.join(again("a"));
    assert!(fixture.is_parked(second));
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(second).generation, 1);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten_after_its_session_timeout() {
    let mut fixture = Fixture::new();
    fixture.join(Join { must_know_its_id: true, ..first_join("a") });
    fixture.pass(SESSION - Duration::from_nanos(1));
    assert_eq!(fixture.state(), GroupState::Empty);
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.state(), GroupState::Dead, "a group of nobody leaves no trace");
    let late = fixture.join(again("a"));
    assert_eq!(fixture.refused(late), (GroupError::UnknownMemberId, "a".to_owned()));
}

#[test]
fn the_timer_of_a_pending_id_does_not_outlive_its_join() {
    let mut fixture = Fixture::new();
    fixture.join(Join { must_know_its_id: true, ..first_join("a") });
    let join = fixture.join(again("a"));
    fixture.pass(seconds(3));
    fixture.joined(join);
    fixture.assign(1, &["a"]);
    for _ in 0..10 {
        fixture.pass(seconds(3));
        assert_eq!(fixture.heartbeat("a", 1), Ok(()));
    }
}

#[test]
fn a_rebalance_waits_for_pending_ids() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.join(Join { must_know_its_id: true, ..first_join("b") });
    let leader = fixture.join(again("a"));
    assert!(fixture.is_parked(leader), "b has an id and is waited for");
    fixture.join(again("b"));
    assert_eq!(names(&fixture.joined(leader).members), ["a", "b"]);
}

#[test]
fn a_rebalance_goes_on_when_a_pending_id_is_forgotten() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.join(Join { must_know_its_id: true, ..first_join("b") });
    let leader = fixture.join(again("a"));
    fixture.pass(SESSION);
    assert_eq!(names(&fixture.joined(leader).members), ["a"]);
}

#[test]
fn so_many_ids_may_be_pending_and_no_more() {
    let mut fixture = Fixture::new();
    for index in 0..MAX_PENDING_MEMBERS {
        fixture.join(Join { must_know_its_id: true, ..first_join(&format!("m{index}")) });
    }
    let one_more = fixture.join(Join { must_know_its_id: true, ..first_join("n") });
    assert_eq!(fixture.refused(one_more), (GroupError::GroupMaxSizeReached, String::new()));
}

#[test]
fn the_first_join_of_an_empty_group_waits_for_others() {
    let mut fixture = Fixture::new();
    let join = fixture.join(first_join("a"));
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.pass(seconds(3) - Duration::from_nanos(1));
    assert!(fixture.is_parked(join));
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.joined(join).leader, "a".into());
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
}

#[test]
fn the_first_rebalance_goes_on_while_members_keep_joining() {
    let mut fixture = Fixture::new();
    let first = fixture.join(first_join("a"));
    fixture.pass(seconds(2));
    let second = fixture.join(first_join("b"));
    fixture.pass(seconds(2));
    assert!(fixture.is_parked(first), "a member came, the delay begins again");
    fixture.pass(seconds(2));
    assert_eq!(names(&fixture.joined(first).members), ["a", "b"]);
    assert_eq!(names(&fixture.joined(second).members), Vec::<String>::new());
}

#[test]
fn the_first_rebalance_takes_no_longer_than_its_timeout() {
    let mut fixture = Fixture::new();
    let quick = |name: &str| Join { rebalance_timeout: seconds(8), ..first_join(name) };
    let first = fixture.join(quick("a"));
    for second in 1..8 {
        fixture.pass(seconds(1));
        fixture.join(quick(&format!("b{second}")));
        assert!(fixture.is_parked(first), "in second {second}");
    }
    fixture.pass(seconds(1));
    assert_eq!(fixture.joined(first).members.len(), 8);
}

#[test]
fn without_a_delay_the_first_rebalance_is_over_at_once() {
    let config = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let mut fixture = Fixture::with(config);
    let join = fixture.join(first_join("a"));
    fixture.pass(Duration::ZERO);
    assert_eq!(fixture.joined(join).generation, 1);
}

#[test]
fn a_generation_is_a_record_before_anybody_is_told() {
    let mut fixture = Fixture::new();
    fixture.join(first_join("a"));
    let records = fixture.pass(seconds(3));
    let [Record::Group { group, value: Some(value) }] = &records[..] else {
        panic!("unexpected {records:?}")
    };
    assert_eq!(&**group, GROUP);
    let [member] = &value.members[..] else { panic!("one member") };
    assert_eq!((value.generation, value.leader.clone()), (1, None));
    assert_eq!(value.protocol.as_deref(), Some("range"));
    assert_eq!(value.protocol_type, "consumer");
    assert_eq!(&*member.member, "a");
    assert_eq!(member.subscription, subscription(&[TOPIC]));
    assert_eq!(member.assignment, Bytes::new());
    assert_eq!((member.session_timeout, member.rebalance_timeout), (SESSION, REBALANCE));
}

#[test]
fn members_are_told_what_they_agreed_on_and_their_leader_who_they_are() {
    let mut fixture = Fixture::new();
    let a = fixture.join(speaking(first_join("a"), &["range", "sticky"]));
    let b = fixture.join(speaking(static_join("b", "i"), &["sticky", "range"]));
    let c = fixture.join(speaking(first_join("c"), &["other", "sticky"]));
    fixture.pass(seconds(6));
    let (a, b, c) = (fixture.joined(a), fixture.joined(b), fixture.joined(c));
    for joined in [&a, &b, &c] {
        assert_eq!(joined.protocol, "sticky", "the only one that all speak");
        assert_eq!((joined.protocol_type.as_str(), joined.generation), ("consumer", 1));
        assert_eq!((&*joined.leader, joined.skip_assignment), ("a", false));
    }
    assert_eq!([&*a.member, &*b.member, &*c.member], ["a", "b", "c"]);
    assert_eq!(names(&a.members), ["a", "b", "c"]);
    assert_eq!(a.members[1].instance.as_deref(), Some("i"));
    assert_eq!(a.members[1].metadata, subscription(&[TOPIC]));
    assert!(b.members.is_empty() && c.members.is_empty());
}

#[test]
fn unknown_member_ids_are_refused() {
    let mut fixture = Fixture::new();
    let of_no_group = fixture.join(again("x"));
    assert_eq!(fixture.refused(of_no_group), (GroupError::UnknownMemberId, "x".to_owned()));
    assert_eq!(fixture.state(), GroupState::Dead);
    fixture.stable(&["a"]);
    let of_nobody = fixture.join(again("x"));
    assert_eq!(fixture.refused(of_nobody), (GroupError::UnknownMemberId, "x".to_owned()));
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn group_ids_that_cannot_be_are_refused() {
    let mut fixture = Fixture::new();
    for (id, is_valid) in [("", false), (&*"x".repeat(32767), true), (&*"x".repeat(32768), false)] {
        let join = Join { group: id.into(), ..first_join(&format!("m{}", id.len())) };
        let request = fixture.join(join);
        match is_valid {
            true => assert!(fixture.is_parked(request)),
            false => assert_eq!(fixture.refused(request).0, GroupError::InvalidGroupId),
        }
    }
}

#[test]
fn session_timeouts_have_bounds_which_are_included() {
    let table = [(5_999, false), (6_000, true), (1_800_000, true), (1_800_001, false)];
    for (millis, is_valid) in table {
        let mut fixture = Fixture::new();
        let session_timeout = Duration::from_millis(millis);
        let request = fixture.join(Join { session_timeout, ..first_join("a") });
        match is_valid {
            true => assert!(fixture.is_parked(request), "{millis}"),
            false => assert_eq!(fixture.refused(request).0, GroupError::InvalidSessionTimeout),
        }
    }
}

#[test]
fn who_has_no_protocol_in_common_is_refused() {
    let consumer = || first_join("b");
    let table: [(&str, Join, bool); 6] = [
        ("the same", speaking(consumer(), &["range"]), true),
        ("one more", speaking(consumer(), &["x", "range"]), true),
        ("another", speaking(consumer(), &["x"]), false),
        ("none", speaking(consumer(), &[]), false),
        ("another type", Join { protocol_type: "connect".into(), ..consumer() }, false),
        ("no type", Join { protocol_type: String::new(), ..consumer() }, false),
    ];
    for (what, join, is_accepted) in table {
        let mut fixture = Fixture::new();
        fixture.stable(&["a"]);
        let request = fixture.join(join);
        match is_accepted {
            true => assert!(fixture.is_parked(request), "{what}"),
            false => {
                let expected = (GroupError::InconsistentGroupProtocol, String::new());
                assert_eq!(fixture.refused(request), expected, "{what}");
                assert_eq!(fixture.state(), GroupState::Stable, "{what}");
            }
        }
    }
}

#[test]
fn the_first_member_has_to_have_a_type_and_a_protocol() {
    for join in
        [speaking(first_join("a"), &[]), Join { protocol_type: String::new(), ..first_join("a") }]
    {
        let mut fixture = Fixture::new();
        let request = fixture.join(join);
        assert_eq!(fixture.refused(request).0, GroupError::InconsistentGroupProtocol);
        assert_eq!(fixture.state(), GroupState::Dead);
    }
}

#[test]
fn an_empty_group_may_become_one_of_another_type() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.leave(vec![leaver("a")]);
    let join = Join { protocol_type: "connect".into(), ..first_join("w") };
    let request = fixture.join(join);
    fixture.pass(seconds(3));
    let joined = fixture.joined(request);
    assert_eq!((joined.protocol_type.as_str(), joined.generation), ("connect", 3));
}

#[test]
fn a_full_group_lets_nobody_in() {
    let mut fixture = Fixture::with(GroupConfig { max_size: 2, ..GroupConfig::default() });
    fixture.stable(&["a", "b"]);
    let third = fixture.join(first_join("c"));
    assert_eq!(fixture.refused(third), (GroupError::GroupMaxSizeReached, String::new()));
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn while_a_group_rebalances_those_count_that_have_joined() {
    let mut fixture = Fixture::with(GroupConfig { max_size: 2, ..GroupConfig::default() });
    let a = fixture.join(first_join("a"));
    let b = fixture.join(first_join("b"));
    let c = fixture.join(first_join("c"));
    assert_eq!(fixture.refused(c).0, GroupError::GroupMaxSizeReached);
    let repeated = fixture.join(again("b"));
    assert_eq!(fixture.refused(b).0, GroupError::RebalanceInProgress, "superseded");
    fixture.pass(seconds(6));
    assert_eq!(fixture.joined(a).members.len(), 2);
    fixture.joined(repeated);
}

#[test]
fn when_the_maximum_was_lowered_the_last_to_join_again_is_not_let_in() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b", "c"]);
    fixture.config.max_size = 2;
    fixture.reload();
    assert_eq!(fixture.state(), GroupState::PreparingRebalance, "it is over capacity");
    let (b, c) = (fixture.join(again("b")), fixture.join(again("c")));
    let a = fixture.join(again("a"));
    assert_eq!(fixture.refused(a), (GroupError::GroupMaxSizeReached, String::new()));
    let (b, c) = (fixture.joined(b), fixture.joined(c));
    assert_eq!((names(&b.members), names(&c.members)), (vec!["b".into(), "c".into()], vec![]));
}

#[test]
fn a_static_member_takes_the_place_of_its_predecessor_in_a_full_group() {
    let mut fixture = Fixture::with(GroupConfig { max_size: 1, ..GroupConfig::default() });
    fixture.join(static_join("a", "i"));
    fixture.pass(seconds(3));
    fixture.assign(1, &["a"]);
    let request = fixture.join(static_join("b", "i"));
    assert_eq!(fixture.joined(request).generation, 1);
}

#[test]
fn who_lost_the_answer_to_its_join_is_told_again() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    for name in ["a", "b"] {
        let (request, records) = fixture.send(Request::Join(again(name)));
        let joined = fixture.joined(request);
        assert_eq!((joined.generation, &*joined.leader, &*joined.member), (1, "a", name));
        assert_eq!(joined.members.len(), if name == "a" { 2 } else { 0 });
        assert_eq!(records, []);
    }
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
    fixture.assign(1, &["a", "b"]);
    let request = fixture.join(again("b"));
    assert_eq!(fixture.joined(request).generation, 1);
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn a_member_that_says_something_new_begins_a_rebalance() {
    for is_stable in [false, true] {
        let mut fixture = Fixture::new();
        fixture.completing(&["a", "b"]);
        let parked = (!is_stable).then(|| fixture.send(sync("b", 1, &[])).0);
        if is_stable {
            fixture.assign(1, &["a", "b"]);
        }
        let changed = fixture.join(subscribing(again("b"), &[OTHER_TOPIC]));
        assert!(fixture.is_parked(changed));
        assert_eq!(fixture.state(), GroupState::PreparingRebalance);
        if let Some(parked) = parked {
            assert_eq!(fixture.synced(parked), Err(GroupError::RebalanceInProgress));
        }
        let leader = fixture.join(again("a"));
        assert_eq!(fixture.joined(changed).generation, 2);
        assert_eq!(fixture.joined(leader).members[1].metadata, subscription(&[OTHER_TOPIC]));
    }
}

#[test]
fn a_leader_of_a_stable_group_begins_a_rebalance_by_joining() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let leader = fixture.join(again("a"));
    assert!(fixture.is_parked(leader));
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::RebalanceInProgress));
    let other = fixture.join(again("b"));
    assert_eq!((fixture.joined(leader).generation, fixture.joined(other).generation), (2, 2));
}

#[test]
fn the_join_of_a_new_member_is_parked_for_five_minutes_at_most() {
    let mut fixture = Fixture::new();
    let patient = |join: Join| Join {
        session_timeout: Duration::from_mins(20),
        rebalance_timeout: Duration::from_mins(20),
        ..join
    };
    fixture.join(patient(first_join("a")));
    fixture.pass(seconds(3));
    fixture.assign(1, &["a"]);
    let new = fixture.join(patient(first_join("b")));
    fixture.pass(Duration::from_mins(5) - Duration::from_nanos(1));
    assert!(fixture.is_parked(new), "a has not joined again");
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.refused(new), (GroupError::UnknownMemberId, String::new()));
}

#[test]
fn a_member_whose_join_is_parked_is_not_silent() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let a = fixture.join(again("a"));
    for _ in 0..5 {
        fixture.pass(seconds(8));
        assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::RebalanceInProgress));
    }
    assert!(fixture.is_parked(a), "for four sessions");
    fixture.join(again("b"));
    assert_eq!(names(&fixture.joined(a).members), ["a", "b"]);
}

#[test]
fn dynamic_members_that_do_not_join_in_time_are_left_behind() {
    let mut fixture = Fixture::new();
    let slow = |name: &str| Join { session_timeout: seconds(600), ..first_join(name) };
    let joins = ["a", "b"].map(|name| fixture.join(slow(name)));
    fixture.pass(seconds(6));
    for join in joins {
        fixture.joined(join);
    }
    fixture.assign(1, &["a", "b"]);
    let new = fixture.join(first_join("c"));
    let b = fixture.join(again("b"));
    fixture.pass(REBALANCE - Duration::from_nanos(1));
    assert!(fixture.is_parked(b));
    fixture.pass(Duration::from_nanos(1));
    let b = fixture.joined(b);
    assert_eq!((&*b.leader, names(&b.members)), ("b", vec!["b".into(), "c".into()]));
    fixture.joined(new);
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn the_leader_stays_the_leader_as_long_as_it_joins() {
    let mut fixture = Fixture::new();
    let joins = ["b", "a"].map(|name| fixture.join(first_join(name)));
    fixture.pass(seconds(6));
    let leaders = joins.map(|join| fixture.joined(join).leader.to_string());
    assert_eq!(leaders, ["b", "b"], "who came first leads");
    fixture.assign(1, &["b", "a"]);
    let joins = [fixture.join(first_join("0")), fixture.join(again("a")), fixture.join(again("b"))];
    let leaders = joins.map(|join| fixture.joined(join).leader.to_string());
    assert_eq!(leaders, ["b", "b", "b"]);
}

#[test]
fn a_rebalance_waits_for_the_longest_of_the_members_timeouts() {
    let mut fixture = Fixture::new();
    let slow = |join: Join, secs| Join {
        session_timeout: seconds(1000),
        rebalance_timeout: seconds(secs),
        ..join
    };
    let joins =
        [("a", 60), ("b", 100)].map(|(name, secs)| fixture.join(slow(first_join(name), secs)));
    fixture.pass(seconds(6));
    for join in joins {
        fixture.joined(join);
    }
    fixture.assign(1, &["a", "b"]);
    let a = fixture.join(slow(again("a"), 70));
    fixture.pass(seconds(99));
    assert!(fixture.is_parked(a));
    fixture.pass(seconds(1));
    assert_eq!(names(&fixture.joined(a).members), ["a"]);
}

#[test]
fn of_protocols_with_the_same_name_the_first_counts() {
    let mut fixture = Fixture::new();
    let mut join = first_join("a");
    join.protocols.push(("range".into(), Bytes::from_static(b"other")));
    let request = fixture.join(join);
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(request).members[0].metadata, subscription(&[TOPIC]));
}
