//! Following: truncate to where the logs agree, append, report, and serve readers.

use super::{replicas::*, *};
use crate::epochs::EpochEnd;

/// Follows broker 2 with this log.
fn following(epochs: &[u32], high_watermark: u64) -> Fixture {
    Fixture::replica(log_of(epochs, high_watermark), three(2, 0, &[1, 2, 3]))
}

fn truncate(write: u64, to: u64) -> Effect {
    Effect::Truncate { write: WriteId(write), to: Offset(to) }
}

fn copied(write: u64, batch: &PlacedBatch) -> Effect {
    Effect::Append { write: WriteId(write), batch: batch.clone() }
}

fn refused(fetch_offset: u64, error: ReplicaFetchError) -> Input {
    let fetch_offset = Offset(fetch_offset);
    Input::Fetched { leader_epoch: EPOCH, fetch_offset, outcome: Err(error) }
}

fn out_of_range(start: u64, end: u64) -> ReplicaFetchError {
    beginning_with(ProducerStates::default(), start, end)
}

fn beginning_with(producers: ProducerStates, start: u64, end: u64) -> ReplicaFetchError {
    let (log_start_offset, log_end_offset) = (Offset(start), Offset(end));
    ReplicaFetchError::OffsetOutOfRange { log_start_offset, log_end_offset, producers }
}

fn reset(write: u64, to: u64, producers: ProducerStates) -> Effect {
    Effect::Reset { write: WriteId(write), to: Offset(to), producers }
}

fn from_follower(offset: u64, last_fetched: Option<u32>) -> Input {
    let last_fetched_epoch = last_fetched.map(LeaderEpoch);
    let position = ReadPosition { from_follower: true, last_fetched_epoch, ..position(offset) };
    Input::Fetch { request: RequestId(1), position, park: false }
}

#[test]
fn a_follower_fetches_from_its_end_and_says_which_epoch_and_how_much_is_flushed() {
    let fixture = following(&[1, 2], 1);
    let position = ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(2)), ..at(2, 2) };
    assert_eq!(fixture.partition.fetch_position(), Some((BrokerId(2), position)));
}

#[test]
fn a_follower_knows_whether_it_is_in_sync() {
    let mut fixture = following(&[1], 0);
    assert!(fixture.partition.is_in_sync());
    fixture.assign(three(2, 1, &[2, 3]));
    assert!(!fixture.partition.is_in_sync());
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(3, 2, &[1, 3]) });
    assert!(fixture.partition.is_in_sync());
}

#[test]
fn nobody_is_asked_while_nobody_leads_or_the_log_has_failed() {
    let mut fixture = following(&[1], 0);
    let nobody = Assignment { leader: None, ..three(2, 1, &[2]) };
    fixture.assign(nobody);
    assert_eq!(fixture.partition.fetch_position(), None);
    fixture.assign(three(2, 2, &[2]));
    assert!(fixture.partition.fetch_position().is_some());
    fixture.step(Input::LogFailed { readable: true });
    assert_eq!(fixture.partition.fetch_position(), None);
}

#[test]
fn a_follower_appends_what_its_leader_sends() {
    let mut fixture = following(&[], 0);
    let sent = [placed(batch(2), 0, 1), placed(idempotent(7, 1), 2, 3)];
    let expected = [copied(1, &sent[0]), copied(2, &sent[1]), advanced(2)];
    assert_eq!(fixture.received(batches(2, &sent)), expected);
    assert_eq!(fixture.received(batches(9, &[])), [advanced(3)], "as far as its log reaches");
}

#[test]
fn a_follower_truncates_to_where_its_log_parts_from_the_leader_s() {
    let mut fixture = following(&[1, 1, 2, 2], 2);
    assert_eq!(fixture.received(diverging(2, 3, 2)), [truncate(1, 3)]);
    assert_eq!(fixture.partition.fetch_position().expect("it follows").1.fetch_offset, Offset(3));
}

