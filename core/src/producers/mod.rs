//! The idempotent producers of one partition: who may append which sequence number (KIP-98,
//! KIP-360).
//!
//! A decision ([`ProducerStates::check`]) and the change it leads to ([`ProducerStates::record`])
//! are separate, so that a refused or failed append never leaves a trace.

mod encoding;
mod refused;
mod state;
#[cfg(test)]
mod tests;

pub use refused::{REFUSED_FOR, REFUSED_MAX, RefusedSequences};
pub use state::{BatchRange, ProducerState, ProducerVerdict, RETAINED_BATCHES, SequenceError};

use crate::{
    record::BatchHeader,
    time::{Instant, Timestamp},
    types::{Offset, ProducerEpoch, ProducerId, Sequence},
};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// How many producers one partition remembers.
pub const MAX_PRODUCERS: usize = 10_000;
/// A producer may make room for another only after it was silent for this long: longer than any
/// common client retries a batch.
pub const MIN_IDLE_BEFORE_EVICTION: Duration = Duration::from_secs(600);

/// The state of every producer that wrote to a partition and has not expired.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProducerStates {
    /// Invariant: at most [`MAX_PRODUCERS`] after every live append.
    producers: BTreeMap<ProducerId, ProducerState>,
}

impl ProducerStates {
    /// Judges a batch and changes nothing. Batches without a producer are always new.
    #[must_use]
    pub fn check(&self, header: &BatchHeader) -> ProducerVerdict {
        let Some(identity) = header.producer else { return ProducerVerdict::New };
        match self.producers.get(&identity.id) {
            // Nothing is known, because nothing was written or all of it expired: any sequence
            // number is accepted (KAFKA-7190).
            None => ProducerVerdict::New,
            Some(state) => state.check(&identity),
        }
    }

    /// Notes a batch that has its place in the log. It is never refused: the log is what happened.
    pub fn record(&mut self, now: Instant, header: &BatchHeader) {
        let Some(identity) = header.producer else { return };
        let range = BatchRange {
            base_sequence: identity.base_sequence,
            last_sequence: identity.last_sequence,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        };
        self.producers
            .entry(identity.id)
            .or_insert_with(|| ProducerState::new(identity.epoch, now))
            .append(now, identity.epoch, range);
    }

    /// Whether a batch of this header can be recorded without exceeding [`MAX_PRODUCERS`].
    #[must_use]
    pub fn has_room_for(&self, header: &BatchHeader) -> bool {
        header.producer.is_none_or(|identity| {
            self.producers.len() < MAX_PRODUCERS || self.producers.contains_key(&identity.id)
        })
    }

    /// The producer that has been silent for longest, if at least `idle` by `now`.
    #[must_use]
    pub fn longest_idle(&self, now: Instant, idle: Duration) -> Option<ProducerId> {
        self.producers
            .iter()
            .map(|(id, state)| (state.last_used(), *id))
            .min()
            .filter(|(last_used, _)| now.since(*last_used) >= idle)
            .map(|(_, id)| id)
    }

    /// Forgets every producer that has been silent for at least `expiration` by `now`.
    pub fn expire(&mut self, now: Instant, expiration: Duration) {
        self.producers.retain(|_, state| now.since(state.last_used()) < expiration);
    }

    /// Forgets the batches at and above `to`, the log's new end, and the producers of which nothing
    /// is left.
    pub fn truncate(&mut self, to: Offset) {
        self.producers.retain(|_, state| state.truncate(to));
    }

    /// What a log that begins at `start` cannot tell by itself: the remembered batches wholly below it.
    /// Whoever replays the log from there over this knows as much as who has had all of it.
    #[must_use]
    pub fn below(&self, start: Offset) -> Self {
        let kept = |(id, state): (&ProducerId, &ProducerState)| Some((*id, state.below(start)?));
        Self { producers: self.producers.iter().filter_map(kept).collect() }
    }

    /// Forgets a producer.
    pub fn remove(&mut self, id: ProducerId) {
        self.producers.remove(&id);
    }

    /// Lets every producer's silence begin now: after a restart, ages are not known.
    #[must_use]
    pub fn with_ages_from(mut self, now: Instant) -> Self {
        self.producers.values_mut().for_each(|state| state.touch(now));
        self
    }

    /// What is known of one producer.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// Every producer, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.producers.iter().map(|(id, state)| (*id, state))
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }
}

/// What DescribeProducers tells of one producer (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    /// The producer.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Its newest sequence number; `None` before its first batch.
    pub last_sequence: Option<Sequence>,
    /// The newest timestamp of its newest batch.
    pub last_timestamp: Option<Timestamp>,
    /// The last offset of its newest batch.
    pub last_offset: Option<Offset>,
}
