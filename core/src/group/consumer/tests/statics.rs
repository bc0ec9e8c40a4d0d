//! Static members (KIP-345).

use super::*;

/// `a` has instance `i` and both partitions.
fn one_static() -> World {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join_static("a", "i", &["t"]));
    world
}

fn stay_static(member: &str, instance: &str, epoch: u32) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance: Some(instance.into()), ..stay(member, epoch) }
}

fn about_static(instance: &str) -> ConsumerMemberValue {
    ConsumerMemberValue { instance: Some(instance.into()), ..about(&["t"]) }
}

#[test]
fn a_static_member_joins_like_any_other() {
    let mut world = World::with_topics(&[("t", 2)]);
    let (records, told) = world.accepted(&join_static("a", "i", &["t"]));
    assert_eq!(records[0], member_record("a", Some(about_static("i"))));
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn a_static_member_that_leaves_for_now_keeps_its_partitions() {
    let mut world = one_static();
    let (records, told) = world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let owned = assigned(&[(1, &[(0, 0), (1, 0)])]);
    let away = CurrentAssignmentValue { epoch: None, ..stable(0, 0, owned) };
    assert_eq!(records, [current_record("a", Some(away))]);
    let expected = ConsumerHeartbeatAnswer {
        member: "a".into(),
        epoch: MemberEpoch::LeaveForNow,
        heartbeat_interval: Duration::ZERO,
        assignment: None,
    };
    assert_eq!(told, expected);
    assert_eq!(world.group().value.epoch, 1);
    let mut b = Client::join(&mut world, "b", &["t"]);
    assert_eq!(world.beat(&mut b).assignment, None, "a has not given anything up");
}

#[test]
fn who_comes_with_the_instance_takes_the_place_of_who_left_for_now() {
    let mut world = one_static();
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let (records, told) = world.accepted(&join_static("b", "i", &["t"]));
    let both = partitions(&[(1, &[0, 1])]);
    let owned = assigned(&[(1, &[(0, 0), (1, 0)])]);
    assert_eq!(
        records,
        [
            current_record("a", None),
            target_record("a", None),
            member_record("a", None),
            member_record("b", Some(about_static("i"))),
            target_record("b", Some(both.clone())),
            current_record("b", Some(stable(0, 0, owned.clone()))),
            current_record("b", Some(stable(1, 0, owned))),
        ]
    );
    assert_eq!(told, answer("b", 1, Some(both)));
    assert_eq!(world.group().value.epoch, 1, "nobody else has anything to do");
}

#[test]
fn who_comes_back_under_its_own_id_takes_its_own_place() {
    let mut world = one_static();
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let (_, told) = world.accepted(&join_static("a", "i", &["t"]));
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
    assert_eq!(world.group().members.len(), 1);
}

#[test]
fn who_comes_back_with_other_topics_bumps_the_epoch() {
    let mut world = one_static();
    world.create_topic(2, "u", 1);
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let (_, told) = world.accepted(&join_static("b", "i", &["u"]));
    assert_eq!(told, answer("b", 2, Some(partitions(&[(2, &[0])]))));
}

#[test]
fn an_instance_that_has_not_left_is_not_released() {
    let mut world = one_static();
    assert_eq!(world.refused(&join_static("b", "i", &["t"])), GroupError::UnreleasedInstanceId);
}

#[test]
fn a_static_member_that_missed_the_answer_to_its_join_joins_again() {
    let mut world = one_static();
    let (records, told) = world.accepted(&join_static("a", "i", &["t"]));
    assert_eq!(records, []);
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn an_instance_is_unknown_before_it_joins() {
    let mut world = one_static();
    assert_eq!(world.refused(&stay_static("a", "j", 1)), GroupError::UnknownMemberId);
    let leaves = leave_static("a", "j", MemberEpoch::Leave);
    assert_eq!(world.refused(&leaves), GroupError::UnknownMemberId);
}

#[test]
fn who_was_replaced_is_fenced_by_its_instance() {
    let mut world = one_static();
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    world.accepted(&join_static("b", "i", &["t"]));
    assert_eq!(world.refused(&stay_static("a", "i", 1)), GroupError::FencedInstanceId);
    for epoch in [MemberEpoch::Leave, MemberEpoch::LeaveForNow] {
        let leaves = leave_static("a", "i", epoch);
        assert_eq!(world.refused(&leaves), GroupError::FencedInstanceId);
    }
    assert_eq!(world.refused(&stay("a", 1)), GroupError::UnknownMemberId);
}

#[test]
fn who_left_for_now_and_goes_on_is_fenced() {
    let mut world = one_static();
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    assert_eq!(world.refused(&stay_static("a", "i", 1)), GroupError::FencedMemberEpoch);
}

#[test]
fn a_static_member_that_leaves_for_good_is_removed() {
    let mut world = one_static();
    let (records, _) = world.accepted(&leave_static("a", "i", MemberEpoch::Leave));
    assert_eq!(
        records,
        [
            current_record("a", None),
            target_record("a", None),
            member_record("a", None),
            group_record(2, 0),
        ]
    );
    world.accepted(&join_static("b", "i", &["t"]));
}

#[test]
fn who_does_not_come_back_within_its_session_loses_its_partitions() {
    let mut world = one_static();
    let mut b = Client::join(&mut world, "b", &["t"]);
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    world.pass(SESSION - Duration::from_secs(1));
    world.beat(&mut b);
    assert_eq!(world.tick(), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.tick().len(), 4);
    assert_eq!(world.beat(&mut b).assignment, Some(partitions(&[(1, &[0, 1])])));
}

#[test]
fn who_leaves_for_now_has_given_up_what_it_was_asked_to() {
    let mut world = one_static();
    let mut b = Client::join(&mut world, "b", &["t"]);
    world.accepted(&stay_static("a", "i", 1));
    assert_eq!(world.beat(&mut b).assignment, None);
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    assert_eq!(world.beat(&mut b).assignment, Some(partitions(&[(1, &[1])])));
    world.pass(REBALANCE);
    world.groups.timers.cancel(&"g".into(), &"a".into(), Duty::Session);
    world.groups.timers.cancel(&"g".into(), &"b".into(), Duty::Session);
    assert_eq!(world.tick(), [], "it is not late with anything");
}

#[test]
fn a_full_group_takes_nobody_back() {
    let mut world = one_static();
    world.config.consumer_max_size = 1;
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    assert_eq!(world.refused(&join_static("b", "i", &["t"])), GroupError::GroupMaxSizeReached);
}
