//! What another coordinator makes of the log.

use super::*;

#[test]
fn a_stable_group_goes_on_with_whole_sessions() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    fixture.pass(seconds(9));
    fixture.reload();
    fixture.pass(seconds(9));
    assert_eq!(fixture.heartbeat("a", 1), Ok(()));
    let request = fixture.send(sync("b", 1, &[])).0;
    assert_eq!(fixture.synced(request), Ok(Bytes::from("b")));
    fixture.pass(seconds(1));
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(seconds(10));
    assert_eq!(fixture.state(), GroupState::Empty);
}

#[test]
fn a_generation_that_was_not_assigned_is_not_given_out_again() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    fixture.reload();
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::RebalanceInProgress));
    let late = fixture.send(sync("a", 1, &["a", "b"])).0;
    assert_eq!(fixture.synced(late), Err(GroupError::RebalanceInProgress));
    let joins = ["a", "b"].map(|name| fixture.join(again(name)));
    assert_eq!(joins.map(|join| fixture.joined(join).generation), [2, 2]);
}

#[test]
fn who_does_not_join_after_a_move_within_a_rebalance_is_left_behind() {
    let mut fixture = Fixture::new();
    let joins = ["a", "b"]
        .map(|name| fixture.join(Join { session_timeout: seconds(1000), ..first_join(name) }));
    fixture.pass(seconds(6));
    for join in joins {
        fixture.joined(join);
    }
    fixture.reload();
    let b = fixture.join(again("b"));
    fixture.pass(REBALANCE);
    assert_eq!(names(&fixture.joined(b).members), ["b"]);
}

#[test]
fn a_move_before_a_generation_leaves_the_one_before() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.join(first_join("b"));
    fixture.reload();
    assert_eq!(fixture.state(), GroupState::Stable);
    assert_eq!(fixture.heartbeat("a", 1), Ok(()));
}

#[test]
fn the_generation_of_an_empty_group_goes_on() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.leave(vec![leaver("a")]);
    fixture.reload();
    let join = fixture.join(first_join("b"));
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(join).generation, 3);
}

#[test]
fn a_group_that_was_removed_begins_again() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.leave(vec![leaver("a")]);
    fixture.ask(Request::DeleteGroup { group: GROUP.into() });
    for _ in 0..2 {
        assert_eq!(fixture.state(), GroupState::Dead);
        fixture.reload();
    }
    let join = fixture.join(first_join("b"));
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(join).generation, 1);
    assert_eq!(fixture.heartbeat("a", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_static_member_is_known_after_a_move() {
    let mut fixture = Fixture::new();
    fixture.join(static_join("a", "i"));
    fixture.pass(seconds(3));
    fixture.assign(1, &["a"]);
    fixture.reload();
    let request = fixture.join(static_join("b", "i"));
    assert_eq!(fixture.joined(request).generation, 1);
    fixture.reload();
    let identity = of_instance("a", "i", 1);
    let heartbeat = Request::Heartbeat { group: GROUP.into(), identity };
    assert_eq!(fixture.ask(heartbeat), Response::Heartbeat(Err(GroupError::FencedInstanceId)));
    assert_eq!(fixture.heartbeat("b", 1), Ok(()));
}

#[test]
fn everything_that_waits_can_be_taken_once() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    let parked_sync = fixture.send(sync("b", 1, &[])).0;
    let other = Join { group: "h".into(), ..first_join("c") };
    let parked_join = fixture.join(other);
    assert_eq!(fixture.shard.waiting(), [parked_sync, parked_join]);
    assert_eq!(fixture.shard.waiting(), []);
}

#[test]
fn records_that_make_no_sense_are_passed_over() {
    let mut fixture = Fixture::new();
    let partition = PartitionIndex(0);
    let (group, topic) = (GroupId::from("h"), Arc::<str>::from(TOPIC));
    fixture.log = vec![
        Record::Group { group: group.clone(), value: None },
        Record::OffsetCommit { group: group.clone(), topic, partition, value: None },
        Record::Group {
            group: group.clone(),
            value: Some(ClassicGroupValue {
                protocol_type: String::new(),
                generation: u32::MAX,
                protocol: None,
                leader: Some("nobody".into()),
                state_since: None,
                members: vec![ClassicMemberValue {
                    member: "a".into(),
                    instance: None,
                    client_id: String::new(),
                    client_host: String::new(),
                    rebalance_timeout: Duration::ZERO,
                    session_timeout: Duration::ZERO,
                    subscription: Bytes::new(),
                    assignment: Bytes::new(),
                }],
            }),
        },
    ];
    fixture.reload();
    fixture.pass(seconds(1));
    assert_eq!(fixture.last_value().members, []);
}
