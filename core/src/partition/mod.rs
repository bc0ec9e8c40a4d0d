//! One partition, led by this broker: it decides what is appended, what may be read, and when a
//! request is answered.
//!
//! `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`. With one replica
//! the high watermark is the flushed offset: an acknowledged record is on the disk.

mod error;
mod messages;
mod side_state;

pub use error::PartitionError;
pub use messages::{
    Acks, Effect, Effects, Input, OffsetSpec, PLENTY, Readable, Response, SegmentSummary,
};
pub use side_state::{ReplayError, SideState};

use crate::{
    config::TopicConfig,
    epochs::EpochCache,
    producers::ProducerStates,
    time::{Instant, Now},
    types::{LeaderEpoch, Offset},
};

/// What a log knows when it was opened. All of it is flushed.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Where the log starts, inclusive.
    pub log_start_offset: Offset,
    /// Where the log ends, exclusive.
    pub log_end_offset: Offset,
    /// The leader epochs of its batches.
    pub epochs: EpochCache,
    /// The idempotent producers as of its end.
    pub producers: ProducerStates,
}

/// The machine. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Partition {
    config: TopicConfig,
    leader_epoch: LeaderEpoch,
    log_start_offset: Offset,
    flushed_offset: Offset,
    log_end_offset: Offset,
    epochs: EpochCache,
    producers: ProducerStates,
}

impl Partition {
    /// The leader of epoch `leader_epoch`, on a log that was just recovered.
    #[must_use]
    pub fn new(
        now: Now,
        config: TopicConfig,
        leader_epoch: LeaderEpoch,
        recovered: Recovered,
    ) -> Self {
        Self {
            config,
            leader_epoch,
            log_start_offset: recovered.log_start_offset,
            flushed_offset: recovered.log_end_offset,
            log_end_offset: recovered.log_end_offset,
            epochs: recovered.epochs,
            producers: recovered.producers.recovered(now.monotonic),
        }
    }

    /// Takes one input and appends what must be done about it to `effects`.
    pub fn step(&mut self, _now: Now, _input: Input, _effects: &mut Effects) {}

    /// When to step with [`Input::Tick`] if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The effective configuration.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// The epoch of this leadership.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The first offset that can be read, inclusive.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The end of what may be read, exclusive.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.flushed_offset
    }

    /// The end of what `read_committed` may read, exclusive. Without transactions, the high
    /// watermark.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// The end of what survives a power cut, exclusive.
    #[must_use]
    pub fn flushed_offset(&self) -> Offset {
        self.flushed_offset
    }

    /// The end of what was appended, exclusive.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// What a checkpoint stores: the state as of [`Partition::flushed_offset`].
    #[must_use]
    pub fn side_state(&self) -> SideState {
        SideState {
            offset: self.flushed_offset,
            epochs: self.epochs.clone(),
            producers: self.producers.clone(),
        }
    }
}
