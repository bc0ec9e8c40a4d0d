//! The journal: producers go back with the batches that are cut.

use super::*;
use crate::partition::journal::Journal;

const NOW: Instant = Instant(0);

fn header(base_sequence: i32, offset: u64) -> BatchHeader {
    idempotent(base_sequence, 1).placed(Offset(offset), EPOCH, None).header
}

/// Five batches of one record of producer 1, with write ids from 1.
fn five() -> Journal {
    let mut journal = Journal::recovered(NOW, Offset(0), ProducerStates::default(), Vec::new());
    for index in 0..5 {
        journal.append(NOW, WriteId(index + 1), header(index as i32, index));
    }
    journal
}

fn last_sequence(producers: &ProducerStates) -> Option<i32> {
    Some(producers.get(ProducerId(1))?.last()?.last_sequence.0)
}

#[test]
fn a_truncation_restores_the_producers_of_the_new_end() {
    let mut journal = five();
    journal.settle(NOW, Offset(2));
    journal.truncate(NOW, Offset(3));
    assert_eq!(last_sequence(journal.producers()), Some(2));
    assert_eq!(last_sequence(journal.settled()), Some(1));
    let window = journal.producers().get(ProducerId(1)).expect("known").batches().len();
    assert_eq!(window, 3, "also the batches before the cut");
}

#[test]
fn the_recovered_tail_can_be_cut() {
    let mut producers = ProducerStates::default();
    producers.record(NOW, &header(0, 0));
    let tail = vec![header(1, 1), header(2, 2)];
    let mut journal = Journal::recovered(NOW, Offset(1), producers, tail);
    assert_eq!(last_sequence(journal.producers()), Some(2));
    journal.truncate(NOW, Offset(1));
    assert_eq!(last_sequence(journal.producers()), Some(0));
}

#[test]
fn a_cut_below_what_is_settled_keeps_what_the_windows_tell() {
    let mut journal = five();
    journal.settle(NOW, Offset(5));
    journal.truncate(NOW, Offset(2));
    assert_eq!(journal.settled_offset(), Offset(2));
    assert_eq!(last_sequence(journal.producers()), Some(1));
}

#[test]
fn a_write_stands_for_the_batches_up_to_it_that_are_left() {
    let mut journal = five();
    assert_eq!(journal.end_of(WriteId(0)), None);
    assert_eq!(journal.end_of(WriteId(2)), Some(Offset(2)));
    journal.truncate(NOW, Offset(3));
    assert_eq!(journal.end_of(WriteId(5)), Some(Offset(3)));
    journal.settle(NOW, Offset(3));
    assert_eq!(journal.end_of(WriteId(5)), None, "nothing is left to be known");
}

#[test]
fn an_offset_inside_of_an_unsettled_batch_is_rounded_down() {
    let mut journal = Journal::recovered(NOW, Offset(0), ProducerStates::default(), Vec::new());
    journal.append(NOW, WriteId(1), batch(3).placed(Offset(0), EPOCH, None).header);
    for (offset, boundary) in [(0, 0), (2, 0), (3, 3), (9, 9)] {
        assert_eq!(journal.batch_boundary(Offset(offset)), Offset(boundary));
    }
}

#[test]
fn a_reset_forgets_everything_but_the_producers_that_are_told() {
    let mut journal = five();
    journal.reset(Offset(8), ProducerStates::default());
    assert!(journal.producers().is_empty() && journal.settled().is_empty());
    let mut told = ProducerStates::default();
    told.record(NOW, &header(7, 8));
    journal.reset(Offset(9), told);
    assert_eq!(journal.settled_offset(), Offset(9));
    assert_eq!(last_sequence(journal.producers()), Some(7));
    assert_eq!(last_sequence(journal.settled()), Some(7));
    assert_eq!(journal.end_of(WriteId(9)), None);
}
