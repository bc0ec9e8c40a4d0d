//! The end of the log that may still be cut, batch by batch, and the producers before and after
//! it.
//!
//! A follower truncates to where its log agrees with the leader's, and its knowledge of producers
//! must go back with it (KAFKA-12153): the producers are kept as of the settled offset, and the
//! headers from there to the log's end are replayed over them.

use crate::{
    mutant::Mutant,
    producers::ProducerStates,
    record::{BatchHeader, ProducerIdentity},
    sometimes,
    time::Instant,
    types::{Offset, ProducerId, WriteId},
};
use alloc::{collections::VecDeque, vec::Vec};

/// Batches that may be unsettled. Beyond them the oldest are settled though they might yet be cut;
/// what is known of producers after such a cut is what their windows of batches still tell.
const UNSETTLED_MAX: usize = 65_536;

/// What was written before this process began has no write id of its own.
const RECOVERED: WriteId = WriteId(0);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    /// Every batch below it is part of `settled`.
    settled_offset: Offset,
    settled: ProducerStates,
    /// The batches from `settled_offset` to the log's end, oldest first.
    /// Invariant: at most [`UNSETTLED_MAX`], with ascending write ids.
    unsettled: VecDeque<Entry>,
    /// The producers as of the log's end: what the next batch is judged by.
    producers: ProducerStates,
}

#[derive(Clone, Debug)]
struct Entry {
    write: WriteId,
    header: BatchHeader,
}

impl Journal {
    /// The producers as of `settled_offset`, and the batches from there to the log's end, all of
    /// them written before this process began.
    pub(super) fn recovered(
        now: Instant,
        settled_offset: Offset,
        producers: ProducerStates,
        tail: Vec<BatchHeader>,
    ) -> Self {
        let producers = producers.with_ages_from(now);
        let mut journal = Self {
            settled_offset,
            settled: producers.clone(),
            unsettled: VecDeque::new(),
            producers,
        };
        for header in tail {
            journal.append(now, RECOVERED, header);
        }
        journal
    }

    pub(super) fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// The producers as of [`Journal::settled_offset`].
    pub(super) fn settled(&self) -> &ProducerStates {
        &self.settled
    }

    pub(super) fn settled_offset(&self) -> Offset {
        self.settled_offset
    }

    /// Notes a batch at the log's end.
    pub(super) fn append(&mut self, now: Instant, write: WriteId, header: BatchHeader) {
        self.producers.record(now, &header);
        self.unsettled.push_back(Entry { write, header });
        if self.unsettled.len() > UNSETTLED_MAX {
            self.settle_one(now);
        }
    }

    /// The end of the newest batch with a write id up to `through`; `None` when all such batches
    /// are settled or cut.
    pub(super) fn end_of(&self, through: WriteId) -> Option<Offset> {
        let after = self.unsettled.partition_point(|entry| entry.write <= through);
        Some(self.unsettled[after.checked_sub(1)?].header.next_offset())
    }

    /// The base offset of the batch that holds `offset`, if it is unsettled; else `offset`.
    pub(super) fn batch_boundary(&self, offset: Offset) -> Offset {
        let after = self.unsettled.partition_point(|entry| entry.header.base_offset <= offset);
        let holder = after.checked_sub(1).map(|index| &self.unsettled[index].header);
        holder
            .filter(|header| offset < header.next_offset())
            .map_or(offset, |header| header.base_offset)
    }

    /// Whether it is known here which batch an offset lies in.
    pub(super) fn reaches_back_to(&self, offset: Offset) -> bool {
        self.unsettled.front().is_some_and(|entry| entry.header.base_offset <= offset)
    }

    /// Nothing below `to` will be cut any more.
    pub(super) fn settle(&mut self, now: Instant, to: Offset) {
        while self.unsettled.front().is_some_and(|entry| entry.header.next_offset() <= to) {
            self.settle_one(now);
        }
    }

    /// The log ends at `to`, a batch boundary, from now on. Returns whose batches were cut.
    pub(super) fn truncate(&mut self, now: Instant, to: Offset) -> Vec<ProducerIdentity> {
        let kept = self.unsettled.partition_point(|entry| entry.header.base_offset < to);
        let mut going = self.unsettled.range(kept..);
        sometimes!(RecoveredTailCut, going.any(|entry| entry.write == RECOVERED));
        let cut = self.unsettled.drain(kept..).filter_map(|entry| entry.header.producer).collect();
        if Mutant::ProducersNotTruncated.is_planted() {
            return cut;
        }
        if to < self.settled_offset {
            self.settled.truncate(to);
            self.settled_offset = to;
        }
        self.producers = self.settled.clone();
        for entry in &self.unsettled {
            self.producers.record(now, &entry.header);
        }
        cut
    }

    /// The log is empty and goes on at `to`, with the producers as of there.
    pub(super) fn reset(&mut self, to: Offset, producers: ProducerStates) {
        self.settled_offset = to;
        self.settled = producers.clone();
        self.producers = producers;
        self.unsettled.clear();
    }

    /// Forgets a producer.
    pub(super) fn remove(&mut self, producer: ProducerId) {
        self.producers.remove(producer);
        self.settled.remove(producer);
    }

    /// Forgets the producers that were silent for `expiration`.
    pub(super) fn expire(&mut self, now: Instant, expiration: core::time::Duration) {
        self.producers.expire(now, expiration);
        self.settled.expire(now, expiration);
    }

    fn settle_one(&mut self, now: Instant) {
        let Some(entry) = self.unsettled.pop_front() else { return };
        self.settled.record(now, &entry.header);
        self.settled_offset = entry.header.next_offset();
    }
}