#[test]
fn two_logs_with_epochs_the_other_never_saw_agree_in_two_steps() {
    // KIP-279: the leader has epochs 1 (to 1) and 3, this log 1 (to 2), 2.
    let mut fixture = following(&[1, 1, 2, 2], 0);
    assert_eq!(fixture.received(diverging(1, 1, 0)), [truncate(1, 1)]);
    // And the other way: the leader's largest epoch that is not above 2 is one that is not here.
    let mut fixture = following(&[0, 0, 2, 2], 0);
    assert_eq!(fixture.received(diverging(1, 4, 0)), [truncate(1, 2)], "to the end of epoch 0");
    assert_eq!(fixture.received(diverging(0, 1, 0)), [truncate(2, 1)]);
}

#[test]
fn a_truncation_forgets_the_epochs_and_the_producers_of_what_was_cut() {
    let mut fixture = following(&[1], 1);
    let sent = [placed(idempotent(0, 1), 1, 2), placed(idempotent(1, 1), 2, 3)];
    fixture.received(batches(1, &sent));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[1, 2, 3]) });
    let outcome = Ok(diverging(2, 2, 1));
    let (leader_epoch, fetch_offset) = (LeaderEpoch(4), Offset(3));
    let effects = fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome });
    assert_eq!(effects, [truncate(3, 2)]);
    assert_eq!(fixture.partition.epochs.latest(), Some(LeaderEpoch(2)));
    let producer = fixture.partition.journal.producers().get(ProducerId(1)).expect("one is left");
    assert_eq!(producer.last().expect("a batch").last_sequence, Sequence(0));
}

#[test]
fn a_flush_of_what_was_cut_changes_nothing() {
    let mut fixture = following(&[1, 1], 0);
    fixture.received(batches(0, &[placed(batch(1), 2, 2)]));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[2]) });
    let outcome = Ok(diverging(1, 1, 0));
    let (leader_epoch, fetch_offset) = (LeaderEpoch(4), Offset(3));
    fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome });
    assert_eq!(fixture.partition.flushed_offset(), Offset(1));
    assert_eq!(fixture.flushed(1), []);
    assert_eq!(fixture.flushed(2), [], "the truncation itself");
    assert_eq!(fixture.partition.flushed_offset(), Offset(1));
}

#[test]
fn a_truncation_goes_to_the_beginning_of_a_batch() {
    // The first epoch of the leader begins where its log does: inside of a batch.
    let mut fixture = following(&[], 0);
    fixture.received(batches(0, &[placed(batch(2), 0, 1), placed(batch(2), 2, 1)]));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[2]) });
    let outcome = Ok(diverging(1, 3, 0));
    let (leader_epoch, fetch_offset) = (LeaderEpoch(4), Offset(4));
    let effects = fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome });
    assert_eq!(effects, [truncate(3, 2)]);
}

#[test]
fn a_log_that_is_given_up_from_its_start_or_its_leader_s_starts_over_there_inside_of_a_batch_too() {
    // All of it was committed, so that its batches are not known any more. Then came an unclean
    // election, of a replica that had not heard of a deletion, or of one that alone had.
    let settled = |log_start| {
        let mut recovered = log_of(&[2, 2, 2, 2], 4);
        (recovered.log_start_offset, recovered.tail) = (Offset(log_start), Vec::new());
        Fixture::replica(recovered, three(2, 0, &[2]))
    };
    let nothing = ProducerStates::default;
    assert_eq!(settled(2).received(diverging(0, 9, 0)), [reset(1, 2, nothing())]);
    let answer = ReplicaBatches { log_start_offset: Offset(3), ..diverging(2, 3, 0) };
    assert_eq!(settled(0).received(answer), [reset(1, 3, nothing())]);
    assert_eq!(settled(0).received(diverging(2, 3, 0)), [truncate(1, 3)], "an epoch's end");
}

