//! What a log that is truncated and reset may hold after a crash: as long as a cut was not reported
//! as flushed, the log before it or the one behind it.

use super::{
    super::{Log, LogEvent, RecoveredLog},
    batches::{batch, bytes_of},
    model::{Events, check_reads, check_timestamps},
};
use highwater_core::{
    partition::SideState,
    producers::ProducerStates,
    record::PlacedBatch,
    types::{Offset, WriteId},
};
use rand::{Rng, RngExt};

/// One log that there was, or would be.
#[derive(Clone, Debug, Default)]
struct Version {
    /// The cut that it begins with.
    began: WriteId,
    /// Where that cut was made, if it kept what lies below.
    truncated_to: Option<Offset>,
    /// Where its first batch begins.
    base: Offset,
    /// The producers as of there.
    producers: ProducerStates,
    batches: Vec<(WriteId, PlacedBatch)>,
    /// The log start that was asked for, and the one that was promised.
    start_asked: Offset,
    start_promised: Offset,
    /// The highest high watermark that a checkpoint was given.
    committed: Offset,
}

/// The versions that a crash may still lead to, oldest first; the last is the present one.
#[derive(Clone, Debug)]
pub(super) struct History {
    versions: Vec<Version>,
    /// Everything up to here was reported as flushed.
    flushed: WriteId,
    next_write: u64,
    epoch: u32,
    pub(super) cuts: usize,
}

impl Version {
    fn end_of(&self, count: usize) -> Offset {
        let last = count.checked_sub(1).map(|last| self.batches[last].1.header.next_offset());
        last.unwrap_or(self.base)
    }

    fn end(&self) -> Offset {
        self.end_of(self.batches.len())
    }

    fn flushed_count(&self, flushed: WriteId) -> usize {
        self.batches.iter().take_while(|(write, _)| *write <= flushed).count()
    }

    fn live(&self) -> Vec<&PlacedBatch> {
        let batches = self.batches.iter().map(|(_, batch)| batch);
        batches.filter(|batch| batch.header.next_offset() > self.start_promised).collect()
    }

