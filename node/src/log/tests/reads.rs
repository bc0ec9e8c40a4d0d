//! Reads, rolls and bounds of a log on a disk that works.

use super::{
    super::{Log, LogError, LogEvent},
    batches::{batch, bytes_of},
    disk::MemoryDisk,
    model::{Events, Model, OPTIONS, at, dir, open, settle},
};
use crate::{env::Disk, tasks::Tasks};
use highwater_core::{
    record::Compression,
    time::Timestamp,
    types::{Offset, WriteId},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{sync::Arc, time::Duration};

async fn filled(batches: usize, seed: u64) -> (Log, Model, Arc<dyn Disk>) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (log, _, events) = open(&disk).await.expect("opens");
    let (mut model, mut rng) = (Model::default(), ChaCha8Rng::seed_from_u64(seed));
    while model.batches.len() < batches {
        let (write, batch) = model.next_batch(&mut rng);
        log.append(at(0), write, batch);
        if rng.random_bool(0.3) {
            settle().await;
        }
    }
    settle().await;
    model.observe(&events);
    assert_eq!(model.flushed, batches);
    (log, model, disk)
}

#[tokio::test]
async fn what_is_read_at_any_offset_is_what_was_appended_there() {
    for seed in 0..10 {
        let (log, model, _) = filled(50, seed).await;
        model.check_reads(&log).await;
    }
}

#[tokio::test]
async fn a_read_returns_whole_batches_within_its_bounds() {
    let (log, model, _) = filled(60, 3).await;
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let end = model.end_of(60);
    for _ in 0..2000 {
        let from = Offset(rng.random_range(0..end.0));
        let before = model.end_of(rng.random_range(0..=60));
        let max_bytes = rng.random_range(0..2500);
        let at_least_one = rng.random_bool(0.5);
        let read = log.read(from, before, max_bytes, at_least_one).await.expect("readable");
        let first = model.batches.iter().position(|batch| batch.header.next_offset() > from);
        let mut expected: Vec<u8> = Vec::new();
        for batch in &model.batches[first.expect("below the end")..] {
            let bytes = bytes_of(batch);
            let fits =
                expected.len() + bytes.len() <= max_bytes || (expected.is_empty() && at_least_one);
            if !fits
                || batch.header.next_offset() > before
                || expected.len() + bytes.len() > read.len()
            {
                // Only a segment's end may stop a read before its bounds do.
                let rolled = log
                    .closed_segments()
                    .iter()
                    .any(|segment| segment.end_offset == batch.header.base_offset);
                let bounded = !fits || batch.header.next_offset() > before;
                assert!(bounded || rolled, "the read stopped at {}", batch.header.base_offset);
                break;
            }
            expected.extend(bytes);
        }
        assert_eq!(read, expected, "{from} to {before}, {max_bytes} bytes");
    }
}

#[tokio::test]
async fn offsets_outside_of_the_log_are_refused() {
    let (log, model, _) = filled(40, 5).await;
    let end = model.end_of(40);
    assert_eq!(log.read(end, end, 100, true).await.expect("the end is inside"), "");
    let beyond = log.read(end.plus(1), end, 100, true).await;
    assert!(matches!(beyond, Err(LogError::OffsetOutOfRange { .. })), "{beyond:?}");
    let start = log.closed_segments()[2].base_offset.plus(1);
    log.advance_start(start, model.side(40)).await.expect("moves");
    let below = log.read(Offset(start.0 - 1), end, 100, true).await;
    assert!(matches!(below, Err(LogError::OffsetOutOfRange { .. })), "{below:?}");
    assert_eq!(log.closed_segments()[0].end_offset.max(start), log.closed_segments()[0].end_offset);
    assert!(!log.read(start, end, 100, true).await.expect("the start is inside").is_empty());
}