#[test]
fn a_settled_batch_that_an_unclean_leader_s_epoch_ends_inside_of_goes_whole() {
    // Of an epoch that we do not have the end says nothing about our batches.
    let sent: Vec<PlacedBatch> = (0..4).map(|n| placed(batch(2), 2 * n, 0)).collect();
    let mut fixture = following(&[], 0);
    assert_eq!(fixture.received(batches(0, &sent)).len(), 4);
    (1..5).for_each(|write| drop(fixture.flushed(write)));
    fixture.received(batches(8, &[placed(batch(1), 8, 3)]));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[2]) });
    let (leader_epoch, fetch_offset) = (LeaderEpoch(4), Offset(9));
    let outcome = Ok(diverging(1, 5, 0));
    let effects = fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome });
    assert_eq!(effects, [truncate(6, 4)], "the batch is remembered");
    let recovered = || Recovered { tail: Vec::new(), ..log_of(&[0, 0, 0, 0, 2, 2, 3], 7) };
    let mut fixture = Fixture::replica(recovered(), three(2, 0, &[2]));
    assert_eq!(fixture.received(diverging(2, 5, 0)), [truncate(1, 5)], "an end that both have");
    let mut fixture = Fixture::replica(recovered(), three(2, 0, &[2]));
    assert_eq!(fixture.received(diverging(1, 4, 0)), [truncate(1, 4)], "our own end");
    let nothing = ProducerStates::default;
    let mut fixture = Fixture::replica(recovered(), three(2, 0, &[2]));
    assert_eq!(fixture.received(diverging(1, 3, 0)), [reset(1, 0, nothing())], "where it began");
}

#[test]
fn the_high_watermark_is_taken_over_only_after_the_truncation() {
    let mut fixture = following(&[1, 1, 2], 0);
    assert_eq!(fixture.received(diverging(1, 2, 3)), [truncate(1, 2)]);
    assert_eq!(fixture.partition.high_watermark(), Offset(0));
    assert_eq!(fixture.received(batches(3, &[])), [advanced(2)]);
}

#[test]
fn flushes_are_reported_only_after_the_logs_agreed_in_this_epoch() {
    let mut fixture = following(&[1, 2], 0);
    assert_eq!(fixture.partition.flush_report(), None);
    fixture.received(diverging(1, 1, 0));
    assert_eq!(fixture.partition.flush_report(), None);
    fixture.received(batches(0, &[]));
    let report = |flushed| Some((BrokerId(2), EPOCH, Offset(flushed)));
    assert_eq!(fixture.partition.flush_report(), report(1));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(3, 1, &[3]) });
    assert_eq!(fixture.partition.flush_report(), None);
}

#[test]
fn an_answer_to_an_older_epoch_or_another_end_is_dropped() {
    let mut fixture = following(&[1, 1], 0);
    for (epoch, offset) in [(2, 2), (4, 2), (3, 1), (3, 3)] {
        let outcome = Ok(diverging(0, 0, 0));
        let (leader_epoch, fetch_offset) = (LeaderEpoch(epoch), Offset(offset));
        assert_eq!(fixture.step(Input::Fetched { leader_epoch, fetch_offset, outcome }), []);
    }
}

#[test]
fn a_divergence_that_is_told_again_after_the_logs_agreed_is_dropped() {
    let mut fixture = following(&[1, 1, 2], 0);
    assert_eq!(fixture.received(diverging(1, 2, 0)), [truncate(1, 2)]);
    let sent = placed(batch(1), 2, 3);
    assert_eq!(fixture.received(batches(0, core::slice::from_ref(&sent))), [copied(2, &sent)]);
    assert_eq!(fixture.received(diverging(1, 2, 0)), [], "the leader counts what is here now");
}

