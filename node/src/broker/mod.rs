//! What a broker serves its clients from: partitions and their drivers, and what goes on beside.

mod backlog;
mod census;
pub mod compaction;
mod controller;
mod driver;
mod fetch_sessions;
mod isr_changes;
pub mod membership;
mod memory;
mod metered_disk;
mod moves;
mod offsets;
mod partitions;
mod peers;
mod producer_ids;
mod refused_produces;
mod replica_reads;
mod replica_sessions;
mod replication;
mod throttles;
mod touch;
pub mod upkeep;

pub use controller::ControllerDriver;
pub use driver::{ParkedRequests, PartitionDriver, answered};
pub use fetch_sessions::{FetchKey, FetchSessions, Position};
pub use isr_changes::IsrChanges;
pub use memory::{MemoryBudget, MemoryPermit, holding};
pub use metered_disk::MeteredDisk;
pub use moves::Moves;
pub use partitions::{Lookup, Partitions, TopicPartition};
pub use peers::Peers;
pub use producer_ids::ProducerIds;
pub use replica_sessions::{Bell, ReplicaSessions};
pub use replication::{Replication, ReplicationOptions};
pub use throttles::Throttles;

use crate::{
    config::BrokerConfig,
    coordinator::Coordinators,
    env::Doors,
    metrics::Metrics,
    quorum::{ProposeError, Quorum, Watch},
    tasks::Tasks,
};
use highwater_core::{
    metadata::{Command, Reply},
    types::{BrokerEpoch, MetadataOffset},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, Semaphore};

/// What every part of the broker may use.
pub struct Shared {
    /// The configuration it was started with.
    pub config: BrokerConfig,
    /// Clock, entropy and disk.
    pub doors: Doors,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Memory for requests in flight.
    pub memory: MemoryBudget,
    /// Memory for records being read into answers.
    pub reads: MemoryBudget,
    /// The metadata log.
    pub quorum: Arc<dyn Quorum>,
    /// The partitions.
    pub partitions: Arc<Partitions>,
    /// This broker's registration; `None` of a controller that is no broker.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Where this broker stands in its cluster.
    pub membership: Membership,
    /// How fast replicas that are out of sync may catch up.
    pub throttles: Arc<Throttles>,
    /// The fetchers of the partitions that this broker follows.
    pub replication: Arc<Replication>,
    /// The coordinators of the groups whose partition this broker leads.
    pub coordinators: Coordinators,
    /// Grants producer ids.
    pub producer_ids: ProducerIds,
    /// The cluster's id, as clients see it.
    pub cluster_id: String,
    /// This broker's configuration file, as the layer below the dynamic configuration.
    pub static_configs: BTreeMap<String, String>,
    /// The position of the image that the partitions are in line with.
    pub(crate) followed: Arc<Watch<()>>,
    /// Set once, when the broker begins to close, and then told to all who wait for it.
    pub(crate) is_closing: AtomicBool,
    pub(crate) close_notice: Notify,
    /// A place for each connection (`max.connections`).
    pub(crate) places: Arc<Semaphore>,
    pub(crate) fetch_sessions: Mutex<FetchSessions>,
    pub(crate) replica_sessions: Mutex<ReplicaSessions>,
}

/// Where a broker stands in its cluster.
#[derive(Default)]
pub struct Membership {
    pub(crate) wants_shutdown: AtomicBool,
    pub(crate) handed_over: Notify,
    pub(crate) fenced: AtomicBool,
    /// The position of the image of which the partitions have been told.
    pub(crate) known: AtomicU64,
    failure: OnceLock<String>,
    failed: Notify,
}

impl Shared {
    /// The broker cannot go on, and says why.
    pub fn fail(&self, reason: String) {
        if self.membership.failure.set(reason).is_ok() {
            self.membership.failed.notify_waiters();
        }
    }

    /// Completes with the reason when the broker cannot go on.
    pub async fn failed(&self) -> String {
        let noticed = self.membership.failed.notified();
        if let Some(reason) = self.membership.failure.get() {
            return reason.clone();
        }
        noticed.await;
        self.membership.failure.get().cloned().unwrap_or_default()
    }

    /// The fetch sessions, for the duration of one lookup.
    pub fn fetch_sessions(&self) -> MutexGuard<'_, FetchSessions> {
        self.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions of followers, for the duration of one lookup.
    pub(crate) fn replica_sessions(&self) -> MutexGuard<'_, ReplicaSessions> {
        self.replica_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker has begun to close.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Tells all who wait for it that the broker closes.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.close_notice.notify_waiters();
    }

    /// Completes when the broker begins to close.
    pub async fn closing(&self) {
        let noticed = self.close_notice.notified();
        if !self.is_closing() {
            noticed.await;
        }
    }

    /// Proposes a command and waits until the partitions are in line with it.
    pub async fn change(&self, command: Command) -> Result<Reply, ProposeError> {
        let (offset, reply) = self.quorum.propose(command).await?;
        self.followed.changed(offset.0 - 1).await;
        Ok(reply)
    }

    /// Makes a change, or only tries it on a copy of the image.
    pub async fn carry_out(
        &self,
        command: Command,
        validate_only: bool,
    ) -> Result<Reply, ProposeError> {
        if !validate_only {
            return self.change(command).await;
        }
        let mut image = (*self.quorum.image()).clone();
        let at = MetadataOffset(image.applied().0 + 1);
        image.apply(at, &command).map_err(ProposeError::Refused)
    }

    /// Lets those go on who wait for the partitions to be in line with the image at `applied`.
    fn followed_to(&self, applied: MetadataOffset) {
        self.followed.advance(applied.0, ());
    }
}
