//! Deleting: on request, by age, by size.

use super::{
    replicas::{at, log_of, three},
    *,
};
use crate::config::CleanupPolicy;

const HOUR: i64 = 3_600_000;

fn delete(request: u64, before: Option<u64>) -> Input {
    Input::DeleteRecords { request: RequestId(request), before: before.map(Offset) }
}

fn deleted(request: u64, low_watermark: u64) -> Effect {
    respond(request, Response::RecordsDeleted { low_watermark: Offset(low_watermark) })
}

fn advance(to: u64) -> Effect {
    Effect::AdvanceLogStart { to: Offset(to) }
}

fn persisted(to: u64) -> Input {
    Input::LogStartPersisted { to: Offset(to) }
}

/// A closed segment of 100 bytes.
fn segment(base: u64, end: u64, max_timestamp: Option<i64>, modified: i64) -> SegmentSummary {
    SegmentSummary {
        base_offset: Offset(base),
        end_offset: Offset(end),
        bytes: 100,
        max_timestamp: max_timestamp.map(Timestamp),
        modified: Timestamp(modified),
    }
}

fn retention(config: TopicConfig, total_bytes: u64, closed: Vec<SegmentSummary>) -> Effects {
    let mut fixture = Fixture::with(config, Recovered::default());
    fixture.fill(10);
    fixture.step(Input::Segments { closed, active: None, total_bytes })
}

fn by_age() -> TopicConfig {
    TopicConfig { retention: Some(Duration::from_secs(3600)), ..TopicConfig::default() }
}

fn by_size(bytes: u64) -> TopicConfig {
    TopicConfig { retention: None, retention_bytes: Some(bytes), ..TopicConfig::default() }
}

#[test]
fn records_are_deleted_when_the_new_start_is_durable() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    assert_eq!(fixture.step(delete(1, Some(3))), [advance(3)]);
    assert_eq!(fixture.partition.log_start_offset(), Offset(0));
    assert_eq!(fixture.step(persisted(3)), [deleted(1, 3)]);
    assert_eq!(fixture.partition.log_start_offset(), Offset(3));
}

#[test]
fn a_timeout_bounds_the_wait_for_other_replicas_only() {
    let overdue = |request| Input::DeletionOverdue { request: RequestId(request) };
    let timed_out = |request| respond(request, Response::Error(PartitionError::RequestTimedOut));
    // Alone: what the broker has to do itself is waited for.
    let mut alone = Fixture::new();
    alone.fill(5);
    assert_eq!(alone.step(delete(1, Some(3))), [advance(3)]);
    assert_eq!(alone.step(overdue(1)), []);
    assert_eq!(alone.step(persisted(3)), [deleted(1, 3)]);
    assert_eq!(alone.step(overdue(1)), [], "it was answered");

    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(3);
    fixture.fetched_by(2, at(3, 3));
    fixture.step(delete(1, Some(1)));
    fixture.step(delete(2, Some(2)));
    fixture.step(delete(3, Some(2)));
    assert_eq!(fixture.step(overdue(2)), []);
    assert_eq!(fixture.step(persisted(1)), []);
    assert_eq!(fixture.step(overdue(1)), [timed_out(1)], "all that is missing is broker 2");
    assert_eq!(fixture.step(persisted(2)), [timed_out(2)]);
    fixture.pass(1);
    let position = ReplicaPosition { log_start_offset: Offset(2), ..at(3, 3) };
    assert_eq!(fixture.fetched_by(2, position), [deleted(3, 2)], "the third still waited");
}

#[test]
fn deleting_without_an_offset_deletes_up_to_the_high_watermark() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.produce(9, Acks::None, batch(1));
    assert_eq!(fixture.step(delete(1, None)), [advance(5)]);
}

#[test]
fn deleting_what_is_gone_is_answered_at_once() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    assert_eq!(fixture.step(delete(1, Some(0))), [deleted(1, 0)]);
    fixture.step(delete(2, Some(3)));
    fixture.step(persisted(3));
    assert_eq!(fixture.step(delete(3, Some(2))), [deleted(3, 3)]);
}

#[test]
fn deletions_that_overlap_wait_for_the_one_that_covers_them() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    assert_eq!(fixture.step(delete(1, Some(3))), [advance(3)]);
    assert_eq!(fixture.step(delete(2, Some(2))), []);
    assert_eq!(fixture.step(delete(3, Some(4))), [advance(4)]);
    assert_eq!(fixture.step(persisted(3)), [deleted(2, 3), deleted(1, 3)]);
    assert_eq!(fixture.step(persisted(4)), [deleted(3, 4)]);
}

