//! Reading: what a fetch may have, when it is woken, and where offsets are.

use super::*;
use crate::epochs::EpochEnd;

fn readable(high_watermark: u64, available_bytes: u64) -> Response {
    Response::Readable(Readable {
        log_start_offset: Offset(0),
        high_watermark: Offset(high_watermark),
        last_stable_offset: Offset(high_watermark),
        available_bytes,
        diverging: None,
    })
}

fn out_of_range(offset: u64, lowest: u64, highest: u64) -> PartitionError {
    let (offset, lowest, highest) = (Offset(offset), Offset(lowest), Offset(highest));
    PartitionError::OffsetOutOfRange { offset, lowest, highest }
}

fn at_epoch(offset: u64, current: Option<u32>, last_fetched: Option<u32>) -> Input {
    let position = ReadPosition {
        current_leader_epoch: current.map(LeaderEpoch),
        last_fetched_epoch: last_fetched.map(LeaderEpoch),
        ..position(offset)
    };
    Input::Fetch { request: RequestId(1), position, park: false }
}

fn list(spec: OffsetSpec) -> Input {
    Input::ListOffsets { request: RequestId(1), spec, current_leader_epoch: None }
}

fn offset(timestamp: Option<i64>, offset: Option<u64>, epoch: Option<u32>) -> Response {
    Response::Offset {
        timestamp: timestamp.map(Timestamp),
        offset: offset.map(Offset),
        leader_epoch: epoch.map(LeaderEpoch),
    }
}

#[test]
fn only_flushed_records_can_be_read() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::None, batch(2));
    fixture.produce(2, Acks::None, batch(3));
    assert_eq!(fixture.fetch(9, 0, false), [respond(9, readable(0, 0))]);
    fixture.flushed(1);
    let size = batch(2).header.size_in_bytes as u64;
    assert_eq!(fixture.fetch(9, 0, false), [respond(9, readable(2, size))]);
    assert_eq!(fixture.fetch(9, 4, false), [respond(9, readable(2, 0))]);
}

#[test]
fn available_bytes_count_whole_batches_from_the_one_that_holds_the_offset() {
    let mut fixture = Fixture::new();
    for count in [2, 3, 4] {
        fixture.produce(count.into(), Acks::None, batch(count));
    }
    fixture.flushed(3);
    let size = |count| batch(count).header.size_in_bytes as u64;
    for (offset, expected) in [
        (0, size(2) + size(3) + size(4)),
        (1, size(2) + size(3) + size(4)),
        (2, size(3) + size(4)),
        (4, size(3) + size(4)),
        (5, size(4)),
        (9, 0),
    ] {
        assert_eq!(fixture.fetch(9, offset, false), [respond(9, readable(9, expected))]);
    }
}

#[test]
fn before_the_remembered_batches_there_is_plenty() {
    let count = tail::TAIL_BATCHES as u64 + 5;
    let mut fixture = Fixture::new();
    fixture.fill(count);
    assert_eq!(fixture.fetch(9, 4, false), [respond(9, readable(count, PLENTY))]);
    let exact = batch(1).header.size_in_bytes as u64 * tail::TAIL_BATCHES as u64;
    assert_eq!(fixture.fetch(9, 5, false), [respond(9, readable(count, exact))]);
}

#[test]
fn a_fetch_outside_the_log_is_refused() {
    let recovered = Recovered {
        log_start_offset: Offset(5),
        log_end_offset: Offset(8),
        ..Recovered::default()
    };
    let mut fixture = Fixture::with(TopicConfig::default(), recovered);
    assert_eq!(fixture.fetch(1, 4, true), [failed(1, out_of_range(4, 5, 8))]);
    assert_eq!(fixture.fetch(2, 9, true), [failed(2, out_of_range(9, 5, 8))]);
    assert_eq!(fixture.flushed(0), []);
    assert!(fixture.partition.parked_fetches.is_empty());
}

#[test]
fn a_parked_fetch_is_woken_once_by_the_high_watermark() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.fetch(5, 0, true), [respond(5, readable(0, 0))]);
    fixture.fetch(6, 0, true);
    fixture.step(Input::Cancel { request: RequestId(6) });
    fixture.produce(1, Acks::None, batch(1));
    assert_eq!(fixture.flushed(1), [advanced(1), wake(5)]);
    fixture.produce(2, Acks::None, batch(1));
    assert_eq!(fixture.flushed(2), [advanced(2)]);
}

#[test]
fn a_client_with_another_leader_epoch_is_refused() {
    let mut fixture = Fixture::new();
    let current = EPOCH;
    for (known, expected) in [
        (2, Some(PartitionError::FencedLeaderEpoch { current })),
        (3, None),
        (4, Some(PartitionError::UnknownLeaderEpoch { current })),
    ] {
        let response = expected.map_or(readable(0, 0), Response::Error);
        let effects = fixture.step(at_epoch(0, Some(known), None));
        assert_eq!(effects, [respond(1, response)]);
    }
}