#[test]
fn a_log_that_ends_below_the_leader_s_start_is_given_up() {
    let mut fixture = following(&[1, 1], 1);
    let reset = reset(1, 5, ProducerStates::default());
    assert_eq!(fixture.step(refused(2, out_of_range(5, 9))), [reset]);
    let position = fixture.partition.fetch_position().expect("it follows").1;
    let empty =
        ReplicaPosition { last_fetched_epoch: None, log_start_offset: Offset(0), ..at(5, 0) };
    assert_eq!(position, empty, "a power cut may bring the old log back until this is durable");
    assert_eq!(fixture.flushed(1), []);
    let position = fixture.partition.fetch_position().expect("it follows").1;
    let durable = ReplicaPosition { log_start_offset: Offset(5), ..at(5, 5) };
    assert_eq!(position, ReplicaPosition { last_fetched_epoch: None, ..durable });
}

#[test]
fn an_empty_log_begins_with_the_batch_that_its_leader_s_log_begins_in() {
    let mut fixture = following(&[1, 1], 1);
    fixture.step(refused(2, out_of_range(5, 9)));
    let sent = placed(batch(3), 4, 2);
    let reset = reset(2, 4, ProducerStates::default());
    assert_eq!(
        fixture.received(batches(4, core::slice::from_ref(&sent))),
        [reset, copied(3, &sent)]
    );
}

/// Two batches of two records of producer 1, the second behind offset 4.
fn known() -> ProducerStates {
    let mut known = ProducerStates::default();
    for (base, offset) in [(0, 1), (2, 4)] {
        known.record(Instant(0), &placed(idempotent(base, 2), offset, 3).header);
    }
    known
}

#[test]
fn a_log_that_starts_over_knows_the_producers_of_what_is_gone() {
    let mut fixture = following(&[1, 1], 1);
    let told = beginning_with(known(), 6, 9);
    assert_eq!(fixture.step(refused(2, told)), [reset(1, 6, known())]);
    fixture.flushed(1);
    assert_eq!(fixture.partition.side_state().producers, known(), "and so does its checkpoint");
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(1, 1, &[1]) });
    let original = Response::Produced {
        base_offset: Offset(4),
        log_append_time: None,
        log_start_offset: Offset(6),
    };
    assert_eq!(fixture.produce(1, Acks::All, idempotent(2, 2)), [respond(1, original)]);
    let appended = fixture.produce(2, Acks::All, idempotent(4, 1));
    assert!(matches!(appended[..], [Effect::Append { .. }]), "{appended:?}");
}

#[test]
fn a_log_that_is_given_up_from_its_start_knows_the_producers_before_it() {
    // They were acknowledged below where the logs part, and so the leader may know them, too.
    let mut recovered = log_of(&[2; 8], 8);
    (recovered.log_start_offset, recovered.tail) = (Offset(6), Vec::new());
    recovered.producers = known();
    let mut fixture = Fixture::replica(recovered, three(2, 0, &[2]));
    assert_eq!(fixture.received(diverging(1, 6, 0)), [reset(1, 6, known())]);
}

#[test]
fn a_log_that_begins_inside_of_a_batch_is_not_told_of_that_batch() {
    let mut fixture = following(&[1, 1], 1);
    let first = known().below(Offset(5));
    let told = beginning_with(known(), 5, 9);
    assert_eq!(fixture.step(refused(2, told)), [reset(1, 5, first.clone())]);
    let sent = placed(idempotent(2, 2), 4, 3);
    let again = [reset(2, 4, first), copied(3, &sent)];
    assert_eq!(fixture.received(batches(4, core::slice::from_ref(&sent))), again);
}

#[test]
fn a_follower_is_told_of_the_producers_below_the_log_start() {
    let mut fixture = Fixture::leading(&[1]);
    for (request, base) in [(1, 0), (2, 2), (3, 4)] {
        fixture.produce(request, Acks::None, idempotent(base, 2));
    }
    fixture.flushed(3);
    fixture.step(Input::LogStartPersisted { to: Offset(3) });
    let position = ReplicaPosition { last_fetched_epoch: None, ..at(0, 0) };
    let mut told = ProducerStates::default();
    told.record(Instant(0), &placed(idempotent(0, 2), 0, 3).header);
    let error = beginning_with(told, 3, 6);
    let answer = respond(900, Response::ReplicaRefused(error));
    assert_eq!(fixture.ask(2, registration(2).0, position, false), [answer]);
}

