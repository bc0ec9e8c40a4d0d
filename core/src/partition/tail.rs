//! The newest batches of the log by offset and size, to know how much a reader can have.

use super::PLENTY;
use crate::types::Offset;
use alloc::collections::VecDeque;

/// How many batches are remembered. A reader further back certainly finds plenty.
pub(super) const TAIL_BATCHES: usize = 1024;

/// The end of the log, batch by batch.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Invariant: ascending, at most [`TAIL_BATCHES`]. Where compaction took batches out of the
    /// leader's log there is a gap, and a reader there is told of a batch too much.
    batches: VecDeque<TailBatch>,
    /// Bytes appended since the log was opened.
    total_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct TailBatch {
    base_offset: Offset,
    /// Bytes appended before this batch.
    bytes_before: u64,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new(), total_bytes: 0 }
    }

    pub(super) fn push(&mut self, base_offset: Offset, size_in_bytes: usize) {
        if self.batches.len() == TAIL_BATCHES {
            self.batches.pop_front();
        }
        self.batches.push_back(TailBatch { base_offset, bytes_before: self.total_bytes });
        self.total_bytes += size_in_bytes as u64;
    }

    /// Forgets the batches at and above `to`, the log's new end.
    pub(super) fn truncate(&mut self, to: Offset) {
        let kept = self.batches.partition_point(|batch| batch.base_offset < to);
        if let Some(first_cut) = self.batches.get(kept) {
            self.total_bytes = first_cut.bytes_before;
        }
        self.batches.truncate(kept);
    }

    /// Where the batch begins that holds `offset`; `None` when it lies before the remembered batches.
    pub(super) fn boundary_of(&self, offset: Offset) -> Option<Offset> {
        self.holder_of(offset).map(|batch| batch.base_offset)
    }

    /// Bytes of the batches from the one that holds `from` up to the batch boundary `before`;
    /// [`PLENTY`] when `from` lies before the remembered batches.
    pub(super) fn bytes_between(&self, from: Offset, before: Offset) -> u64 {
        if from >= before {
            return 0;
        }
        let Some(holder) = self.holder_of(from) else { return PLENTY };
        self.bytes_before(before) - holder.bytes_before
    }

    fn holder_of(&self, offset: Offset) -> Option<&TailBatch> {
        let after = self.batches.partition_point(|batch| batch.base_offset <= offset);
        self.batches.get(after.checked_sub(1)?)
    }

    fn bytes_before(&self, boundary: Offset) -> u64 {
        let index = self.batches.partition_point(|batch| batch.base_offset < boundary);
        self.batches.get(index).map_or(self.total_bytes, |batch| batch.bytes_before)
    }
}
