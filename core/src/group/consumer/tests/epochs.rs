//! Which epochs are taken, and when they are bumped.

use super::*;

/// Two partitions; `a` owns both in epoch 1.
fn one_member() -> World {
    let mut world = World::with_topics(&[("t", 2), ("u", 1)]);
    world.accepted(&join("a", &["t"]));
    world
}

#[test]
fn a_heartbeat_with_nothing_to_tell_changes_nothing() {
    let mut world = one_member();
    let (records, told) = world.accepted(&stay("a", 1));
    assert_eq!(records, []);
    assert_eq!(told, answer("a", 1, None));
}

#[test]
fn a_newer_epoch_than_the_members_is_fenced() {
    let mut world = one_member();
    assert_eq!(world.refused(&stay("a", 2)), GroupError::FencedMemberEpoch);
}

#[test]
fn an_older_epoch_than_the_one_before_is_fenced() {
    let mut world = one_member();
    for (id, epoch) in [("b", 2), ("c", 3)] {
        let mut other = Client::join(&mut world, id, &["t"]);
        assert_eq!(other.epoch, epoch);
        let owned = partitions(&[(1, &[0])]);
        let heartbeat = ConsumerHeartbeat { owned: Some(owned), ..stay("a", epoch - 1) };
        world.accepted(&heartbeat);
        world.beat(&mut other);
    }
    assert_eq!(world.member("a").epoch(), 3);
    let owned = Some(partitions(&[]));
    let late = ConsumerHeartbeat { owned, ..stay("a", 1) };
    assert_eq!(world.refused(&late), GroupError::FencedMemberEpoch);
}

#[test]
fn the_epoch_before_is_taken_from_a_member_that_owns_no_more_than_it_has() {
    let mut world = one_member();
    let mut b = Client::join(&mut world, "b", &["t"]);
    let owned = Some(partitions(&[(1, &[0])]));
    let revoked = ConsumerHeartbeat { owned, ..stay("a", 1) };
    let (_, told) = world.accepted(&revoked);
    assert_eq!(epoch(&told), 2);
    world.beat(&mut b);
    // The answer was lost.
    let (records, told) = world.accepted(&revoked);
    assert_eq!(records, []);
    assert_eq!(told, answer("a", 2, None));
}

#[test]
fn the_epoch_before_is_fenced_if_the_member_owns_more_than_it_has_or_does_not_say() {
    let mut world = one_member();
    Client::join(&mut world, "b", &["t"]);
    let owned = Some(partitions(&[(1, &[0])]));
    world.accepted(&ConsumerHeartbeat { owned, ..stay("a", 1) });
    let owned = Some(partitions(&[(1, &[0, 1])]));
    let more = ConsumerHeartbeat { owned, ..stay("a", 1) };
    assert_eq!(world.refused(&more), GroupError::FencedMemberEpoch);
    let other_topic = ConsumerHeartbeat { owned: Some(partitions(&[(2, &[0])])), ..stay("a", 1) };
    assert_eq!(world.refused(&other_topic), GroupError::FencedMemberEpoch);
    assert_eq!(world.refused(&stay("a", 1)), GroupError::FencedMemberEpoch);
}

#[test]
fn a_fenced_member_joins_again_with_epoch_zero() {
    let mut world = one_member();
    assert_eq!(world.refused(&stay("a", 7)), GroupError::FencedMemberEpoch);
    let (records, told) = world.accepted(&join("a", &["t"]));
    assert_eq!(records, []);
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn a_member_that_is_not_in_the_group_is_unknown() {
    let mut world = one_member();
    assert_eq!(world.refused(&stay("b", 1)), GroupError::UnknownMemberId);
}

#[test]
fn a_group_that_does_not_exist_has_no_members_that_stay_or_leave() {
    let mut world = World::new();
    assert_eq!(world.refused(&stay("a", 1)), GroupError::GroupIdNotFound);
    assert_eq!(world.refused(&leave("a")), GroupError::GroupIdNotFound);
}

#[test]
fn other_topics_bump_the_group_epoch() {
    let mut world = one_member();
    let topics = Some(names(&["t", "u"]));
    let (records, told) = world.accepted(&ConsumerHeartbeat { topics, ..stay("a", 1) });
    let hash = world.group().value.metadata_hash;
    let owned = assigned(&[(1, &[(0, 1), (1, 1)]), (2, &[(0, 2)])]);
    assert_eq!(
        records,
        [
            member_record("a", Some(about(&["t", "u"]))),
            group_record(2, hash),
            target_record("a", Some(partitions(&[(1, &[0, 1]), (2, &[0])]))),
            target_epoch_record(2),
            current_record("a", Some(stable(2, 1, owned))),
        ]
    );
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0, 1]), (2, &[0])]))));
}

#[test]
fn the_same_topics_in_another_order_change_nothing() {
    let mut world = one_member();
    let topics = Some(names(&["t", "t"]));
    let (records, _) = world.accepted(&ConsumerHeartbeat { topics, ..stay("a", 1) });
    assert_eq!(records, []);
}

#[test]
fn another_client_id_is_written_and_bumps_nothing() {
    let mut world = one_member();
    let heartbeat = ConsumerHeartbeat { client_id: "other".into(), ..stay("a", 1) };
    let (records, told) = world.accepted(&heartbeat);
    let value = ConsumerMemberValue { client_id: "other".into(), ..about(&["t"]) };
    assert_eq!(records, [member_record("a", Some(value))]);
    assert_eq!(told, answer("a", 1, None));
}

#[test]
fn what_a_heartbeat_does_not_say_stays_as_it_was() {
    let mut world = World::with_topics(&[("t", 1)]);
    let request = ConsumerHeartbeat {
        rack: Some("r".into()),
        assignor: Some("range".into()),
        ..join("a", &["t"])
    };
    world.accepted(&request);
    let (records, _) = world.accepted(&stay("a", 1));
    assert_eq!(records, []);
    let about = &world.member("a").about;
    assert_eq!(about.rack.as_deref(), Some("r"));
    assert_eq!(about.assignor.as_deref(), Some("range"));
    assert_eq!(about.rebalance_timeout, REBALANCE);
}

#[test]
fn a_full_request_is_answered_with_the_assignment() {
    let mut world = one_member();
    let full = ConsumerHeartbeat {
        epoch: MemberEpoch::Stay(1),
        owned: Some(partitions(&[(1, &[0, 1])])),
        ..join("a", &["t"])
    };
    let (records, told) = world.accepted(&full);
    assert_eq!(records, []);
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
    let (_, told) = world.accepted(&ConsumerHeartbeat { rebalance_timeout: None, ..full.clone() });
    assert_eq!(told.assignment, None);
    let (_, told) = world.accepted(&ConsumerHeartbeat { topics: None, ..full.clone() });
    assert_eq!(told.assignment, None);
    let (_, told) = world.accepted(&ConsumerHeartbeat { owned: None, ..full });
    assert_eq!(told.assignment, None);
}
