//! One producer's window of batches and the rules for the next one.

use crate::{
    mutant::Mutant,
    record::ProducerIdentity,
    time::{Instant, Timestamp},
    types::{Offset, ProducerEpoch, Sequence},
};
use alloc::vec::Vec;
use core::fmt;

/// How many of a producer's newest batches are remembered, to recognise a retry: as many as a
/// producer may have in flight.
pub const RETAINED_BATCHES: usize = 5;

/// The place of one batch in its producer's stream and in the log. All bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRange {
    /// Sequence number of its first record.
    pub base_sequence: Sequence,
    /// Sequence number of its last record; below `base_sequence` when it wrapped.
    pub last_sequence: Sequence,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its newest timestamp.
    pub timestamp: Timestamp,
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    epoch: ProducerEpoch,
    /// The newest batches of `epoch`, oldest first.
    /// Invariant: 1 to [`RETAINED_BATCHES`] once a batch was appended.
    window: Vec<BatchRange>,
    /// Not part of the encoding: a monotonic clock means nothing to another process.
    last_used: Instant,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerVerdict {
    /// Append it.
    New,
    /// It is in the log already, there: answer with that and append nothing.
    Duplicate(BatchRange),
    /// Refuse it.
    Refused(SequenceError),
}

/// Why a batch of an idempotent producer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// INVALID_PRODUCER_EPOCH: a newer producer has taken over the id.
    StaleEpoch {
        /// The batch's epoch.
        epoch: ProducerEpoch,
        /// The newest known one.
        current: ProducerEpoch,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER: a batch before it is missing.
    OutOfOrder {
        /// The batch's first sequence number.
        base_sequence: Sequence,
        /// The one that must come next.
        expected: Sequence,
    },
}

impl fmt::Display for SequenceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleEpoch { epoch, current } => {
                write!(formatter, "producer epoch {epoch} is older than the current {current}")
            }
            Self::OutOfOrder { base_sequence, expected } => write!(
                formatter,
                "sequence number {base_sequence} is out of order, {expected} must come next"
            ),
        }
    }
}

impl core::error::Error for SequenceError {}

impl ProducerState {
    pub(super) fn new(epoch: ProducerEpoch, now: Instant) -> Self {
        Self { epoch, window: Vec::new(), last_used: now }
    }

    /// The newest epoch.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The remembered batches of the newest epoch, oldest first.
    #[must_use]
    pub fn batches(&self) -> &[BatchRange] {
        &self.window
    }

    /// The newest batch.
    #[must_use]
    pub fn last(&self) -> Option<&BatchRange> {
        self.batches().last()
    }

    /// When the producer last appended, by this process's monotonic clock.
    #[must_use]
    pub fn last_used(&self) -> Instant {
        self.last_used
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last_used = now;
    }

    pub(super) fn check(&self, batch: &ProducerIdentity) -> ProducerVerdict {
        if batch.epoch < self.epoch {
            if Mutant::StaleProducerEpochAppends.is_planted() {
                return ProducerVerdict::New;
            }
            return ProducerVerdict::Refused(SequenceError::StaleEpoch {
                epoch: batch.epoch,
                current: self.epoch,
            });
        }
        if batch.epoch == self.epoch
            && let Some(original) = self.duplicate_of(batch)
        {
            return ProducerVerdict::Duplicate(original);
        }
        let expected = match self.last() {
            Some(last) if batch.epoch == self.epoch => last.last_sequence.plus(1),
            _ => Sequence(0),
        };
        if batch.base_sequence == expected {
            return ProducerVerdict::New;
        }
        ProducerVerdict::Refused(SequenceError::OutOfOrder {
            base_sequence: batch.base_sequence,
            expected,
        })
    }

    pub(super) fn append(&mut self, now: Instant, epoch: ProducerEpoch, range: BatchRange) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.window.clear();
        }
        if self.window.len() == RETAINED_BATCHES {
            self.window.remove(0);
        }
        self.window.push(range);
        self.last_used = now;
    }

    /// Forgets the batches at and above `to`. Whether any is left.
    pub(super) fn truncate(&mut self, to: Offset) -> bool {
        self.window.retain(|range| range.base_offset < to);
        !self.window.is_empty()
    }

    /// The same with the batches wholly below `start` only; `None` when there are none.
    pub(super) fn below(&self, start: Offset) -> Option<Self> {
        let kept = self.window.iter().filter(|range| range.last_offset < start);
        let window: Vec<BatchRange> = kept.copied().collect();
        (!window.is_empty()).then_some(Self { window, ..*self })
    }

    fn duplicate_of(&self, batch: &ProducerIdentity) -> Option<BatchRange> {
        self.batches()
            .iter()
            .find(|range| {
                range.base_sequence == batch.base_sequence
                    && range.last_sequence == batch.last_sequence
            })
            .copied()
    }
}
