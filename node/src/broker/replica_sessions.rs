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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// A partition of a session.
pub type Key = (TopicId, PartitionIndex);

/// One session.
pub type ReplicaSession = highwater_core::replica_session::ReplicaSession<Key, Parked>;

/// The sessions of the followers of this broker.
pub struct ReplicaSessions {
    sessions: highwater_core::replica_session::ReplicaSessions<Key, Parked>,
    /// The bell of each follower's newest session, whether a fetch of it is served or not, and before
    /// the first one.
    bells: BTreeMap<BrokerId, Arc<Bell>>,
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
        let bell = session.attached.bell.clone();
        let before = self.bells.insert(follower.0, bell.clone());
        // It may have overtaken the fetch that begins this session.
        if before.is_some_and(|before| !Arc::ptr_eq(&before, &bell) && before.take().hurry) {
            bell.hurry();
        }
        Ok(session)
    }

    /// The fetch is answered.
    pub fn end(&mut self, follower: BrokerId, session: ReplicaSession) {
        self.sessions.end(follower, session);
    }

    /// The follower's fetch under way is to be answered at once; its next one if none is.
    pub fn hurry(&mut self, follower: BrokerId) {
        self.bells.entry(follower).or_default().hurry();
    }

    /// Forgets sessions that are not used any more.
    pub fn expire(&mut self, now: Instant) {
        self.sessions.expire(now);
        self.bells.retain(|_, bell| Arc::strong_count(bell) > 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOWER: (BrokerId, BrokerEpoch) = (BrokerId(2), BrokerEpoch(20));

    fn begin(sessions: &mut ReplicaSessions) -> ReplicaSession {
        let fetch = SessionFetch { session: None, named: Vec::new(), forgotten: Vec::new() };
        sessions.begin(Instant(0), FOLLOWER, fetch).expect("a fetch that begins a session")
    }

    #[test]
    fn a_hurry_that_overtakes_the_fetch_that_begins_a_session_counts_for_it() {
        let mut sessions = ReplicaSessions::new(BrokerEpoch(10));
        sessions.hurry(FOLLOWER.0);
        let first = begin(&mut sessions);
        assert!(first.attached.bell.take().hurry, "before the first session");
        sessions.end(FOLLOWER.0, first);
        sessions.hurry(FOLLOWER.0);
        let second = begin(&mut sessions);
        assert!(second.attached.bell.take().hurry, "between two sessions");
        sessions.end(FOLLOWER.0, second);
        assert!(!begin(&mut sessions).attached.bell.take().hurry, "and once only");
    }
}
