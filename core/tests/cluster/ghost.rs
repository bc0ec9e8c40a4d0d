//! What only an observer of all brokers knows: everything that was ever committed.

use crate::disk::{Entry, Log};
use std::collections::BTreeMap;

struct Committed {
    base: u64,
    end: u64,
    epoch: u32,
    identity: u32,
    /// The epoch of the leader that first said so.
    committed_in: u32,
}

/// The history of committed batches. It only grows (R10).
#[derive(Default)]
pub struct Ghost {
    committed: Vec<Committed>,
    /// Every batch that was ever appended, by offset and epoch.
    appended: BTreeMap<(u64, u32), (u32, u64)>,
    /// The next sequence number of every idempotent producer.
    sequences: BTreeMap<u64, i32>,
    pub checks_sequences: bool,
    /// Below it records are deleted. What a replica has there cannot be compared by its leader,
    /// which has nothing there, and goes when the replica learns of the deletion.
    pub deleted: u64,
    /// Below it an administrator was told that records are deleted: they never come back.
    pub told_deleted: u64,
}

fn epoch_of(entry: &Entry) -> u32 {
    entry.header.leader_epoch.expect("every batch in a log has one").0
}

impl Ghost {
    pub fn new(checks_sequences: bool) -> Self {
        Self { checks_sequences, ..Self::default() }
    }

    pub fn end(&self) -> u64 {
        self.committed.last().map_or(0, |batch| batch.end)
    }

    /// R18: in one epoch one broker appends, so two batches never share offset and epoch.
    pub fn appended(&mut self, base: u64, epoch: u32, identity: u32, end: u64) {
        let first = *self.appended.entry((base, epoch)).or_insert((identity, end));
        assert_eq!(first, (identity, end), "R18: two batches at offset {base} in epoch {epoch}");
    }

    /// The leader of an epoch says that everything below `to` is committed.
    pub fn commit(&mut self, log: &Log, to: u64, committed_in: u32) {
        for entry in &log.entries[log.index_at(self.end())..] {
            if entry.end() > to {
                break;
            }
            assert_eq!(entry.base(), self.end(), "committed batches follow each other");
            if self.checks_sequences {
                self.check_sequence(entry);
            }
            let (base, end) = (entry.base(), entry.end());
            let (epoch, identity) = (epoch_of(entry), entry.identity());
            self.committed.push(Committed { base, end, epoch, identity, committed_in });
        }
        assert!(self.end() >= to, "a high watermark is a batch boundary below the log's end");
    }

    /// I1, I2, I4: every batch of an idempotent producer is committed once and in order.
    fn check_sequence(&mut self, entry: &Entry) {
        let Some(producer) = entry.header.producer else { return };
        let next = self.sequences.entry(producer.id.0).or_insert(0);
        let found = producer.base_sequence.0;
        assert_eq!(found, *next, "I1, I2, I4: producer {} repeats or skips", producer.id);
        *next = producer.last_sequence.plus(1).0;
    }

    /// Compares a log with what is committed, from the `trusted`th batch on, which it moves to the
    /// first that the log has not. Returns the offset up to where they agree.
    pub fn agreement(&self, log: &Log, trusted: &mut usize) -> u64 {
        while let Some(batch) = self.committed.get(*trusted) {
            if batch.base >= log.base && batch.end > self.deleted {
                let Some(entry) = log.entries.get(log.index_at(batch.base)) else { break };
                let found = (entry.base(), entry.identity(), epoch_of(entry));
                if found != (batch.base, batch.identity, batch.epoch) {
                    break;
                }
            }
            *trusted += 1;
        }
        self.committed.get(*trusted).map_or(self.end(), |batch| batch.base)
    }

    /// Up to where records were committed by the leaders up to `epoch`. Who follows one of them and
    /// is not in sync may cut what only a later leader commits.
    pub fn committed_up_to(&self, epoch: u32) -> u64 {
        let later = self.committed.iter().find(|batch| batch.committed_in > epoch);
        later.map_or(self.end(), |batch| batch.base)
    }

    /// How many committed batches lie below an offset.
    pub fn count_below(&self, offset: u64) -> usize {
        self.committed.partition_point(|batch| batch.end <= offset)
    }

    pub fn has(&self, base: u64, identity: u32) -> bool {
        let found = self.committed.binary_search_by_key(&base, |batch| batch.base);
        found.is_ok_and(|index| self.committed[index].identity == identity)
    }

    /// The epoch of the committed record at an offset.
    pub fn epoch_at(&self, offset: u64) -> Option<u32> {
        let index = self.committed.partition_point(|batch| batch.end <= offset);
        Some(self.committed.get(index)?.epoch)
    }
}
