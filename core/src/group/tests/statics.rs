//! Static members (KIP-345).

use super::*;

/// Static members i, j, ... called a, b, ...; a leads.
fn stable(names: &[(&str, &str)]) -> Fixture {
    let mut fixture = Fixture::new();
    for (name, instance) in names {
        fixture.join(static_join(name, instance));
    }
    fixture.pass(seconds(6));
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    fixture.assign(1, &names);
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture
}

#[test]
fn a_static_member_that_restarts_goes_on_under_another_id_without_a_rebalance() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let (request, records) = fixture.send(Request::Join(static_join("c", "j")));
    let joined = fixture.joined(request);
    assert_eq!((joined.generation, &*joined.member, &*joined.leader), (1, "c", "a"));
    assert!(joined.members.is_empty() && !joined.skip_assignment);
    let [Record::Group { value: Some(value), .. }] = &records[..] else {
        panic!("unexpected {records:?}")
    };
    assert_eq!((value.generation, value.leader.as_deref()), (1, Some("a")));
    let members = value.members.iter();
    let members =
        members.map(|member| (&*member.member, member.instance.as_deref(), &member.assignment[..]));
    let expected = [("a", Some("i"), &b"a"[..]), ("c", Some("j"), b"b")];
    assert_eq!(members.collect::<Vec<_>>(), expected);
    let request = fixture.send(sync("c", 1, &[])).0;
    assert_eq!(fixture.synced(request), Ok(Bytes::from("b")), "what its predecessor had");
}

#[test]
fn a_static_leader_that_restarts_is_told_not_to_assign() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let request = fixture.join(static_join("c", "i"));
    let joined = fixture.joined(request);
    assert_eq!((&*joined.member, &*joined.leader, joined.skip_assignment), ("c", "c", true));
    assert_eq!(names(&joined.members), ["b", "c"]);
}

#[test]
fn an_old_client_that_restarts_is_not_told_that_it_leads() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let old = Join { can_skip_assignment: false, ..static_join("c", "i") };
    let request = fixture.join(old);
    let joined = fixture.joined(request);
    assert_eq!((&*joined.member, &*joined.leader, joined.skip_assignment), ("c", "a", false));
    assert!(joined.members.is_empty());
    assert_eq!(fixture.last_value().leader.as_deref(), Some("c"), "yet it does");
}

#[test]
fn the_predecessor_of_a_static_member_is_fenced_whatever_it_asks() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    fixture.join(static_join("c", "j"));
    fixture.answers.clear();
    let old = of_instance("b", "j", 1);
    let fenced = GroupError::FencedInstanceId;
    let heartbeat = Request::Heartbeat { group: GROUP.into(), identity: old.clone() };
    assert_eq!(fixture.ask(heartbeat), Response::Heartbeat(Err(fenced.clone())));
    let Request::Sync(sync) = sync("b", 1, &[]) else { unreachable!("just made") };
    let sync = Request::Sync(Sync { identity: old.clone(), ..sync });
    assert_eq!(fixture.ask(sync), Response::Synced(Err(fenced.clone())));
    let join = fixture.join(Join { member: "b".into(), ..static_join("unused", "j") });
    assert_eq!(fixture.refused(join), (fenced.clone(), "b".to_owned()));
    assert_eq!(fixture.commit(old, 1), Err(fenced.clone()));
    let leaver = Leaver { instance: Some("j".into()), ..leaver("b") };
    assert_eq!(fixture.leave(vec![leaver]), [Err(fenced)]);
    assert_eq!(fixture.state(), GroupState::Stable);
    assert_eq!(fixture.committed(TOPIC), None);
    assert_eq!(fixture.heartbeat("b", 1), Err(GroupError::UnknownMemberId), "without its name");
}

#[test]
fn what_the_predecessor_waits_for_is_fenced() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let leader = fixture.join(Join { member: "a".into(), ..static_join("unused", "i") });
    let restarted = fixture.join(static_join("c", "i"));
    assert_eq!(fixture.refused(leader), (GroupError::FencedInstanceId, "a".to_owned()));
    let other = fixture.join(Join { member: "b".into(), ..static_join("unused", "j") });
    assert_eq!(&*fixture.joined(other).leader, "c", "it leads on under its new id");
    assert_eq!(names(&fixture.joined(restarted).members), ["b", "c"]);
    let parked = fixture.send(sync("b", 2, &[])).0;
    fixture.join(static_join("d", "j"));
    assert_eq!(fixture.synced(parked), Err(GroupError::FencedInstanceId));
}

#[test]
fn a_static_member_that_restarts_while_its_leader_assigns_begins_a_rebalance() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let leader = fixture.join(Join { member: "a".into(), ..static_join("unused", "i") });
    let other = fixture.join(Join { member: "b".into(), ..static_join("unused", "j") });
    fixture.joined(leader);
    fixture.joined(other);
    let parked = fixture.send(sync("a", 1, &[])).0;
    assert_eq!(fixture.synced(parked), Err(GroupError::IllegalGeneration));
    let restarted = fixture.join(static_join("c", "j"));
    assert!(fixture.is_parked(restarted), "the leader assigns to b");
    let late = fixture.send(sync("a", 2, &["a", "b"])).0;
    assert_eq!(fixture.synced(late), Err(GroupError::RebalanceInProgress));
    let leader = fixture.join(Join { member: "a".into(), ..static_join("unused", "i") });
    assert_eq!(names(&fixture.joined(leader).members), ["a", "c"]);
    assert_eq!(fixture.joined(restarted).generation, 3);
}

