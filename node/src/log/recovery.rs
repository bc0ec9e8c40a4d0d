//! Opening a log: what the checkpoint states is taken over, what follows it is scanned.
//!
//! Every step can be repeated: a crash during recovery leaves a log that recovers to the same
//! state. The rules of what is damage and what is a torn tail are in the documentation of
//! [`super`].

use super::{
    LogError, LogOptions, RecoveredLog,
    checkpoint::Checkpoint,
    index::Index,
    segment::{ClosedSegment, SegmentName, is_unfinished},
    state::{ActiveSegment, Opened, State},
    walk::Walk,
    writer::create_segment,
};
use crate::env::{Disk, DiskFile, OpenMode};
use highwater_core::{
    mutant::Mutant,
    partition::SideState,
    producers::ProducerStates,
    record::BatchHeader,
    sometimes,
    time::{Instant, Timestamp},
    types::Offset,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

/// How much of a scanned tail is written back at once.
const REWRITE_BYTES: usize = 1 << 20;

/// Directories above a log's own that may be created with it: the topic's, that of all topics, and
/// the data directory that holds their entries.
const PARENTS_SYNCED: usize = 3;

/// Opens the log in `dir`, or makes a new one. `opened` is the wall clock at this moment.
pub(super) async fn recover(
    disk: &dyn Disk,
    dir: &Path,
    options: LogOptions,
    opened: Timestamp,
) -> Result<(State, RecoveredLog), LogError> {
    let segments = list_segments(disk, dir).await?;
    match Checkpoint::load(disk, dir).await? {
        Some(checkpoint) => {
            remove_unfinished(disk, dir).await?;
            // An entry that is seen here may not be durable yet.
            disk.sync_dir(dir).await?;
            if checkpoint.restarting {
                let checkpoint = Checkpoint { restarting: false, ..checkpoint };
                remove_all_segments(disk, dir).await?;
                checkpoint.save(disk, dir).await?;
                return reopen(disk, dir, options, checkpoint, BTreeSet::new(), opened).await;
            }
            reopen(disk, dir, options, checkpoint, segments, opened).await
        }
        None if segments.is_empty() => create(disk, dir, options, opened).await,
        None => {
            let reason = "there are segments but no checkpoint";
            Err(LogError::corrupt(dir, Offset(0), 0, reason))
        }
    }
}

/// The segment files. Empty when there is no such directory.
pub(super) async fn list_segments(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<BTreeSet<SegmentName>, LogError> {
    match disk.list(dir).await {
        Ok(entries) => {
            Ok(entries.iter().filter_map(|entry| SegmentName::parse(&entry.name)).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what compaction was writing when a crash interrupted it.
pub(super) async fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    for entry in disk.list(dir).await? {
        if !entry.is_dir && is_unfinished(&entry.name) {
            sometimes!(UnfinishedRewriteFound);
            disk.remove(&dir.join(entry.name)).await?;
        }
    }
    Ok(())
}

/// Makes a new log. Each step is durable before the next: segments without a checkpoint can only
/// mean that the checkpoint was lost.
async fn create(
    disk: &dyn Disk,
    dir: &Path,
    options: LogOptions,
    opened: Timestamp,
) -> Result<(State, RecoveredLog), LogError> {
    disk.create_dir(dir).await?;
    // The directories above may be new too, and the entry of each is in the one above it.
    let parents = dir.ancestors().skip(1).take(PARENTS_SYNCED);
    for parent in parents.filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).await?;
    }
    let checkpoint = Checkpoint::of_new_log();
    checkpoint.save(disk, dir).await?;
    reopen(disk, dir, options, checkpoint, BTreeSet::new(), opened).await
}

async fn reopen(
    disk: &dyn Disk,
    dir: &Path,
    options: LogOptions,
    checkpoint: Checkpoint,
    mut segments: BTreeSet<SegmentName>,
    opened: Timestamp,
) -> Result<(State, RecoveredLog), LogError> {
    let closed = remove_below_start(disk, dir, &checkpoint, &mut segments).await?;
    let segments = check_segments(disk, dir, &checkpoint, &closed, segments).await?;
    let stored = checkpoint.stored();
    let mut scan = Scan {
        disk,
        dir,
        interval_bytes: options.index_interval_bytes,
        has_gaps: checkpoint.has_gaps,
        recovery_offset: checkpoint.recovery_offset,
        end: checkpoint.recovery_offset,
        tail: ScannedTail {
            producers: checkpoint.side.producers.clone(),
            headers: VecDeque::new(),
        },
        side: without_recordless_epochs(checkpoint.side),
        opened,
        modified: checkpoint.modified,
        closed,
        unsaved_indexes: BTreeMap::new(),
        scanned_bytes: 0,
        cut_bytes: 0,
    };
    let mut active = scan.run(checkpoint.index, &segments).await?;
    if checkpoint.has_gaps && scan.end < checkpoint.log_start_offset {
        // The log had ended, and then began, where nothing was left.
        scan.end = checkpoint.log_start_offset;
        active.end_offset = scan.end;
    }
    let recovered = RecoveredLog {
        log_start_offset: checkpoint.log_start_offset,
        log_end_offset: scan.end,
        high_watermark: stored.high_watermark.max(stored.log_start_offset).min(scan.end),
        side: scan.side.clone(),
        tail: scan.tail,
        clean: checkpoint.clean && scan.scanned_bytes + scan.cut_bytes == 0,
        cut_bytes: scan.cut_bytes,
    };
    if recovered.cut_bytes > 0 {
        sometimes!(TornTail);
        tracing::warn!(
            dir = %dir.display(), bytes = scan.cut_bytes, end = %scan.end,
            "cut the torn tail of a log"
        );
    }
    if scan.end < checkpoint.log_start_offset {
        let reason = format!("the log must reach its start at {}", checkpoint.log_start_offset);
        return Err(LogError::corrupt(&active.path, scan.end, active.written, reason));
    }
    let found = Opened {
        log_start_offset: checkpoint.log_start_offset,
        end: scan.end,
        closed: scan.closed,
        unsaved_indexes: scan.unsaved_indexes,
        active,
        epochs: scan.side.epochs,
        stored,
        scanned_bytes: scan.scanned_bytes,
        has_gaps: checkpoint.has_gaps,
        compacted_to: checkpoint.compacted_to,
    };
    Ok((State::new(options, found), recovered))
}

/// A side state that another leader's older batches may follow: a leadership that appended nothing
/// is not in the log.
fn without_recordless_epochs(mut side: SideState) -> SideState {
    side.epochs.truncate_from_end(side.offset);
    side
}

/// Finishes a removal that a crash interrupted, and returns the closed segments that stay.
async fn remove_below_start(
    disk: &dyn Disk,
    dir: &Path,
    checkpoint: &Checkpoint,
    segments: &mut BTreeSet<SegmentName>,
) -> Result<BTreeMap<Offset, ClosedSegment>, LogError> {
    let start = checkpoint.log_start_offset;
    let closed: BTreeMap<Offset, ClosedSegment> = checkpoint
        .closed
        .iter()
        .filter(|segment| segment.end_offset > start)
        .map(|segment| (segment.base_offset, *segment))
        .collect();
    let first = closed.keys().next().copied().unwrap_or(checkpoint.index.base_offset());
    let keep = segments.split_off(&SegmentName::appended(first));
    for leftover in std::mem::replace(segments, keep) {
        sometimes!(RemovalFinishedAtRecovery);
        remove_segment(disk, dir, leftover).await?;
    }
    Ok(closed)
}

/// Removes a segment's files. What is already gone is fine.
pub(super) async fn remove_segment(
    disk: &dyn Disk,
    dir: &Path,
    name: SegmentName,
) -> Result<(), LogError> {
    for path in [name.index(dir), name.log(dir)] {
        match disk.remove(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the files of every segment, durably.
pub(super) async fn remove_all_segments(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    for name in list_segments(disk, dir).await? {
        remove_segment(disk, dir, name).await?;
    }
    disk.sync_dir(dir).await?;
    Ok(())
}

/// Checks that every segment below the recovery point is there, and no other but what compaction
/// has left, which is removed. Returns those that are scanned.
async fn check_segments(
    disk: &dyn Disk,
    dir: &Path,
    checkpoint: &Checkpoint,
    closed: &BTreeMap<Offset, ClosedSegment>,
    mut below: BTreeSet<SegmentName>,
) -> Result<BTreeMap<Offset, SegmentName>, LogError> {
    let scanned = below.split_off(&SegmentName::appended(checkpoint.index.base_offset()));
    if let Some(missing) = closed.values().find(|segment| !below.contains(&segment.name())) {
        let (path, missing) = (missing.name().log(dir), missing.base_offset);
        return Err(LogError::corrupt(&path, missing, 0, "the segment is missing"));
    }
    let is_part = |name: &SegmentName| {
        closed.get(&name.base_offset).is_some_and(|segment| segment.name() == *name)
    };
    let unknown: Vec<_> = below.into_iter().filter(|name| !is_part(name)).collect();
    for name in &unknown {
        if !is_stray(*name, closed) {
            let path = name.log(dir);
            return Err(LogError::corrupt(
                &path,
                name.base_offset,
                0,
                "no such segment was written",
            ));
        }
        remove_segment(disk, dir, *name).await?;
    }
    if !unknown.is_empty() {
        sometimes!(ReplacedSegmentFound);
        // Or a later cut could bring the recovery point down to them.
        disk.sync_dir(dir).await?;
    }
    let mut segments = BTreeMap::new();
    for name in scanned {
        if let Some(other) = segments.insert(name.base_offset, name) {
            let reason = "there are two files of this segment";
            return Err(LogError::corrupt(&other.log(dir), name.base_offset, 0, reason));
        }
    }
    Ok(segments)
}

/// Whether compaction has left this file: what it replaced, or what was to replace it.
pub(super) fn is_stray(name: SegmentName, closed: &BTreeMap<Offset, ClosedSegment>) -> bool {
    let holder = closed.range(..=name.base_offset).next_back().map(|(_, segment)| segment);
    holder.is_some_and(|holder| {
        let replaces =
            holder.base_offset == name.base_offset && name.generation > holder.generation;
        let was_replaced = holder.generation > 0 && name.base_offset < holder.end_offset;
        holder.name() != name && (replaces || was_replaced)
    })
}

/// Batches that are kept for a truncation: as many as a partition keeps itself.
const TAIL_MAX: usize = 65_536;

/// The batches behind the checkpoint, which a truncation may take back, and the producers before
/// them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScannedTail {
    /// The producers as of the first of `headers`, or of the log's end.
    pub(super) producers: ProducerStates,
    /// Oldest first, without a gap, up to the log's end.
    pub(super) headers: VecDeque<BatchHeader>,
}

impl ScannedTail {
    fn push(&mut self, header: BatchHeader) {
        self.headers.push_back(header);
        if self.headers.len() > TAIL_MAX
            && let Some(oldest) = self.headers.pop_front()
        {
            self.producers.record(Instant::default(), &oldest);
        }
    }
}

/// The scan from the recovery point to the end.
struct Scan<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    interval_bytes: u64,
    /// Whether offsets may be missing between batches.
    has_gaps: bool,
    recovery_offset: Offset,
    /// Offset behind the last sound batch.
    end: Offset,
    side: SideState,
    tail: ScannedTail,
    /// Wall clock at the opening.
    opened: Timestamp,
    /// Wall clock of the last append: what the checkpoint states, and the opening for what came
    /// behind it. Timestamps of records say nothing here: a client may have invented them.
    modified: Timestamp,
    closed: BTreeMap<Offset, ClosedSegment>,
    unsaved_indexes: BTreeMap<Offset, Arc<Index>>,
    /// Bytes behind the recovery point that were kept, and that were cut.
    scanned_bytes: u64,
    cut_bytes: u64,
}

/// A segment as the scan left it.
struct Scanned {
    file: Arc<dyn DiskFile>,
    index: Index,
    bytes: u64,
}

impl Scan<'_> {
    /// Scans the segments from the one with the recovery point on; the last one becomes the active
    /// segment, behind its last sound batch.
    async fn run(
        &mut self,
        mut index: Index,
        segments: &BTreeMap<Offset, SegmentName>,
    ) -> Result<ActiveSegment, LogError> {
        let mut base_offset = index.base_offset();
        let mut from = if Mutant::IndexNotTruncated.is_planted() {
            index.clone().truncate(self.recovery_offset)
        } else {
            index.truncate(self.recovery_offset)
        };
        if !segments.contains_key(&base_offset) {
            return self.start_segment(base_offset, from, segments).await;
        }
        loop {
            let next = segments.keys().copied().find(|base| *base > base_offset);
            let name = segments[&base_offset];
            let scanned = self.scan_segment(name, index, from, next).await?;
            let Some(next) = next else {
                return Ok(ActiveSegment {
                    base_offset,
                    generation: name.generation,
                    records_end: self.end,
                    end_offset: self.end,
                    path: name.log(self.dir),
                    file: scanned.file,
                    index: scanned.index,
                    written: scanned.bytes,
                    first_append: None,
                    modified: self.modified,
                });
            };
            let segment = ClosedSegment {
                base_offset,
                end_offset: next,
                bytes: scanned.bytes,
                newest: scanned.index.newest(),
                modified: self.modified,
                generation: name.generation,
            };
            self.closed.insert(base_offset, segment);
            self.unsaved_indexes.insert(base_offset, Arc::new(scanned.index));
            (base_offset, index, from) = (next, Index::new(next), (next, 0));
        }
    }

    /// The segment that holds the recovery point does not exist: right only when it would be
    /// empty, because a crash came before its creation was durable.
    async fn start_segment(
        &self,
        base_offset: Offset,
        from: (Offset, u64),
        segments: &BTreeMap<Offset, SegmentName>,
    ) -> Result<ActiveSegment, LogError> {
        if from.1 > 0 || base_offset != self.recovery_offset || !segments.is_empty() {
            let path = SegmentName::appended(base_offset).log(self.dir);
            return Err(LogError::corrupt(&path, base_offset, 0, "the segment is missing"));
        }
        create_segment(self.disk, self.dir, base_offset, self.opened).await
    }

    /// Scans one segment from a batch boundary on. `next` is the base offset of the segment that
    /// follows; the last one may have a torn tail, which is cut.
    async fn scan_segment(
        &mut self,
        name: SegmentName,
        mut index: Index,
        from: (Offset, u64),
        next: Option<Offset>,
    ) -> Result<Scanned, LogError> {
        let path = name.log(self.dir);
        let file = self.disk.open(&path, OpenMode::Write).await?;
        let size = file.size().await?;
        let mut sound_bytes = from.1;
        self.end = from.0;
        if size < sound_bytes {
            let reason = "the file ends before its recovery point";
            return Err(LogError::corrupt(&path, self.end, size, reason));
        }
        let walk = Walk::new(file.clone(), path.clone(), from, size).checking();
        let mut walk = walk.with_gaps(self.has_gaps);
        let torn = loop {
            match self.scan_batch(&mut walk, &mut index).await {
                Ok(true) => sound_bytes = walk.position(),
                Ok(false) => break None,
                Err(error @ LogError::Corrupt { .. }) => break Some(error),
                Err(error) => return Err(error),
            }
        };
        let may_be_cut = next.is_none() && self.end >= self.recovery_offset;
        match torn {
            Some(_) if may_be_cut => {
                if Mutant::IndexNotTruncated.is_planted() {
                    while let Ok(Some(batch)) = walk.next().await {
                        index.add(batch.position, &batch.header, self.interval_bytes);
                    }
                }
                self.cut_bytes = size - sound_bytes;
                file.truncate(sound_bytes).await?;
            }
            Some(error) => return Err(error),
            None => {}
        }
        let reaches = next.unwrap_or(self.recovery_offset.max(self.end));
        if self.end != reaches {
            let reason = format!("the segment must reach offset {reaches}");
            return Err(LogError::corrupt(&path, self.end, sound_bytes, reason));
        }
        if self.end > self.recovery_offset && !Mutant::RecoveredTailNotRewritten.is_planted() {
            write_again(&*file, from.1, sound_bytes).await?;
        }
        file.sync().await?;
        Ok(Scanned { file, index, bytes: sound_bytes })
    }

    /// Checks and accounts for the next batch; false at the end of the segment.
    async fn scan_batch(&mut self, walk: &mut Walk, index: &mut Index) -> Result<bool, LogError> {
        let Some(batch) = walk.next().await? else { return Ok(false) };
        if !Mutant::RecoverySkipsCrc.is_planted() {
            walk.check_crc(&batch).await?;
        }
        let header = &batch.header;
        let is_new = header.next_offset() > self.side.offset;
        if let Err(error) = self.side.replay(header) {
            return Err(walk.corrupt(&batch, error));
        }
        if is_new {
            self.tail.push(*header);
        }
        index.add(batch.position, header, self.interval_bytes);
        self.end = header.next_offset();
        if self.end > self.recovery_offset {
            self.scanned_bytes += header.size_in_bytes as u64;
            self.modified = self.opened;
        }
        Ok(true)
    }
}

/// Writes what was read back to its place. It may be in the page cache only: after a sync that failed
/// in an earlier life the system counts those pages as clean, and no later sync would store them.
async fn write_again(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut position = from;
    while position < to {
        let length = usize::try_from(to - position).unwrap_or(usize::MAX).min(REWRITE_BYTES);
        let bytes = file.read_at(position, length).await?;
        let read = bytes.len() as u64;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(position, vec![bytes]).await?;
        position += read;
    }
    Ok(())
}
