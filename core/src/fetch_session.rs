//! Incremental fetch sessions (KIP-227): a consumer names its partitions once and afterwards only
//! what changed; the broker answers only what changed.
//!
//! The cache has a fixed number of slots. A new session takes the place of the one unused longest
//! when that was idle for [`MIN_IDLE_BEFORE_EVICTION`], else the consumer goes without a session.

use crate::{mutant::Mutant, time::Instant};
use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

/// How long a session must have been idle before another may take its slot.
pub const MIN_IDLE_BEFORE_EVICTION: Duration = Duration::from_secs(120);

/// Identity of a session: 1 to `i32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub i32);

/// What a fetch says of its session, from `(session_id, session_epoch)` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRequest {
    /// A fetch of its own that also closes the session named, if any.
    Sessionless {
        /// The session to close.
        close: Option<SessionId>,
    },
    /// A full fetch that asks for a new session.
    Open {
        /// The session that the new one replaces.
        close: Option<SessionId>,
    },
    /// The next fetch of a session.
    Continue {
        /// The session.
        id: SessionId,
        /// One more than that of the session's last fetch; wraps from `i32::MAX` to 1.
        epoch: i32,
    },
}

/// Why a session cannot go on. The consumer starts again with a full fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// No such session: it was evicted, or never was.
    NotFound,
    /// The fetch is not the one that follows the session's last.
    InvalidEpoch,
}

/// From where one partition is wanted. Generic over what else the fetch says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<K, P> {
    /// The partition.
    pub key: K,
    /// Position and limits, as the consumer last gave them.
    pub position: P,
}

/// One fetch, ready to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchContext<K, P> {
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// Whether the answer leaves out what has not changed.
    pub incremental: bool,
    /// The partitions in the order in which they are to be served.
    pub partitions: Vec<Wanted<K, P>>,
}

/// What of a partition's answer a consumer remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// There are records or an error in the answer, so it must be sent.
    pub must_send: bool,
    /// The high watermark in the answer, -1 when unknown.
    pub high_watermark: i64,
    /// The log start offset in the answer, -1 when unknown.
    pub log_start_offset: i64,
}

#[derive(Clone, Debug)]
struct Session<K, P> {
    next_epoch: i32,
    last_used: Instant,
    partitions: BTreeMap<K, Cached<P>>,
    /// The order of service. Invariant: every partition stands here once, under its `turn`.
    turns: BTreeMap<u64, K>,
    next_turn: u64,
}

#[derive(Clone, Debug)]
struct Cached<P> {
    position: P,
    sent: Option<(i64, i64)>,
    turn: u64,
}

/// The sessions of one broker.
#[derive(Clone, Debug)]
pub struct FetchSessions<K, P> {
    slots: usize,
    sessions: BTreeMap<SessionId, Session<K, P>>,
}

impl<K: Ord + Clone, P: Clone> FetchSessions<K, P> {
    /// A cache of so many slots (`max.incremental.fetch.session.cache.slots`).
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, sessions: BTreeMap::new() }
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes a fetch into its session. `fresh_id` is a random positive id for a new session.
    pub fn begin(
        &mut self,
        now: Instant,
        request: SessionRequest,
        fresh_id: SessionId,
        wanted: Vec<Wanted<K, P>>,
        forgotten: &[K],
    ) -> Result<FetchContext<K, P>, SessionError> {
        match request {
            SessionRequest::Sessionless { close } => {
                self.close(close);
                Ok(FetchContext { session: None, incremental: false, partitions: wanted })
            }
            SessionRequest::Open { close } => {
                self.close(close);
                let session = self.open(now, fresh_id, &wanted);
                Ok(FetchContext { session, incremental: false, partitions: wanted })
            }
            SessionRequest::Continue { id, epoch } => {
                self.resume(now, id, epoch, wanted, forgotten)
            }
        }
    }

    /// Records what was answered and says for each partition whether it must be in the answer.
    pub fn finish(&mut self, context: &FetchContext<K, P>, answered: &[Answered]) -> Vec<bool> {
        assert!(context.partitions.len() == answered.len(), "one answer for each partition");
        let session = context.session.and_then(|id| self.sessions.get_mut(&id));
        let Some(session) = session else {
            return answered.iter().map(|_| true).collect();
        };
        let mut include = Vec::with_capacity(answered.len());
        for (wanted, answer) in context.partitions.iter().zip(answered) {
            let before = session.answered(&wanted.key, *answer);
            let now = (answer.high_watermark, answer.log_start_offset);
            include.push(!context.incremental || answer.must_send || before != Some(now));
        }
        include
    }

    fn close(&mut self, id: Option<SessionId>) {
        if let Some(id) = id {
            self.sessions.remove(&id);
        }
    }

    fn open(&mut self, now: Instant, id: SessionId, wanted: &[Wanted<K, P>]) -> Option<SessionId> {
        if wanted.is_empty() || self.sessions.contains_key(&id) || !self.make_room(now) {
            return None;
        }
        let mut session = Session {
            next_epoch: 1,
            last_used: now,
            partitions: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
        };
        for one in wanted {
            session.want(one.clone());
        }
        self.sessions.insert(id, session);
        Some(id)
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        let idle = oldest
            .filter(|(_, session)| now.since(session.last_used) >= MIN_IDLE_BEFORE_EVICTION)
            .map(|(id, _)| *id);
        idle.is_some_and(|id| self.sessions.remove(&id).is_some())
    }

    fn resume(
        &mut self,
        now: Instant,
        id: SessionId,
        epoch: i32,
        wanted: Vec<Wanted<K, P>>,
        forgotten: &[K],
    ) -> Result<FetchContext<K, P>, SessionError> {
        let session = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.next_epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used = now;
        for key in forgotten {
            session.forget(key);
        }
        for one in wanted {
            session.want(one);
        }
        let partitions = session.in_turn();
        if partitions.is_empty() {
            self.sessions.remove(&id);
            return Ok(FetchContext { session: None, incremental: false, partitions });
        }
        Ok(FetchContext { session: Some(id), incremental: true, partitions })
    }
}

