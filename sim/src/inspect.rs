//! Reads a broker's data directory for the oracles: the logs and checkpoints of its partitions.

use crate::{
    batch::{self, ReadBatch},
    history::{BatchImage, CheckpointImage, LogImage, Partition, Topic},
};
use highwater_core::partition::SideState;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The condition of a checkpoint while no segment file is part of its log.
const EMPTYING: u8 = 2;

/// Where a checkpoint's fixed fields begin: see docs/formats.md.
const CONDITION_AT: usize = 6;
const LOG_START_AT: usize = 7;
const RECOVERY_AT: usize = 15;
const GAPS_AT: usize = 31;
const SIDE_AT: usize = 40;
/// Bytes of a segment entry, and where its end offset and its generation are in it.
const SEGMENT_ENTRY_BYTES: usize = 52;
const ENTRY_END_AT: usize = 8;
const ENTRY_GENERATION_AT: usize = 48;

/// Where a file of the data directory belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A segment of a partition's log, with the offset and the generation that its name states.
    Segment(Partition, Segment),
    /// The checkpoint of a partition's log.
    Checkpoint(Partition),
    /// Anything else.
    Other,
}

/// Which segment of a log a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The offset it begins with.
    pub base: i64,
    /// How often compaction has written it anew; 0 as it was appended.
    pub generation: u32,
}

impl Segment {
    /// Reads `<base>` or `<base>.<generation>`.
    fn named(name: &str) -> Option<Self> {
        let (base, generation) = name.split_once('.').unwrap_or((name, "0"));
        Some(Self { base: base.parse().ok()?, generation: generation.parse().ok()? })
    }
}

/// What a path of the data directory is: `<topics>/<name>/<index>.<topic id>/<file>`.
#[must_use]
pub fn place_of(path: &Path, topics: &[Topic]) -> Place {
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    let (Some(file), Some(dir)) = (names.next(), names.next()) else { return Place::Other };
    let Some((index, id)) = dir.split_once('.') else { return Place::Other };
    let topic = topics.iter().position(|topic| is_hexadecimal(id, &topic.id));
    let (Some(topic), Ok(index)) = (topic, index.parse()) else { return Place::Other };
    let partition = Partition { topic, index };
    if file == "checkpoint" {
        return Place::Checkpoint(partition);
    }
    match file.strip_suffix(".log").and_then(Segment::named) {
        Some(segment) => Place::Segment(partition, segment),
        None => Place::Other,
    }
}

/// Where a replica's log starts, as this checkpoint says; `None` when it cannot be read.
#[must_use]
pub fn log_start(bytes: &[u8]) -> Option<i64> {
    checkpoint(bytes).map(|checkpoint| checkpoint.image.log_start)
}

/// The logs of all known partitions among these files, up to the first bytes that are no batch.
#[must_use]
pub fn images(files: &[(PathBuf, &[u8])], topics: &[Topic]) -> BTreeMap<Partition, LogImage> {
    let mut checkpoints: BTreeMap<Partition, Checkpoint> = BTreeMap::new();
    let mut segments: BTreeMap<Partition, BTreeMap<Segment, &[u8]>> = BTreeMap::new();
    let mut images: BTreeMap<Partition, LogImage> = BTreeMap::new();
    for (path, bytes) in files {
        match place_of(path, topics) {
            Place::Segment(partition, segment) => {
                segments.entry(partition).or_default().insert(segment, bytes);
                images.entry(partition).or_default();
            }
            Place::Checkpoint(partition) => {
                let image = images.entry(partition).or_default();
                if let Some(read) = checkpoint(bytes) {
                    image.checkpoint = Some(read.image.clone());
                    checkpoints.insert(partition, read);
                }
            }
            Place::Other => {}
        }
    }
    for (partition, segments) in segments {
        let checkpoint = checkpoints.remove(&partition).unwrap_or_default();
        let image = images.entry(partition).or_default();
        read_log(&segments, &checkpoint, image);
    }
    images
}

/// Adds the batches of a log's segments to its image.
fn read_log(segments: &BTreeMap<Segment, &[u8]>, checkpoint: &Checkpoint, image: &mut LogImage) {
    if checkpoint.image.is_emptying {
        // Part of a log that starts anew: the files go at any time, and may come back at a power cut.
        return;
    }
    for segment in checkpoint.parts(segments) {
        let next = image.batches.last().map(|batch| batch.last_offset + 1);
        let follows = match next {
            Some(next) if checkpoint.gaps => next <= segment.base,
            Some(next) => next == segment.base,
            None => true,
        };
        let Some(bytes) = segments.get(&segment).filter(|_| follows) else { return };
        let read = read_segment(bytes, segment.base, checkpoint.gaps, image);
        if read < bytes.len() {
            return;
        }
    }
}

