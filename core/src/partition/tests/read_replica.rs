//! Which replica a consumer is sent to (KIP-392).

use super::{replicas::*, *};

/// Leads two records that both followers have; all are in sync.
fn leading_three() -> Fixture {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::Leader, batch(1));
    fixture.produce(2, Acks::Leader, batch(1));
    fixture.flushed(2);
    fixture.fetched_by(2, at(2, 2));
    fixture.fetched_by(3, at(2, 2));
    assert_eq!(fixture.partition.high_watermark(), Offset(2));
    fixture
}

/// Where a consumer at `offset` goes that has these brokers in its rack.
fn sent_to(fixture: &Fixture, offset: u64, near: &[i32]) -> Option<i32> {
    let is_near = |broker: BrokerId| near.contains(&broker.0);
    fixture.partition.preferred_read_replica(Offset(offset), is_near).map(|broker| broker.0)
}

#[test]
fn a_consumer_goes_to_the_follower_in_its_rack() {
    let fixture = leading_three();
    assert_eq!(sent_to(&fixture, 0, &[2]), Some(2));
    assert_eq!(sent_to(&fixture, 2, &[3]), Some(3), "at the end of the log, too");
    assert_eq!(sent_to(&fixture, 0, &[]), None, "nobody is near");
    assert_eq!(sent_to(&fixture, 0, &[4]), None, "no replica");
}

#[test]
fn a_leader_in_the_rack_serves_by_itself() {
    assert_eq!(sent_to(&leading_three(), 0, &[1, 2, 3]), None);
}

#[test]
fn of_several_the_one_that_is_furthest_takes_the_consumer() {
    let mut fixture = leading_three();
    assert_eq!(sent_to(&fixture, 0, &[2, 3]), Some(3), "the larger number of equals");
    fixture.produce(3, Acks::Leader, batch(1));
    fixture.pass(1);
    fixture.fetched_by(2, at(3, 2));
    assert_eq!(sent_to(&fixture, 0, &[2, 3]), Some(2), "received is enough");
    fixture.pass(1);
    fixture.fetched_by(3, at(3, 3));
    assert_eq!(sent_to(&fixture, 0, &[2, 3]), Some(3));
    fixture.flushed_by(2, 3);
    fixture.produce(4, Acks::Leader, batch(1));
    fixture.pass(1);
    fixture.fetched_by(3, at(4, 4));
    fixture.fetched_by(2, at(4, 4));
    assert_eq!(sent_to(&fixture, 0, &[2, 3]), Some(3), "both caught up at the same time");
}

#[test]
fn a_follower_that_is_not_known_to_have_the_offset_gets_nobody() {
    let mut fixture = leading_three();
    fixture.produce(3, Acks::Leader, batch(1));
    assert_eq!(sent_to(&fixture, 3, &[2]), None);
    fixture.fetched_by(2, at(3, 3));
    assert_eq!(sent_to(&fixture, 3, &[2, 3]), Some(2));
    let starts_at_one = ReplicaPosition { log_start_offset: Offset(1), ..at(3, 3) };
    fixture.fetched_by(2, starts_at_one);
    assert_eq!(sent_to(&fixture, 0, &[2]), None, "its log starts later");
    assert_eq!(sent_to(&fixture, 1, &[2]), Some(2));
}

#[test]
fn a_follower_that_is_not_in_sync_gets_nobody() {
    let mut fixture = leading_three();
    fixture.assign(three(1, 1, &[1, 3]));
    assert_eq!(sent_to(&fixture, 0, &[2]), None);
    assert_eq!(sent_to(&fixture, 0, &[2, 3]), Some(3));
}

#[test]
fn a_follower_that_was_not_heard_under_its_registration_gets_nobody() {
    let mut fixture = Fixture::leading(&[1, 2]);
    assert_eq!(sent_to(&fixture, 0, &[2]), None, "not heard at all");
    fixture.fetched_by(2, at(0, 0));
    assert_eq!(sent_to(&fixture, 0, &[2]), Some(2));
    let mut restarted = three(1, 1, &[1, 2]);
    restarted.eligible.insert(BrokerId(2), BrokerEpoch(99));
    fixture.assign(restarted);
    assert_eq!(sent_to(&fixture, 0, &[2]), None, "what its new process has is not known");
    let mut fenced = three(1, 2, &[1, 2]);
    fenced.eligible.remove(&BrokerId(2));
    fixture.assign(fenced);
    assert_eq!(sent_to(&fixture, 0, &[2]), None);
}

#[test]
fn a_follower_sends_nobody_away() {
    let fixture = Fixture::replica(log_of(&[1], 1), three(2, 0, &[1, 2, 3]));
    assert_eq!(sent_to(&fixture, 0, &[3]), None);
}