#[test]
fn records_that_are_not_flushed_cannot_be_deleted() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.produce(9, Acks::None, batch(1));
    let (offset, lowest, highest) = (Offset(6), Offset(0), Offset(5));
    let error = PartitionError::OffsetOutOfRange { offset, lowest, highest };
    assert_eq!(fixture.step(delete(1, Some(6))), [failed(1, error)]);
}

#[test]
fn a_compacted_topic_keeps_its_records() {
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let config = TopicConfig { cleanup_policy, ..by_age() };
    let mut fixture = Fixture::with(config, Recovered::default());
    fixture.fill(5);
    let refused = [failed(1, PartitionError::DeletionNotAllowed)];
    assert_eq!(fixture.step(delete(1, Some(3))), refused);
    let closed = vec![segment(0, 5, Some(0), 0)];
    assert_eq!(fixture.step(Input::Segments { closed, active: None, total_bytes: 100 }), []);
}

#[test]
fn a_parked_fetch_is_woken_when_the_log_start_moves() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.fetch(7, 0, true);
    fixture.step(delete(1, Some(3)));
    assert_eq!(fixture.step(persisted(3)), [deleted(1, 3), wake(7)]);
    let (offset, lowest, highest) = (Offset(0), Offset(3), Offset(5));
    let error = PartitionError::OffsetOutOfRange { offset, lowest, highest };
    assert_eq!(fixture.fetch(8, 0, true), [failed(8, error)]);
}

#[test]
fn deleting_moves_the_start_of_the_epoch_that_reaches_across() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.step(delete(1, Some(3)));
    fixture.step(persisted(3));
    assert_eq!(fixture.partition.side_state().epochs.entries()[0].start_offset, Offset(3));
}

