//! What this leader keeps of its followers' sessions: the requests that are parked on partitions at
//! rest, and the bell by which those make themselves heard.

use super::{PartitionDriver, TopicPartition};
use highwater_core::{
    replica_session::{SessionFetch, SessionLost},
    time::Instant,
    types::{BrokerEpoch, BrokerId, PartitionIndex, RequestId, TopicId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::Notify;

/// A partition of a session.
pub type Key = (TopicId, PartitionIndex);

/// One session.
pub type ReplicaSession = highwater_core::replica_session::ReplicaSession<Key, Parked>;

/// The sessions of the followers of this broker.
pub struct ReplicaSessions {
    sessions: highwater_core::replica_session::ReplicaSessions<Key, Parked>,
    /// The bell of each follower's newest session, whether a fetch of it is served or not.
    bells: BTreeMap<BrokerId, Weak<Bell>>,
}

impl ReplicaSessions {
    /// No session yet. `leader` is this broker's registration.
    pub fn new(leader: BrokerEpoch) -> Self {
        let sessions = highwater_core::replica_session::ReplicaSessions::new(leader);
        Self { sessions, bells: BTreeMap::new() }
    }

    /// Takes a fetch into its session, which belongs to the fetch until [`ReplicaSessions::end`].
    ///
    /// # Errors
    /// The session is not known.
    pub fn begin(
        &mut self,
        now: Instant,
        follower: (BrokerId, BrokerEpoch),
        fetch: SessionFetch<Key>,
    ) -> Result<ReplicaSession, SessionLost> {
        let session = self.sessions.begin(now, follower, fetch)?;
        self.bells.insert(follower.0, Arc::downgrade(&session.attached.bell));
        Ok(session)
    }

    /// The fetch is answered.
    pub fn end(&mut self, follower: BrokerId, session: ReplicaSession) {
        self.sessions.end(follower, session);
    }

    /// The follower's fetch under way is to be answered at once; its next one if none is.
    pub fn hurry(&self, follower: BrokerId) {
        if let Some(bell) = self.bells.get(&follower).and_then(Weak::upgrade) {
            bell.hurry();
        }
    }

    /// Forgets sessions that are not used any more.
    pub fn expire(&mut self, now: Instant) {
        self.sessions.expire(now);
        self.bells.retain(|_, bell| bell.strong_count() > 0);
    }
}

/// How partitions tell a session that they are to be looked at. Partitions ring it under their lock,
/// so it takes no other.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<Rung>,
    notify: Notify,
}

/// Who has rung. Invariant: at most the partitions of the session, and those that it has forgotten
/// since it was last served.
#[derive(Default)]
pub struct Rung {
    /// What may have something to tell.
    pub woken: BTreeSet<Key>,
    /// What has something to tell once the fetch is answered.
    pub mentioned: BTreeSet<Key>,
    /// The follower has more to ask.
    pub hurry: bool,
}

impl Bell {
    /// The partition may have something to tell.
    pub fn wake(&self, partition: &TopicPartition) {
        self.lock().woken.insert(key_of(partition));
        self.notify.notify_one();
    }

    /// The partition has something to tell once the fetch is answered.
    pub fn mention(&self, partition: &TopicPartition) {
        self.lock().mentioned.insert(key_of(partition));
    }

    /// The follower has more to ask.
    pub fn hurry(&self) {
        self.lock().hurry = true;
        self.notify.notify_one();
    }

    /// Who has rung since this was called last.
    pub fn take(&self) -> Rung {
        mem::take(&mut *self.lock())
    }

    /// Completes when a partition may have something to tell.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of a session that are parked on partitions, forgotten when this is dropped.
#[derive(Default)]
pub struct Parked {
    /// Rung by the partitions.
    pub bell: Arc<Bell>,
    requests: BTreeMap<Key, (Arc<PartitionDriver>, RequestId)>,
}

impl Parked {
    /// The request that is parked on this partition, as it is opened now. One of an earlier opening
    /// is forgotten.
    pub fn take(&mut self, key: Key, driver: &Arc<PartitionDriver>) -> Option<RequestId> {
        let (parked_on, request) = self.requests.remove(&key)?;
        if Arc::ptr_eq(&parked_on, driver) {
            return Some(request);
        }
        parked_on.cancel(request);
        None
    }

    /// A request is parked on the partition, where none is.
    pub fn add(&mut self, key: Key, driver: Arc<PartitionDriver>, request: RequestId) {
        self.requests.insert(key, (driver, request));
    }

    /// Forgets the request on this partition.
    pub fn forget(&mut self, key: &Key) {
        if let Some((driver, request)) = self.requests.remove(key) {
            driver.cancel(request);
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        for (driver, request) in self.requests.values() {
            driver.cancel(*request);
        }
    }
}

/// The partition as messages between brokers name it.
pub fn key_of(partition: &TopicPartition) -> Key {
    (partition.topic_id, partition.index)
}