#[test]
fn a_log_that_is_ahead_of_its_leader_does_not_start_over() {
    let mut fixture = following(&[1, 1], 0);
    assert_eq!(fixture.step(refused(2, out_of_range(0, 1))), []);
    for error in [
        ReplicaFetchError::NotLeader,
        ReplicaFetchError::FencedLeaderEpoch,
        ReplicaFetchError::UnknownLeaderEpoch,
        ReplicaFetchError::NotReplica,
        ReplicaFetchError::StorageFailed,
    ] {
        assert_eq!(fixture.step(refused(2, error)), []);
    }
}

#[test]
fn batches_that_do_not_continue_the_log_are_dropped() {
    let mut fixture = following(&[2], 0);
    for wrong in [placed(batch(1), 0, 3), placed(batch(2), 0, 3), placed(batch(1), 1, 4)] {
        assert_eq!(fixture.received(batches(0, &[wrong])), []);
    }
    assert_eq!(fixture.received(batches(0, &[placed(batch(1), 1, 1)])), [], "an older epoch");
    let mut torn = batches(0, &[placed(batch(1), 1, 3)]);
    torn.records.truncate(torn.records.len() - 1);
    assert_eq!(fixture.received(torn), []);
    let mut flipped = batches(0, &[placed(batch(1), 1, 3)]).records.to_vec();
    *flipped.last_mut().expect("a batch has bytes") ^= 1;
    let flipped = ReplicaBatches { records: flipped.into(), ..batches(0, &[]) };
    assert_eq!(fixture.received(flipped), []);
}

#[test]
fn a_gap_that_compaction_has_left_is_copied() {
    let mut fixture = following(&[2], 0);
    let sent = [placed(batch(2), 3, 3), placed(batch(1), 9, 3)];
    let effects = fixture.received(batches(0, &sent));
    let appended = |effect: &Effect| match effect {
        Effect::Append { batch, .. } => Some(batch.header.base_offset.0),
        _ => None,
    };
    assert_eq!(effects.iter().filter_map(appended).collect::<Vec<_>>(), [3, 9]);
    let (_, position) = fixture.partition.fetch_position().expect("it follows");
    assert_eq!(position.fetch_offset, Offset(10));
    // The new epoch may have begun anywhere in the gap: it counts from where that begins.
    assert_eq!(fixture.partition.epochs.epoch_at(Offset(1)), Some(LeaderEpoch(3)));
    assert_eq!(fixture.partition.epochs.epoch_at(Offset(0)), Some(LeaderEpoch(2)));
}

#[test]
fn a_follower_does_not_judge_sequence_numbers() {
    let mut fixture = following(&[], 0);
    let sent = [placed(idempotent(0, 1), 0, 3), placed(idempotent(50, 1), 1, 3)];
    assert_eq!(fixture.received(batches(0, &sent)).len(), 2);
}

fn readable(effects: &[Effect]) -> Readable {
    let [Effect::Respond { response: Response::Readable(readable), .. }] = effects else {
        panic!("unexpected {effects:?}");
    };
    *readable
}

#[test]
fn a_follower_serves_readers_up_to_its_high_watermark() {
    let mut fixture = following(&[1, 1, 2], 2);
    let answered = readable(&fixture.step(from_follower(2, Some(1))));
    assert_eq!((answered.high_watermark, answered.diverging), (Offset(2), None));
    let not_available = [failed(1, PartitionError::OffsetNotAvailable)];
    assert_eq!(fixture.step(from_follower(4, None)), not_available);
    assert_eq!(fixture.step(from_follower(9, Some(1))), not_available, "the leader may have it");
    assert_eq!(fixture.step(from_follower(1, Some(9))), not_available, "or know the epoch");
    assert_eq!(fixture.fetch(2, 0, false), [failed(2, not_leader(2, 3))]);
}

