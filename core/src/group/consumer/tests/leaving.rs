//! Members leave.

use super::*;

#[test]
fn who_leaves_is_removed_and_begins_an_epoch() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&join("b", &["t"]));
    let hash = world.group().value.metadata_hash;
    let (records, told) = world.accepted(&leave("a"));
    assert_eq!(
        records,
        [
            current_record("a", None),
            target_record("a", None),
            member_record("a", None),
            group_record(3, hash),
        ]
    );
    let expected = ConsumerHeartbeatAnswer {
        member: "a".into(),
        epoch: MemberEpoch::Leave,
        heartbeat_interval: Duration::ZERO,
        assignment: None,
    };
    assert_eq!(told, expected);
}

#[test]
fn what_a_member_had_is_assigned_by_the_next_heartbeat() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    let mut b = Client::join(&mut world, "b", &["t"]);
    world.accepted(&leave("a"));
    assert_eq!(world.group().state(), crate::group::GroupState::Assigning);
    assert_eq!(world.beat(&mut b), answer("b", 3, Some(partitions(&[(1, &[0, 1])]))));
    assert_eq!(world.group().state(), crate::group::GroupState::Stable);
}

#[test]
fn the_last_member_to_leave_takes_the_metadata_hash_with_it() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    let (records, _) = world.accepted(&leave("a"));
    assert_eq!(records.last(), Some(&group_record(2, 0)));
}

#[test]
fn who_left_is_unknown() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&leave("a"));
    assert_eq!(world.refused(&leave("a")), GroupError::UnknownMemberId);
    assert_eq!(world.refused(&stay("a", 1)), GroupError::UnknownMemberId);
}

#[test]
fn who_left_is_not_fenced_for_its_silence() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&leave("a"));
    assert_eq!(world.groups.next_deadline(), None);
}

#[test]
fn an_empty_group_is_deleted_with_all_that_is_known_of_it() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    let mut records = Vec::new();
    let group = "g".into();
    assert_eq!(world.groups.delete(&group, &mut records), Err(GroupError::NonEmptyGroup));
    world.accepted(&leave("a"));
    assert_eq!(world.groups.delete(&group, &mut records), Ok(()));
    assert_eq!(
        records,
        [
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    world.replay(&records);
    assert!(!world.groups.contains("g"));
    assert_eq!(world.groups.delete(&group, &mut records), Err(GroupError::GroupIdNotFound));
}

#[test]
fn the_tombstones_of_a_group_come_in_kafkas_order() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&join_matching("b", "t.*"));
    let records = world.group().tombstones(&"g".into());
    assert_eq!(
        records,
        [
            current_record("a", None),
            current_record("b", None),
            target_record("a", None),
            target_record("b", None),
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            member_record("a", None),
            member_record("b", None),
            expression_record("t.*", None),
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    world.replay(&records);
    assert!(!world.groups.contains("g"));
}
