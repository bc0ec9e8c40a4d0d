//! Producing: appends, acknowledgements, duplicates, refusals.

use super::{replicas::three, *};
use crate::{
    producers::SequenceError,
    record::{BatchError, TimestampType},
};

#[test]
fn a_producer_whose_first_batch_was_refused_for_now_begins_with_that() {
    let undersized = Assignment { min_insync: 2, ..three(1, 0, &[1]) };
    let mut fixture = Fixture::replica(Recovered::default(), undersized);
    let error = PartitionError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(fixture.produce(1, Acks::All, idempotent(0, 2)), [failed(1, error)]);
    fixture.assign(three(1, 1, &[1]));
    let (base_sequence, expected) = (Sequence(2), Sequence(0));
    let gap = SequenceError::OutOfOrder { base_sequence, expected };
    assert_eq!(fixture.produce(2, Acks::All, idempotent(2, 1)), [failed(2, gap)]);
    assert_eq!(appended(&fixture.produce(3, Acks::All, idempotent(0, 2))).len(), 1);
    assert_eq!(appended(&fixture.produce(4, Acks::All, idempotent(2, 1))).len(), 1);
}

#[test]
fn a_producer_whose_first_batch_came_before_the_partition_was_open_begins_with_that() {
    let mut fixture = Fixture::leading(&[1]);
    let first = idempotent(0, 2).header.producer.unwrap();
    assert_eq!(fixture.step(Input::ProduceRefused(first)), []);
    let (base_sequence, expected) = (Sequence(2), Sequence(0));
    let gap = SequenceError::OutOfOrder { base_sequence, expected };
    assert_eq!(fixture.produce(1, Acks::All, idempotent(2, 1)), [failed(1, gap)]);
    assert_eq!(appended(&fixture.produce(2, Acks::All, idempotent(0, 2))).len(), 1);
    assert_eq!(appended(&fixture.produce(3, Acks::All, idempotent(2, 1))).len(), 1);
}

#[test]
fn a_producer_whose_first_batch_was_truncated_begins_with_that() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.produce(1, Acks::All, idempotent(0, 2));
    let epoch = |epoch| LeaderEpoch(EPOCH.0 + epoch);
    fixture.assign(Assignment { leader_epoch: epoch(1), ..three(2, 1, &[1, 2]) });
    let diverging = Some(crate::epochs::EpochEnd { epoch: LeaderEpoch(0), end_offset: Offset(0) });
    let outcome = Ok(ReplicaBatches {
        high_watermark: Offset(0),
        log_start_offset: Offset(0),
        diverging,
        records: bytes::Bytes::new(),
    });
    let (leader_epoch, fetch_offset) = (epoch(1), Offset(2));
    fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome });
    assert_eq!(fixture.partition.log_end_offset(), Offset(0));
    fixture.assign(Assignment { leader_epoch: epoch(2), ..three(1, 2, &[1]) });
    let (base_sequence, expected) = (Sequence(2), Sequence(0));
    let gap = SequenceError::OutOfOrder { base_sequence, expected };
    assert_eq!(fixture.produce(2, Acks::All, idempotent(2, 1)), [failed(2, gap)]);
    assert_eq!(appended(&fixture.produce(3, Acks::All, idempotent(0, 2))).len(), 1);
}

#[test]
fn a_producer_of_which_nothing_is_known_may_begin_anywhere() {
    let mut fixture = Fixture::leading(&[1]);
    assert_eq!(appended(&fixture.produce(1, Acks::All, idempotent(7, 1))).len(), 1);
}

#[test]
fn a_record_is_acknowledged_when_it_is_flushed_and_not_before() {
    for acks in [Acks::Leader, Acks::All] {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.produce(1, acks, batch(3)), [append(1, batch(3), 0)]);
        assert_eq!(fixture.partition.high_watermark(), Offset(0));
        assert_eq!(fixture.partition.log_end_offset(), Offset(3));
        assert_eq!(fixture.flushed(1), [advanced(3), produced(1, 0)]);
        assert_eq!(fixture.partition.high_watermark(), Offset(3));
    }
}