impl<K: Ord + Clone, P: Clone> Session<K, P> {
    fn want(&mut self, wanted: Wanted<K, P>) {
        if let Some(cached) = self.partitions.get_mut(&wanted.key) {
            cached.position = wanted.position;
            return;
        }
        let turn = self.take_turn(wanted.key.clone());
        self.partitions.insert(wanted.key, Cached { position: wanted.position, sent: None, turn });
    }

    fn forget(&mut self, key: &K) {
        if let Some(cached) = self.partitions.remove(key) {
            self.turns.remove(&cached.turn);
        }
    }

    fn in_turn(&self) -> Vec<Wanted<K, P>> {
        self.turns
            .values()
            .map(|key| Wanted { key: key.clone(), position: self.partitions[key].position.clone() })
            .collect()
    }

    /// Remembers what was answered and returns what was remembered before. What was served goes
    /// to the back, so that a busy partition starves no other.
    fn answered(&mut self, key: &K, answer: Answered) -> Option<(i64, i64)> {
        let turn = answer.must_send.then(|| self.take_turn(key.clone()));
        let Some(cached) = self.partitions.get_mut(key) else {
            // The session was changed by a later fetch meanwhile.
            turn.map(|turn| self.turns.remove(&turn));
            return None;
        };
        if let Some(turn) = turn {
            self.turns.remove(&cached.turn);
            cached.turn = turn;
            if Mutant::ServedPartitionLeavesSession.is_planted() {
                self.turns.remove(&turn);
            }
        }
        cached.sent.replace((answer.high_watermark, answer.log_start_offset))
    }

    fn take_turn(&mut self, key: K) -> u64 {
        self.next_turn += 1;
        self.turns.insert(self.next_turn, key);
        self.next_turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const ID: SessionId = SessionId(7);
    const QUIET: Answered = Answered { must_send: false, high_watermark: 10, log_start_offset: 0 };

    fn wanted(keys: &[u8]) -> Vec<Wanted<u8, u64>> {
        keys.iter().map(|key| Wanted { key: *key, position: 0 }).collect()
    }

    fn opened(keys: &[u8]) -> FetchSessions<u8, u64> {
        let mut sessions = FetchSessions::new(2);
        let open = SessionRequest::Open { close: None };
        let context = sessions.begin(Instant(0), open, ID, wanted(keys), &[]).unwrap();
        assert_eq!(context.session, Some(ID));
        assert_eq!(sessions.finish(&context, &vec![QUIET; keys.len()]), vec![true; keys.len()]);
        sessions
    }

    fn next(epoch: i32) -> SessionRequest {
        SessionRequest::Continue { id: ID, epoch }
    }

    #[test]
    fn an_incremental_answer_leaves_out_what_has_not_changed() {
        let mut sessions = opened(&[1, 2, 3]);
        let context = sessions.begin(Instant(1), next(1), ID, vec![], &[]).unwrap();
        let moved = Answered { high_watermark: 11, ..QUIET };
        assert_eq!(sessions.finish(&context, &[QUIET, moved, QUIET]), [false, true, false]);
    }

    #[test]
    fn a_partition_that_was_served_goes_to_the_back() {
        let mut sessions = opened(&[1, 2, 3]);
        let context = sessions.begin(Instant(1), next(1), ID, vec![], &[]).unwrap();
        let data = Answered { must_send: true, ..QUIET };
        sessions.finish(&context, &[data, QUIET, QUIET]);
        let context = sessions.begin(Instant(1), next(2), ID, vec![], &[]).unwrap();
        let order: Vec<u8> = context.partitions.iter().map(|one| one.key).collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn a_session_takes_new_positions_and_forgets_partitions() {
        let mut sessions = opened(&[1, 2]);
        let moved = vec![Wanted { key: 2, position: 9 }, Wanted { key: 4, position: 1 }];
        let context = sessions.begin(Instant(1), next(1), ID, moved.clone(), &[1]).unwrap();
        assert_eq!(context.partitions, moved);
    }

    #[test]
    fn an_epoch_out_of_turn_and_an_unknown_session_are_refused() {
        let mut sessions = opened(&[1]);
        let begun = sessions.begin(Instant(1), next(2), ID, vec![], &[]);
        assert_eq!(begun, Err(SessionError::InvalidEpoch));
        let close = SessionRequest::Sessionless { close: Some(ID) };
        sessions.begin(Instant(1), close, ID, wanted(&[1]), &[]).unwrap();
        let begun = sessions.begin(Instant(1), next(1), ID, vec![], &[]);
        assert_eq!(begun, Err(SessionError::NotFound));
    }

    #[test]
    fn a_full_cache_evicts_only_a_session_long_idle() {
        let mut sessions = opened(&[1]);
        let open = SessionRequest::Open { close: None };
        let begin = |sessions: &mut FetchSessions<u8, u64>, at: Instant, id| {
            sessions.begin(at, open, SessionId(id), wanted(&[1]), &[]).unwrap().session
        };
        assert!(begin(&mut sessions, Instant(1), 8).is_some());
        assert!(begin(&mut sessions, Instant(2), 9).is_none());
        let later = Instant(1).after(MIN_IDLE_BEFORE_EVICTION);
        assert!(begin(&mut sessions, later, 9).is_some());
        assert_eq!(sessions.len(), 2);
        assert!(!sessions.sessions.contains_key(&ID));
    }
}
