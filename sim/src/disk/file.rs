//! The contents of one file: what the page cache shows, what the media holds, and the changes that
//! lie between them until a sync.

use crate::{
    dice::Dice,
    trace::{Effect, Trace},
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
};

/// The unit in which a device writes: a write may be torn between two sectors, never inside one.
pub const SECTOR_BYTES: u64 = 512;

/// How a power cut treats what was never synced. Each cut draws one, because bugs differ in which
/// of them they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutStyle {
    /// Everything unsynced is lost.
    LoseAll,
    /// The changes survive up to a point, and the one at that point is torn.
    Prefix,
    /// Each change survives, is lost or is torn on its own, whatever came before it.
    Scatter,
    /// Everything had just been written back.
    KeepAll,
}

impl CutStyle {
    /// Draws a style.
    pub fn draw(dice: &mut Dice) -> Self {
        dice.pick(&Self::WEIGHTED).1
    }

    /// The styles by their names, each as often as it is likely.
    pub const WEIGHTED: [(&'static str, Self); 9] = [
        ("lose-all", Self::LoseAll),
        ("lose-all", Self::LoseAll),
        ("lose-all", Self::LoseAll),
        ("prefix", Self::Prefix),
        ("prefix", Self::Prefix),
        ("prefix", Self::Prefix),
        ("scatter", Self::Scatter),
        ("scatter", Self::Scatter),
        ("keep-all", Self::KeepAll),
    ];
}

/// A change that the media has not seen yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Bytes },
    Resize(u64),
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileContents {
    /// The page cache's view, which every read sees.
    live: Vec<u8>,
    /// The media's view, which is all that a power cut leaves.
    media: Vec<u8>,
    /// Invariant: `media` with these applied in order is `live`, unless a sync has failed.
    pending: VecDeque<Change>,
    /// How many changes were ever made; names a point for [`FileContents::sync_through`].
    changes: u64,
    /// Positions whose stored byte has a flipped bit.
    rotten: BTreeSet<u64>,
}

impl FileContents {
    pub fn size(&self) -> u64 {
        self.live.len() as u64
    }

    /// What the page cache holds.
    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// What the media holds.
    pub fn media(&self) -> &[u8] {
        &self.media
    }

    /// Up to `length` bytes at `offset`, and how many of them are rotten.
    pub fn read(&self, offset: u64, length: usize) -> (Bytes, u64) {
        let start = offset.min(self.size()) as usize;
        let end = start.saturating_add(length).min(self.live.len());
        let rotten = self.rotten.range(start as u64..end as u64).count() as u64;
        (Bytes::copy_from_slice(&self.live[start..end]), rotten)
    }

    pub fn write(&mut self, offset: u64, bytes: Bytes) {
        let end = offset + bytes.len() as u64;
        self.rotten.retain(|position| !(offset..end).contains(position));
        let change = Change::Write { offset, bytes };
        apply(&mut self.live, &change);
        self.push(change);
    }

    pub fn resize(&mut self, size: u64) {
        self.rotten.retain(|position| *position < size);
        let change = Change::Resize(size);
        apply(&mut self.live, &change);
        self.push(change);
    }

    /// The point up to which a sync that starts now makes changes durable.
    pub fn sync_point(&self) -> u64 {
        self.changes
    }

    /// The changes up to a point reach the media.
    pub fn sync_through(&mut self, point: u64) {
        for change in self.take_pending(point) {
            apply(&mut self.media, &change);
        }
    }

    /// A sync failed: the pages count as clean, yet the media never saw them.
    pub fn forget_pending(&mut self, point: u64) -> u64 {
        self.take_pending(point).iter().map(size_of_change).sum()
    }

