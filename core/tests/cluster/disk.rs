//! The log of one replica as its disk has it: what is queued, written, flushed, and what is left
//! after a kill or a power cut.

use bytes::Bytes;
use highwater_core::{
    partition::SideState,
    producers::ProducerStates,
    record::{BatchHeader, PlacedBatch},
    types::{Offset, WriteId},
};
use std::collections::VecDeque;

/// One batch.
#[derive(Clone)]
pub struct Entry {
    pub header: BatchHeader,
    pub chunks: [Bytes; 2],
}

impl Entry {
    pub fn base(&self) -> u64 {
        self.header.base_offset.0
    }

    pub fn end(&self) -> u64 {
        self.header.next_offset().0
    }

    /// What tells one batch from another. The records are unique, and the CRC covers them.
    pub fn identity(&self) -> u32 {
        self.header.crc
    }
}

/// The batches from some offset on. Deleted ones stay, until a reset.
#[derive(Clone, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    /// Where an empty log continues.
    pub base: u64,
    /// The producers as of there.
    producers: ProducerStates,
}

enum Change {
    Append(Entry),
    Truncate(u64),
    Reset(u64, ProducerStates),
}

impl Log {
    pub fn end(&self) -> u64 {
        self.entries.last().map_or(self.base, Entry::end)
    }

    /// The index of the first batch at or above an offset.
    pub fn index_at(&self, offset: u64) -> usize {
        self.entries.partition_point(|entry| entry.base() < offset)
    }

    /// The side state of the batches below `end`, from what the log began with.
    pub fn replayed(&self, end: u64) -> SideState {
        let mut side = SideState::starting_at(Offset(self.base));
        side.producers = self.producers.clone();
        for entry in self.entries.iter().take_while(|entry| entry.end() <= end) {
            side.replay(&entry.header).expect("the log is sound");
        }
        side
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entry) => {
                assert_eq!(entry.base(), self.end(), "offsets are dense (L1)");
                self.entries.push(entry.clone());
            }
            Change::Truncate(to) => {
                let kept = self.index_at(*to);
                self.entries.truncate(kept);
                assert_eq!(self.end(), *to, "a truncation goes to a batch boundary");
            }
            Change::Reset(to, producers) => {
                *self = Self { entries: Vec::new(), base: *to, producers: producers.clone() };
            }
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub struct Disk {
    /// What the partition believes to have: every change is made.
    pub live: Log,
    /// What certainly survives a power cut.
    pub durable: Log,
    /// The changes from `durable` to `live`, oldest first.
    queued: VecDeque<(WriteId, Change)>,
    /// How many of them survive a kill.
    written: usize,
    /// The log start that survives.
    pub start: u64,
    /// Log starts that are asked for.
    pub starts: VecDeque<u64>,
    /// The lowest offset that a flushed truncation cut, since it was asked for.
    cut: Option<u64>,
    /// The high watermark of the last checkpoint.
    pub checkpoint: u64,
}

impl Disk {
    pub fn append(&mut self, write: WriteId, batch: PlacedBatch) {
        let PlacedBatch { header, chunks } = batch;
        self.push(write, Change::Append(Entry { header, chunks }));
    }

    pub fn truncate(&mut self, write: WriteId, to: u64) {
        self.push(write, Change::Truncate(to));
    }

    pub fn reset(&mut self, write: WriteId, to: u64, producers: ProducerStates) {
        self.push(write, Change::Reset(to, producers));
    }

    fn push(&mut self, write: WriteId, change: Change) {
        self.live.apply(&change);
        self.queued.push_back((write, change));
    }

    pub fn unflushed(&self) -> usize {
        self.queued.len()
    }

    pub fn unwritten(&self) -> usize {
        self.queued.len() - self.written
    }

    /// Writes `count` more changes; the newest of them.
    pub fn write(&mut self, count: usize) -> Option<WriteId> {
        self.written += count;
        Some(self.queued[self.written.checked_sub(1)?].0)
    }

    /// Flushes the `count` oldest changes; the newest of them.
    pub fn flush(&mut self, count: usize) -> Option<WriteId> {
        let mut newest = None;
        for (write, change) in self.queued.drain(..count) {
            self.durable.apply(&change);
            match change {
                Change::Append(_) => {}
                Change::Truncate(to) => self.cut = Some(self.cut.map_or(to, |cut| cut.min(to))),
                Change::Reset(to, _) => (self.start, self.cut) = (to, Some(0)),
            }
            newest = Some(write);
        }
        self.written = self.written.saturating_sub(count);
        newest
    }

    pub fn take_cut(&mut self) -> Option<u64> {
        self.cut.take()
    }

    /// The machine lost its power: the `count` oldest unflushed changes have survived. Returns how
    /// many batches are lost.
    pub fn lose_power(&mut self, count: usize) -> usize {
        self.flush(count);
        let lost = self.queued.iter().filter(|(_, change)| matches!(change, Change::Append(_)));
        let lost = lost.count();
        self.queued.clear();
        self.written = 0;
        self.live = self.durable.clone();
        self.starts.clear();
        lost
    }

    /// The process was killed: what it had written stays.
    pub fn kill(&mut self) -> usize {
        self.lose_power(self.written)
    }

    /// The batches from `offset` on, as many as fit: at least one if there is one below `end`.
    pub fn read(&self, offset: u64, end: u64, count: usize) -> Bytes {
        let from = self.live.entries.partition_point(|entry| entry.end() <= offset);
        let batches = self.live.entries[from..].iter().take_while(|entry| entry.end() <= end);
        let chunks = batches.take(count).flat_map(|entry| &entry.chunks);
        chunks
            .fold(Vec::new(), |mut bytes, chunk| {
                bytes.extend_from_slice(chunk);
                bytes
            })
            .into()
    }
}
