//! Fetches of followers, in sessions of one partition.

use crate::{
    broker::{Expected, Stamp},
    world::{FetchAnswer, Message, World},
};
use highwater_core::{
    partition::{
        Input, ReplicaBatches, ReplicaFetchError, ReplicaPosition, ReplicaReadable, Response,
    },
    replica_session::{FollowerSession, IDLE_MAX, ReplicaSessions, SessionTurn},
    types::{BrokerEpoch, BrokerId, RequestId},
};
use rand::RngExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const ROLL_CALL: Duration = Duration::from_millis(200);

/// What a process knows as a follower.
#[derive(Default)]
pub struct Fetching {
    leader: Option<BrokerId>,
    session: FollowerSession<()>,
    calls: u64,
    /// The call that is under way.
    call: Option<u64>,
}

/// What a process knows as a leader.
pub struct Serving {
    sessions: ReplicaSessions<(), ()>,
    parked: BTreeMap<BrokerId, RequestId>,
    woken: BTreeSet<BrokerId>,
    mentioned: BTreeSet<BrokerId>,
}

impl Serving {
    pub fn new(leader: BrokerEpoch) -> Self {
        let sessions = ReplicaSessions::new(leader);
        Self {
            sessions,
            parked: BTreeMap::new(),
            woken: BTreeSet::new(),
            mentioned: BTreeSet::new(),
        }
    }

    pub fn wake(&mut self, request: RequestId) {
        self.woken.extend(self.follower_of(request));
    }

    pub fn mention(&mut self, request: RequestId) {
        self.mentioned.extend(self.follower_of(request));
    }

    fn follower_of(&self, request: RequestId) -> Option<BrokerId> {
        let of =
            |(follower, parked): (&BrokerId, &RequestId)| (*parked == request).then_some(*follower);
        self.parked.iter().find_map(of)
    }
}

impl World {
    pub fn send_fetch(&mut self, who: usize) {
        let broker = &mut self.brokers[who];
        let is_live = broker.is_live();
        let Some(process) = broker.process.as_mut().filter(|_| is_live) else { return };
        let Some((to, at)) = process.partition.fetch_position() else { return };
        assert_eq!(at.fetch_offset.0, broker.disk.live.end());
        let fetching = &mut process.fetching;
        if fetching.leader != Some(to) {
            let calls = fetching.calls;
            *fetching = Fetching { leader: Some(to), calls, ..Fetching::default() };
        }
        fetching.session.want((), Some(at));
        let fetch = fetching.session.next_fetch();
        fetching.calls += 1;
        let call = fetching.calls;
        fetching.call = Some(call);
        self.statistics.brief_fetches += u64::from(fetch.named.is_empty());
        let (incarnation, epoch) = (process.incarnation, process.broker_epoch);
        let heard = process.heard.get(&to).copied();
        let from = broker.id;
        self.send(Message::Fetch { from, incarnation, to, call, epoch, fetch, at, heard });
    }

    pub fn serve_fetch(&mut self, who: usize, message: Message) {
        let Message::Fetch { from, incarnation, call, epoch, fetch, at, heard, .. } = message
        else {
            return;
        };
        let now = self.brokers[who].now(self.time).monotonic;
        let process = self.brokers[who].process.as_mut().expect("it takes messages");
        let leader = process.incarnation;
        if self.random.random_bool(self.settings.lost_sessions) {
            process.serving.sessions.expire(now.after(IDLE_MAX));
        }
        let (mut next, mut answer) = (None, None);
        if let Ok(mut session) = process.serving.sessions.begin(now, (from, epoch), fetch) {
            session.call_roll(now, ROLL_CALL);
            if process.serving.woken.remove(&from) {
                session.wake(());
            }
            if process.serving.mentioned.remove(&from) {
                session.mention(());
            }
            next = Some(session.next_turn());
            let heard = heard.filter(|stamp| stamp.incarnation == leader).map(|stamp| stamp.at);
            for ((), position) in session.to_answer() {
                assert_eq!(position, at, "a follower counts where it said that it is");
                let (park, hurry, outcome) = self.ask_leader(who, (from, epoch), (position, heard));
                let is_told = match &outcome {
                    Ok(batches) => {
                        let (end, start) = (batches.high_watermark, batches.log_start_offset);
                        let has_more = batches.diverging.is_some() || !batches.records.is_empty();
                        if park && !has_more && !hurry {
                            self.statistics.rests += 1;
                            session.rest(&());
                        }
                        let is_told = session.has_news(&(), end, start) || has_more;
                        session.told(&(), end, start);
                        is_told
                    }
                    Err(_) => true,
                };
                let ReplicaPosition { leader_epoch, fetch_offset, .. } = position;
                answer = is_told.then_some(FetchAnswer { leader_epoch, fetch_offset, outcome });
            }
            let process = self.brokers[who].process.as_mut().expect("it was stepped");
            process.serving.sessions.end(from, session);
        } else {
            self.statistics.lost_sessions += 1;
        }
        let stamp = Stamp { incarnation: leader, at: now };
        let (from, to) = (self.brokers[who].id, from);
        self.send(Message::Fetched { from, to, incarnation, call, next, answer, stamp });
    }

