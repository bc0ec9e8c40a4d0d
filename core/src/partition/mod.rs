//! One replica of a partition: it leads or follows, and decides what is appended, what may be read,
//! and when a request is answered.
//!
//! # The protocol
//!
//! `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`; the start is
//! inclusive, the others exclusive. A record below the high watermark is *committed*: it is never
//! lost or changed, and consumers may read it.
//!
//! * **Leadership.** The metadata names one leader per *leader epoch* (KIP-101), and every new
//!   leadership has a higher epoch than all before, also when a restarted broker leads again: what
//!   it had not flushed is gone, though followers may have read it. Batches carry the epoch of the
//!   leader that appended them, and in one epoch one broker appends.
//! * **Fetching.** A follower fetches from its log end, and says which epoch its last record has
//!   (KIP-595). If the leader's log parts from it, the leader answers with the largest epoch that
//!   both may share and where it ends (KIP-279), and the follower truncates to the smaller of the
//!   two ends. An answer to an older epoch or another log end is dropped (KAFKA-18991).
//! * **Flushing.** Leader and followers flush in parallel. A follower tells its flushed offset with
//!   every fetch, and between two of them once its log was found to agree in this epoch.
//! * **The high watermark** is the lowest end among the replicas of the *maximal ISR*: the
//!   committed in-sync replicas and those of a proposal whose answer is not known (KIP-497). What
//!   counts is what a replica has flushed (`durability=fsynced`) or received
//!   (`durability=replicated`). It waits for a replica that keeps up and may join (KAFKA-15021),
//!   and stands still while fewer than `min.insync.replicas` are in sync (KIP-966). A new leader
//!   starts from what it knew as a follower; until its high watermark has reached the beginning of
//!   its own epoch it does not tell the latest offset (KIP-207).
//! * **The ISR.** A follower joins when it has everything below the high watermark *and* below the
//!   beginning of the leadership (KAFKA-7128), under a registration that the metadata knows
//!   (KIP-903). It leaves when it has not had all that the leader had for
//!   `replica.lag.time.max.ms` of monotonic time. Changes are proposals by compare-and-set on the
//!   *partition epoch*; one is under way at a time, and one without an answer is repeated as it
//!   was, with the same registrations. When one of them is refused while another may yet be
//!   accepted, the leader proposes its present ISR, which outdates them all, and counts their
//!   members until the metadata says what became of them.
//! * **Producing.** `acks=all` is refused below `min.insync.replicas`, and answered when the high
//!   watermark has passed the record; `acks=1` when the leader has flushed it.
//! * **Standing.** A leader that has not heard of the controller for a session, nor within that time
//!   of every other member of the maximal ISR, may have been replaced. It refuses to append and to
//!   tell readers that there is nothing more: the next leader's log may have what this one lacks.
//!   That a sequence number is out of order is said only when every other member of the maximal ISR
//!   has fetched from this leader since the request came, so that none of them leads. So is where the
//!   log starts after a deletion: the next leader may have deleted more.
//! * **Beginning.** Of a producer that nothing is known of any sequence number is accepted
//!   (KAFKA-7190), but none behind a batch of it that this broker has just refused for now (KAFKA-14359).
//! * **Starting over.** A follower whose log ends below its leader's log start goes on from there. With
//!   the log start it is told what its leader knows of the producers whose batches are below, and so
//!   knows as much as if it had had them: no replica of a partition forgets what was acknowledged.
//! * **Deleting** is answered when the log start is durable on the maximal ISR, and not below
//!   `min.insync.replicas`: no clean election brings a record back that was said to be deleted.
//!
//! With one replica the high watermark is the flushed offset.

mod compaction;
mod deletion;
mod error;
mod fetch;
mod follower;
mod isr;
mod journal;
mod leader;
mod messages;
mod offsets;
mod parked;
mod produce;
mod read_replica;
mod replica;
mod role;
mod side_state;
mod standing;
mod tail;

#[cfg(test)]
mod tests;

