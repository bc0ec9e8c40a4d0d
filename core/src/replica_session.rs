//! Incremental fetch sessions of followers (KIP-227): a follower names its partitions once and
//! afterwards only those whose position has changed; its leader answers those with something to
//! tell.
//!
//! A fetch says the same as one that names every partition of the session: the follower is alive,
//! follows this leader in the epochs that it told, and is where it said last. So a leader may count
//! it for every one of them. It does so at once for those that were named and those that have
//! something to tell, which are *awake*, and for all the others together at intervals, in a *roll
//! call*: the cost of a fetch is that of what moves, and a partition at rest counts as often as if
//! its follower had waited in vain.
//!
//! Both sides must agree on what was told. A session therefore ends with the first fetch whose
//! answer is missing, and with whatever makes its leader forget it: the next fetch names everything.
//! The sessions of consumers ([`crate::fetch_session`]) serve every partition with every fetch,
//! and have neither of these rules.

use crate::{
    mutant::Mutant,
    partition::ReplicaPosition,
    sometimes,
    time::Instant,
    types::{BrokerEpoch, BrokerId, Offset},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{mem, ops::Bound, time::Duration};
use serde::{Deserialize, Serialize};

/// A session that was not used for this long is forgotten: its follower follows no more, or has
/// begun another.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// Identity of a session. No two leaders, nor two lives of one, give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// The registration of the leader's process.
    pub leader: BrokerEpoch,
    /// Counts that process's sessions.
    pub number: u64,
}

/// One fetch of a session behind its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTurn {
    /// The session.
    pub id: SessionId,
    /// One more than that of the session's last fetch; the second fetch of a session is 1.
    pub turn: u64,
}

/// What a fetch says of its session and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFetch<K> {
    /// `None` begins a new session.
    pub session: Option<SessionTurn>,
    /// Partitions that are new to the session, or have moved.
    pub named: Vec<(K, ReplicaPosition)>,
    /// Partitions that are no longer fetched, or not now.
    pub forgotten: Vec<K>,
}

/// A fetch that goes on with a session which its leader does not know, or not like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLost;

/// The session with one leader, as the follower has it.
#[derive(Clone, Debug)]
pub struct FollowerSession<K> {
    /// The next turn; `None` when the next fetch begins a new session.
    next: Option<SessionTurn>,
    is_under_way: bool,
    /// Where every partition is that is to be fetched.
    wanted: BTreeMap<K, ReplicaPosition>,
    /// Those that the leader has to hear of.
    unsaid: BTreeSet<K>,
}

impl<K: Ord + Clone> Default for FollowerSession<K> {
    fn default() -> Self {
        let (wanted, unsaid) = (BTreeMap::new(), BTreeSet::new());
        Self { next: None, is_under_way: false, wanted, unsaid }
    }
}

impl<K: Ord + Clone> FollowerSession<K> {
    /// Takes over where a partition is; `None` when it is not to be fetched.
    pub fn want(&mut self, key: K, position: Option<ReplicaPosition>) {
        let before = match position {
            Some(position) => self.wanted.insert(key.clone(), position),
            None => self.wanted.remove(&key),
        };
        if before != position {
            self.unsaid.insert(key);
        }
    }

    /// What the leader told of the partition has not reached it: it is named again.
    pub fn say_again(&mut self, key: K) {
        self.unsaid.insert(key);
    }

    /// The partitions that are to be fetched.
    pub fn wanted(&self) -> impl Iterator<Item = &K> {
        self.wanted.keys()
    }

    /// Whether nothing is to be fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The next fetch. If the last one has no answer, nobody knows whether its leader has heard what
    /// it told: everything is told again.
    pub fn next_fetch(&mut self) -> SessionFetch<K> {
        if mem::replace(&mut self.is_under_way, true) && !Mutant::LostFetchCountsAsTold.is_planted()
        {
            sometimes!(ReplicaFetchUnanswered, self.next.is_some());
            self.next = None;
        }
        let unsaid = mem::take(&mut self.unsaid);
        let session = self.next;
        if session.is_none() {
            let named = self.wanted.iter().map(|(key, position)| (key.clone(), *position));
            return SessionFetch { session, named: named.collect(), forgotten: Vec::new() };
        }
        let (mut named, mut forgotten) = (Vec::new(), Vec::new());
        for key in unsaid {
            match self.wanted.get(&key) {
                Some(position) => named.push((key, *position)),
                None => forgotten.push(key),
            }
        }
        SessionFetch { session, named, forgotten }
    }