/// Adds the batches of a segment to an image; returns how many bytes are batches in their place.
fn read_segment(bytes: &[u8], base: i64, gaps: bool, image: &mut LogImage) -> usize {
    let (mut at, mut next) = (0, base);
    while let Ok((read, size)) = batch::decode(&bytes[at..]) {
        if read.base_offset < next || (read.base_offset > next && !gaps) {
            break;
        }
        image.batches.push(image_of(&read, &bytes[at..at + size]));
        for record in &read.records {
            let key = record.number.and_then(batch::compaction_key);
            let newest = key.zip(record.number);
            image.newest.extend(newest.map(|(key, number)| (key, (record.offset, number))));
        }
        next = read.last_offset + 1;
        at += size;
    }
    at
}

fn image_of(read: &ReadBatch, bytes: &[u8]) -> BatchImage {
    let crc = [bytes[17], bytes[18], bytes[19], bytes[20]];
    BatchImage {
        base_offset: read.base_offset,
        last_offset: read.last_offset,
        leader_epoch: read.leader_epoch,
        crc: u32::from_be_bytes(crc),
        first_number: read.records.first().and_then(|record| record.number),
        producer: read.producer,
    }
}

/// What a checkpoint file says of its log.
#[derive(Default)]
struct Checkpoint {
    image: CheckpointImage,
    /// Whether offsets may be missing.
    gaps: bool,
    /// The closed segments below the recovery offset, each with the offset behind it.
    closed: Vec<(Segment, i64)>,
}

impl Checkpoint {
    /// The segments that are the log, of all those whose files there are. The others are wholly
    /// below the log start, or what a compaction has replaced or not swapped in.
    fn parts(&self, there: &BTreeMap<Segment, &[u8]>) -> Vec<Segment> {
        let mut parts: Vec<_> = self.closed.iter().map(|(of, _)| *of).collect();
        let appended: Vec<Segment> = there.keys().copied().filter(|s| s.generation == 0).collect();
        let from = self.closed.last().map(|(_, end)| *end);
        let start = self.image.log_start;
        let is_below_start =
            |of: &Segment| appended.iter().any(|other| other.base > of.base && other.base <= start);
        let behind = appended.iter().filter(|of| from.is_none_or(|from| of.base >= from));
        parts.extend(behind.filter(|of| !is_below_start(of)));
        parts
    }
}