pub use compaction::CompactionBounds;
pub use deletion::FUTURE_TIMESTAMP_TOLERANCE_MS;
pub use error::PartitionError;
pub use fetch::ReadPosition;
pub use isr::{IsrOutcome, IsrProposal};
pub use messages::{
    Acks, Effect, Effects, Input, OffsetSpec, PLENTY, Readable, ReplicaReadable, Response,
    SegmentSummary,
};
pub use produce::COORDINATOR_BATCH_MAX_BYTES;
pub use replica::{ReplicaBatches, ReplicaFetchError, ReplicaPosition};
pub use role::Assignment;
pub use side_state::{ReplayError, SideState};

use crate::{
    config::TopicConfig,
    epochs::EpochCache,
    mutant::Mutant,
    producers::{ProducerDescription, ProducerStates, RefusedSequences},
    record::BatchHeader,
    sometimes,
    time::{Instant, Now},
    types::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, RequestId, WriteId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;
use deletion::ParkedDeletion;
use journal::Journal;
use offsets::Lookup;
use parked::ParkedProduces;
use role::{Following, Role};
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
    /// The leader epochs of its batches.
    pub epochs: EpochCache,
    /// Up to where its records were known to be committed, exclusive. At most its end.
    pub high_watermark: Offset,
    /// The idempotent producers as of the first batch of `tail`, or of the log's end.
    pub producers: ProducerStates,
    /// The headers of the newest batches, up to the log's end: what may yet be cut.
    pub tail: Vec<BatchHeader>,
}

/// What a replica needs to know of its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// The broker that holds this replica.
    pub broker: BrokerId,
    /// `replica.lag.time.max.ms`: a follower that has not caught up for that long leaves the ISR.
    pub lag_max: Duration,
}

impl Recovered {
    /// Whether the log can be continued in this epoch. Every leadership is granted an epoch of its
    /// own, in ascending order, so a log with a newer one is damaged: a batch's epoch lies outside
    /// its CRC. Such a partition must stay offline.
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
    options: ReplicaOptions,
    config: TopicConfig,
    role: Role,
    leader_epoch: LeaderEpoch,
    /// `None` before the first assignment.
    partition_epoch: Option<PartitionEpoch>,
    /// Whether the metadata names every replica in sync.
    isr_is_complete: bool,
    /// Whether the metadata names this replica in sync.
    is_in_sync: bool,
    health: LogHealth,
    /// Invariant: `log_start_offset <= requested_log_start <= flushed_offset`.
    log_start_offset: Offset,
    requested_log_start: Offset,
    /// Never goes back, except that a follower gives up what its leader never had.
    high_watermark: Offset,
    /// Invariant: `flushed_offset <= written_offset <= log_end_offset`.
    flushed_offset: Offset,
    written_offset: Offset,
    log_end_offset: Offset,
    next_write: WriteId,
    /// The reset that is not known to be durable yet.
    unflushed_reset: Option<WriteId>,
    /// The unsettled end of the log and the producers before and after it. What is settled is
    /// flushed and committed, or so far below the end that its memory is not worth keeping.
    journal: Journal,
    epochs: EpochCache,
    next_producer_expiry: Instant,
    tail: Tail,
    /// Produces of `acks=1`, until their records are flushed.
    awaiting_flush: ParkedProduces,
    /// Produces of `acks=all`, until their records are committed.
    awaiting_high_watermark: ParkedProduces,
    /// Where producers have to begin whose first batches were refused.
    refused: RefusedSequences,
    /// Refusals that only the newest leader may utter.
    awaiting_proof: ParkedProduces,
    /// Bounded, like every set of parked requests, by the requests in flight.
    parked_fetches: BTreeSet<RequestId>,
    /// At most one for each follower and connection.
    parked_replica_fetches: BTreeSet<RequestId>,
    /// By target and request.
    parked_deletions: BTreeMap<(Offset, RequestId), ParkedDeletion>,
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
    /// A replica on a log that was just recovered. It follows nobody until it is assigned a role
    /// with [`Input::Assigned`], for which the log must have passed [`Recovered::check`].
    #[must_use]
    pub fn new(
        now: Now,
        options: ReplicaOptions,
        config: TopicConfig,
        recovered: Recovered,
    ) -> Self {
        let Recovered { log_start_offset, log_end_offset, high_watermark, .. } = recovered;
        let Recovered { mut epochs, producers, tail, .. } = recovered;
        epochs.truncate_from_start(log_start_offset);
        epochs.truncate_from_end(log_end_offset);
        let producers = if Mutant::ProducersNotRecovered.is_planted() {
            ProducerStates::default()
        } else {
            producers
        };
        let settled = tail.first().map_or(log_end_offset, |header| header.base_offset);
        Self {
            next_producer_expiry: next_expiry(now, &config),
            options,
            config,
            role: Role::Follower(Following { leader: None, agreed: false }),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: None,
            isr_is_complete: false,
            is_in_sync: false,
            health: LogHealth::Healthy,
            log_start_offset,
            requested_log_start: log_start_offset,
            high_watermark: high_watermark.clamp(log_start_offset, log_end_offset),
            flushed_offset: log_end_offset,
            written_offset: log_end_offset,
            log_end_offset,
            next_write: WriteId(1),
            unflushed_reset: None,
            journal: Journal::recovered(now.monotonic, settled, producers, tail),
            epochs,
            tail: Tail::new(),
            awaiting_flush: ParkedProduces::default(),
            awaiting_high_watermark: ParkedProduces::default(),
            awaiting_proof: ParkedProduces::default(),
            refused: RefusedSequences::default(),
            parked_fetches: BTreeSet::new(),
            parked_replica_fetches: BTreeSet::new(),
            parked_deletions: BTreeMap::new(),
            lookups: BTreeMap::new(),
        }
    }