#[test]
fn other_topics_of_a_static_member_that_restarts_begin_a_rebalance() {
    let user_data = |topics: &[&str]| {
        let mut bytes = subscription(topics).to_vec();
        bytes.extend(b"something else");
        vec![("range".to_owned(), Bytes::from(bytes))]
    };
    let table = [
        ("other topics", user_data(&[TOPIC, OTHER_TOPIC]), true),
        ("other data", user_data(&[TOPIC]), false),
        ("garbage", vec![("range".into(), Bytes::from_static(b"?"))], true),
    ];
    for (what, protocols, rebalances) in table {
        let mut fixture = stable(&[("a", "i"), ("b", "j")]);
        let request = fixture.join(Join { protocols, ..static_join("c", "j") });
        assert_eq!(fixture.is_parked(request), rebalances, "{what}");
    }
}

#[test]
fn a_static_member_that_restarts_with_another_favourite_begins_a_rebalance() {
    let mut fixture = Fixture::new();
    for (name, instance) in [("a", "i"), ("b", "j")] {
        fixture.join(speaking(static_join(name, instance), &["range", "sticky"]));
    }
    fixture.pass(seconds(6));
    fixture.assign(1, &["a", "b"]);
    let same = fixture.join(speaking(static_join("c", "j"), &["range", "sticky"]));
    fixture.joined(same);
    let other = fixture.join(speaking(static_join("d", "j"), &["sticky"]));
    assert!(fixture.is_parked(other));
    let leader = Join { member: "a".into(), ..static_join("unused", "i") };
    let leader = fixture.join(speaking(leader, &["range", "sticky"]));
    assert_eq!(fixture.joined(leader).protocol, "sticky");
}

#[test]
fn static_members_are_not_left_behind_for_not_joining_in_time() {
    let mut fixture = Fixture::new();
    let slow = |join: Join| Join { session_timeout: seconds(600), ..join };
    fixture.join(slow(static_join("a", "i")));
    fixture.join(slow(first_join("b")));
    fixture.pass(seconds(6));
    fixture.assign(1, &["a", "b"]);
    let b = fixture.join(subscribing(slow(again("b")), &[OTHER_TOPIC]));
    fixture.pass(REBALANCE);
    let b = fixture.joined(b);
    assert_eq!((&*b.leader, names(&b.members)), ("b", vec!["a".into(), "b".into()]));
}

#[test]
fn while_no_static_member_joins_a_rebalance_waits_for_their_sessions() {
    let mut fixture = Fixture::new();
    let slow = |join: Join| Join { session_timeout: seconds(200), ..join };
    fixture.join(slow(static_join("a", "i")));
    fixture.join(slow(first_join("b")));
    fixture.pass(seconds(6));
    fixture.assign(1, &["a", "b"]);
    fixture.leave(vec![leaver("b")]);
    let records = fixture.pass(seconds(190));
    assert_eq!((fixture.state(), records), (GroupState::PreparingRebalance, vec![]));
    fixture.pass(seconds(10));
    assert_eq!(fixture.state(), GroupState::Empty);
}

#[test]
fn a_static_member_that_is_silent_is_removed() {
    let mut fixture = stable(&[("a", "i")]);
    fixture.pass(SESSION);
    assert_eq!(fixture.state(), GroupState::Empty);
    let again = fixture.join(static_join("b", "i"));
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(again).generation, 3);
}

#[test]
fn a_static_member_needs_no_second_join_to_know_its_id() {
    let mut fixture = Fixture::new();
    let request = fixture.join(Join { must_know_its_id: true, ..static_join("a", "i") });
    fixture.pass(seconds(3));
    assert_eq!(&*fixture.joined(request).member, "a");
}

#[test]
fn a_pending_id_cannot_join_as_a_static_member() {
    let mut fixture = Fixture::new();
    fixture.join(Join { must_know_its_id: true, ..first_join("a") });
    let request = fixture.join(Join { member: "a".into(), ..static_join("unused", "i") });
    assert_eq!(fixture.refused(request), (GroupError::UnknownMemberId, "a".to_owned()));
}

#[test]
fn a_static_member_that_restarts_keeps_the_rebalance_waiting_like_its_predecessor() {
    let mut fixture = stable(&[("a", "i"), ("b", "j")]);
    let leader = fixture.join(Join { member: "a".into(), ..static_join("unused", "i") });
    let restarted = fixture.join(static_join("c", "j"));
    assert_eq!(fixture.joined(restarted).generation, 2, "everybody has joined");
    assert_eq!(names(&fixture.joined(leader).members), ["a", "c"]);
}
