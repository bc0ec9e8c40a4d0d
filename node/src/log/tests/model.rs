//! What a log should hold, kept in the simplest way, and the checks of a log against it.

use super::{
    super::{Log, LogEvent, LogEvents, LogOptions, RecoveredLog},
    batches::{batch, bytes_of},
};
use crate::{env::Disk, tasks::Tasks};
use highwater_core::{
    partition::SideState,
    record::{BatchHeader, PlacedBatch, records},
    time::{Instant, Now, Timestamp},
    types::{Offset, WriteId},
};
use rand::{Rng, RngExt};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Small enough that a few batches roll a segment and a few more make a checkpoint due.
pub(super) const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 1500,
    segment_age: Duration::from_secs(3600),
    index_interval_bytes: 200,
    checkpoint_bytes: 1200,
};

/// Where the log under test lives.
pub(super) fn dir() -> PathBuf {
    PathBuf::from("data/topic-0")
}

/// Opens the log and collects its events.
pub(super) async fn open(
    disk: &Arc<dyn Disk>,
) -> Result<(Log, RecoveredLog, Events), super::super::LogError> {
    disk.create_dir("data".as_ref()).await?;
    disk.sync_dir("".as_ref()).await?;
    let events = Events::default();
    let (log, recovered) =
        Log::open(disk.clone(), &Tasks::default(), dir(), OPTIONS, at(0), events.sink()).await?;
    Ok((log, recovered, events))
}

/// The events of a log, in order.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Vec<LogEvent>>>);

impl Events {
    pub(super) fn sink(&self) -> LogEvents {
        let events = self.0.clone();
        Arc::new(move |event| events.lock().expect("sound").push(event))
    }

    pub(super) fn take(&self) -> Vec<LogEvent> {
        std::mem::take(&mut self.0.lock().expect("sound"))
    }
}

/// The batches that were appended, and what was promised about them.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) batches: Vec<PlacedBatch>,
    /// How many batches were reported as flushed.
    pub(super) flushed: usize,
    /// The log start that was asked for, and the one that was promised.
    pub(super) start_asked: Offset,
    pub(super) start_promised: Offset,
    sequences: [i32; 3],
}

impl Model {
    /// The offset behind the first `count` batches.
    pub(super) fn end_of(&self, count: usize) -> Offset {
        count.checked_sub(1).map_or(Offset(0), |last| self.batches[last].header.next_offset())
    }

    /// Makes up the next batch.
    pub(super) fn next_batch(&mut self, rng: &mut impl Rng) -> (WriteId, PlacedBatch) {
        let base = self.end_of(self.batches.len()).0;
        let records = rng.random_range(1..5);
        let timestamps: Vec<i64> =
            (0..records).map(|_| base as i64 * 10 + rng.random_range(-200..200)).collect();
        let producer = rng.random_range(0..4);
        let identity = self.sequences.get_mut(producer).map(|sequence| {
            let first = *sequence;
            *sequence += records;
            (producer as u64, first)
        });
        let epoch = (self.batches.len() / 20) as u32;
        let batch = batch(base, epoch, identity, &timestamps, rng.random_range(0..60));
        self.batches.push(batch.clone());
        (WriteId(self.batches.len() as u64), batch)
    }

    /// Takes note of the events, and tells whether a checkpoint is wanted.
    pub(super) fn observe(&mut self, events: &Events) -> bool {
        let mut due = false;
        for event in events.take() {
            match event {
                LogEvent::Flushed(through) => self.flushed = self.flushed.max(through.0 as usize),
                LogEvent::CheckpointDue => due = true,
                LogEvent::Written(_) | LogEvent::Failed(_) => {}
            }
        }
        due
    }

    /// Epochs and producers as of the first `count` batches.
    pub(super) fn side(&self, count: usize) -> SideState {
        let mut side = SideState::starting_at(Offset(0));
        for batch in &self.batches[..count] {
            side.replay(&batch.header).expect("the model's batches follow one another");
        }
        side
    }

