//! A log that failed: nothing is acknowledged any more, and what can be read stays readable.

use super::*;

const FAILED: PartitionError = PartitionError::StorageFailed;

/// A partition with five flushed records and one of each kind of request parked.
fn busy() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.fill(5);
    fixture.produce(1, Acks::All, batch(1));
    fixture.step(Input::DeleteRecords { request: RequestId(2), before: Some(Offset(2)) });
    fixture.step(Input::ListOffsets {
        request: RequestId(3),
        spec: OffsetSpec::MaxTimestamp,
        current_leader_epoch: None,
    });
    fixture.fetch(4, 5, true);
    fixture
}

#[test]
fn a_failed_log_fails_what_waits_for_it_and_wakes_the_readers() {
    let mut fixture = busy();
    let effects = fixture.step(Input::LogFailed { readable: false });
    assert_eq!(effects, [failed(1, FAILED), failed(2, FAILED), failed(3, FAILED), wake(4)]);
    assert!(!fixture.partition.is_writable());
}

#[test]
fn a_readable_log_keeps_serving_what_was_flushed() {
    let mut fixture = busy();
    let effects = fixture.step(Input::LogFailed { readable: true });
    assert_eq!(effects, [failed(1, FAILED), failed(2, FAILED), wake(4)]);
    let found = Some((Timestamp(7), Offset(4)));
    let effects = fixture.step(Input::Found { request: RequestId(3), found });
    assert!(matches!(effects[..], [Effect::Respond { response: Response::Offset { .. }, .. }]));
    let effects = fixture.fetch(5, 0, false);
    assert!(matches!(effects[..], [Effect::Respond { response: Response::Readable(_), .. }]));
}

#[test]
fn everything_later_is_refused_by_an_unreadable_log() {
    let mut fixture = busy();
    fixture.step(Input::LogFailed { readable: true });
    assert_eq!(fixture.produce(5, Acks::None, batch(1)), [failed(5, FAILED)]);
    fixture.step(Input::LogFailed { readable: false });
    fixture.step(Input::LogFailed { readable: true });
    assert_eq!(fixture.fetch(6, 0, true), [failed(6, FAILED)]);
    let list = Input::ListOffsets {
        request: RequestId(7),
        spec: OffsetSpec::Latest,
        current_leader_epoch: None,
    };
    assert_eq!(fixture.step(list), [failed(7, FAILED)]);
    let delete = Input::DeleteRecords { request: RequestId(8), before: None };
    assert_eq!(fixture.step(delete), [failed(8, FAILED)]);
}

#[test]
fn a_flush_that_was_reported_before_the_failure_still_counts() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, idempotent(0, 1));
    fixture.step(Input::LogFailed { readable: true });
    assert_eq!(fixture.partition.side_state().producers.len(), 0);
    assert_eq!(fixture.flushed(1), [advanced(1)]);
    assert_eq!(fixture.partition.side_state().producers.len(), 1);
}
