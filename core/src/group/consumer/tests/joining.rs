//! Members join.

use super::{assignor::Assignor, *};

#[test]
fn the_first_member_gets_everything_with_one_heartbeat() {
    let mut world = World::with_topics(&[("t", 3)]);
    let (records, told) = world.accepted(&join("a", &["t"]));
    let hash = world.group().value.metadata_hash;
    assert_ne!(hash, 0);
    assert_eq!(
        records,
        [
            member_record("a", Some(about(&["t"]))),
            group_record(1, hash),
            target_record("a", Some(partitions(&[(1, &[0, 1, 2])]))),
            target_epoch_record(1),
            current_record("a", Some(stable(1, 0, assigned(&[(1, &[(0, 1), (1, 1), (2, 1)])])))),
        ]
    );
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1, 2])]))));
}

#[test]
fn the_coordinator_makes_the_id_of_a_member_that_has_none() {
    let mut world = World::with_topics(&[("t", 1)]);
    let (records, told) = world.accepted(&join("", &["t"]));
    assert_eq!(&*told.member, "fresh");
    assert_eq!(records[0], member_record("fresh", Some(about(&["t"]))));
}

#[test]
fn a_second_member_waits_for_what_the_first_has_to_give_up() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    let hash = world.group().value.metadata_hash;
    let (records, told) = world.accepted(&join("b", &["t"]));
    assert_eq!(
        records,
        [
            member_record("b", Some(about(&["t"]))),
            group_record(2, hash),
            target_record("a", Some(partitions(&[(1, &[0])]))),
            target_record("b", Some(partitions(&[(1, &[1])]))),
            target_epoch_record(2),
            current_record("b", Some(unreleased(2, 0, assigned(&[])))),
        ]
    );
    assert_eq!(told, answer("b", 2, Some(partitions(&[]))));
}

#[test]
fn a_member_that_subscribes_to_nothing_changes_nothing_for_others() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    let (records, told) = world.accepted(&join("b", &[]));
    assert_eq!(
        records,
        [
            member_record("b", Some(about(&[]))),
            current_record("b", Some(stable(1, 0, assigned(&[])))),
        ]
    );
    assert_eq!(told, answer("b", 1, Some(partitions(&[]))));
}

#[test]
fn the_first_member_begins_an_epoch_though_it_subscribes_to_nothing() {
    let mut world = World::new();
    let (records, told) = world.accepted(&join("a", &[]));
    assert_eq!(
        records,
        [
            member_record("a", Some(about(&[]))),
            group_record(1, 0),
            target_record("a", Some(partitions(&[]))),
            target_epoch_record(1),
            current_record("a", Some(stable(1, 0, assigned(&[])))),
        ]
    );
    assert_eq!(told, answer("a", 1, Some(partitions(&[]))));
}

#[test]
fn topics_that_do_not_exist_assign_nothing() {
    let mut world = World::new();
    let (records, told) = world.accepted(&join("a", &["t"]));
    assert_eq!(records[1], group_record(1, 0));
    assert_eq!(told, answer("a", 1, Some(partitions(&[]))));
}

#[test]
fn topics_are_kept_in_order_and_once() {
    let mut world = World::new();
    let (records, _) = world.accepted(&join("a", &["u", "t", "u"]));
    assert_eq!(records[0], member_record("a", Some(about(&["t", "u"]))));
}

#[test]
fn a_member_that_joins_again_is_told_everything_and_bumps_nothing() {
    let mut world = World::with_topics(&[("t", 2)]);
    let (_, first) = world.accepted(&join("a", &["t"]));
    let (records, told) = world.accepted(&join("a", &["t"]));
    assert_eq!(records, []);
    assert_eq!(told, first);
}

#[test]
fn a_member_that_joins_again_has_given_up_what_it_was_asked_to() {
    let mut world = World::with_topics(&[("t", 2)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    Client::join(&mut world, "b", &["t"]);
    world.accepted(&a.heartbeat());
    assert_eq!(world.member("a").current.state, MemberState::UnrevokedPartitions);
    let (records, told) = world.accepted(&join("a", &["t"]));
    let current = stable(2, 1, assigned(&[(1, &[(0, 1)])]));
    assert_eq!(records, [current_record("a", Some(current))]);
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0])]))));
    a.obey(&told);
}

#[test]
fn a_full_group_takes_nobody_new_but_keeps_who_is_in_it() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.config.consumer_max_size = 2;
    world.accepted(&join("a", &["t"]));
    world.accepted(&join("b", &["t"]));
    assert_eq!(world.refused(&join("c", &["t"])), GroupError::GroupMaxSizeReached);
    assert_eq!(world.refused(&join("", &["t"])), GroupError::GroupMaxSizeReached);
    world.accepted(&join("b", &["t"]));
}

#[test]
fn a_group_without_members_stays_with_its_epoch() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&leave("a"));
    assert_eq!(world.group().state(), crate::group::GroupState::Empty);
    assert_eq!(world.group().value.epoch, 2);
    let (_, told) = world.accepted(&join("b", &["t"]));
    assert_eq!(told, answer("b", 3, Some(partitions(&[(1, &[0])]))));
}

#[test]
fn members_that_prefer_another_assignor_are_counted() {
    let mut world = World::with_topics(&[("t", 4), ("u", 4)]);
    let prefers = |member, assignor: &str| ConsumerHeartbeat {
        assignor: Some(assignor.into()),
        ..join(member, &["t", "u"])
    };
    world.accepted(&prefers("a", "uniform"));
    assert_eq!(world.group().assignor(), Assignor::Uniform);
    world.accepted(&prefers("b", "range"));
    assert_eq!(world.group().assignor(), Assignor::Uniform, "of as many, the last by name");
    world.accepted(&prefers("c", "range"));
    assert_eq!(world.group().assignor(), Assignor::Range);
    let target = |member: &str| (*world.group().target_of(member)).clone();
    assert_eq!(target("a"), partitions(&[(1, &[0, 1]), (2, &[0, 1])]));
    assert_eq!(target("b"), partitions(&[(1, &[2]), (2, &[2])]));
    assert_eq!(target("c"), partitions(&[(1, &[3]), (2, &[3])]));
}
