//! Rules of the sessions between followers and leaders.

use super::*;
use crate::types::LeaderEpoch;
use alloc::vec;

type Leader = ReplicaSessions<u8, ()>;

const FOLLOWER: (BrokerId, BrokerEpoch) = (BrokerId(2), BrokerEpoch(20));
const INTERVAL: Duration = Duration::from_millis(500);

fn at(fetch_offset: u64) -> ReplicaPosition {
    ReplicaPosition {
        leader_epoch: LeaderEpoch(1),
        fetch_offset: Offset(fetch_offset),
        last_fetched_epoch: None,
        flushed_offset: Offset(0),
        log_start_offset: Offset(0),
    }
}

fn follower(keys: &[u8]) -> FollowerSession<u8> {
    let mut session = FollowerSession::default();
    keys.iter().for_each(|key| session.want(*key, Some(at(0))));
    session
}

fn keys(partitions: &[(u8, ReplicaPosition)]) -> Vec<u8> {
    partitions.iter().map(|(key, _)| *key).collect()
}

/// One fetch that is answered: the leader tells nothing.
fn exchange(
    leader: &mut Leader,
    follower: &mut FollowerSession<u8>,
    now: Instant,
) -> Result<ReplicaSession<u8, ()>, SessionLost> {
    let fetch = follower.next_fetch();
    let mut session = leader.begin(now, FOLLOWER, fetch)?;
    session.call_roll(now, INTERVAL);
    follower.answered(session.next_turn());
    Ok(session)
}

/// A session of these partitions in which everything is told and at rest.
fn settled(named: &[u8]) -> (Leader, FollowerSession<u8>) {
    let (mut leader, mut follower) = (Leader::new(BrokerEpoch(10)), follower(named));
    let mut session = exchange(&mut leader, &mut follower, Instant(0)).expect("a full fetch");
    for key in named {
        session.told(key, Offset(0), Offset(0));
        session.rest(key);
    }
    leader.end(FOLLOWER.0, session);
    (leader, follower)
}

#[test]
fn a_follower_names_everything_once_and_then_what_has_moved() {
    let mut session = follower(&[1, 2, 3]);
    let full = session.next_fetch();
    assert_eq!((full.session, keys(&full.named)), (None, vec![1, 2, 3]));
    let turn = SessionTurn { id: SessionId { leader: BrokerEpoch(10), number: 1 }, turn: 1 };
    session.answered(turn);
    session.want(2, Some(at(5)));
    session.want(1, Some(at(0)));
    session.want(3, None);
    let next = session.next_fetch();
    assert_eq!(next.session, Some(turn));
    assert_eq!(next.named, vec![(2, at(5))]);
    assert_eq!(next.forgotten, vec![3]);
}

#[test]
fn a_fetch_without_an_answer_ends_the_session() {
    let (_, mut follower) = settled(&[1, 2]);
    follower.want(1, Some(at(7)));
    follower.next_fetch();
    let again = follower.next_fetch();
    assert_eq!((again.session, again.named), (None, vec![(1, at(7)), (2, at(0))]));
    let (_, mut follower) = settled(&[1]);
    follower.next_fetch();
    follower.lost();
    assert_eq!(follower.next_fetch().session, None);
}

#[test]
fn a_partition_whose_answer_got_lost_here_is_named_again() {
    let (mut leader, mut follower) = settled(&[1, 2]);
    follower.say_again(2);
    let mut session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    assert_eq!(keys(&session.to_answer()), [2]);
    assert!(session.has_news(&2, Offset(0), Offset(0)), "it is told what it was told before");
}

#[test]
fn only_what_was_named_is_asked_between_two_roll_calls() {
    let (mut leader, mut follower) = settled(&[1, 2, 3]);
    follower.want(2, Some(at(4)));
    let session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    assert_eq!(session.awake(), vec![(2, at(4))]);
}

#[test]
fn a_roll_call_counts_every_partition_where_it_was_said_to_be() {
    let (mut leader, mut follower) = settled(&[1, 2]);
    let due = Instant(0).after(INTERVAL);
    let mut session = exchange(&mut leader, &mut follower, Instant(due.0 - 1)).unwrap();
    assert_eq!((session.awake(), session.next_roll_call(INTERVAL)), (vec![], due));
    session.call_roll(due, INTERVAL);
    assert_eq!(session.awake(), vec![(1, at(0)), (2, at(0))]);
    assert_eq!(session.next_roll_call(INTERVAL), due.after(INTERVAL));
}