#[test]
fn without_acks_the_answer_comes_at_once() {
    let mut fixture = Fixture::new();
    let effects = fixture.produce(1, Acks::None, batch(1));
    assert_eq!(effects, [append(1, batch(1), 0), produced(1, 0)]);
    assert_eq!(fixture.flushed(1), [advanced(1)]);
}

#[test]
fn one_flush_acknowledges_every_append_up_to_it_in_order() {
    let mut fixture = Fixture::new();
    fixture.produce(9, Acks::All, batch(2));
    fixture.produce(8, Acks::All, batch(1));
    fixture.produce(7, Acks::All, batch(1));
    assert_eq!(fixture.flushed(2), [advanced(3), produced(9, 0), produced(8, 2)]);
    assert_eq!(fixture.flushed(1), []);
    assert_eq!(fixture.flushed(3), [advanced(4), produced(7, 3)]);
}

#[test]
fn a_duplicate_gets_the_original_s_offset_once_that_is_flushed() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, idempotent(0, 2));
    assert_eq!(fixture.produce(2, Acks::All, idempotent(0, 2)), []);
    assert_eq!(fixture.flushed(1), [advanced(2), produced(1, 0), produced(2, 0)]);
    assert_eq!(fixture.produce(3, Acks::All, idempotent(0, 2)), [produced(3, 0)]);
    assert_eq!(fixture.partition.log_end_offset(), Offset(2));
}

#[test]
fn a_gap_in_the_sequence_is_refused_without_a_trace() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, idempotent(0, 2));
    let error = SequenceError::OutOfOrder { base_sequence: Sequence(3), expected: Sequence(2) };
    assert_eq!(fixture.produce(2, Acks::All, idempotent(3, 1)), [failed(2, error)]);
    assert_eq!(fixture.produce(3, Acks::All, idempotent(2, 1)), [append(2, idempotent(2, 1), 2)]);
}

#[test]
fn a_new_producer_epoch_fences_the_old_one() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, of_producer(1, 0, 0, 1));
    assert_eq!(appended(&fixture.produce(2, Acks::All, of_producer(1, 1, 0, 1))).len(), 1);
    let (epoch, current) = (ProducerEpoch(0), ProducerEpoch(1));
    let error = SequenceError::StaleEpoch { epoch, current };
    assert_eq!(fixture.produce(3, Acks::All, of_producer(1, 0, 1, 1)), [failed(3, error)]);
}

#[test]
fn a_refused_batch_does_not_change_its_producer() {
    let mut fixture = Fixture::new();
    let stamped = |timestamp| {
        let builder = BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), Sequence(0));
        build(builder, 1, timestamp)
    };
    let hour = 3_600_000;
    let oldest = Timestamp(WALL.saturating_sub(i64::MAX));
    let (timestamp, newest) = (Timestamp(WALL + hour + 1), Timestamp(WALL + hour));
    let error = BatchError::TimestampOutOfRange { timestamp, oldest, newest };
    assert_eq!(fixture.produce(1, Acks::All, stamped(timestamp.0)), [failed(1, error)]);
    assert_eq!(appended(&fixture.produce(2, Acks::All, stamped(newest.0))).len(), 1);
}

#[test]
fn a_timestamp_may_be_absent_but_not_too_old() {
    let config =
        TopicConfig { timestamp_before_max: Duration::from_millis(5), ..TopicConfig::default() };
    let mut fixture = Fixture::with(config, Recovered::default());
    for (timestamp, accepted) in [(WALL - 5, true), (WALL - 6, false), (-1, true), (-2, false)] {
        let effects = fixture.produce(1, Acks::None, build(BatchBuilder::new(), 1, timestamp));
        assert_eq!(!appended(&effects).is_empty(), accepted, "timestamp {timestamp}");
    }
}

#[test]
fn a_retry_is_answered_although_its_timestamp_would_be_refused_by_now() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, idempotent(0, 1));
    fixture.flushed(1);
    fixture.now.wall.0 -= 7_200_000;
    assert_eq!(fixture.produce(2, Acks::All, idempotent(0, 1)), [produced(2, 0)]);
}

