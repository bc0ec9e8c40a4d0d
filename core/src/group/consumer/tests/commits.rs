//! Who may commit and fetch offsets.

use super::*;
use crate::group::Identity;

fn commit(
    world: &World,
    member: &str,
    generation: Option<u32>,
    of: &[(u8, u32)],
) -> Result<(), GroupError> {
    let identity = Identity { member: member.into(), instance: None, generation };
    let offsets = of
        .iter()
        .map(|(number, partition)| ("?", Some(topic(*number)), PartitionIndex(*partition)));
    world.groups.check_commit(&world.image, "g", &identity, offsets)
}

/// `a` has partition 0 since epoch 1 and is in epoch 2; `b` has partition 1 since epoch 2.
fn two_members() -> World {
    let mut world = World::with_topics(&[("t", 2)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    let mut b = Client::join(&mut world, "b", &["t"]);
    settle(&mut world, &mut [&mut a, &mut b]);
    assert_eq!([a.epoch, b.epoch], [2, 2]);
    world
}

#[test]
fn a_member_commits_with_its_epoch() {
    let world = two_members();
    assert_eq!(commit(&world, "a", Some(2), &[(1, 0), (1, 1)]), Ok(()));
}

#[test]
fn an_older_epoch_commits_what_the_member_had_by_then_and_has_still() {
    let world = two_members();
    assert_eq!(commit(&world, "a", Some(1), &[(1, 0)]), Ok(()));
    let stale = Err(GroupError::StaleMemberEpoch);
    assert_eq!(commit(&world, "a", Some(1), &[(1, 1)]), stale, "it has it no more");
    assert_eq!(commit(&world, "b", Some(1), &[(1, 1)]), stale, "it did not have it yet");
    assert_eq!(commit(&world, "a", Some(1), &[(1, 0), (1, 1)]), stale, "all or nothing");
}

#[test]
fn an_older_epoch_commits_what_the_member_has_yet_to_give_up() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&join("b", &["t"]));
    world.accepted(&stay("a", 1));
    assert_eq!(commit(&world, "a", Some(1), &[(1, 1)]), Ok(()));
}

#[test]
fn a_commit_that_names_no_topic_id_goes_by_the_name() {
    let world = two_members();
    let identity = Identity { member: "a".into(), instance: None, generation: Some(1) };
    let check = |name| {
        let offsets = core::iter::once((name, None, PartitionIndex(0)));
        world.groups.check_commit(&world.image, "g", &identity, offsets)
    };
    assert_eq!(check("t"), Ok(()));
    assert_eq!(check("u"), Err(GroupError::StaleMemberEpoch));
}

#[test]
fn a_newer_epoch_commits_nothing() {
    let world = two_members();
    let stale = Err(GroupError::StaleMemberEpoch);
    assert_eq!(commit(&world, "a", Some(3), &[(1, 0)]), stale);
}

#[test]
fn who_is_not_a_member_commits_nothing() {
    let world = two_members();
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(commit(&world, "c", Some(2), &[(1, 0)]), unknown);
    assert_eq!(commit(&world, "", None, &[(1, 0)]), unknown);
}

#[test]
fn who_is_no_member_commits_to_an_empty_group() {
    let mut world = two_members();
    world.accepted(&leave("a"));
    world.accepted(&leave("b"));
    assert_eq!(commit(&world, "", None, &[(1, 0)]), Ok(()));
    assert_eq!(commit(&world, "a", Some(2), &[(1, 0)]), Err(GroupError::UnknownMemberId));
}

#[test]
fn who_left_for_now_commits_nothing() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join_static("a", "i", &["t"]));
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let stale = Err(GroupError::StaleMemberEpoch);
    assert_eq!(commit(&world, "a", Some(1), &[(1, 0)]), stale);
}

#[test]
fn a_member_fetches_with_its_epoch_and_with_no_other() {
    let world = two_members();
    assert_eq!(fetch(&world, "a", Some(2)), Ok(()));
    assert_eq!(fetch(&world, "a", Some(1)), Err(GroupError::StaleMemberEpoch));
    assert_eq!(fetch(&world, "a", Some(3)), Err(GroupError::StaleMemberEpoch));
    assert_eq!(fetch(&world, "c", Some(2)), Err(GroupError::UnknownMemberId));
}

#[test]
fn who_names_half_a_member_fetches_nothing_and_who_names_none_everything() {
    let mut world = two_members();
    assert_eq!(fetch(&world, "a", None), Err(GroupError::StaleMemberEpoch));
    for (member, epoch) in [("ghost", None), ("", None), ("", Some(0)), ("", Some(2))] {
        assert_eq!(fetch(&world, member, epoch), Err(GroupError::UnknownMemberId), "{member:?}");
    }
    assert_eq!(world.groups.check_fetch("g", None), Ok(()));
    world.accepted(&join_static("s", "i", &["t"]));
    world.accepted(&leave_static("s", "i", MemberEpoch::LeaveForNow));
    assert_eq!(fetch(&world, "s", None), Err(GroupError::StaleMemberEpoch), "it is away");
}

fn fetch(world: &World, member: &str, epoch: Option<u32>) -> Result<(), GroupError> {
    world.groups.check_fetch("g", Some(&(member.into(), epoch)))
}

#[test]
fn members_subscribe_to_topics_by_name_and_by_expression() {
    let mut world = two_members();
    world.create_topic(2, "u1", 1);
    world.accepted(&join_matching("c", "u.*"));
    assert!(world.groups.is_subscribed("g", "t"));
    assert!(world.groups.is_subscribed("g", "u1"));
    assert!(!world.groups.is_subscribed("g", "v"));
    assert!(!world.groups.is_subscribed("h", "t"));
}