#[test]
fn a_reader_whose_log_diverged_learns_where() {
    let mut epochs = EpochCache::default();
    assert!(epochs.assign(LeaderEpoch(0), Offset(0)) && epochs.assign(LeaderEpoch(2), Offset(10)));
    let recovered = Recovered { log_end_offset: Offset(20), epochs, ..Recovered::default() };
    let mut fixture = Fixture::with(TopicConfig::default(), recovered);
    let end = |epoch, end_offset| {
        Some(EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end_offset) })
    };
    for (offset, last_fetched, expected) in [
        (10, 0, None),
        (11, 0, end(0, 10)),
        (10, 1, end(0, 10)),
        (20, 2, None),
        (20, 3, None),
        (21, 2, end(2, 20)),
        (99, 3, end(3, 20)),
    ] {
        let effects = fixture.step(at_epoch(offset, None, Some(last_fetched)));
        let [Effect::Respond { response: Response::Readable(readable), .. }] = &effects[..] else {
            panic!("unexpected {effects:?}");
        };
        assert_eq!(readable.diverging, expected, "offset {offset} of epoch {last_fetched}");
    }
    let effects = fixture.step(at_epoch(20, None, Some(4)));
    assert_eq!(effects, [failed(1, out_of_range(20, 0, 20))]);
}

#[test]
fn offsets_are_listed_by_name() {
    let mut fixture = Fixture::new();
    fixture.fill(4);
    fixture.produce(1, Acks::None, batch(1));
    for (spec, expected) in [
        (OffsetSpec::Earliest, offset(None, Some(0), Some(3))),
        (OffsetSpec::EarliestLocal, offset(None, Some(0), Some(3))),
        (OffsetSpec::Latest, offset(None, Some(4), Some(3))),
        (OffsetSpec::LatestTiered, offset(None, None, None)),
        (OffsetSpec::EarliestPendingUpload, offset(None, None, None)),
    ] {
        assert_eq!(fixture.step(list(spec)), [respond(1, expected)], "{spec:?}");
    }
}

#[test]
fn offsets_by_timestamp_are_looked_up_below_the_high_watermark() {
    let mut fixture = Fixture::new();
    for spec in [OffsetSpec::MaxTimestamp, OffsetSpec::At(Timestamp(7))] {
        let effects = fixture.step(list(spec));
        assert_eq!(effects, [respond(1, offset(None, None, None))], "the log is empty");
    }
    fixture.fill(4);
    fixture.produce(1, Acks::None, batch(1));
    for (spec, timestamp) in
        [(OffsetSpec::MaxTimestamp, None), (OffsetSpec::At(Timestamp(7)), Some(Timestamp(7)))]
    {
        let (request, before) = (RequestId(1), Offset(4));
        let find = Effect::FindByTimestamp { request, timestamp, before };
        assert_eq!(fixture.step(list(spec)), [find]);
        let found = Some((Timestamp(8), Offset(2)));
        let effects = fixture.step(Input::Found { request, found });
        assert_eq!(effects, [respond(1, offset(Some(8), Some(2), Some(3)))]);
        assert_eq!(fixture.step(Input::Found { request, found }), [], "answered already");
    }
}

#[test]
fn a_lookup_that_found_a_deleted_record_is_made_again() {
    let mut fixture = Fixture::new();
    fixture.fill(4);
    let request = RequestId(1);
    fixture.step(list(OffsetSpec::At(Timestamp(7))));
    fixture.step(Input::DeleteRecords { request: RequestId(2), before: Some(Offset(3)) });
    fixture.step(Input::LogStartPersisted { to: Offset(3) });
    let (timestamp, before) = (Some(Timestamp(7)), Offset(4));
    let again = Effect::FindByTimestamp { request, timestamp, before };
    let found = Some((Timestamp(7), Offset(0)));
    assert_eq!(fixture.step(Input::Found { request, found }), [again]);
}

#[test]
fn a_failed_lookup_is_a_storage_error() {
    let mut fixture = Fixture::new();
    fixture.fill(1);
    fixture.step(list(OffsetSpec::MaxTimestamp));
    let effects = fixture.step(Input::FindFailed { request: RequestId(1) });
    assert_eq!(effects, [failed(1, PartitionError::StorageFailed)]);
}

#[test]
fn the_end_of_this_leader_s_epoch_is_the_log_end() {
    let mut fixture = Fixture::new();
    fixture.fill(2);
    let ask = |epoch, current: Option<u32>| Input::EpochEnd {
        request: RequestId(1),
        epoch: LeaderEpoch(epoch),
        current_leader_epoch: current.map(LeaderEpoch),
    };
    let end = EpochEnd { epoch: EPOCH, end_offset: Offset(2) };
    assert_eq!(fixture.step(ask(3, None)), [respond(1, Response::EpochEnd(Some(end)))]);
    assert_eq!(fixture.step(ask(4, Some(3))), [respond(1, Response::EpochEnd(None))]);
    let error = PartitionError::FencedLeaderEpoch { current: EPOCH };
    assert_eq!(fixture.step(ask(3, Some(2))), [failed(1, error)]);
}
