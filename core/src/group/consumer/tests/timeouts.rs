//! Members that are late.

use super::*;
use crate::group::consumer::leave::FENCED_AT_ONCE_MAX;
use alloc::string::ToString;

const SECOND: Duration = Duration::from_secs(1);

fn two_members() -> (World, Client, Client) {
    let mut world = World::with_topics(&[("t", 2)]);
    let a = Client::join(&mut world, "a", &["t"]);
    let b = Client::join(&mut world, "b", &["t"]);
    (world, a, b)
}

#[test]
fn a_member_that_is_silent_for_its_session_is_removed() {
    let (mut world, _, mut b) = two_members();
    let hash = world.group().value.metadata_hash;
    world.pass(SESSION - SECOND);
    world.beat(&mut b);
    assert_eq!(world.tick(), []);
    assert_eq!(world.groups.next_deadline(), Some(Instant(0).after(SESSION)));
    world.pass(SECOND);
    assert_eq!(
        world.tick(),
        [
            current_record("a", None),
            target_record("a", None),
            member_record("a", None),
            group_record(3, hash),
        ]
    );
    assert_eq!(world.tick(), []);
}

#[test]
fn members_that_are_late_together_are_removed_with_one_epoch() {
    let (mut world, _, _) = two_members();
    world.pass(SESSION);
    assert_eq!(
        world.tick(),
        [
            current_record("a", None),
            target_record("a", None),
            member_record("a", None),
            current_record("b", None),
            target_record("b", None),
            member_record("b", None),
            group_record(3, 0),
        ]
    );
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_removed() {
    let (mut world, mut a, mut b) = two_members();
    world.accepted(&stay("a", 1));
    for _ in 0..60 {
        world.pass(SECOND);
        assert!(world.group().member("a").is_some());
        assert_eq!(world.beat(&mut b).assignment, None);
        if world.group().member("a").is_some() && world.now.monotonic < Instant(0).after(REBALANCE)
        {
            world.accepted(&stay("a", 1));
            assert_eq!(world.tick(), []);
        }
    }
    assert_eq!(world.tick().len(), 4);
    assert_eq!(world.beat(&mut b).assignment, Some(partitions(&[(1, &[0, 1])])));
    assert_eq!(world.refused(&stay("a", 1)), GroupError::UnknownMemberId);
    a.owned.clear();
}

#[test]
fn a_member_that_gives_up_in_time_stays() {
    let (mut world, mut a, mut b) = two_members();
    world.beat(&mut a);
    world.beat(&mut a);
    for _ in 0..70 {
        world.pass(SECOND);
        world.beat(&mut a);
        world.beat(&mut b);
        assert_eq!(world.tick(), []);
    }
}

#[test]
fn every_request_to_give_up_has_its_own_time() {
    let mut world = World::with_topics(&[("t", 3)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    let mut b = Client::join(&mut world, "b", &["t"]);
    world.beat(&mut a);
    world.pass(REBALANCE - SECOND);
    let mut c = Client::join(&mut world, "c", &["t"]);
    world.beat(&mut b);
    world.beat(&mut a);
    assert_eq!(world.member("a").current.state, MemberState::UnrevokedPartitions);
    world.pass(SECOND);
    assert_eq!(world.tick(), [], "the first partition was given up in time");
    settle(&mut world, &mut [&mut a, &mut b, &mut c]);
}

#[test]
fn sessions_begin_anew_with_another_coordinator() {
    let (mut world, _, _) = two_members();
    world.accepted(&stay("a", 1));
    world.pass(SESSION - SECOND);
    world.fail_over();
    world.pass(SECOND);
    assert_eq!(world.tick(), []);
    world.pass(SESSION - SECOND);
    assert_eq!(world.tick().len(), 7);
}

#[test]
fn the_time_to_give_up_begins_anew_with_another_coordinator() {
    let (mut world, _, mut b) = two_members();
    world.accepted(&stay("a", 1));
    world.fail_over();
    for _ in 0..6 {
        assert_eq!(world.tick(), []);
        world.pass(Duration::from_secs(10));
        world.beat(&mut b);
        if world.now.monotonic < Instant(0).after(REBALANCE) {
            world.accepted(&stay("a", 1));
        }
    }
    assert_eq!(world.tick().len(), 4);
}

#[test]
fn groups_are_late_each_by_itself() {
    let (mut world, _, _) = two_members();
    let other = ConsumerHeartbeat { group: "h".into(), ..join("x", &["t"]) };
    world.accepted(&other);
    world.pass(SESSION);
    let records = world.tick();
    assert_eq!(records.len(), 7 + 4);
    assert!(world.groups.is_empty("g") && world.groups.is_empty("h"));
}

#[test]
fn so_many_members_are_fenced_at_once_and_the_others_stay_due() {
    let mut world = World::with_topics(&[("t", 1)]);
    for number in 0..FENCED_AT_ONCE_MAX + 1 {
        world.accepted(&join(&number.to_string(), &["t"]));
    }
    world.pass(world.config.consumer_session_timeout);
    world.tick();
    assert_eq!(world.group().members.len(), 1);
    assert!(world.groups.next_deadline().is_some_and(|due| due <= world.now.monotonic));
    world.tick();
    assert_eq!(world.group().members.len(), 0);
}