    /// Takes over what recovery found: the batches that are left.
    pub(super) fn accept(&mut self, recovered: &RecoveredLog) {
        let count = self
            .batches
            .iter()
            .position(|batch| batch.header.base_offset >= recovered.log_end_offset)
            .unwrap_or(self.batches.len());
        assert_eq!(self.end_of(count), recovered.log_end_offset, "a log ends with a whole batch");
        assert!(count >= self.flushed, "{count} batches are left of {} flushed", self.flushed);
        assert!(recovered.log_start_offset >= self.start_promised, "the log start went back");
        assert!(recovered.log_start_offset <= self.start_asked, "the log start went ahead");
        self.batches.truncate(count);
        self.flushed = count;
        self.start_promised = recovered.log_start_offset;
        self.start_asked = recovered.log_start_offset;
        assert_eq!(recovered.side, self.side(count), "epochs and producers agree with the log");
        self.sequences = [0; 3];
        for batch in &self.batches {
            if let Some(producer) = batch.header.producer {
                self.sequences[producer.id.0 as usize] = producer.last_sequence.0 + 1;
            }
        }
    }

    /// Compares everything that can be read with the batches: every offset, every timestamp.
    pub(super) async fn check_reads(&self, log: &Log) {
        let (start, end) = (self.start_promised, self.end_of(self.flushed));
        let live: Vec<&PlacedBatch> = self.batches[..self.flushed]
            .iter()
            .filter(|batch| batch.header.next_offset() > start)
            .collect();
        check_reads(log, &live, start, end).await;
        check_timestamps(log, &live, start, end).await;
    }
}

/// Compares what can be read at every offset from `start` to `end` with the batches.
pub(super) async fn check_reads(log: &Log, live: &[&PlacedBatch], start: Offset, end: Offset) {
    let mut at = start;
    let mut read = Vec::new();
    while at < end {
        let bytes = log.read(at, end, 700, true).await.expect("readable");
        assert!(!bytes.is_empty(), "there is more to read at {at} below {end}");
        at = last_header(&bytes).next_offset();
        read.extend_from_slice(&bytes);
    }
    let expected: Vec<u8> = live.iter().flat_map(|batch| bytes_of(batch)).collect();
    assert_eq!(read, expected, "what is read is what was appended");
    for batch in live {
        for offset in batch.header.base_offset.max(start).0..batch.header.next_offset().0 {
            let bytes = log.read(Offset(offset), end, 1, true).await.expect("readable");
            assert_eq!(bytes, bytes_of(batch), "the batch that holds offset {offset}");
        }
    }
}

/// Compares what is found by timestamp with the batches.
pub(super) async fn check_timestamps(log: &Log, live: &[&PlacedBatch], start: Offset, end: Offset) {
    let mut all: Vec<(Timestamp, Offset)> = Vec::new();
    for batch in live {
        let bytes = bytes_of(batch);
        let records = records(&bytes).expect("uncompressed").map(|record| {
            let record = record.expect("sound");
            (record.timestamp, record.offset)
        });
        all.extend(records.filter(|(_, offset)| *offset >= start));
    }
    let newest = all.iter().copied().reduce(|best, next| if next.0 > best.0 { next } else { best });
    let found = log.max_timestamp(end).await.expect("readable");
    assert_eq!(found, newest.filter(|newest| newest.0.0 >= 0), "the newest timestamp");
    let highest = newest.map_or(0, |newest| newest.0.0) + 10;
    for timestamp in (-10..highest).step_by(7).map(Timestamp) {
        let expected = all.iter().copied().find(|(at, _)| *at >= timestamp);
        let found = log.find_by_timestamp(timestamp, end).await.expect("readable");
        assert_eq!(found, expected, "the first record at or after {timestamp:?}");
    }
}

/// A moment whose two clocks agree.
pub(super) fn at(millis: u64) -> Now {
    Now {
        monotonic: Instant(millis * 1_000_000),
        wall: Timestamp(i64::try_from(millis).expect("small")),
    }
}

/// The header of the last of several batches.
fn last_header(bytes: &[u8]) -> BatchHeader {
    let mut position = 0;
    loop {
        let header = BatchHeader::parse(&bytes[position..]).expect("whole batches");
        position += header.size_in_bytes;
        if position == bytes.len() {
            return header;
        }
    }
}

/// Lets the log's task do everything that it can do.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