    /// The state behind that many batches.
    fn side(&self, count: usize) -> SideState {
        let mut side = SideState::starting_at(self.base);
        side.producers = self.producers.clone();
        for (_, batch) in &self.batches[..count] {
            side.replay(&batch.header).expect("the batches follow one another");
        }
        side
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            versions: vec![Version::default()],
            flushed: WriteId(0),
            next_write: 1,
            epoch: 0,
            cuts: 0,
        }
    }

    fn present(&mut self) -> &mut Version {
        self.versions.last_mut().expect("there is always one")
    }

    fn write(&mut self) -> WriteId {
        self.next_write += 1;
        WriteId(self.next_write)
    }

    pub(super) fn end(&self) -> Offset {
        self.versions.last().expect("there is always one").end()
    }

    pub(super) fn start(&self) -> Offset {
        self.versions.last().expect("there is always one").start_promised
    }

    pub(super) fn next_batch(&mut self, rng: &mut impl Rng) -> (WriteId, PlacedBatch) {
        let write = self.write();
        let (end, epoch) = (self.end(), self.epoch);
        let count = rng.random_range(1..5);
        let timestamps: Vec<i64> =
            (0..count).map(|_| end.0 as i64 * 10 + rng.random_range(-200..200)).collect();
        let producer = rng.random_bool(0.7).then(|| (rng.random_range(0..3), write.0 as i32 * 10));
        let batch = batch(end.0, epoch, producer, &timestamps, rng.random_range(0..60));
        self.present().batches.push((write, batch.clone()));
        (write, batch)
    }

    /// A truncation to some batch boundary: its id, its offset and an older state.
    pub(super) fn truncate(&mut self, rng: &mut impl Rng) -> (WriteId, Offset, SideState) {
        let write = self.write();
        let old = self.present().clone();
        let count = rng.random_range(0..=old.batches.len());
        let to = old.end_of(count);
        // What is kept of the states is that of something flushed.
        let flushed = old.flushed_count(self.flushed).min(count);
        let mut side = old.side(rng.random_range(0..=flushed));
        let mut version = Version { began: write, truncated_to: Some(to), ..old };
        version.batches.truncate(count);
        version.committed = version.committed.min(to);
        side.high_watermark = side.offset.min(version.committed);
        if to < version.start_promised {
            version = Version { began: write, ..Version::starting_at(to) };
        }
        self.begin(version);
        (write, to, side)
    }

    /// A reset to some offset below, within or above the log, with what is known of producers there.
    pub(super) fn reset(&mut self, rng: &mut impl Rng) -> (WriteId, Offset, ProducerStates) {
        let write = self.write();
        let base = self.present().base.0;
        let to = Offset(rng.random_range(base.saturating_sub(10)..=self.end().0 + 20));
        let present = self.present();
        let producers = present.side(present.batches.len()).producers.below(to);
        let version = Version { began: write, ..Version::starting_at(to) };
        self.begin(Version { producers: producers.clone(), ..version });
        (write, to, producers)
    }

    fn begin(&mut self, version: Version) {
        self.versions.push(version);
        self.cuts += 1;
        self.epoch += 1;
    }

    /// Takes note of the events, and tells whether a checkpoint is wanted.
    pub(super) fn observe(&mut self, events: &Events) -> bool {
        let mut due = false;
        for event in events.take() {
            match event {
                LogEvent::Flushed(through) => {
                    assert!(through > self.flushed, "each is reported once, in order");
                    self.flushed = through;
                }
                LogEvent::CheckpointDue => due = true,
                LogEvent::Written(_) | LogEvent::Failed(_) => {}
            }
        }
        while self.versions.get(1).is_some_and(|next| next.began <= self.flushed) {
            self.versions.remove(0);
        }
        due
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.flushed == WriteId(self.next_write) || self.next_write == 1
    }

    /// What a checkpoint may be given. None while a cut is pending: the machine's flushed state is
    /// then of a log that is not on the disk.
    pub(super) fn side(&mut self) -> SideState {
        let flushed = self.flushed;
        let present = self.present();
        let count = present.flushed_count(flushed);
        let mut side = present.side(count);
        side.high_watermark = present.end_of(present.batches.len().min(count + 2));
        side
    }

    /// A checkpoint with this state may have been written.
    pub(super) fn gave(&mut self, side: &SideState) {
        let present = self.present();
        present.committed = present.committed.max(side.high_watermark);
    }

    pub(super) fn start_asked(&mut self, to: Offset) {
        let present = self.present();
        present.start_asked = present.start_asked.max(to);
    }

    pub(super) fn start_promised(&mut self, to: Offset) {
        let present = self.present();
        present.start_promised = present.start_promised.max(to);
    }

    /// Takes over what recovery found: a version of the log, with all of it that was flushed.
    pub(super) async fn accept(&mut self, log: &Log, recovered: &RecoveredLog) {
        let (start, end) = (recovered.log_start_offset, recovered.log_end_offset);
        let mut read = Vec::new();
        let mut at = start;
        while at < end {
            let bytes = log.read(at, end, 1, true).await.expect("what was recovered is read");
            at = highwater_core::record::BatchHeader::parse(&bytes).expect("a batch").next_offset();
            read.push(bytes);
        }
        let found = (0..self.versions.len()).rev().find_map(|number| {
            let count = self.matches(number, recovered, &read)?;
            Some((number, count))
        });
        let Some((number, count)) = found else {
            panic!("no log that there was: {recovered:?}, of {self:#?}");
        };
        let mut version = self.versions.swap_remove(number);
        version.batches.truncate(count);
        version.start_asked = start;
        version.start_promised = start;
        version.committed = recovered.high_watermark;
        self.flushed = WriteId(self.next_write);
        self.epoch += 1;
        self.versions = vec![version];
    }

    /// How many batches of a version the recovered log holds, if it may hold that.
    fn matches(
        &self,
        number: usize,
        recovered: &RecoveredLog,
        read: &[bytes::Bytes],
    ) -> Option<usize> {
        let version = &self.versions[number];
        let (start, end) = (recovered.log_start_offset, recovered.log_end_offset);
        let count = (0..=version.batches.len()).find(|count| version.end_of(*count) == end)?;
        let next = self.versions.get(number + 1);
        let cut_to = next.and_then(|next| next.truncated_to).unwrap_or(Offset(u64::MAX));
        let flushed_end = version.end_of(version.flushed_count(self.flushed));
        let mut expected = version.side(count);
        expected.high_watermark = recovered.side.high_watermark;
        let stored = version.batches[..count].iter().map(|(_, batch)| batch);
        let live = stored.filter(|batch| batch.header.next_offset() > start).map(bytes_of);
        let is_this = end >= flushed_end.min(cut_to)
            && (version.start_promised..=version.start_asked).contains(&start)
            && recovered.side == expected
            && recovered.high_watermark <= version.committed.max(start)
            && live.eq(read.iter().map(|bytes| bytes.to_vec()));
        is_this.then_some(count)
    }

    /// Compares everything that can be read with the present version, which is flushed.
    pub(super) async fn check(&mut self, log: &Log, with_timestamps: bool) {
        assert!(self.is_flushed(), "{:?} of {}", self.flushed, self.next_write);
        let present = self.present();
        let (start, end) = (present.start_promised, present.end());
        check_reads(log, &present.live(), start, end).await;
        if with_timestamps {
            check_timestamps(log, &present.live(), start, end).await;
        }
    }
}

impl Version {
    fn starting_at(to: Offset) -> Self {
        Self { base: to, start_asked: to, start_promised: to, committed: to, ..Self::default() }
    }
}