#[test]
fn what_is_forgotten_is_neither_counted_nor_woken() {
    let (mut leader, mut follower) = settled(&[1, 2]);
    follower.want(1, None);
    let due = Instant(0).after(INTERVAL);
    let mut session = exchange(&mut leader, &mut follower, due).unwrap();
    session.wake(1);
    session.mention(1);
    assert_eq!(keys(&session.awake()), [2]);
    assert_eq!(keys(&session.to_answer()), [2]);
}

#[test]
fn what_a_follower_knows_is_told_once() {
    let (mut leader, mut follower) = settled(&[1]);
    let mut session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    assert!(!session.has_news(&1, Offset(0), Offset(0)));
    assert!(session.has_news(&1, Offset(3), Offset(0)), "another high watermark");
    assert!(session.has_news(&1, Offset(0), Offset(1)), "another log start");
    session.told(&1, Offset(3), Offset(0));
    assert!(!session.has_news(&1, Offset(3), Offset(0)));
    assert!(session.to_answer().is_empty());
}

#[test]
fn a_follower_that_could_not_store_the_log_start_hears_of_it_until_it_could() {
    let (mut leader, mut follower) = settled(&[1]);
    let mut session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    session.told(&1, Offset(9), Offset(5));
    leader.end(FOLLOWER.0, session);
    let mut session = exchange(&mut leader, &mut follower, Instant(2)).unwrap();
    assert!(session.has_news(&1, Offset(9), Offset(5)), "it is at 0 still");
    assert_eq!(keys(&session.to_answer()), [1]);
    session.told(&1, Offset(9), Offset(5));
    leader.end(FOLLOWER.0, session);
    follower.want(1, Some(ReplicaPosition { log_start_offset: Offset(5), ..at(0) }));
    let mut session = exchange(&mut leader, &mut follower, Instant(3)).unwrap();
    session.told(&1, Offset(9), Offset(5));
    assert!(!session.has_news(&1, Offset(9), Offset(5)));
}

#[test]
fn a_partition_that_has_told_already_what_it_was_mentioned_for_is_asked_once() {
    let (mut leader, mut follower) = settled(&[1]);
    let mut session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    session.mention(1);
    assert_eq!(keys(&session.to_answer()), [1]);
    assert!(!session.has_news(&1, Offset(0), Offset(0)));
    assert!(session.to_answer().is_empty());
}

#[test]
fn every_partition_comes_first_in_its_turn() {
    let (mut leader, mut follower) = settled(&[1, 2, 3]);
    let mut session = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    [1, 2, 3].into_iter().for_each(|key| session.wake(key));
    for order in [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]] {
        assert_eq!(keys(&session.to_answer()), order);
    }
}

#[test]
fn a_leader_knows_no_session_of_another_life() {
    let (_, mut follower) = settled(&[1]);
    let mut restarted = Leader::new(BrokerEpoch(11));
    assert_eq!(exchange(&mut restarted, &mut follower, Instant(1)).err(), Some(SessionLost));
    follower.lost();
    assert!(exchange(&mut restarted, &mut follower, Instant(2)).is_ok());
}

#[test]
fn a_fetch_out_of_turn_or_of_another_registration_is_refused() {
    let (mut leader, mut follower) = settled(&[1]);
    let fetch = follower.next_fetch();
    let restarted = (FOLLOWER.0, BrokerEpoch(21));
    assert!(leader.begin(Instant(1), restarted, fetch.clone()).is_err());
    let session = leader.begin(Instant(1), FOLLOWER, fetch.clone()).unwrap();
    assert!(leader.begin(Instant(1), FOLLOWER, fetch.clone()).is_err(), "it is being served");
    leader.end(FOLLOWER.0, session);
    assert!(leader.begin(Instant(1), FOLLOWER, fetch).is_err(), "it was served");
}

#[test]
fn a_new_session_replaces_the_one_that_is_being_served() {
    let (mut leader, mut follower) = settled(&[1]);
    let old = exchange(&mut leader, &mut follower, Instant(1)).unwrap();
    follower.lost();
    let new = exchange(&mut leader, &mut follower, Instant(2)).unwrap();
    leader.end(FOLLOWER.0, new);
    leader.end(FOLLOWER.0, old);
    assert!(exchange(&mut leader, &mut follower, Instant(3)).is_ok());
}

#[test]
fn a_session_that_is_not_used_is_forgotten() {
    let (mut leader, mut follower) = settled(&[1]);
    leader.expire(Instant(IDLE_MAX.as_nanos() as u64 - 1));
    let session = exchange(&mut leader, &mut follower, Instant(0)).unwrap();
    leader.end(FOLLOWER.0, session);
    leader.expire(Instant(0).after(IDLE_MAX));
    assert_eq!(exchange(&mut leader, &mut follower, Instant(1)).err(), Some(SessionLost));
}
