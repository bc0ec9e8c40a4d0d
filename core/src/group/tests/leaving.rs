//! LeaveGroup.

use super::*;

#[test]
fn each_leaver_has_an_outcome_of_its_own() {
    let mut fixture = Fixture::new();
    fixture.join(first_join("a"));
    fixture.join(static_join("s", "i"));
    fixture.join(static_join("t", "j"));
    fixture.pass(seconds(6));
    fixture.assign(1, &["a", "s", "t"]);
    fixture.join(Join { must_know_its_id: true, ..first_join("p") });
    let by_instance = |instance: &str| Leaver { instance: Some(instance.into()), ..leaver("") };
    let outcomes = fixture.leave(vec![
        leaver("x"),
        by_instance("x"),
        leaver(""),
        Leaver { instance: Some("j".into()), ..leaver("s") },
        by_instance("i"),
        leaver("p"),
        Leaver { instance: Some("j".into()), ..leaver("t") },
        leaver("t"),
    ]);
    let unknown = Err(GroupError::UnknownMemberId);
    let expected = [
        unknown.clone(),
        unknown.clone(),
        unknown.clone(),
        Err(GroupError::FencedInstanceId),
        Ok(()),
        Ok(()),
        Ok(()),
        unknown,
    ];
    assert_eq!(outcomes, expected);
    let a = fixture.join(again("a"));
    assert_eq!(names(&fixture.joined(a).members), ["a"]);
}

#[test]
fn nobody_leaves_a_group_that_does_not_exist() {
    let mut fixture = Fixture::new();
    let outcomes = fixture.leave(vec![leaver("a"), leaver("b")]);
    assert_eq!(outcomes, [Err(GroupError::UnknownMemberId), Err(GroupError::UnknownMemberId)]);
    let unnamed = fixture.ask(Request::Leave { group: "".into(), members: vec![] });
    assert_eq!(unnamed, Response::Left(Err(GroupError::InvalidGroupId)));
}

#[test]
fn when_all_leave_at_once_the_group_is_empty_by_one_record() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let body = Request::Leave { group: GROUP.into(), members: vec![leaver("a"), leaver("b")] };
    let (_, records) = fixture.send(body);
    let [Record::Group { value: Some(value), .. }] = &records[..] else {
        panic!("unexpected {records:?}")
    };
    assert_eq!((value.generation, value.members.len()), (2, 0));
    assert_eq!(fixture.state(), GroupState::Empty);
}

#[test]
fn a_leaver_that_waits_for_its_join_is_told_to_join_anew() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let parked = fixture.join(again("a"));
    let records = fixture.send(Request::Leave { group: GROUP.into(), members: vec![leaver("a")] });
    assert_eq!(fixture.refused(parked), (GroupError::UnknownMemberId, String::new()));
    assert_eq!(records.1, [], "b has yet to join");
    let b = fixture.join(again("b"));
    assert_eq!(names(&fixture.joined(b).members), ["b"]);
}

#[test]
fn a_leaver_that_waits_for_its_sync_is_told_that_it_is_no_member() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a", "b"]);
    let parked = fixture.send(sync("b", 1, &[])).0;
    fixture.leave(vec![leaver("b")]);
    assert_eq!(fixture.synced(parked), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_pending_id_that_leaves_disturbs_nobody() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.join(Join { must_know_its_id: true, ..first_join("p") });
    assert_eq!(fixture.leave(vec![leaver("p")]), [Ok(())]);
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.join(Join { must_know_its_id: true, ..first_join("p") });
    let leader = fixture.join(again("a"));
    assert!(fixture.is_parked(leader), "p is waited for");
    assert_eq!(fixture.leave(vec![leaver("p")]), [Ok(())]);
    fixture.joined(leader);
}

#[test]
fn all_members_of_a_first_rebalance_may_leave_before_it_is_over() {
    let mut fixture = Fixture::new();
    fixture.join(first_join("a"));
    fixture.leave(vec![leaver("a")]);
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.pass(seconds(3));
    assert_eq!(fixture.state(), GroupState::Empty);
    assert_eq!(fixture.last_value().generation, 1);
}

#[test]
fn a_leader_that_leaves_is_succeeded() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b", "c"]);
    fixture.leave(vec![leaver("a")]);
    let (c, b) = (fixture.join(again("c")), fixture.join(again("b")));
    assert_eq!((&*fixture.joined(b).leader, &*fixture.joined(c).leader), ("b", "b"));
}