#[test]
fn a_reader_ahead_of_a_follower_s_high_watermark_waits_for_it() {
    let mut fixture = following(&[1, 1, 2], 1);
    // The record at 2 may yet be truncated: that its epoch is another one proves nothing.
    for last_fetched in [None, Some(1), Some(2), Some(9)] {
        let answered = readable(&fixture.step(from_follower(3, last_fetched)));
        assert_eq!((answered.high_watermark, answered.available_bytes), (Offset(1), 0));
        assert_eq!(answered.diverging, None);
    }
    let position = ReadPosition { from_follower: true, ..position(3) };
    fixture.step(Input::Fetch { request: RequestId(7), position, park: true });
    let woken = Effect::Wake { request: RequestId(7) };
    assert_eq!(fixture.received(batches(3, &[])), [advanced(3), woken]);
}

#[test]
fn a_follower_takes_over_the_log_start_as_far_as_its_log_is_committed_and_flushed() {
    let mut fixture = following(&[], 0);
    let start = |high_watermark, batches_| ReplicaBatches {
        log_start_offset: Offset(2),
        ..batches(high_watermark, batches_)
    };
    let sent = [placed(batch(1), 0, 3), placed(batch(1), 1, 3)];
    assert_eq!(fixture.received(start(2, &sent)).len(), 3, "not flushed yet");
    fixture.flushed(2);
    let advance = Effect::AdvanceLogStart { to: Offset(2) };
    assert_eq!(fixture.received(start(2, &[])), [advance]);
}

#[test]
fn a_follower_takes_over_a_log_start_inside_of_a_batch_that_it_may_yet_cut() {
    // Its leader was alone and knows no more to be committed than that it starts at 5.
    let mut fixture = following(&[1, 1], 1);
    fixture.step(refused(2, out_of_range(5, 7)));
    let sent =
        ReplicaBatches { log_start_offset: Offset(5), ..batches(5, &[placed(batch(3), 4, 2)]) };
    fixture.received(sent);
    fixture.flushed(3);
    let nothing = ReplicaBatches { log_start_offset: Offset(5), ..batches(5, &[]) };
    assert_eq!(fixture.received(nothing), [Effect::AdvanceLogStart { to: Offset(5) }]);
}

#[test]
fn a_checkpoint_calls_committed_only_what_is_flushed() {
    let mut fixture = following(&[1, 1, 2], 0);
    fixture.received(diverging(1, 2, 0));
    // Until this is flushed, a power cut may bring back the record of epoch 2.
    let sent = placed(batch(1), 2, 3);
    fixture.received(batches(3, core::slice::from_ref(&sent)));
    assert_eq!(fixture.partition.high_watermark(), Offset(3));
    assert_eq!(fixture.partition.side_state().high_watermark, Offset(2));
    fixture.flushed(2);
    assert_eq!(fixture.partition.side_state().high_watermark, Offset(3));
}

#[test]
fn a_follower_that_becomes_leader_begins_its_epoch_at_its_end() {
    let mut fixture = following(&[1, 1], 1);
    let next = Assignment { leader_epoch: LeaderEpoch(4), ..three(1, 1, &[1, 2]) };
    assert_eq!(fixture.assign(next), []);
    assert_eq!(fixture.partition.fetch_position(), None);
    let end = EpochEnd { epoch: LeaderEpoch(4), end_offset: Offset(2) };
    assert_eq!(fixture.partition.epochs.end_offset_for(LeaderEpoch(4), Offset(2)), Some(end));
    let placed = batch(1).placed(Offset(2), LeaderEpoch(4), None);
    let effects = fixture.produce(1, Acks::All, batch(1));
    assert_eq!(appended(&effects), [&placed]);
}

#[test]
fn an_epoch_in_which_nothing_was_appended_leaves_no_trace() {
    let mut fixture = Fixture::replica(log_of(&[1], 0), three(1, 0, &[1, 2]));
    fixture.assign(Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[1, 2]) });
    assert_eq!(fixture.partition.epochs.latest(), Some(LeaderEpoch(1)));
}
