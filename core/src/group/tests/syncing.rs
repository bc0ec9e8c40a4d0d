//! SyncGroup.

use super::*;

#[test]
fn the_leaders_assignment_is_a_record_and_everybody_gets_his_part_of_it() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b", "c"]);
    let b = fixture.send(sync("b", 1, &[])).0;
    assert!(fixture.is_parked(b));
    let (a, records) = fixture.send(sync("a", 1, &["a", "b", "stranger"]));
    let [Record::Group { value: Some(value), .. }] = &records[..] else {
        panic!("unexpected {records:?}")
    };
    assert_eq!((value.generation, value.leader.as_deref()), (1, Some("a")));
    let assigned = value.members.iter().map(|member| (&*member.member, &member.assignment[..]));
    assert_eq!(assigned.collect::<Vec<_>>(), [("a", &b"a"[..]), ("b", b"b"), ("c", b"")]);
    assert_eq!(fixture.synced(a), Ok(Bytes::from("a")));
    assert_eq!(fixture.synced(b), Ok(Bytes::from("b")));
    let (c, records) = fixture.send(sync("c", 1, &[]));
    assert_eq!(fixture.synced(c), Ok(Bytes::new()), "the leader gave it nothing");
    assert_eq!(records, []);
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn the_assignment_of_anybody_but_the_leader_is_passed_over() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    let (b, records) = fixture.send(sync("b", 1, &["a", "b"]));
    assert!(fixture.is_parked(b));
    assert_eq!(records, []);
    fixture.assign(1, &["a", "b"]);
    let (a, records) = fixture.send(sync("a", 1, &["b"]));
    assert_eq!(fixture.synced(a), Ok(Bytes::from("a")), "the generation is assigned");
    assert_eq!(records, []);
}

#[test]
fn a_sync_of_a_group_that_waits_for_joins_is_told_to_join() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    fixture.join(again("a"));
    let late = fixture.send(sync("b", 1, &[])).0;
    assert_eq!(fixture.synced(late), Err(GroupError::RebalanceInProgress));
}

#[test]
fn syncs_of_others_are_refused() {
    let of = |identity: Identity| match sync("a", 1, &[]) {
        Request::Sync(sync) => Sync { identity, ..sync },
        _ => unreachable!("just made"),
    };
    let right = || of(identity("a", 1));
    let table = [
        ("a stranger", of(identity("x", 1)), GroupError::UnknownMemberId),
        ("an old generation", of(identity("a", 0)), GroupError::IllegalGeneration),
        ("a generation to come", of(identity("a", 2)), GroupError::IllegalGeneration),
        ("an unknown instance", of(of_instance("a", "x", 1)), GroupError::UnknownMemberId),
        ("the instance of another", of(of_instance("a", "i", 1)), GroupError::FencedInstanceId),
        ("another group", Sync { group: "h".into(), ..right() }, GroupError::UnknownMemberId),
        ("no group", Sync { group: "".into(), ..right() }, GroupError::InvalidGroupId),
        (
            "another type",
            Sync { protocol_type: Some("connect".into()), ..right() },
            GroupError::InconsistentGroupProtocol,
        ),
        (
            "another protocol",
            Sync { protocol: Some("sticky".into()), ..right() },
            GroupError::InconsistentGroupProtocol,
        ),
    ];
    for (what, refused, error) in table {
        let mut fixture = Fixture::new();
        fixture.join(first_join("a"));
        fixture.join(static_join("s", "i"));
        fixture.pass(seconds(6));
        let request = fixture.send(Request::Sync(refused)).0;
        assert_eq!(fixture.synced(request), Err(error), "{what}");
        assert_eq!(fixture.state(), GroupState::CompletingRebalance);
        let named = Sync {
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            ..right()
        };
        let request = fixture.send(Request::Sync(named)).0;
        assert_eq!(fixture.synced(request), Ok(Bytes::new()));
    }
}

#[test]
fn a_leader_that_never_assigns_is_removed_and_another_leads() {
    let mut fixture = Fixture::new();
    let patient = |name: &str| Join { session_timeout: seconds(1000), ..first_join(name) };
    let joins = ["a", "b"].map(|name| fixture.join(patient(name)));
    fixture.pass(seconds(6));
    for join in joins {
        fixture.joined(join);
    }
    let b = fixture.send(sync("b", 1, &[])).0;
    fixture.pass(REBALANCE - seconds(4));
    assert!(fixture.is_parked(b));
    fixture.pass(seconds(4));
    assert_eq!(fixture.synced(b), Err(GroupError::RebalanceInProgress));
    let b = fixture.join(again("b"));
    let b = fixture.joined(b);
    assert_eq!((b.generation, &*b.leader, names(&b.members)), (2, "b", vec!["b".into()]));
}

#[test]
fn a_member_that_never_asks_for_its_assignment_is_removed() {
    let mut fixture = Fixture::new();
    let patient = |name: &str| Join { session_timeout: seconds(1000), ..first_join(name) };
    let joins = ["a", "b"].map(|name| fixture.join(patient(name)));
    fixture.pass(seconds(6));
    for join in joins {
        fixture.joined(join);
    }
    fixture.send(sync("a", 1, &["a", "b"]));
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(REBALANCE);
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn the_timer_of_a_generations_syncs_ends_with_it() {
    let mut fixture = Fixture::new();
    let patient = |name: &str| Join { session_timeout: seconds(1000), ..first_join(name) };
    fixture.join(patient("a"));
    fixture.pass(seconds(3));
    fixture.pass(REBALANCE - seconds(5));
    let new = fixture.join(patient("b"));
    let a = fixture.join(Join { session_timeout: seconds(1000), ..again("a") });
    fixture.joined(new);
    fixture.joined(a);
    fixture.pass(REBALANCE - seconds(1));
    assert_eq!(fixture.state(), GroupState::CompletingRebalance, "generation 2 has its own time");
    fixture.pass(seconds(1));
    assert_ne!(fixture.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_sync_that_is_sent_again_supersedes_the_one_before() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    let first = fixture.send(sync("b", 1, &[])).0;
    let second = fixture.send(sync("b", 1, &[])).0;
    assert_eq!(fixture.synced(first), Err(GroupError::RebalanceInProgress));
    fixture.send(sync("a", 1, &["a", "b"]));
    assert_eq!(fixture.synced(second), Ok(Bytes::from("b")));
}

#[test]
fn no_assignment_of_the_generation_before_is_left() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let joins = ["a", "b"].map(|name| fixture.join(again(name)));
    for join in joins {
        fixture.joined(join);
    }
    let parked = fixture.send(sync("b", 2, &[])).0;
    fixture.send(sync("a", 2, &["a"]));
    assert_eq!(fixture.synced(parked), Ok(Bytes::new()));
}
