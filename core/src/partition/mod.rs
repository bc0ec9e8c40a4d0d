//! One partition, led by this broker: it decides what is appended, what may be read, and when a
//! request is answered.
//!
//! `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`. With one replica
//! the high watermark is the flushed offset: an acknowledged record is on the disk.

mod deletion;
mod error;
mod fetch;
mod messages;
mod offsets;
mod parked;
mod produce;
mod replica;
mod side_state;
mod tail;

#[cfg(test)]
mod tests;

pub use deletion::FUTURE_TIMESTAMP_TOLERANCE_MS;
pub use error::PartitionError;
pub use messages::{
    Acks, Effect, Effects, Input, OffsetSpec, PLENTY, Readable, Response, SegmentSummary,
};
pub use replica::{ReplicaBatches, ReplicaFetchError, ReplicaPosition};
pub use side_state::{ReplayError, SideState};

use crate::{
    config::TopicConfig,
    epochs::EpochCache,
    mutant::Mutant,
    producers::{ProducerDescription, ProducerStates},
    time::{Instant, Now},
    types::{LeaderEpoch, Offset, RequestId, WriteId},
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;
use fetch::ReadPosition;
use offsets::Lookup;
use parked::ParkedProduces;
use produce::PendingAppend;
use tail::Tail;

/// How often silent producers are looked for, at most.
const PRODUCER_EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// What a log knows when it was opened. All of it is flushed.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Where the log starts, inclusive.
    pub log_start_offset: Offset,
    /// Where the log ends, exclusive.
    pub log_end_offset: Offset,
    /// The end, exclusive, of what was known to be committed. Between the two.
    pub high_watermark: Offset,
    /// The leader epochs of its batches.
    pub epochs: EpochCache,
    /// The idempotent producers as of its end.
    pub producers: ProducerStates,
}

impl Recovered {
    /// Whether a leader of this epoch can continue the log. Every leadership is granted an epoch
    /// of its own, in ascending order, so a log with a newer one is damaged: a batch's epoch lies
    /// outside its CRC. Such a partition must stay offline.
    pub fn check(&self, leader_epoch: LeaderEpoch) -> Result<(), ReplayError> {
        let newest = self.epochs.entries().last();
        if let Some(newest) = newest.filter(|newest| newest.epoch > leader_epoch) {
            let (found, newest) = (Some(leader_epoch), Some(newest.epoch));
            return Err(ReplayError::EpochRegression { found, newest });
        }
        let begins_at = newest.map_or(self.log_start_offset, |newest| newest.start_offset);
        if begins_at > self.log_end_offset || self.log_start_offset > self.log_end_offset {
            let (expected, found) = (begins_at.max(self.log_start_offset), self.log_end_offset);
            return Err(ReplayError::OffsetGap { expected, found });
        }
        Ok(())
    }
}

/// The machine. See the module's documentation.
///
/// A driver feeds it with [`Partition::step`], performs the effects of each step in order before
/// the next one, and steps it with [`Input::Tick`] when [`Partition::next_deadline`] has come.
#[derive(Clone, Debug)]
pub struct Partition {
    config: TopicConfig,
    leader_epoch: LeaderEpoch,
    health: LogHealth,
    /// Invariant: `log_start_offset <= requested_log_start <= flushed_offset`.
    log_start_offset: Offset,
    requested_log_start: Offset,
    /// Invariant: `flushed_offset <= log_end_offset`; never goes back.
    flushed_offset: Offset,
    log_end_offset: Offset,
    next_write: WriteId,
    /// The appends from `flushed_offset` to `log_end_offset`, oldest first. Their number is
    /// bounded by the memory that the connections admit.
    pending: VecDeque<PendingAppend>,
    epochs: EpochCache,
    /// The producers as of `log_end_offset`: what the next batch is judged by.
    producers: ProducerStates,
    /// The producers as of `flushed_offset`: what a checkpoint may store.
    flushed_producers: ProducerStates,
    next_producer_expiry: Instant,
    tail: Tail,
    parked_produces: ParkedProduces,
    /// Bounded, like every set of parked requests, by the requests in flight.
    parked_fetches: BTreeSet<RequestId>,
    parked_deletions: BTreeSet<(Offset, RequestId)>,
    lookups: BTreeMap<RequestId, Lookup>,
}

/// What the log can still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LogHealth {
    Healthy,
    ReadOnly,
    Unreadable,
}

impl Partition {
    /// The leader of epoch `leader_epoch`, on a log that was just recovered and passed
    /// [`Recovered::check`]; panics otherwise.
    #[must_use]
    pub fn new(
        now: Now,
        config: TopicConfig,
        leader_epoch: LeaderEpoch,
        recovered: Recovered,
    ) -> Self {
        recovered.check(leader_epoch).expect("a log is checked before it is led");
        let Recovered { log_start_offset, log_end_offset, mut epochs, producers, .. } = recovered;
        epochs.truncate_from_start(log_start_offset);
        let is_newest = epochs.assign(leader_epoch, log_end_offset);
        assert!(is_newest, "an epoch that passed the check continues the log");
        let producers = if Mutant::ProducersNotRecovered.is_planted() {
            ProducerStates::default()
        } else {
            producers.with_ages_from(now.monotonic)
        };
        Self {
            next_producer_expiry: next_expiry(now, &config),
            config,
            leader_epoch,
            health: LogHealth::Healthy,
            log_start_offset,
            requested_log_start: log_start_offset,
            flushed_offset: log_end_offset,
            log_end_offset,
            next_write: WriteId(1),
            pending: VecDeque::new(),
            epochs,
            flushed_producers: producers.clone(),
            producers,
            tail: Tail::new(),
            parked_produces: ParkedProduces::default(),
            parked_fetches: BTreeSet::new(),
            parked_deletions: BTreeSet::new(),
            lookups: BTreeMap::new(),
        }
    }

