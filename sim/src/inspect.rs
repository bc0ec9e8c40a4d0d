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

/// Where a file of the data directory belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A segment of a partition's log, with the offset that its name states.
    Segment(Partition, i64),
    /// The checkpoint of a partition's log.
    Checkpoint(Partition),
    /// Anything else.
    Other,
}

/// What a path of the data directory is: `<topics>/<name>/<index>.<topic id>/<file>`.
#[must_use]
pub fn place_of(path: &Path, topics: &[Topic]) -> Place {
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    let (Some(file), Some(dir)) = (names.next(), names.next()) else { return Place::Other };
    let Some((index, id)) = dir.split_once('.') else { return Place::Other };
    let topic = topics.iter().position(|topic| hexadecimal(&topic.id) == id);
    let (Some(topic), Ok(index)) = (topic, index.parse()) else { return Place::Other };
    let partition = Partition { topic, index };
    if file == "checkpoint" {
        return Place::Checkpoint(partition);
    }
    match file.strip_suffix(".log").and_then(|base| base.parse().ok()) {
        Some(base) => Place::Segment(partition, base),
        None => Place::Other,
    }
}

/// The logs of all known partitions among these files, up to the first bytes that are no batch.
#[must_use]
pub fn images(files: &[(PathBuf, &[u8])], topics: &[Topic]) -> BTreeMap<Partition, LogImage> {
    let mut images: BTreeMap<Partition, LogImage> = BTreeMap::new();
    let mut segments: BTreeMap<(Partition, i64), &[u8]> = BTreeMap::new();
    for (path, bytes) in files {
        match place_of(path, topics) {
            Place::Segment(partition, base) => {
                segments.insert((partition, base), bytes);
            }
            Place::Checkpoint(partition) => {
                images.entry(partition).or_default().checkpoint = checkpoint(bytes);
            }
            Place::Other => {}
        }
    }
    let mut ended: Option<Partition> = None;
    let bases: Vec<(Partition, i64)> = segments.keys().copied().collect();
    for ((partition, base), bytes) in segments {
        let image = images.entry(partition).or_default();
        let start = image.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start);
        let removed = |of: &&(Partition, i64)| of.0 == partition && of.1 > base && of.1 <= start;
        let emptied = image.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.is_emptying);
        if emptied || bases.iter().any(|other| removed(&other)) {
            // Wholly below the log start, or part of a log that starts anew: its file goes at any
            // time, and may come back at a power cut.
            continue;
        }
        let next = image.batches.last().map(|batch| batch.last_offset + 1);
        if ended == Some(partition) || next.is_some_and(|next| next != base) {
            ended = Some(partition);
            continue;
        }
        let read = read_segment(bytes, base, image);
        if read < bytes.len() {
            ended = Some(partition);
        }
    }
    images
}

/// Adds the batches of a segment to an image; returns how many bytes are batches in their place.
fn read_segment(bytes: &[u8], base: i64, image: &mut LogImage) -> usize {
    let (mut at, mut next) = (0, base);
    while let Ok((read, size)) = batch::decode(&bytes[at..]) {
        if read.base_offset != next {
            break;
        }
        image.batches.push(image_of(&read, &bytes[at..at + size]));
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

/// The parts of a checkpoint file that oracles judge: magic, version, condition, log start, recovery
/// point, last modification, side state. `None` when it is not readable.
fn checkpoint(bytes: &[u8]) -> Option<CheckpointImage> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if batch::crc32c(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(*covered.get(at..)?.first_chunk()?));
    let length = u32::from_be_bytes(*covered.get(31..)?.first_chunk()?) as usize;
    let side = SideState::decode(covered.get(35..35 + length)?).ok()?;
    let producers = side.producers.iter().filter_map(|(id, state)| {
        Some((i64::try_from(id.0).ok()?, state.epoch().0, state.last()?.last_sequence.0))
    });
    Some(CheckpointImage {
        log_start: i64::try_from(number(7)?).ok()?,
        recovery_point: i64::try_from(number(15)?).ok()?,
        is_emptying: covered.get(6) == Some(&EMPTYING),
        producers: producers.collect(),
    })
}

fn hexadecimal(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Sent, encode};

    fn topics() -> Vec<Topic> {
        let topic = |name: &str, byte| Topic {
            name: name.into(),
            id: [byte; 16],
            retention_millis: None,
            deleted: false,
        };
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
        assert_eq!(place("00000000000000000042.log"), Place::Segment(partition, 42));
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
}
