//! Members step from what they own to what they are to own.

use super::*;

/// Three partitions. `a` owned all of them, and `b` has joined.
fn two_members() -> (World, Client, Client) {
    let mut world = World::with_topics(&[("t", 3)]);
    let a = Client::join(&mut world, "a", &["t"]);
    let b = Client::join(&mut world, "b", &["t"]);
    (world, a, b)
}

#[test]
fn who_has_more_than_its_target_is_asked_to_give_up_the_rest() {
    let (mut world, a, _) = two_members();
    let (records, told) = world.accepted(&a.heartbeat());
    let value = unrevoked(1, 1, assigned(&[(1, &[(0, 1), (1, 1)])]), assigned(&[(1, &[(2, 1)])]));
    assert_eq!(records, [current_record("a", Some(value))]);
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn who_still_owns_what_it_is_to_give_up_stays_where_it_is() {
    let (mut world, a, _) = two_members();
    world.accepted(&a.heartbeat());
    for heartbeat in [a.heartbeat(), stay("a", 1)] {
        let (records, told) = world.accepted(&heartbeat);
        assert_eq!(records, []);
        assert_eq!(told, answer("a", 1, None));
    }
}

#[test]
fn who_has_given_up_moves_on_to_the_targets_epoch() {
    let (mut world, mut a, _) = two_members();
    world.beat(&mut a);
    let (records, told) = world.accepted(&a.heartbeat());
    let value = stable(2, 1, assigned(&[(1, &[(0, 1), (1, 1)])]));
    assert_eq!(records, [current_record("a", Some(value))]);
    assert_eq!(told, answer("a", 2, None));
}

#[test]
fn a_partition_is_granted_when_its_owner_has_given_it_up_and_not_before() {
    let (mut world, mut a, mut b) = two_members();
    assert_eq!(world.beat(&mut b), answer("b", 2, None));
    world.beat(&mut a);
    assert_eq!(world.beat(&mut b), answer("b", 2, None), "a may consume it still");
    world.beat(&mut a);
    let (records, told) = world.accepted(&b.heartbeat());
    let value = stable(2, 2, assigned(&[(1, &[(2, 2)])]));
    assert_eq!(records, [current_record("b", Some(value))]);
    assert_eq!(told, answer("b", 2, Some(partitions(&[(1, &[2])]))));
}

#[test]
fn who_waits_gets_what_is_free_already() {
    let mut world = World::with_topics(&[("t", 2), ("u", 2)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    let mut b = Client::join(&mut world, "b", &["t", "u"]);
    assert_eq!(b.owned, partitions(&[(2, &[0, 1])]), "a keeps what is as many");
    settle(&mut world, &mut [&mut a, &mut b]);
    assert_eq!(a.owned, partitions(&[(1, &[0, 1])]));
    let mut c = Client::join(&mut world, "c", &["t", "u"]);
    assert_eq!(c.owned, partitions(&[]));
    settle(&mut world, &mut [&mut a, &mut b, &mut c]);
    let sizes: Vec<usize> =
        [&a, &b, &c].iter().map(|client| client.owned.values().map(|p| p.len()).sum()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 4);
    assert!(sizes.iter().all(|size| (1..=2).contains(size)), "{sizes:?}");
}

#[test]
fn a_new_target_while_partitions_are_given_up_is_taken_when_they_are() {
    let (mut world, mut a, _) = two_members();
    world.beat(&mut a);
    Client::join(&mut world, "c", &["t"]);
    let (records, told) = world.accepted(&a.heartbeat());
    let value = unrevoked(1, 1, assigned(&[(1, &[(0, 1)])]), assigned(&[(1, &[(1, 1)])]));
    assert_eq!(records, [current_record("a", Some(value))]);
    assert_eq!(told, answer("a", 1, Some(partitions(&[(1, &[0])]))));
    a.obey(&told);
    assert_eq!(world.beat(&mut a), answer("a", 3, None));
}

#[test]
fn a_partition_that_comes_back_while_it_is_given_up_is_granted_again() {
    let (mut world, mut a, _) = two_members();
    world.beat(&mut a);
    world.accepted(&leave("b"));
    let (records, told) = world.accepted(&a.heartbeat());
    let target = partitions(&[(1, &[0, 1, 2])]);
    let value = stable(3, 1, assigned(&[(1, &[(0, 1), (1, 1), (2, 3)])]));
    assert_eq!(
        records,
        [
            target_record("a", Some(target.clone())),
            target_epoch_record(3),
            current_record("a", Some(value)),
        ]
    );
    assert_eq!(told, answer("a", 3, Some(target)));
}

#[test]
fn who_unsubscribes_while_it_gives_up_has_more_to_give_up() {
    let mut world = World::with_topics(&[("t", 2), ("u", 1)]);
    let a = Client::join(&mut world, "a", &["t", "u"]);
    Client::join(&mut world, "b", &["t", "u"]);
    world.accepted(&a.heartbeat());
    let before = (*world.member("a").current).clone();
    assert_eq!(before.assigned, assigned(&[(1, &[(0, 1), (1, 1)])]));
    assert_eq!(before.pending_revocation, assigned(&[(2, &[(0, 1)])]));
    let topics = Some(names(&["u"]));
    let (records, told) = world.accepted(&ConsumerHeartbeat { topics, ..a.heartbeat() });
    let pending = assigned(&[(1, &[(0, 1), (1, 1)]), (2, &[(0, 1)])]);
    let value = unrevoked(1, 1, assigned(&[]), pending);
    assert_eq!(records.last(), Some(&current_record("a", Some(value))));
    assert_eq!(told, answer("a", 1, Some(partitions(&[]))));
}

#[test]
fn what_is_not_subscribed_to_any_more_is_given_up() {
    let mut world = World::with_topics(&[("t", 1), ("u", 1)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    let topics = Some(names(&["u"]));
    let (_, told) = world.accepted(&ConsumerHeartbeat { topics, ..a.heartbeat() });
    assert_eq!(told, answer("a", 1, Some(partitions(&[]))));
    a.obey(&told);
    assert_eq!(world.beat(&mut a), answer("a", 2, Some(partitions(&[(2, &[0])]))));
}

#[test]
fn who_says_at_once_that_it_owns_nothing_else_is_not_asked_to_give_up() {
    let (mut world, _, _) = two_members();
    let owned = Some(partitions(&[(1, &[1])]));
    let (records, told) = world.accepted(&ConsumerHeartbeat { owned, ..stay("a", 1) });
    let value = stable(2, 1, assigned(&[(1, &[(0, 1), (1, 1)])]));
    assert_eq!(records, [current_record("a", Some(value))]);
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn a_state_of_a_newer_coordinator_is_left_by_joining_again() {
    let (mut world, a, _) = two_members();
    let unknown = CurrentAssignmentValue {
        state: MemberState::Unknown,
        ..stable(1, 0, assigned(&[(1, &[(0, 1), (1, 1), (2, 1)])]))
    };
    world.replay(&[current_record("a", Some(unknown))]);
    assert_eq!(world.refused(&a.heartbeat()), GroupError::FencedMemberEpoch);
    assert_eq!(world.refused(&stay("a", 1)), GroupError::FencedMemberEpoch);
    let (_, told) = world.accepted(&join("a", &["t"]));
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0, 1])]))));
}

#[test]
fn members_come_to_rest_with_everything_assigned_once() {
    let (mut world, mut a, mut b) = two_members();
    let mut c = Client::join(&mut world, "c", &["t"]);
    settle(&mut world, &mut [&mut c, &mut b, &mut a]);
    assert_eq!(world.group().state(), crate::group::GroupState::Stable);
    assert_eq!([a.epoch, b.epoch, c.epoch], [3, 3, 3]);
    assert_eq!(a.owned, partitions(&[(1, &[0])]));
    assert_eq!(b.owned, partitions(&[(1, &[2])]));
    assert_eq!(c.owned, partitions(&[(1, &[1])]));
}