    /// Puts a fetch to the partition: whether it is parked there, whether the leader wants to hear
    /// again at once, and the answer.
    fn ask_leader(
        &mut self,
        who: usize,
        (follower, broker_epoch): (BrokerId, BrokerEpoch),
        (position, heard): (ReplicaPosition, Option<highwater_core::time::Instant>),
    ) -> (bool, bool, Result<ReplicaBatches, ReplicaFetchError>) {
        let process = self.brokers[who].process.as_mut().expect("it takes messages");
        if let Some(request) = process.serving.parked.remove(&follower) {
            self.step(who, Input::Cancel { request });
        }
        let request = self.expect(who, Expected::Replica { position });
        let park = self.random.random_bool(0.7);
        if park {
            let process = self.brokers[who].process.as_mut().expect("it takes messages");
            process.serving.parked.insert(follower, request);
        }
        self.step(
            who,
            Input::ReplicaFetch { request, follower, broker_epoch, position, heard, park },
        );
        let (hurry, outcome) = self.replica_answer.take().expect("a fetch is answered at once");
        (park, hurry, outcome)
    }

    pub fn answer_to(
        &mut self,
        who: usize,
        position: ReplicaPosition,
        response: Response,
    ) -> (bool, Result<ReplicaBatches, ReplicaFetchError>) {
        match response {
            Response::ReplicaReadable(readable) => {
                let ReplicaReadable { log_start_offset, end, high_watermark, .. } = readable;
                let ReplicaReadable { diverging, hurry, .. } = readable;
                self.statistics.divergences += u64::from(diverging.is_some());
                let count = self.random.random_range(1..5);
                let records = match diverging {
                    Some(_) => Default::default(),
                    None => self.brokers[who].disk.read(position.fetch_offset.0, end.0, count),
                };
                let batches =
                    ReplicaBatches { high_watermark, log_start_offset, diverging, records };
                (hurry, Ok(batches))
            }
            Response::ReplicaRefused(error) => (false, Err(error)),
            other => panic!("a follower was answered with {other:?}"),
        }
    }

    pub fn take_answer(
        &mut self,
        who: usize,
        (from, stamp): (BrokerId, Stamp),
        (call, next): (u64, Option<SessionTurn>),
        answer: Option<FetchAnswer>,
    ) {
        let process = self.brokers[who].process.as_mut().expect("it takes messages");
        process.heard.insert(from, stamp);
        if process.fetching.leader == Some(from) && process.fetching.call == Some(call) {
            process.fetching.call = None;
            match next {
                Some(next) => process.fetching.session.answered(next),
                None => process.fetching.session.lost(),
            }
        }
        let Some(FetchAnswer { leader_epoch, fetch_offset, outcome }) = answer else { return };
        let partition = &process.partition;
        let continues = |batches: &ReplicaBatches| {
            let base = batches.records.first_chunk().map(|base| u64::from_be_bytes(*base));
            base == Some(fetch_offset.0)
        };
        let grows = !partition.is_leader()
            && !process.has_failed
            && partition.leader_epoch() == leader_epoch
            && partition.log_end_offset() == fetch_offset
            && outcome.as_ref().is_ok_and(continues);
        self.step(who, Input::Fetched { leader_epoch, fetch_offset, outcome });
        let grown = self.brokers[who].disk.live.end() > fetch_offset.0;
        assert!(grown || !grows, "a follower takes what its leader has (KAFKA-6003)");
    }
}
