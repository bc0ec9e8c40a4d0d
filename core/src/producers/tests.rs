//! Rule tests: which batch may follow which.

use super::*;
use crate::{
    encoding::{DecodeError, Decoder},
    record::{Batch, BatchBuilder, NewRecord, Origin},
    types::LeaderEpoch,
};
use alloc::{vec, vec::Vec};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MAX: i32 = i32::MAX;
const START: Instant = Instant(0);

/// The header of a batch at `offset` with `count` records from sequence number `base`.
fn header(id: u64, epoch: i16, base: i32, count: u32, offset: u64) -> BatchHeader {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), Sequence(base));
    (0..count).for_each(|_| builder.push(NewRecord::default()));
    let batch = Batch::parse(builder.build(), usize::MAX, Origin::Client).expect("valid");
    batch.placed(Offset(offset), LeaderEpoch(0), None).header
}

/// The state after these batches (epoch, base, count) of producer 1, one after the other.
fn after(batches: &[(i16, i32, u32)]) -> ProducerStates {
    let mut states = ProducerStates::default();
    let mut offset = 0;
    for (epoch, base, count) in batches {
        states.record(START, &header(1, *epoch, *base, *count, offset));
        offset += u64::from(*count);
    }
    states
}

fn out_of_order(base_sequence: i32, expected: i32) -> ProducerVerdict {
    let (base_sequence, expected) = (Sequence(base_sequence), Sequence(expected));
    ProducerVerdict::Refused(SequenceError::OutOfOrder { base_sequence, expected })
}

#[test]
fn the_next_batch_must_continue_the_last_one() {
    for (batches, next, expected) in [
        (&[][..], (0, 17, 1), ProducerVerdict::New),
        (&[], (5, 0, 1), ProducerVerdict::New),
        (&[(0, 0, 3)], (0, 3, 1), ProducerVerdict::New),
        (&[(0, 0, 3)], (0, 4, 1), out_of_order(4, 3)),
        (&[(0, 0, 3)], (0, 2, 1), out_of_order(2, 3)),
        (&[(0, 0, 3)], (0, 0, 2), out_of_order(0, 3)),
        (&[(0, 7, 1)], (0, 8, 1), ProducerVerdict::New),
        (&[(0, MAX, 1)], (0, 0, 1), ProducerVerdict::New),
        (&[(0, MAX, 1)], (0, 1, 1), out_of_order(1, 0)),
        (&[(0, MAX - 1, 1)], (0, MAX, 5), ProducerVerdict::New),
        (&[(0, MAX - 1, 1)], (0, 0, 1), out_of_order(0, MAX)),
        (&[(0, MAX - 1, 4)], (0, 2, 1), ProducerVerdict::New),
        (&[(0, MAX - 1, 4)], (0, 0, 1), out_of_order(0, 2)),
        (&[(0, 0, 3)], (1, 0, 1), ProducerVerdict::New),
        (&[(0, 0, 3)], (1, 3, 1), out_of_order(3, 0)),
        (&[(0, 0, 3)], (9, 0, 3), ProducerVerdict::New),
    ] {
        let (epoch, base, count) = next;
        let verdict = after(batches).check(&header(1, epoch, base, count, 99));
        assert_eq!(verdict, expected, "{next:?} after {batches:?}");
    }
}

#[test]
fn an_older_epoch_is_refused_even_for_a_duplicate() {
    let states = after(&[(0, 0, 3), (2, 0, 1)]);
    for epoch in [0, 1] {
        let stale =
            SequenceError::StaleEpoch { epoch: ProducerEpoch(epoch), current: ProducerEpoch(2) };
        let verdict = states.check(&header(1, epoch, 0, 3, 99));
        assert_eq!(verdict, ProducerVerdict::Refused(stale));
    }
}

#[test]
fn the_last_five_batches_are_recognised_with_their_offsets() {
    let batches: Vec<_> = (0..7).map(|index| (0, index * 2, 2)).collect();
    let states = after(&batches);
    for (index, base) in [(2, 4), (3, 6), (4, 8), (5, 10), (6, 12)] {
        let ProducerVerdict::Duplicate(original) = states.check(&header(1, 0, base, 2, 99)) else {
            panic!("batch {index} is in the window");
        };
        assert_eq!(original.base_offset, Offset(index * 2));
        assert_eq!(original.last_offset, Offset(index * 2 + 1));
    }
    assert_eq!(states.check(&header(1, 0, 2, 2, 99)), out_of_order(2, 14));
}

#[test]
fn a_duplicate_across_the_wrap_is_recognised() {
    let states = after(&[(0, MAX - 1, 4), (0, 2, 1)]);
    assert!(matches!(
        states.check(&header(1, 0, MAX - 1, 4, 99)),
        ProducerVerdict::Duplicate(BatchRange { base_offset: Offset(0), .. })
    ));
}

#[test]
fn part_of_an_appended_batch_is_no_duplicate() {
    let states = after(&[(0, 0, 4)]);
    assert_eq!(states.check(&header(1, 0, 0, 3, 99)), out_of_order(0, 4));
    assert_eq!(states.check(&header(1, 0, 1, 3, 99)), out_of_order(1, 4));
}