    /// Flips one bit of a stored byte, in the media and in the page cache.
    pub fn flip_bit(&mut self, position: u64, bit: u8) {
        for bytes in [&mut self.live, &mut self.media] {
            if let Some(byte) = bytes.get_mut(position as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        self.rotten.insert(position);
    }

    pub fn is_rotten(&self) -> bool {
        !self.rotten.is_empty()
    }

    /// What is left of the unsynced changes after a power cut. Returns one line for the trace when
    /// there was anything to lose.
    pub fn lose_power(
        &mut self,
        dice: &mut Dice,
        style: CutStyle,
        trace: &Trace,
    ) -> Option<String> {
        let pending = std::mem::take(&mut self.pending);
        let (total, full_size) = (pending.len(), self.live.len());
        let mut fate = Fate::default();
        let survivors = match style {
            CutStyle::LoseAll => 0,
            CutStyle::KeepAll => total,
            CutStyle::Prefix | CutStyle::Scatter => dice.index(total + 1),
        };
        for (index, change) in pending.iter().enumerate() {
            let whole = match style {
                CutStyle::Scatter => dice.chance(0.5),
                _ => index < survivors,
            };
            let torn = match style {
                CutStyle::Prefix => index == survivors,
                CutStyle::Scatter => !whole && dice.chance(0.6),
                CutStyle::LoseAll | CutStyle::KeepAll => false,
            };
            if whole {
                apply(&mut self.media, change);
                fate.kept += 1;
                fate.reordered += u64::from(fate.lost > 0);
            } else if torn {
                self.tear(dice, style, change, &mut fate);
            } else {
                fate.lost += 1;
                fate.bytes_lost += size_of_change(change);
            }
        }
        if fate.bytes_lost > 0 && self.media.len() < full_size && dice.chance(0.2) {
            // The new size reached the media and the data did not: the tail reads as zeros.
            self.media.resize(full_size, 0);
        }
        self.live.clone_from(&self.media);
        self.rotten.retain(|position| *position < self.media.len() as u64);
        fate.report(total, style, trace)
    }

    /// Only some sectors of a write arrive: the first ones, or any.
    fn tear(&mut self, dice: &mut Dice, style: CutStyle, change: &Change, fate: &mut Fate) {
        let Change::Write { offset, bytes } = change else {
            fate.lost += 1;
            return;
        };
        let sectors = sectors_of(*offset, bytes.len() as u64);
        let first_lost = dice.index(sectors.len() + 1);
        let (mut kept, mut lost) = (0, 0);
        for (index, sector) in sectors.into_iter().enumerate() {
            let arrives = match style {
                CutStyle::Scatter => dice.chance(0.5),
                _ => index < first_lost,
            };
            let range = (sector.start - offset) as usize..(sector.end - offset) as usize;
            if arrives {
                kept += 1;
                let piece = bytes.slice(range);
                apply(&mut self.media, &Change::Write { offset: sector.start, bytes: piece });
            } else {
                lost += 1;
                fate.bytes_lost += range.len() as u64;
            }
        }
        match (kept, lost) {
            (_, 0) => fate.kept += 1,
            (0, _) => fate.lost += 1,
            _ => fate.torn += 1,
        }
    }

    fn push(&mut self, change: Change) {
        self.pending.push_back(change);
        self.changes += 1;
    }

    /// Invariant: `pending` holds the last `pending.len()` of `changes` changes.
    fn take_pending(&mut self, point: u64) -> Vec<Change> {
        let first = self.changes - self.pending.len() as u64;
        let count = point.saturating_sub(first).min(self.pending.len() as u64) as usize;
        self.pending.drain(..count).collect()
    }
}

/// What became of the unsynced changes of one file.
#[derive(Debug, Default)]
struct Fate {
    kept: u64,
    lost: u64,
    torn: u64,
    reordered: u64,
    bytes_lost: u64,
}

impl Fate {
    fn report(&self, total: usize, style: CutStyle, trace: &Trace) -> Option<String> {
        for (effect, amount) in [
            (Effect::BytesDiscarded, self.bytes_lost),
            (Effect::WriteTorn, self.torn),
            (Effect::WriteReordered, self.reordered),
        ] {
            if amount > 0 {
                trace.effect(effect, amount);
            }
        }
        let Self { kept, lost, torn, bytes_lost, .. } = self;
        (total > 0).then(|| {
            format!("{style:?}: kept {kept}, lost {lost}, torn {torn}, {bytes_lost} bytes gone")
        })
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes: written } => {
            let (start, end) = (*offset as usize, *offset as usize + written.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(written);
        }
        Change::Resize(size) => bytes.resize(*size as usize, 0),
    }
}

fn size_of_change(change: &Change) -> u64 {
    match change {
        Change::Write { bytes, .. } => bytes.len() as u64,
        Change::Resize(_) => 0,
    }
}

/// The pieces of a byte range, cut at the sector boundaries of the file.
fn sectors_of(offset: u64, length: u64) -> Vec<Range<u64>> {
    let end = offset + length;
    let mut pieces = Vec::new();
    let mut start = offset;
    while start < end {
        let next = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        pieces.push(start..next);
        start = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(file: &mut FileContents, seed: u64, style: CutStyle) -> Trace {
        let trace = Trace::default();
        file.lose_power(&mut Dice::new(seed, "cut"), style, &trace);
        trace
    }

    #[test]
    fn unsynced_bytes_are_lost_and_synced_bytes_stay() {
        let mut file = FileContents::default();
        file.write(0, Bytes::from_static(b"durable"));
        file.sync_through(file.sync_point());
        file.write(7, Bytes::from_static(b" and not"));
        assert_eq!(file.read(0, 100).0, "durable and not");
        let trace = (0..9).map(|seed| cut(&mut file.clone(), seed, CutStyle::LoseAll)).next();
        assert_eq!(trace.unwrap().effect_count(Effect::BytesDiscarded), 8);
        cut(&mut file, 2, CutStyle::LoseAll);
        assert!(file.read(0, 7).0 == "durable" && !file.live().ends_with(b"not"));
    }

    #[test]
    fn a_sync_covers_only_what_was_written_before_it_began() {
        let mut file = FileContents::default();
        file.write(0, Bytes::from_static(b"early"));
        let point = file.sync_point();
        file.write(5, Bytes::from_static(b"late"));
        file.sync_through(point);
        assert_eq!(file.media(), b"early");
        file.sync_through(file.sync_point());
        assert_eq!(file.media(), b"earlylate");
    }

    #[test]
    fn a_failed_sync_leaves_the_pages_clean_and_the_media_without_them() {
        let mut file = FileContents::default();
        file.write(0, Bytes::from_static(b"lost"));
        assert_eq!(file.forget_pending(file.sync_point()), 4);
        file.sync_through(file.sync_point());
        assert_eq!((file.live(), file.media()), (&b"lost"[..], &b""[..]));
    }

    #[test]
    fn a_torn_write_is_torn_between_sectors() {
        let torn = (0..64).filter(|seed| {
            let mut file = FileContents::default();
            file.write(100, Bytes::from(vec![7; 2000]));
            let trace = cut(&mut file, *seed, CutStyle::Scatter);
            let changes = file.live().windows(2).enumerate();
            let mut edges =
                changes.filter(|(at, pair)| pair[0] != pair[1] && *at != 99).map(|(at, _)| at + 1);
            assert!(edges.all(|edge| edge % SECTOR_BYTES as usize == 0));
            trace.effect_count(Effect::WriteTorn) > 0
        });
        assert!(torn.count() > 5);
    }

    #[test]
    fn a_flipped_bit_is_read_until_it_is_overwritten() {
        let mut file = FileContents::default();
        file.write(0, Bytes::from_static(b"aaaa"));
        file.sync_through(file.sync_point());
        file.flip_bit(2, 1);
        assert_eq!(file.read(0, 4), (Bytes::from_static(b"aaca"), 1));
        file.write(2, Bytes::from_static(b"x"));
        assert_eq!(file.read(0, 4).1, 0);
    }
}