/// Reads a checkpoint file. `None` when it is not readable.
fn checkpoint(bytes: &[u8]) -> Option<Checkpoint> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if batch::crc32c(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let offset = |at: usize| i64::try_from(u64_at(covered, at)?).ok();
    let side_bytes = u32_at(covered, SIDE_AT)? as usize;
    let side_ends = SIDE_AT + 4 + side_bytes;
    let side = SideState::decode(covered.get(SIDE_AT + 4..side_ends)?).ok()?;
    let producers = side.producers.iter().filter_map(|(id, state)| {
        Some((i64::try_from(id.0).ok()?, state.epoch().0, state.last()?.last_sequence.0))
    });
    let epochs = side.epochs.entries().iter().map(|entry| {
        let epoch = i32::try_from(entry.epoch.0).ok()?;
        Some((epoch, i64::try_from(entry.start_offset.0).ok()?))
    });
    let count = u32_at(covered, side_ends)? as usize;
    let entry = |number: usize| {
        let at = side_ends + 4 + number * SEGMENT_ENTRY_BYTES;
        let generation = u32_at(covered, at + ENTRY_GENERATION_AT)?;
        Some((Segment { base: offset(at)?, generation }, offset(at + ENTRY_END_AT)?))
    };
    Some(Checkpoint {
        image: CheckpointImage {
            log_start: offset(LOG_START_AT)?,
            recovery_point: offset(RECOVERY_AT)?,
            is_emptying: covered.get(CONDITION_AT) == Some(&EMPTYING),
            high_watermark: i64::try_from(side.high_watermark.0).ok()?,
            epochs: epochs.collect::<Option<_>>()?,
            producers: producers.collect(),
        },
        gaps: covered.get(GAPS_AT) == Some(&1),
        closed: (0..count).map(entry).collect::<Option<_>>()?,
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whether a text is an id in lower-case hexadecimal digits.
fn is_hexadecimal(text: &str, id: &[u8; 16]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = text.as_bytes().chunks(2);
    let digits = |byte: u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    text.len() == 2 * id.len() && pairs.zip(id).all(|(pair, byte)| *pair == digits(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Sent, encode};

    fn topics() -> Vec<Topic> {
        let topic =
            |name: &str, byte| Topic { name: name.into(), id: [byte; 16], ..Topic::default() };
        vec![topic("a", 1), topic("b", 2)]
    }

    fn placed(base_offset: i64, numbers: std::ops::Range<u64>) -> Vec<u8> {
        let sent: Vec<_> = numbers.map(|number| Sent { number, timestamp: 5 }).collect();
        let mut bytes = encode(&sent, None).to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    #[test]
    fn paths_name_their_partition() {
        let dir = format!("/data/topics/b/3.{}", "02".repeat(16));
        let partition = Partition { topic: 1, index: 3 };
        let place = |file: &str| place_of(Path::new(&format!("{dir}/{file}")), &topics());
        let segment = |generation| Place::Segment(partition, Segment { base: 42, generation });
        assert_eq!(place("00000000000000000042.log"), segment(0));
        assert_eq!(place("00000000000000000042.3.log"), segment(3));
        assert_eq!(place("00000000000000000042.3.cleaned"), Place::Other);
        assert_eq!(place("checkpoint"), Place::Checkpoint(partition));
        assert_eq!(place("checkpoint.tmp"), Place::Other);
        assert_eq!(place_of(Path::new("/data/metadata/metadata.log"), &topics()), Place::Other);
    }

    #[test]
    fn an_image_ends_at_the_first_bytes_that_are_no_batch() {
        let dir = format!("/data/topics/a/0.{}", "01".repeat(16));
        let file = |base: i64| PathBuf::from(format!("{dir}/{base:020}.log"));
        let (first, second) = (placed(0, 0..3), placed(3, 3..5));
        let torn = [&second[..], &placed(5, 5..9)[..30]].concat();
        let files = [(file(0), &first[..]), (file(3), &torn[..]), (file(9), &second[..])];
        let images = images(&files, &topics());
        let image = &images[&Partition { topic: 0, index: 0 }];
        let bases: Vec<_> = image.batches.iter().map(|batch| batch.base_offset).collect();
        assert_eq!(bases, [0, 3]);
    }

    /// A checkpoint with one closed segment of a generation, which ends at an offset.
    fn checkpoint_of(generation: u32, end: u64) -> Vec<u8> {
        let mut bytes = b"HWCP\x00\x03\x00".to_vec();
        for number in [0, end, 0] {
            bytes.extend(u64::to_be_bytes(number));
        }
        bytes.push(1);
        bytes.extend(end.to_be_bytes());
        let side = SideState::default().encode();
        bytes.extend((side.len() as u32).to_be_bytes());
        bytes.extend(side);
        bytes.extend(1_u32.to_be_bytes());
        let mut entry = [0; SEGMENT_ENTRY_BYTES];
        entry[ENTRY_END_AT..ENTRY_END_AT + 8].copy_from_slice(&end.to_be_bytes());
        entry[ENTRY_GENERATION_AT..].copy_from_slice(&generation.to_be_bytes());
        bytes.extend(entry);
        let crc = batch::crc32c(&bytes);
        bytes.extend(crc.to_be_bytes());
        bytes
    }

    #[test]
    fn the_checkpoint_says_which_generation_of_a_segment_counts() {
        let dir = format!("/data/topics/a/0.{}", "01".repeat(16));
        let file = |name: &str| PathBuf::from(format!("{dir}/{name}"));
        let (old, compacted, active) = (placed(0, 0..3), placed(1, 1..2), placed(5, 5..6));
        let bases = |generation| {
            let checkpoint = checkpoint_of(generation, 5);
            let files = [
                (file("checkpoint"), &checkpoint[..]),
                (file("00000000000000000000.log"), &old[..]),
                (file("00000000000000000000.1.log"), &compacted[..]),
                (file("00000000000000000003.log"), &placed(3, 3..5)[..]),
                (file("00000000000000000005.log"), &active[..]),
            ];
            let images = images(&files, &topics());
            let image = &images[&Partition { topic: 0, index: 0 }];
            image.batches.iter().map(|batch| batch.base_offset).collect::<Vec<_>>()
        };
        assert_eq!(bases(1), [1, 5]);
        assert_eq!(bases(0), [0, 5]);
    }
}