#[test]
fn batches_of_no_producer_leave_no_trace() {
    let mut builder = BatchBuilder::new();
    builder.push(NewRecord::default());
    let batch = Batch::parse(builder.build(), usize::MAX, Origin::Client).expect("valid");
    let mut states = ProducerStates::default();
    assert_eq!(states.check(&batch.header), ProducerVerdict::New);
    states.record(START, &batch.header);
    assert!(states.is_empty());
}

#[test]
fn checking_changes_nothing() {
    let states = after(&[(0, 0, 3)]);
    let before = states.clone();
    let _ = states.check(&header(1, 4, 0, 1, 99));
    let _ = states.check(&header(2, 0, 0, 1, 99));
    assert_eq!(states, before);
}

#[test]
fn silent_producers_expire_by_the_monotonic_clock_alone() {
    let second = Duration::from_secs(1);
    let mut states = ProducerStates::default();
    states.record(START, &header(1, 0, 0, 1, 0));
    states.record(START.after(second), &header(2, 0, 0, 1, 1));
    states.expire(START.after(second * 10), second * 10);
    assert_eq!(states.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2]);
    let mut states = states.with_ages_from(START.after(second * 100));
    states.expire(START.after(second * 109), second * 10);
    assert_eq!(states.len(), 1);
    assert_eq!(states.longest_idle(START.after(second * 101), second), Some(ProducerId(2)));
    assert_eq!(states.longest_idle(START.after(second * 100), second), None);
}

#[test]
fn a_truncation_forgets_the_batches_at_and_above_the_new_end() {
    let full = after(&[(0, 0, 2), (0, 2, 2), (0, 4, 2)]);
    for (to, last) in [(6, Some(5)), (5, Some(5)), (4, Some(3)), (2, Some(1)), (0, None)] {
        let mut states = full.clone();
        states.truncate(Offset(to));
        let found = states.get(ProducerId(1)).and_then(ProducerState::last);
        assert_eq!(found.map(|range| range.last_sequence.0), last, "end {to}");
    }
}

#[test]
fn the_encoding_has_the_golden_bytes() {
    let mut states = ProducerStates::default();
    states.record(START, &header(0x0102, 3, MAX, 2, 9));
    let mut bytes = Vec::new();
    states.encode(&mut bytes);
    let mut golden = vec![0, 0, 0, 1];
    golden.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 1]);
    golden.extend([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    golden.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 10]);
    golden.extend([0; 8]);
    assert_eq!(bytes, golden);
}

#[test]
fn random_states_survive_encoding_and_decoding() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..100 {
        let mut states = ProducerStates::default();
        for offset in 0..random.random_range(0..60) {
            let (id, epoch) = (random.random_range(0..8), random.random_range(0..3));
            let (base, count) = (random.random_range(0..=MAX), random.random_range(1..4));
            states.record(START, &header(id, epoch, base, count, offset * 10));
        }
        let mut bytes = Vec::new();
        states.encode(&mut bytes);
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(ProducerStates::decode(&mut decoder), Ok(states));
        assert_eq!(decoder.finish(), Ok(()));
    }
}

#[test]
fn what_is_known_below_an_offset_and_the_batches_behind_it_are_all_that_is_known() {
    let mut random = ChaCha8Rng::seed_from_u64(17);
    for _ in 0..200 {
        let (mut headers, mut next) = (Vec::new(), [(0_i16, 0_i32); 3]);
        let mut end = 0;
        for _ in 0..random.random_range(0..30) {
            let id = random.random_range(0..next.len());
            let (epoch, base) = &mut next[id];
            if random.random_bool(0.1) {
                (*epoch, *base) = (*epoch + 1, 0);
            }
            let count = random.random_range(1..4);
            headers.push(header(id as u64, *epoch, *base, count, end));
            *base += count as i32;
            end += u64::from(count);
        }
        let record = |mut states: ProducerStates, headers: &[BatchHeader]| {
            headers.iter().for_each(|header| states.record(START, header));
            states
        };
        let all = record(ProducerStates::default(), &headers);
        let start = random.random_range(0..=end);
        let behind = headers.partition_point(|header| header.last_offset().0 < start);
        let again = record(all.below(Offset(start)), &headers[behind..]);
        assert_eq!(again, all, "from {start} of {end}");
    }
}

#[test]
fn what_brokers_tell_each_other_has_the_bytes_of_the_encoding() {
    let states = after(&[(0, 0, 3), (0, 3, 1)]);
    let mut bytes = Vec::new();
    states.encode(&mut bytes);
    assert_eq!(states.encoded_bytes(), bytes.len());
    assert_eq!(ProducerStates::default().encoded_bytes(), 4);
}

#[test]
fn hostile_encodings_are_refused_without_a_panic() {
    let mut bytes = Vec::new();
    after(&[(0, 0, 3), (0, 3, 1)]).encode(&mut bytes);
    for at in 0..bytes.len() {
        let cut = ProducerStates::decode(&mut Decoder::new(&bytes[..at]));
        assert_eq!(cut, Err(DecodeError::Truncated), "cut at {at}");
        for flip in [1, 0x80, 0xff] {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            let _ = ProducerStates::decode(&mut Decoder::new(&altered));
        }
    }
    let huge = ProducerStates::decode(&mut Decoder::new(&[0xff; 32]));
    assert_eq!(huge, Err(DecodeError::Truncated));
}