#[tokio::test]
async fn removed_segments_leave_no_file_and_an_older_side_state_does_no_harm() {
    let (log, model, disk) = filled(60, 6).await;
    let before = log.total_bytes();
    log.checkpoint(model.side(60)).await.expect("saved");
    let end = model.end_of(60);
    log.advance_start(end, model.side(60)).await.expect("moves");
    assert!(log.closed_segments().is_empty(), "only the active segment is left");
    assert!(log.total_bytes() < before);
    let names: Vec<String> =
        disk.list(&dir()).await.expect("there").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".log")).count(), 1, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".index")).count(), 0, "{names:?}");
    log.checkpoint(model.side(10)).await.expect("ignored");
    log.advance_start(Offset(3), model.side(10)).await.expect("ignored");
    let (_, recovered, _) = open(&disk).await.expect("opens");
    assert_eq!((recovered.log_start_offset, recovered.log_end_offset), (end, end));
    assert_eq!(recovered.side, model.side(60));
}

#[tokio::test]
async fn an_old_segment_is_rolled_by_time_that_has_passed_once_per_age() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (log, _, _) = open(&disk).await.expect("opens");
    let hour = OPTIONS.segment_age.as_millis() as u64;
    let mut rolls = Vec::new();
    for number in 0..20 {
        // The wall clock jumps about by days; only the monotonic clock counts.
        let mut now = at(number * hour / 4);
        now.wall = Timestamp([0, 86_400_000, -86_400_000][number as usize % 3]);
        log.append(now, WriteId(number), batch(number, 0, None, &[5], 0));
        settle().await;
        rolls.push(log.closed_segments().len());
    }
    assert_eq!(rolls.last(), Some(&4), "{rolls:?}");
}

#[tokio::test]
async fn a_segment_is_closed_on_request_unless_it_is_empty() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (log, _, _) = open(&disk).await.expect("opens");
    log.roll();
    settle().await;
    assert_eq!((log.active_segment(), log.closed_segments().len()), (None, 0));
    log.append(at(0), WriteId(0), batch(0, 0, None, &[5], 0));
    settle().await;
    log.roll();
    settle().await;
    let closed = log.closed_segments();
    assert_eq!((log.active_segment(), closed.len()), (None, 1));
    log.append(at(1), WriteId(1), batch(1, 0, None, &[5], 0));
    settle().await;
    assert_eq!(log.active_segment().map(|active| active.base_offset), Some(closed[0].end_offset));
}

#[tokio::test]
async fn batches_are_flushed_in_groups_and_in_order() {
    let (memory, events) = (MemoryDisk::default(), Events::default());
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let options = super::super::LogOptions { segment_age: Duration::MAX, ..Default::default() };
    disk.create_dir("data".as_ref()).await.expect("created");
    let (log, _) = Log::open(disk, &Tasks::default(), dir(), options, at(0), events.sink())
        .await
        .expect("opens");
    let before = memory.calls();
    for number in 0..1000 {
        log.append(at(0), WriteId(number), batch(number, 0, None, &[1], 10));
    }
    settle().await;
    let flushed = events.take();
    assert!(matches!(flushed.last(), Some(LogEvent::Flushed(WriteId(999)))), "{flushed:?}");
    assert!(memory.calls() - before < 10, "a thousand appends are a few disk calls");
    let through: Vec<u64> = flushed
        .iter()
        .filter_map(|event| match event {
            LogEvent::Flushed(write) => Some(write.0),
            _ => None,
        })
        .collect();
    assert!(through.is_sorted());
}

#[tokio::test]
async fn a_compressed_batch_is_found_as_a_whole() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (log, _, _) = open(&disk).await.expect("opens");
    log.append(at(0), WriteId(0), batch(0, 0, None, &[10, 20], 0));
    log.append(at(0), WriteId(1), compressed(batch(2, 0, None, &[30, 50, 40], 0)));
    log.append(at(0), WriteId(2), batch(5, 0, None, &[45], 0));
    settle().await;
    let find = async |timestamp| {
        log.find_by_timestamp(Timestamp(timestamp), Offset(6)).await.expect("readable")
    };
    assert_eq!(find(25).await, Some((Timestamp(30), Offset(2))));
    assert_eq!(find(45).await, Some((Timestamp(50), Offset(2))));
    assert_eq!(find(51).await, None);
    let newest = log.max_timestamp(Offset(6)).await.expect("readable");
    assert_eq!(newest, Some((Timestamp(50), Offset(4))));
    let newest = log.max_timestamp(Offset(2)).await.expect("readable");
    assert_eq!(newest, Some((Timestamp(20), Offset(1))));
}

