//! Heartbeats, and what silence does.

use super::*;

#[test]
fn groups_that_time_has_changed_are_named_without_a_record() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    fixture.tick();
    assert_eq!(fixture.shard.ticked(), []);
    for _ in 0..2 {
        fixture.pass_to(fixture.now.monotonic.after(SESSION / 2));
        let _ = fixture.heartbeat("b", 1);
    }
    assert_eq!(fixture.tick(), []);
    assert_eq!(fixture.shard.ticked(), [GroupId::from(GROUP)]);
    assert_eq!(fixture.state(), GroupState::PreparingRebalance, "a was silent");
}

#[test]
fn what_a_heartbeat_is_answered_depends_on_where_the_group_is() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::UnknownMemberId), "no group");
    fixture.completing(&["a", "b"]);
    assert_eq!(fixture.heartbeat("a", 1), Ok(()), "members beat as soon as they have joined");
    fixture.assign(1, &["a", "b"]);
    assert_eq!(fixture.heartbeat("a", 1), Ok(()), "stable");
    fixture.join(again("a"));
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::RebalanceInProgress));
    fixture.leave(vec![leaver("a"), leaver("b")]);
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::UnknownMemberId), "empty");
}

#[test]
fn heartbeats_of_others_are_refused() {
    let table = [
        (identity("x", 1), GroupError::UnknownMemberId),
        (identity("a", 0), GroupError::IllegalGeneration),
        (identity("a", 2), GroupError::IllegalGeneration),
        (Identity { generation: None, ..identity("a", 1) }, GroupError::IllegalGeneration),
        (of_instance("a", "x", 1), GroupError::UnknownMemberId),
        (of_instance("a", "i", 1), GroupError::FencedInstanceId),
    ];
    for (identity, error) in table {
        let mut fixture = Fixture::new();
        fixture.join(first_join("a"));
        fixture.join(static_join("s", "i"));
        fixture.pass(seconds(6));
        fixture.assign(1, &["a", "s"]);
        let heartbeat = Request::Heartbeat { group: GROUP.into(), identity: identity.clone() };
        let answer = fixture.ask(heartbeat);
        assert_eq!(answer, Response::Heartbeat(Err(error)), "{identity:?}");
    }
    let mut fixture = Fixture::new();
    let unnamed = Request::Heartbeat { group: "".into(), identity: identity("a", 1) };
    let answer = fixture.ask(unnamed);
    assert_eq!(answer, Response::Heartbeat(Err(GroupError::InvalidGroupId)));
}

#[test]
fn silence_for_a_session_timeout_removes_a_member() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    fixture.pass(seconds(5));
    assert_eq!(fixture.heartbeat("a", 1), Ok(()));
    fixture.pass(seconds(5) - Duration::from_nanos(1));
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn heartbeats_leave_the_deadline_alone_until_it_has_come() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    fixture.tick();
    let due = fixture.shard.next_deadline().expect("sessions end");
    fixture.pass(seconds(1));
    for name in ["a", "b"] {
        assert_eq!(fixture.heartbeat(name, 1), Ok(()));
    }
    assert_eq!(fixture.shard.next_deadline(), Some(due), "nobody has looked at all members");
    fixture.pass_to(due);
    assert_eq!(fixture.tick(), [], "nobody is late");
    assert_eq!(fixture.shard.next_deadline(), Some(due.after(seconds(1))));
}

#[test]
fn whatever_a_member_asks_renews_its_session() {
    type Ask = fn(&mut Fixture);
    let table: [(&str, Ask); 4] = [
        ("heartbeat", |fixture| assert_eq!(fixture.heartbeat("b", 1), Ok(()))),
        ("commit", |fixture| assert_eq!(fixture.commit(identity("b", 1), 5), Ok(()))),
        ("sync", |fixture| {
            fixture.send(sync("b", 1, &[]));
        }),
        ("join", |fixture| {
            fixture.join(again("b"));
        }),
    ];
    for (what, ask) in table {
        let mut fixture = Fixture::new();
        fixture.stable(&["a", "b"]);
        for _ in 0..5 {
            fixture.pass(seconds(6));
            assert_eq!(fixture.heartbeat("a", 1), Ok(()), "{what}");
            ask(&mut fixture);
        }
        assert_eq!(fixture.state(), GroupState::Stable, "{what}");
    }
}

#[test]
fn what_is_refused_renews_no_session() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    for _ in 0..2 {
        fixture.pass(seconds(5));
        fixture.heartbeat("a", 1).ok();
        assert!(fixture.heartbeat("b", 0).is_err() || fixture.state() != GroupState::Stable);
        assert!(fixture.commit(identity("b", 0), 1).is_err());
    }
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_parked_sync_is_not_silent() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    let parked = fixture.send(sync("b", 1, &[])).0;
    for _ in 0..4 {
        fixture.pass(seconds(6));
        assert_eq!(fixture.heartbeat("a", 1), Ok(()));
    }
    fixture.send(sync("a", 1, &["a", "b"]));
    assert_eq!(fixture.synced(parked), Ok(Bytes::from("b")));
    fixture.pass(seconds(9));
    assert_eq!(fixture.heartbeat("b", 1), Ok(()), "its session began with the answer");
}

#[test]
fn when_the_last_member_is_silent_the_group_is_empty_in_another_generation() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    let records = fixture.pass(SESSION);
    let [Record::Group { value: Some(value), .. }] = &records[..] else {
        panic!("unexpected {records:?}")
    };
    let expected = ClassicGroupValue {
        protocol_type: "consumer".into(),
        generation: 2,
        protocol: None,
        leader: None,
        state_since: Some(fixture.now.wall),
        members: vec![],
    };
    assert_eq!(*value, expected);
    assert_eq!(fixture.state(), GroupState::Empty);
}

#[test]
fn members_that_are_silent_at_once_begin_one_rebalance() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b", "c", "d"]);
    let records = fixture.pass(SESSION);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(fixture.last_value().generation, 2);
}

#[test]
fn silence_of_the_last_that_has_not_joined_ends_a_rebalance() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let a = fixture.join(again("a"));
    fixture.pass(SESSION);
    assert_eq!(names(&fixture.joined(a).members), ["a"]);
}