    /// Takes one input and appends what must be done about it to `effects`.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        match input {
            Input::Produce { request, acks, batch, deadline } => {
                self.on_produce(now, request, (acks, deadline), batch, effects);
            }
            Input::Fetch { request, offset, current_leader_epoch, last_fetched_epoch, park } => {
                let position = ReadPosition { offset, current_leader_epoch, last_fetched_epoch };
                self.on_fetch(request, position, park, effects);
            }
            Input::Cancel { request } => self.on_cancel(request),
            Input::ListOffsets { request, spec, current_leader_epoch } => {
                self.on_list_offsets(request, spec, current_leader_epoch, effects);
            }
            Input::Found { request, found } => self.on_found(request, found, effects),
            Input::FindFailed { request } => self.on_find_failed(request, effects),
            Input::EpochEnd { request, epoch, current_leader_epoch } => {
                self.on_epoch_end(request, epoch, current_leader_epoch, effects);
            }
            Input::DeleteRecords { request, before } => {
                self.on_delete_records(request, before, effects);
            }
            Input::LogStartPersisted { to } => self.on_log_start_persisted(to, effects),
            Input::LogStartNotPersisted { to } => self.on_log_start_not_persisted(to, effects),
            Input::DescribeProducers { request } => self.on_describe_producers(request, effects),
            Input::Flushed { through } => self.on_flushed(now, through, effects),
            Input::LogFailed { readable } => self.on_log_failed(readable, effects),
            Input::ConfigChanged(config) => self.on_config_changed(now, config),
            Input::Segments { closed, active, total_bytes } => {
                self.on_segments(now, &closed, active, total_bytes, effects);
            }
            Input::Tick => self.on_tick(now, effects),
        }
    }

    /// When to step with [`Input::Tick`] if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let expiry = (!self.producers.is_empty()).then_some(self.next_producer_expiry);
        [self.parked_produces.next_deadline(), expiry].into_iter().flatten().min()
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

    /// Whether the log still takes appends.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.health == LogHealth::Healthy
    }

    /// What a checkpoint stores: the state as of [`Partition::flushed_offset`].
    #[must_use]
    pub fn side_state(&self) -> SideState {
        let producers = if Mutant::ProducerStateBeforeAppend.is_planted() {
            &self.producers
        } else {
            &self.flushed_producers
        };
        SideState {
            offset: self.flushed_offset,
            high_watermark: self.high_watermark(),
            epochs: self.epochs.clone(),
            producers: producers.clone(),
        }
    }

    fn on_cancel(&mut self, request: RequestId) {
        self.parked_produces.cancel(request);
        self.parked_fetches.remove(&request);
        self.parked_deletions.retain(|(_, parked)| *parked != request);
        self.lookups.remove(&request);
    }

    fn on_describe_producers(&mut self, request: RequestId, effects: &mut Effects) {
        let producers = self.producers.iter().map(|(id, state)| {
            let last = state.last();
            ProducerDescription {
                id,
                epoch: state.epoch(),
                last_sequence: last.map(|last| last.last_sequence),
                last_timestamp: last.map(|last| last.timestamp),
                last_offset: last.map(|last| last.last_offset),
            }
        });
        effects.push(Effect::respond(request, Response::Producers(producers.collect())));
    }

    fn on_log_failed(&mut self, readable: bool, effects: &mut Effects) {
        let health = if readable { LogHealth::ReadOnly } else { LogHealth::Unreadable };
        self.health = self.health.max(health);
        while let Some(request) = self.parked_produces.take_any() {
            let response = Response::Error(PartitionError::StorageFailed);
            effects.push(Effect::respond(request, response));
        }
        self.fail_deletions(effects);
        if self.health == LogHealth::Unreadable {
            self.fail_lookups(effects);
        }
        self.wake_fetches(effects);
    }

    fn on_config_changed(&mut self, now: Now, config: TopicConfig) {
        self.config = config;
        self.next_producer_expiry = self.next_producer_expiry.min(next_expiry(now, &self.config));
    }

    fn on_tick(&mut self, now: Now, effects: &mut Effects) {
        self.expire_produces(now, effects);
        if now.monotonic >= self.next_producer_expiry {
            let expiration = self.config.producer_id_expiration;
            self.producers.expire(now.monotonic, expiration);
            self.flushed_producers.expire(now.monotonic, expiration);
            self.next_producer_expiry = next_expiry(now, &self.config);
        }
    }
}

impl Effect {
    fn respond(request: RequestId, response: Response) -> Self {
        Self::Respond { request, response }
    }
}

fn next_expiry(now: Now, config: &TopicConfig) -> Instant {
    now.monotonic.after(config.producer_id_expiration.min(PRODUCER_EXPIRY_INTERVAL))
}