    /// Takes one input and appends what must be done about it to `effects`.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        match input {
            Input::Assigned(assignment) => self.on_assigned(now, assignment, effects),
            Input::Produce { request, acks, batch, deadline } => {
                self.on_produce(now, request, (acks, deadline), batch, effects);
            }
            Input::ProduceRefused(batch) => self.refused.refused(now.monotonic, &batch),
            Input::AppendAsCoordinator { request, leader_epoch, batch } => {
                self.on_append_as_coordinator(now, request, leader_epoch, batch, effects);
            }
            Input::Fetch { request, position, park } => {
                self.on_fetch(now, request, position, park, effects);
            }
            Input::ReplicaFetch { request, follower, broker_epoch, position, heard, park } => {
                let (follower, position) = ((follower, broker_epoch), (position, heard));
                self.on_replica_fetch(now, request, follower, position, park, effects);
            }
            Input::ReplicaFlushed { follower, broker_epoch, leader_epoch, flushed } => {
                let follower = (follower, broker_epoch);
                self.on_replica_flushed(now, follower, leader_epoch, flushed, effects);
            }
            Input::IsrAnswered { leader_epoch, partition_epoch, outcome } => {
                self.on_isr_answered(now, leader_epoch, partition_epoch, outcome, effects);
            }
            Input::Fetched { leader_epoch, fetch_offset, outcome } => {
                self.on_fetched(now, leader_epoch, fetch_offset, outcome, effects);
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
                self.on_delete_records(now, request, before, effects);
            }
            Input::DeletionOverdue { request } => self.on_deletion_overdue(request, effects),
            Input::LogStartPersisted { to } => self.on_log_start_persisted(to, effects),
            Input::LogStartNotPersisted { to } => self.on_log_start_not_persisted(to, effects),
            Input::DescribeProducers { request } => self.on_describe_producers(request, effects),
            Input::Written { through } => self.on_written(now, through, effects),
            Input::Flushed { through } => self.on_flushed(now, through, effects),
            Input::LogFailed { readable } => self.on_log_failed(readable, effects),
            Input::ConfigChanged(config) => self.on_config_changed(now, config),
            Input::Segments { closed, active, total_bytes } => {
                self.on_segments(now, &closed, active, total_bytes, effects);
            }
            Input::OutOfTouch { resumed, patience, vouches_for } => {
                self.on_out_of_touch(now, patience, (vouches_for, resumed), effects);
            }
            Input::InTouch => self.on_in_touch(),
            Input::Tick => self.on_tick(now, effects),
        }
    }

    /// When to step with [`Input::Tick`] if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let has_producers = !self.journal.producers().is_empty();
        let expiry = has_producers.then_some(self.next_producer_expiry);
        let parked = [&self.awaiting_flush, &self.awaiting_high_watermark, &self.awaiting_proof];
        let parked = parked.map(ParkedProduces::next_deadline);
        parked.into_iter().chain([expiry, self.isr_deadline()]).flatten().min()
    }

    /// The effective configuration.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// The newest leader epoch that this broker knows.
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
        self.high_watermark
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

    /// What the machine knows of its broker's lease: `Some(None)` while it takes it to hold, and else up to
    /// when, inclusive, nothing vouches for it; `None` while it does not lead.
    #[must_use]
    pub fn doubt(&self) -> Option<Option<Instant>> {
        let Role::Leader(leading) = &self.role else { return None };
        Some(leading.out_of_touch.map(standing::Doubt::resumed))
    }

    /// Whether this broker leads in this epoch and, as far as can be known by `now`, nobody in a newer
    /// one.
    #[must_use]
    pub fn stands(&self, now: Instant, leader_epoch: LeaderEpoch) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        self.leader_epoch == leader_epoch && leading.stands(now)
    }

    /// The committed in-sync replicas as this leader knows them; `None` while it does not lead.
    #[must_use]
    pub fn isr(&self) -> Option<Vec<BrokerId>> {
        match &self.role {
            Role::Leader(leading) => Some(leading.isr.committed.iter().copied().collect()),
            Role::Follower(_) => None,
        }
    }

    /// The version of the registration by which this replica goes; `None` before it heard of one.
    #[must_use]
    pub const fn partition_epoch(&self) -> Option<PartitionEpoch> {
        self.partition_epoch
    }

    /// Whether the metadata names this replica in sync.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        self.is_in_sync
    }

    /// What a checkpoint stores: the state as of the settled offset, which is at most
    /// [`Partition::flushed_offset`].
    #[must_use]
    pub fn side_state(&self) -> SideState {
        let early = Mutant::ProducerStateBeforeAppend.is_planted();
        let producers = if early { self.journal.producers() } else { self.journal.settled() };
        let offset = self.journal.settled_offset().min(self.flushed_offset);
        let mut epochs = self.epochs.clone();
        // Of an epoch that begins there nothing is settled.
        epochs.truncate_from_end(offset);
        if Mutant::CheckpointForgetsEpochs.is_planted() {
            epochs.truncate_from_start(epochs.start_of_epoch_at(offset));
        }
        // Beyond what is flushed a power cut may bring back what a truncation had cut.
        let high_watermark = self.high_watermark.min(self.flushed_offset);
        SideState { offset, high_watermark, epochs, producers: producers.clone() }
    }

    /// What is flushed and committed can no longer be cut.
    fn settle(&mut self, now: Now) {
        self.journal.settle(now.monotonic, self.high_watermark.min(self.flushed_offset));
    }

    fn take_any_produce(&mut self) -> Option<RequestId> {
        let parked =
            [&mut self.awaiting_flush, &mut self.awaiting_high_watermark, &mut self.awaiting_proof];
        parked.into_iter().find_map(ParkedProduces::take_any)
    }

    fn on_cancel(&mut self, request: RequestId) {
        self.awaiting_flush.cancel(request);
        self.awaiting_high_watermark.cancel(request);
        self.awaiting_proof.cancel(request);
        self.parked_fetches.remove(&request);
        self.parked_replica_fetches.remove(&request);
        self.parked_deletions.retain(|(_, parked), _| *parked != request);
        self.lookups.remove(&request);
    }

    fn on_describe_producers(&mut self, request: RequestId, effects: &mut Effects) {
        let producers = self.journal.producers().iter().map(|(id, state)| {
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
        sometimes!(LogFailsUnderProduces, self.awaiting_high_watermark.newest().is_some());
        while let Some(request) = self.take_any_produce() {
            let response = Response::Error(PartitionError::StorageFailed);
            effects.push(Effect::respond(request, response));
        }
        self.fail_deletions(&PartitionError::StorageFailed, effects);
        if self.health == LogHealth::Unreadable {
            self.fail_lookups(effects);
        }
        self.wake_fetches(effects);
        self.wake_replica_fetches(effects);
    }

    fn on_config_changed(&mut self, now: Now, config: TopicConfig) {
        self.config = config;
        self.next_producer_expiry = self.next_producer_expiry.min(next_expiry(now, &self.config));
    }

    fn on_tick(&mut self, now: Now, effects: &mut Effects) {
        self.expire_produces(now, effects);
        self.check_isr(now, effects);
        if now.monotonic >= self.next_producer_expiry {
            self.journal.expire(now.monotonic, self.config.producer_id_expiration);
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
