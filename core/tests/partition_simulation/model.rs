//! What must be true, derived from the sequence of appends alone.

use bytes::Bytes;
use highwater_core::{
    record::{BatchHeader, PlacedBatch},
    types::WriteId,
};

/// One batch of the log, in the order of offsets. The model never forgets one, deleted or not.
pub struct Entry {
    pub write: WriteId,
    pub header: BatchHeader,
    pub body: Bytes,
    /// The incarnation that appended it.
    pub incarnation: u32,
}

/// What must become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    Duplicate { base_offset: u64 },
    StaleEpoch,
    OutOfOrder,
}

#[derive(Default)]
pub struct Model {
    pub log: Vec<Entry>,
    /// How many entries of `log` are on the disk.
    pub durable: usize,
    /// The log start on the disk.
    pub durable_start: u64,
    /// The log start that the partition was told is on the disk.
    pub visible_start: u64,
    pub incarnation: u32,
}

impl Model {
    pub fn log_end(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.header.next_offset().0)
    }

    pub fn durable_end(&self) -> u64 {
        self.log[..self.durable].last().map_or(0, |entry| entry.header.next_offset().0)
    }

    pub fn append(&mut self, write: WriteId, batch: PlacedBatch) {
        let [_, body] = batch.chunks;
        assert_eq!(batch.header.base_offset.0, self.log_end(), "offsets are dense");
        let incarnation = self.incarnation;
        self.log.push(Entry { write, header: batch.header, body, incarnation });
    }

    /// The entry that holds an offset.
    pub fn entry_at(&self, offset: u64) -> Option<usize> {
        let index = self.log.partition_point(|entry| entry.header.next_offset().0 <= offset);
        (index < self.log.len()).then_some(index)
    }

    /// Whether the log has a batch of this producer.
    pub fn knows(&self, id: u64) -> bool {
        let mut producers = self.log.iter().filter_map(|entry| entry.header.producer);
        producers.any(|producer| producer.id.0 == id)
    }

    /// Kafka's rules for the next batch of a producer, applied to the whole log.
    pub fn verdict(&self, header: &BatchHeader) -> Verdict {
        let Some(producer) = header.producer else { return Verdict::New };
        let of_producer = || {
            self.log.iter().rev().filter_map(|entry| {
                let identity = entry.header.producer?;
                (identity.id == producer.id).then_some((identity, entry.header.base_offset.0))
            })
        };
        let Some((last, _)) = of_producer().next() else { return Verdict::New };
        if producer.epoch < last.epoch {
            return Verdict::StaleEpoch;
        }
        if producer.epoch > last.epoch {
            let is_first = producer.base_sequence.0 == 0;
            return if is_first { Verdict::New } else { Verdict::OutOfOrder };
        }
        let window = of_producer().take_while(|(known, _)| known.epoch == last.epoch).take(5);
        for (known, base_offset) in window {
            let same_range = (known.base_sequence, known.last_sequence)
                == (producer.base_sequence, producer.last_sequence);
            if same_range {
                return Verdict::Duplicate { base_offset };
            }
        }
        let follows = i64::from(producer.base_sequence.0)
            == (i64::from(last.last_sequence.0) + 1) % (1 << 31);
        if follows { Verdict::New } else { Verdict::OutOfOrder }
    }

    /// Bytes from the batch that holds `offset` to the durable end, if the partition must know
    /// them exactly: appended by this incarnation and among the last thousand.
    pub fn exact_bytes_from(&self, offset: u64) -> Option<u64> {
        if offset >= self.durable_end() {
            return Some(0);
        }
        let index = self.entry_at(offset).expect("below the end");
        let is_remembered =
            self.log[index].incarnation == self.incarnation && index + 1000 >= self.log.len();
        is_remembered.then(|| {
            let sizes =
                self.log[index..self.durable].iter().map(|entry| entry.header.size_in_bytes);
            sizes.sum::<usize>() as u64
        })
    }
}
