//! Producers that retry, repeat themselves and sometimes break the rules.

use bytes::Bytes;
use highwater_core::{
    record::{Batch, BatchBuilder, NewRecord, Origin},
    time::Timestamp,
    types::{ProducerEpoch, ProducerId, Sequence},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;

/// What a producer may have in flight, and so what a broker must recognise.
const IN_FLIGHT: usize = 5;

/// One batch, known by the unique bytes of its records.
#[derive(Clone)]
pub struct Sent {
    pub batch: Batch,
    pub acked_at: Option<u64>,
}

/// A producer with idempotence on.
pub struct Client {
    pub id: u64,
    pub epoch: i16,
    next_sequence: i32,
    /// The batches not acknowledged, in program order.
    pub open: VecDeque<Sent>,
    /// Every acknowledged batch, in program order.
    pub done: Vec<Sent>,
}

impl Client {
    pub fn new(id: u64, random: &mut ChaCha8Rng) -> Self {
        // Half of them soon wrap around.
        let next_sequence = if random.random_bool(0.5) { i32::MAX - 20 } else { 0 };
        Self { id, epoch: 0, next_sequence, open: VecDeque::new(), done: Vec::new() }
    }

    /// A batch to send now: usually what the rules demand, sometimes anything. While the partition
    /// knows nothing of the producer it accepts any sequence number, so then the order is kept.
    pub fn next_batch(
        &mut self,
        random: &mut ChaCha8Rng,
        wall: Timestamp,
        is_known: bool,
    ) -> Batch {
        if !is_known {
            return match self.open.front() {
                Some(sent) => sent.batch.clone(),
                None => self.fresh(random, wall),
            };
        }
        match random.random_range(0..100) {
            0..60 if self.open.len() < IN_FLIGHT => self.fresh(random, wall),
            0..90 if !self.open.is_empty() => {
                let oldest = random.random_range(0..self.open.len());
                self.open[oldest].batch.clone()
            }
            90..95 if !self.done.is_empty() => {
                let newest = self.done.len() - random.random_range(1..=self.done.len().min(8));
                self.done[newest].batch.clone()
            }
            95..97 => self.rogue(random, wall),
            97 if self.open.is_empty() => {
                self.epoch += 1;
                self.next_sequence = 0;
                self.fresh(random, wall)
            }
            _ => match self.open.front() {
                Some(sent) => sent.batch.clone(),
                None => self.fresh(random, wall),
            },
        }
    }

    /// Notes an acknowledgement of whatever batch has these bytes.
    pub fn acknowledged(&mut self, bytes: &Bytes, offset: u64) {
        let Some(sent) = self.open.iter_mut().find(|sent| sent.batch.bytes == *bytes) else {
            let again = self.done.iter().find(|sent| sent.batch.bytes == *bytes);
            let known = again.is_none_or(|sent| sent.acked_at == Some(offset));
            assert!(known, "a retry gets the offset of the original");
            return;
        };
        assert!(sent.acked_at.is_none_or(|known| known == offset), "one batch, one offset");
        sent.acked_at = Some(offset);
        while self.open.front().is_some_and(|sent| sent.acked_at.is_some()) {
            self.done.extend(self.open.pop_front());
        }
    }

    fn fresh(&mut self, random: &mut ChaCha8Rng, wall: Timestamp) -> Batch {
        let count = random.random_range(1..4);
        let batch = self.build(random, self.epoch, self.next_sequence, count, wall);
        self.next_sequence = Sequence(self.next_sequence).plus(count).0;
        self.open.push_back(Sent { batch: batch.clone(), acked_at: None });
        batch
    }

    /// A batch with a hole before it, or of an epoch that is over. The broker must refuse it, so
    /// nothing is remembered of it.
    fn rogue(&mut self, random: &mut ChaCha8Rng, wall: Timestamp) -> Batch {
        let beyond = Sequence(self.next_sequence).plus(random.random_range(1..10)).0;
        let is_current =
            |sent: &Sent| sent.batch.header.producer.is_some_and(|it| it.epoch.0 == self.epoch);
        let is_over = self.epoch > 0 && self.done.last().is_some_and(is_current);
        let epoch = if is_over { self.epoch - 1 } else { self.epoch };
        self.build(random, epoch, beyond, 1, wall)
    }

    fn build(
        &self,
        random: &mut ChaCha8Rng,
        epoch: i16,
        sequence: i32,
        count: i32,
        wall: Timestamp,
    ) -> Batch {
        let (id, epoch) = (ProducerId(self.id), ProducerEpoch(epoch));
        fill(BatchBuilder::new().producer(id, epoch, Sequence(sequence)), count, random, wall)
    }
}

/// A batch of nobody.
pub fn anonymous(random: &mut ChaCha8Rng, wall: Timestamp) -> Batch {
    let count = random.random_range(1..5);
    fill(BatchBuilder::new(), count, random, wall)
}

fn fill(
    mut builder: BatchBuilder,
    count: i32,
    random: &mut ChaCha8Rng,
    timestamp: Timestamp,
) -> Batch {
    for _ in 0..count {
        let value = random.random::<u128>().to_be_bytes();
        let value = Some(&value[..]);
        builder.push(NewRecord { timestamp, value, ..NewRecord::default() });
    }
    Batch::parse(builder.build(), usize::MAX, Origin::Client).expect("valid")
}