#[test]
fn segments_whose_newest_record_is_too_old_go() {
    let old = Some(WALL - HOUR - 1);
    let young = Some(WALL - HOUR);
    let three = |first, second, third| {
        vec![segment(0, 3, first, 0), segment(3, 6, second, 0), segment(6, 9, third, 0)]
    };
    for (closed, expected) in [
        (three(old, young, young), Some(3)),
        (three(old, old, young), Some(6)),
        (three(young, old, old), None),
        (three(old, young, old), Some(3)),
        (three(young, young, young), None),
    ] {
        let effects = retention(by_age(), 300, closed);
        assert_eq!(effects, expected.map(advance).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_segment_without_timestamps_ages_from_its_last_append() {
    let aged = |modified| retention(by_age(), 100, vec![segment(0, 3, None, modified)]);
    assert_eq!(aged(WALL - HOUR - 1), [advance(3)]);
    assert_eq!(aged(WALL - HOUR), []);
}

#[test]
fn a_timestamp_far_in_the_future_does_not_keep_a_segment() {
    let day = 24 * HOUR;
    let aged = |max| retention(by_age(), 100, vec![segment(0, 3, Some(max), WALL - HOUR - 1)]);
    assert_eq!(aged(WALL + day + 1), [advance(3)]);
    assert_eq!(aged(i64::MAX), [advance(3)]);
    assert_eq!(aged(WALL + day), []);
}

#[test]
fn segments_go_while_the_rest_still_holds_the_limit() {
    let closed = || vec![segment(0, 3, None, WALL), segment(3, 6, None, WALL)];
    for (limit, total, expected) in [
        (300, 300, None),
        (250, 300, None),
        (200, 300, Some(3)),
        (150, 300, Some(3)),
        (100, 300, Some(6)),
        (0, 300, Some(6)),
    ] {
        let effects = retention(by_size(limit), total, closed());
        assert_eq!(effects, expected.map(advance).into_iter().collect::<Vec<_>>(), "{limit}");
    }
}

#[test]
fn a_segment_with_unflushed_records_stays() {
    let mut fixture = Fixture::with(by_size(0), Recovered::default());
    fixture.fill(5);
    fixture.produce(9, Acks::None, batch(1));
    let closed = vec![segment(0, 3, None, WALL), segment(3, 6, None, WALL)];
    assert_eq!(
        fixture.step(Input::Segments { closed, active: None, total_bytes: 200 }),
        [advance(3)]
    );
}

#[test]
fn retention_asks_once_for_the_same_start() {
    let mut fixture = Fixture::with(by_size(0), Recovered::default());
    fixture.fill(5);
    let closed = vec![segment(0, 3, None, WALL)];
    let offer = Input::Segments { closed, active: None, total_bytes: 100 };
    assert_eq!(fixture.step(offer.clone()), [advance(3)]);
    assert_eq!(fixture.step(offer), []);
}

#[test]
fn an_expired_segment_that_is_appended_to_is_closed_when_all_before_it_go() {
    let roll = |active, closed| {
        let mut fixture = Fixture::with(by_age(), Recovered::default());
        fixture.fill(10);
        fixture.step(Input::Segments { closed, active: Some(active), total_bytes: 200 })
    };
    let (old, young) = (i64::MIN, i64::MAX);
    let expired = vec![segment(0, 5, None, old)];
    assert_eq!(roll(segment(5, 10, None, old), expired.clone()), [advance(5), Effect::RollSegment]);
    assert_eq!(roll(segment(5, 10, None, old), vec![]), [Effect::RollSegment]);
    assert_eq!(roll(segment(5, 10, None, young), expired), [advance(5)]);
    assert_eq!(roll(segment(5, 10, None, old), vec![segment(0, 5, None, young)]), []);
    assert_eq!(roll(segment(5, 11, None, old), vec![]), [], "not yet below the high watermark");
}

fn not_persisted(to: u64) -> Input {
    Input::LogStartNotPersisted { to: Offset(to) }
}

#[test]
fn a_log_start_that_cannot_be_stored_fails_its_deletions_and_can_be_asked_for_again() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.step(delete(1, Some(3)));
    assert_eq!(fixture.step(delete(2, Some(2))), [], "the one under way covers it");
    let failures = [2, 1].map(|request| failed(request, PartitionError::StorageFailed));
    assert_eq!(fixture.step(not_persisted(3)), failures);
    assert_eq!(fixture.partition.log_start_offset(), Offset(0));
    assert!(fixture.partition.is_writable(), "the partition stays online");
    assert_eq!(fixture.step(delete(3, Some(3))), [advance(3)]);
    assert_eq!(fixture.step(persisted(3)), [deleted(3, 3)]);
}

#[test]
fn a_log_start_that_failed_does_not_take_others_under_way_with_it() {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.step(delete(1, Some(2)));
    fixture.step(delete(2, Some(4)));
    assert_eq!(fixture.step(not_persisted(2)), [failed(1, PartitionError::StorageFailed)]);
    assert_eq!(fixture.step(delete(3, Some(3))), [], "the one to 4 is still under way");
    assert_eq!(fixture.step(persisted(4)), [deleted(3, 4), deleted(2, 4)]);

    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.step(delete(1, Some(2)));
    fixture.step(delete(2, Some(4)));
    let failures = [1, 2].map(|request| failed(request, PartitionError::StorageFailed));
    assert_eq!(fixture.step(not_persisted(4)), failures);
    assert_eq!(fixture.step(persisted(2)), [], "nobody waits for the earlier one any more");
    assert_eq!(fixture.partition.log_start_offset(), Offset(2));
    assert_eq!(fixture.step(delete(3, Some(4))), [advance(4)]);
}

#[test]
fn retention_tries_again_after_a_log_start_could_not_be_stored() {
    let mut fixture = Fixture::with(by_size(100), Recovered::default());
    fixture.fill(10);
    let offer = || Input::Segments {
        closed: vec![segment(0, 5, None, WALL)],
        active: None,
        total_bytes: 200,
    };
    assert_eq!(fixture.step(offer()), [advance(5)]);
    assert_eq!(fixture.step(offer()), [], "it is under way");
    assert_eq!(fixture.step(not_persisted(5)), []);
    assert_eq!(fixture.step(offer()), [advance(5)]);
}

#[test]
fn a_new_leader_answers_no_deletion_before_it_has_heard_where_every_log_starts() {
    let mut fixture = Fixture::replica(log_of(&[1, 1], 2), three(1, 0, &[1, 2]));
    assert_eq!(
        fixture.step(delete(1, Some(0))),
        [],
        "broker 2 may have deleted more than anybody was told"
    );
    fixture.pass(1);
    let position = ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(1)), ..at(2, 2) };
    assert!(fixture.fetched_by(2, position).contains(&deleted(1, 0)));
}