#[test]
fn a_batch_above_the_topic_s_limit_is_refused() {
    let size = batch(1).header.size_in_bytes;
    let config = TopicConfig { max_message_bytes: size as u32, ..TopicConfig::default() };
    let mut fixture = Fixture::with(config.clone(), Recovered::default());
    assert_eq!(appended(&fixture.produce(1, Acks::All, batch(1))).len(), 1);
    let smaller = TopicConfig { max_message_bytes: size as u32 - 1, ..config };
    assert_eq!(fixture.step(Input::ConfigChanged(smaller)), []);
    let error = BatchError::TooLarge { size: size as u64, max: size as u64 - 1 };
    assert_eq!(fixture.produce(2, Acks::All, batch(1)), [failed(2, error)]);
}

#[test]
fn log_append_time_stamps_the_batch_and_the_answer() {
    let config =
        TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..TopicConfig::default() };
    let mut fixture = Fixture::with(config, Recovered::default());
    let effects = fixture.produce(1, Acks::All, build(BatchBuilder::new(), 1, 5));
    assert_eq!(appended(&effects)[0].header.max_timestamp, Timestamp(WALL));
    let response = Response::Produced {
        base_offset: Offset(0),
        log_append_time: Some(Timestamp(WALL)),
        log_start_offset: Offset(0),
    };
    assert_eq!(fixture.flushed(1), [advanced(1), respond(1, response)]);
}

#[test]
fn an_unflushed_produce_times_out_and_the_record_stays() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, batch(1));
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(30_000_000_000)));
    fixture.pass(29);
    assert_eq!(fixture.step(Input::Tick), []);
    fixture.pass(1);
    assert_eq!(fixture.step(Input::Tick), [failed(1, PartitionError::RequestTimedOut)]);
    assert_eq!(fixture.partition.next_deadline(), None);
    assert_eq!(fixture.flushed(1), [advanced(1)]);
}

#[test]
fn a_cancelled_produce_is_not_answered() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, batch(1));
    assert_eq!(fixture.step(Input::Cancel { request: RequestId(1) }), []);
    assert_eq!(fixture.flushed(1), [advanced(1)]);
}

#[test]
fn silent_producers_are_forgotten_after_the_configured_time() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::None, idempotent(0, 1));
    fixture.flushed(1);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(600_000_000_000)));
    fixture.pass(86_399);
    fixture.step(Input::Tick);
    assert_eq!(fixture.partition.journal.producers().len(), 1);
    fixture.pass(600);
    fixture.step(Input::Tick);
    assert!(fixture.partition.journal.producers().is_empty());
    assert!(fixture.partition.side_state().producers.is_empty());
    assert_eq!(fixture.partition.next_deadline(), None);
    assert_eq!(appended(&fixture.produce(2, Acks::None, idempotent(77, 1))).len(), 1);
}

#[test]
fn a_full_partition_makes_room_only_for_long_silent_producers() {
    let mut fixture = Fixture::new();
    for id in 0..crate::producers::MAX_PRODUCERS as u64 {
        fixture.produce(id, Acks::None, of_producer(id, 0, 0, 1));
    }
    let newcomer = of_producer(u64::MAX >> 1, 0, 0, 1);
    let refused = fixture.produce(1, Acks::None, newcomer.clone());
    assert_eq!(refused, [failed(1, PartitionError::TooManyProducers)]);
    assert_eq!(appended(&fixture.produce(2, Acks::None, of_producer(5, 0, 1, 1))).len(), 1);
    fixture.pass(600);
    assert_eq!(appended(&fixture.produce(3, Acks::None, newcomer)).len(), 1);
    assert!(fixture.partition.journal.producers().get(ProducerId(0)).is_none());
    assert_eq!(fixture.partition.journal.producers().len(), crate::producers::MAX_PRODUCERS);
}

#[test]
fn producers_are_described_by_their_newest_batch() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::None, of_producer(7, 2, 0, 3));
    let description = ProducerDescription {
        id: ProducerId(7),
        epoch: ProducerEpoch(2),
        last_sequence: Some(Sequence(2)),
        last_timestamp: Some(Timestamp(WALL)),
        last_offset: Some(Offset(2)),
    };
    let effects = fixture.step(Input::DescribeProducers { request: RequestId(2) });
    assert_eq!(effects, [respond(2, Response::Producers(vec![description]))]);
}