    /// The last fetch was answered. `next` is the turn of the next one.
    pub fn answered(&mut self, next: SessionTurn) {
        self.is_under_way = false;
        self.next = Some(next);
    }

    /// The last fetch was not answered, or the leader knows nothing of its session.
    pub fn lost(&mut self) {
        self.is_under_way = false;
        self.next = None;
    }
}

/// A session as the leader has it. `T` is what a driver keeps with it.
#[derive(Clone, Debug)]
pub struct ReplicaSession<K, T> {
    next: SessionTurn,
    broker_epoch: BrokerEpoch,
    partitions: BTreeMap<K, Followed>,
    /// Partitions whose machine has to be asked: they were named, or may have something to tell.
    awake: BTreeSet<K>,
    /// Partitions of which the follower may not know what it should, until they are looked at.
    untold: BTreeSet<K>,
    /// When every partition was counted last.
    counted: Instant,
    /// Where the last answer began.
    last: Option<K>,
    /// What the driver keeps.
    pub attached: T,
}

/// What a leader remembers of a partition in a session.
#[derive(Clone, Debug)]
struct Followed {
    /// As the follower named it last.
    position: ReplicaPosition,
    /// The high watermark and the log start that it was told since.
    told: Option<(Offset, Offset)>,
}

impl<K: Ord + Clone, T> ReplicaSession<K, T> {
    /// The turn of the next fetch.
    #[must_use]
    pub fn next_turn(&self) -> SessionTurn {
        self.next
    }

    /// Wakes every partition if the last roll call is `interval` ago. To be called with every fetch,
    /// and with nothing else: it proves where the follower is.
    pub fn call_roll(&mut self, now: Instant, interval: Duration) {
        if now >= self.next_roll_call(interval) && !Mutant::RestCountsForNothing.is_planted() {
            self.counted = now;
            self.awake.extend(self.partitions.keys().cloned());
        }
    }

    /// When the next roll call is due: a fetch must not wait for longer.
    #[must_use]
    pub fn next_roll_call(&self, interval: Duration) -> Instant {
        self.counted.after(interval)
    }

    /// A partition may have something to tell.
    pub fn wake(&mut self, key: K) {
        if self.partitions.contains_key(&key) {
            self.awake.insert(key);
        }
    }

    /// A partition has something to tell once the fetch is answered.
    pub fn mention(&mut self, key: K) {
        if self.partitions.contains_key(&key) {
            self.untold.insert(key);
        }
    }

    /// A partition that was asked has nothing to tell, and will be woken.
    pub fn rest(&mut self, key: &K) {
        self.awake.remove(key);
    }

    /// The partitions that have to be asked.
    #[must_use]
    pub fn awake(&self) -> Vec<(K, ReplicaPosition)> {
        self.awake.iter().map(|key| self.positioned(key)).collect()
    }

    /// The partitions that may belong into the answer, in the order in which they are served. It
    /// begins behind where the last one began, so that no partition always comes last.
    pub fn to_answer(&mut self) -> Vec<(K, ReplicaPosition)> {
        let keys: BTreeSet<&K> = self.awake.union(&self.untold).collect();
        let behind = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let first = keys.range::<&K, _>((behind.as_ref(), Bound::Unbounded)).next();
        let Some(first) = first.or_else(|| keys.first()).map(|key| (*key).clone()) else {
            return Vec::new();
        };
        let (before, rest): (Vec<&K>, Vec<&K>) = keys.into_iter().partition(|key| **key < first);
        let in_order = rest.into_iter().chain(before).map(|key| self.positioned(key)).collect();
        self.last = Some(first);
        in_order
    }

    /// Notes what an answer would tell. Whether the follower does not know it yet, or has not done
    /// it: a log start that it could not store moves nothing, so nothing but hearing of it again
    /// lets it try again.
    pub fn has_news(&mut self, key: &K, high_watermark: Offset, log_start: Offset) -> bool {
        let followed = self.partitions.get(key);
        let told = followed.and_then(|followed| followed.told);
        let is_behind = followed
            .is_some_and(|followed| followed.position.log_start_offset < log_start)
            && !Mutant::LogStartToldOnce.is_planted();
        sometimes!(LogStartToldAgain, is_behind && told == Some((high_watermark, log_start)));
        let is_news = told != Some((high_watermark, log_start)) || is_behind;
        if is_news {
            self.mention(key.clone());
        } else {
            self.untold.remove(key);
        }
        is_news
    }

