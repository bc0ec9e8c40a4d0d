//! Producers that retry until they are answered, and batches that are sent once.

use highwater_core::{
    record::{Batch, BatchBuilder, NewRecord, Origin},
    time::Timestamp,
    types::{ProducerEpoch, ProducerId, Sequence},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;

const IN_FLIGHT: usize = 5;

/// A producer with idempotence on: `acks=all`, at most five batches without an answer.
pub struct Producer {
    pub id: u64,
    next_sequence: i32,
    /// The batches not acknowledged yet, in program order, and whether a later one overtook.
    pub open: VecDeque<(Batch, bool)>,
    pub done: Vec<Batch>,
}

/// Where a batch stands among those of its producer.
#[derive(Clone, Copy)]
pub enum Place {
    /// Everything before it was acknowledged.
    Next,
    /// It was acknowledged, and at most four batches are behind it: brokers must remember it.
    Repeated,
    Other,
}

/// Makes batches that are all different.
#[derive(Default)]
pub struct Mint {
    next_value: u64,
    /// Of a producer that skips sequence numbers, which works only while nobody remembers it.
    next_gap: i32,
}

impl Producer {
    pub fn new(id: u64) -> Self {
        Self { id, next_sequence: 0, open: VecDeque::new(), done: Vec::new() }
    }

    /// What to send now, in this order.
    pub fn batches(&mut self, random: &mut ChaCha8Rng, mint: &mut Mint) -> Vec<Batch> {
        let repeats_itself = random.random_bool(0.1) && !self.done.is_empty();
        if repeats_itself {
            let newest = self.done.len() - 1;
            return vec![self.done[newest - random.random_range(0..=newest.min(6))].clone()];
        }
        if self.open.len() < IN_FLIGHT && (self.open.is_empty() || random.random_bool(0.4)) {
            let count = random.random_range(1..4);
            let (id, sequence) = (ProducerId(self.id), Sequence(self.next_sequence));
            let builder = BatchBuilder::new().producer(id, ProducerEpoch(0), sequence);
            self.next_sequence += count;
            self.open.push_back((mint.fill(builder, count), false));
        }
        let count = random.random_range(1..=self.open.len());
        self.open.iter().take(count).map(|(batch, _)| batch.clone()).collect()
    }

    /// Where a batch stands that is sent now.
    pub fn place_of(&self, batch: &Batch) -> Place {
        let is_it = |other: &Batch| other.header.crc == batch.header.crc;
        let remembered = IN_FLIGHT.saturating_sub(self.open.len());
        if self.open.front().is_some_and(|(first, _)| is_it(first)) {
            Place::Next
        } else if self.done.iter().rev().take(remembered).any(is_it) {
            Place::Repeated
        } else {
            Place::Other
        }
    }

    pub fn acknowledged(&mut self, crc: u32) {
        if let Some(sent) = self.open.iter_mut().find(|(batch, _)| batch.header.crc == crc) {
            sent.1 = true;
        }
        while self.open.front().is_some_and(|(_, acked)| *acked) {
            self.done.extend(self.open.pop_front().map(|(batch, _)| batch));
        }
    }
}

impl Mint {
    /// A batch of nobody.
    pub fn anonymous(&mut self, random: &mut ChaCha8Rng) -> Batch {
        let count = random.random_range(1..4);
        self.fill(BatchBuilder::new(), count)
    }

    /// A batch of a producer that leaves holes.
    pub fn gap(&mut self) -> Batch {
        self.next_gap += 3;
        let sequence = Sequence(self.next_gap);
        self.fill(BatchBuilder::new().producer(ProducerId(77), ProducerEpoch(0), sequence), 1)
    }

    fn fill(&mut self, mut builder: BatchBuilder, count: i32) -> Batch {
        for _ in 0..count {
            self.next_value += 1;
            let value = self.next_value.to_be_bytes();
            let (timestamp, value) = (Timestamp(0), Some(&value[..]));
            builder.push(NewRecord { timestamp, value, ..NewRecord::default() });
        }
        Batch::parse(builder.build(), usize::MAX, Origin::Client).expect("valid")
    }
}