/// The same batch, saying that its body is compressed.
fn compressed(
    mut batch: highwater_core::record::PlacedBatch,
) -> highwater_core::record::PlacedBatch {
    let mut bytes = bytes_of(&batch);
    bytes[22] |= 1;
    let crc = highwater_core::record::crc_of(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.header.crc = crc;
    batch.header.compression = Compression::Gzip;
    let body = bytes.split_off(61);
    batch.chunks = [bytes.into(), body.into()];
    batch
}

#[tokio::test]
async fn a_segment_that_was_removed_meanwhile_is_never_read_from_another_one() {
    let (log, model, _) = filled(40, 9).await;
    let removed = log.closed_segments()[0].base_offset;
    let start = log.closed_segments()[2].base_offset;
    assert!(log.view_at(removed).await.is_ok());
    log.advance_start(start, model.side(40)).await.expect("moves");
    let view = log.view_at(removed).await.map(|_| ());
    assert!(matches!(view, Err(LogError::OffsetOutOfRange { .. })), "{view:?}");
}

#[tokio::test]
async fn a_search_goes_on_behind_segments_that_were_removed_meanwhile() {
    let (log, model, _) = filled(60, 10).await;
    let end = model.end_of(60);
    for count in 1..=log.closed_segments().len() {
        let (searched, newest) = (log.candidates(end), log.candidates(end));
        let start = log.closed_segments()[0].end_offset;
        log.advance_start(start, model.side(60)).await.expect("moves");
        let expected = log.find_by_timestamp(Timestamp(0), end).await.expect("readable");
        let found = log.find_among(searched, Timestamp(0), end).await.expect("readable");
        assert_eq!(found, expected, "the first record that is left, {count} segments removed");
        let expected = log.max_timestamp(end).await.expect("readable");
        assert_eq!(log.newest_among(newest, end).await.expect("readable"), expected);
    }
}

/// Opens the log at the wall clock `opened`.
async fn reopened(disk: &Arc<dyn Disk>, opened: u64) -> Log {
    let (now, sink) = (at(opened), Events::default().sink());
    let opened = Log::open(disk.clone(), &Tasks::default(), dir(), OPTIONS, now, sink).await;
    opened.expect("opens").0
}

#[tokio::test]
async fn what_recovery_had_to_scan_ages_from_the_opening_whatever_records_state() {
    for timestamp in [-1, i64::MAX / 2] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let (log, _, events) = open(&disk).await.expect("opens");
        for number in 0..40 {
            log.append(at(5_000), WriteId(number), batch(number, 0, None, &[timestamp], 100));
        }
        settle().await;
        drop((log, events));
        let log = reopened(&disk, 9_000).await;
        let segments = log.closed_segments().into_iter().chain(log.active_segment());
        let modified: Vec<i64> = segments.map(|segment| segment.modified.0).collect();
        assert!(modified.len() > 2 && modified.iter().all(|at| *at == 9_000), "{modified:?}");
    }
}

#[tokio::test]
async fn what_the_checkpoint_tells_keeps_its_age() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let (log, _, _) = open(&disk).await.expect("opens");
    let mut model = Model::default();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..10 {
        let (write, batch) = model.next_batch(&mut rng);
        log.append(at(5_000), write, batch);
    }
    settle().await;
    log.roll();
    settle().await;
    // Right after the roll the active segment is empty.
    log.checkpoint(model.side(10)).await.expect("saved");
    let (write, last) = model.next_batch(&mut rng);
    log.append(at(6_000), write, last);
    settle().await;
    let log = reopened(&disk, 9_000).await;
    let closed = log.closed_segments();
    assert!(closed.iter().all(|segment| segment.modified == Timestamp(5_000)), "{closed:?}");
    let active = log.active_segment().expect("a batch was scanned");
    assert_eq!(active.modified, Timestamp(9_000));
    log.checkpoint(model.side(11)).await.expect("saved");
    let active = reopened(&disk, 12_000).await.active_segment().expect("nothing was scanned");
    assert_eq!(active.modified, Timestamp(9_000));
}