    /// The answer tells this of the partition.
    pub fn told(&mut self, key: &K, high_watermark: Offset, log_start: Offset) {
        self.untold.remove(key);
        if let Some(followed) = self.partitions.get_mut(key) {
            followed.told = Some((high_watermark, log_start));
        }
    }

    fn positioned(&self, key: &K) -> (K, ReplicaPosition) {
        (key.clone(), self.partitions[key].position)
    }

    fn take_over(&mut self, named: Vec<(K, ReplicaPosition)>, forgotten: &[K]) {
        for key in forgotten {
            self.partitions.remove(key);
            self.awake.remove(key);
            self.untold.remove(key);
        }
        for (key, position) in named {
            self.awake.insert(key.clone());
            self.untold.insert(key.clone());
            self.partitions.insert(key, Followed { position, told: None });
        }
    }
}

/// The sessions of one leader: at most one for each follower.
#[derive(Debug)]
pub struct ReplicaSessions<K, T> {
    leader: BrokerEpoch,
    begun: u64,
    followers: BTreeMap<BrokerId, Slot<K, T>>,
}

#[derive(Debug)]
struct Slot<K, T> {
    id: SessionId,
    last_used: Instant,
    /// `None` while a fetch of it is served.
    session: Option<ReplicaSession<K, T>>,
}

impl<K: Ord + Clone, T: Default> ReplicaSessions<K, T> {
    /// No session yet. `leader` is the registration of this process.
    #[must_use]
    pub fn new(leader: BrokerEpoch) -> Self {
        Self { leader, begun: 0, followers: BTreeMap::new() }
    }

    /// Takes a fetch into its session, which belongs to the fetch until [`ReplicaSessions::end`].
    pub fn begin(
        &mut self,
        now: Instant,
        (follower, broker_epoch): (BrokerId, BrokerEpoch),
        fetch: SessionFetch<K>,
    ) -> Result<ReplicaSession<K, T>, SessionLost> {
        let SessionFetch { session, named, forgotten } = fetch;
        let mut session = match session {
            None => self.open(now, follower, broker_epoch),
            Some(turn) => match self.resume(now, follower, broker_epoch, turn) {
                Some(session) => session,
                None if Mutant::UnknownSessionGoesOn.is_planted() => {
                    let mut session = self.open(now, follower, broker_epoch);
                    session.next.turn += turn.turn;
                    session
                }
                None => {
                    sometimes!(ReplicaSessionLost);
                    return Err(SessionLost);
                }
            },
        };
        session.take_over(named, &forgotten);
        Ok(session)
    }

    /// The fetch is answered. A session that another has replaced meanwhile is dropped.
    pub fn end(&mut self, follower: BrokerId, session: ReplicaSession<K, T>) {
        if let Some(slot) = self.followers.get_mut(&follower)
            && slot.id == session.next.id
        {
            slot.session = Some(session);
        }
    }

    /// Forgets sessions that have been idle for [`IDLE_MAX`].
    pub fn expire(&mut self, now: Instant) {
        self.followers.retain(|_, slot| now.since(slot.last_used) < IDLE_MAX);
    }

    fn open(
        &mut self,
        now: Instant,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> ReplicaSession<K, T> {
        self.begun += 1;
        let id = SessionId { leader: self.leader, number: self.begun };
        let slot = Slot { id, last_used: now, session: None };
        let before = self.followers.insert(follower, slot);
        sometimes!(ReplicaSessionReplaced, before.is_some_and(|slot| slot.session.is_none()));
        ReplicaSession {
            next: SessionTurn { id, turn: 1 },
            broker_epoch,
            partitions: BTreeMap::new(),
            awake: BTreeSet::new(),
            untold: BTreeSet::new(),
            counted: now,
            last: None,
            attached: T::default(),
        }
    }

    fn resume(
        &mut self,
        now: Instant,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
        turn: SessionTurn,
    ) -> Option<ReplicaSession<K, T>> {
        let slot = self.followers.get_mut(&follower)?;
        let is_next = |session: &mut ReplicaSession<K, T>| {
            session.next == turn && session.broker_epoch == broker_epoch
        };
        let mut session = slot.session.take_if(is_next)?;
        session.next.turn += 1;
        slot.last_used = now;
        Some(session)
    }
}

#[cfg(test)]
mod tests;
