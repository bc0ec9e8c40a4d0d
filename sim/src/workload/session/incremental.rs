//! Fetch sessions (KIP-227): a consumer names its partitions once and afterwards what has changed, and
//! a broker answers what has. What an answer leaves out is as it was told before, and is recorded so.

use super::{Fetched, Session};
use crate::history::{InSession, Outcome, Partition, Request};
use highwater_core::types::{LeaderEpoch, TopicId};
use highwater_node::wire::generated::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use std::{collections::BTreeMap, time::Duration};

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
/// Bytes of one partition at most, but for a first batch.
const PARTITION_BYTES: i32 = 4_096;

/// The fetch sessions of one consumer, by broker.
#[derive(Default)]
pub struct FetchSessions {
    of_broker: BTreeMap<i32, FetchSession>,
    /// How many were begun.
    begun: u64,
    /// Whether a fetch is made once more whose answer was lost, in place of a new session.
    pub insist: bool,
}

/// One session, as its consumer knows it.
#[derive(Default)]
struct FetchSession {
    /// The id that the broker gave it; 0 is none.
    id: i32,
    /// The session epoch of the next fetch; 0 begins a new session, and ends the one of that id.
    epoch: i32,
    /// Tells it from the others of its client.
    number: u64,
    turn: u32,
    /// What the broker was told of the partitions.
    named: BTreeMap<Partition, Place>,
    /// What the broker told last of each: high watermark and log start.
    told: BTreeMap<Partition, (i64, i64)>,
}

/// From where a partition is wanted, by whose leadership.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: i64,
    leader_epoch: Option<LeaderEpoch>,
}

impl Session {
    /// Fetches all of these partitions that the broker leads which is turned to, in one session, and
    /// records what came of each.
    pub async fn fetch_in_session(
        &mut self,
        sessions: &mut FetchSessions,
        positions: &BTreeMap<Partition, i64>,
        (max_wait, max_bytes): (Duration, i32),
    ) -> Vec<(Partition, Fetched)> {
        let broker = self.at;
        let wanted = self.led_here(positions);
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut session = sessions.of_broker.remove(&broker).unwrap_or_default();
        if session.epoch == 0 {
            sessions.begun += 1;
            session.begin(sessions.begun);
        }
        let changed = session.changed(&wanted);
        let forgotten: Vec<Partition> =
            session.named.keys().filter(|of| !wanted.contains_key(of)).copied().collect();
        let request = FetchRequest {
            max_wait_ms: max_wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes,
            session_id: session.id,
            session_epoch: session.epoch,
            topics: self.topics_of(&changed),
            forgotten_topics_data: forgotten.iter().map(|of| self.forgotten(*of)).collect(),
            ..Default::default()
        };
        let calls = self.invoke_all(&session, &wanted, max_wait);
        let answer = self.exchange(async |connection| connection.call(&request).await).await;
        let outcomes = match answer {
            None => {
                session.lose(sessions.insist);
                calls.keys().map(|of| (*of, None)).collect()
            }
            Some(answer) if answer.error_code != 0 => {
                session.refused(answer.error_code);
                let refusal = || Fetched::failed(answer.error_code);
                calls.keys().map(|of| (*of, Some(refusal()))).collect()
            }
            Some(answer) => {
                session.go_on(answer.session_id, wanted);
                let answers = self.by_partition(answer);
                session.hear(answers)
            }
        };
        sessions.of_broker.insert(broker, session);
        self.end_all(&calls, outcomes)
    }

    /// Those of the partitions that the broker leads which is turned to, as the metadata told.
    fn led_here(&self, positions: &BTreeMap<Partition, i64>) -> BTreeMap<Partition, Place> {
        let is_led = |of: &Partition| !self.is_in_cluster() || self.leader_of(*of) == Some(self.at);
        let place = |(of, offset): (&Partition, &i64)| {
            (*of, Place { offset: *offset, leader_epoch: self.epoch_of(*of) })
        };
        positions.iter().filter(|(of, _)| is_led(of)).map(place).collect()
    }

    fn topics_of(&self, changed: &[(Partition, Place)]) -> Vec<FetchTopic> {
        let of_topic = |chunk: &[(Partition, Place)]| {
            let reference = self.reference(chunk[0].0);
            let (topic, topic_id) = (reference.topic, reference.topic_id);
            FetchTopic { topic, topic_id, partitions: chunk.iter().map(wanted_of).collect() }
        };
        changed.chunk_by(|one, next| one.0.topic == next.0.topic).map(of_topic).collect()
    }

    fn forgotten(&self, of: Partition) -> ForgottenTopic {
        let reference = self.reference(of);
        let (topic, topic_id) = (reference.topic, reference.topic_id);
        ForgottenTopic { topic, topic_id, partitions: vec![of.index] }
    }

    /// Notes that a fetch of each of these begins.
    fn invoke_all(
        &mut self,
        session: &FetchSession,
        wanted: &BTreeMap<Partition, Place>,
        max_wait: Duration,
    ) -> BTreeMap<Partition, usize> {
        let (number, turn, partitions) = (session.number, session.turn, wanted.len());
        let mut calls = BTreeMap::new();
        for (partition, place) in wanted {
            let request = Request::Fetch { partition: *partition, offset: place.offset };
            let call = self.invoke(request);
            let mut history = self.clients.recorder.history();
            let made = &mut history.calls[call];
            made.waits = max_wait.as_nanos() as u64;
            made.knew = place.leader_epoch.map(|epoch| epoch.0 as i32);
            made.session = Some(InSession { number, turn, partitions });
            calls.insert(*partition, call);
        }
        calls
    }

    fn by_partition(&self, answer: FetchResponse) -> BTreeMap<Partition, PartitionData> {
        let history = self.clients.recorder.history();
        let topic_of = |id: TopicId| {
            let known = history.topics.iter().position(|known| known.id == id.0);
            known.expect("an answer is about a topic that was asked for")
        };
        let topics = answer.responses.into_iter().map(|it| (topic_of(it.topic_id), it.partitions));
        let data = topics.flat_map(|(topic, partitions)| {
            let of = move |data: &PartitionData| Partition { topic, index: data.partition_index };
            partitions.into_iter().map(move |data| (of(&data), data))
        });
        data.collect()
    }

    /// Records how the calls ended; what was answered.
    fn end_all(
        &mut self,
        calls: &BTreeMap<Partition, usize>,
        outcomes: Vec<(Partition, Option<Fetched>)>,
    ) -> Vec<(Partition, Fetched)> {
        let mut answered = Vec::new();
        for (partition, fetched) in outcomes {
            let outcome = fetched.as_ref().map_or(Outcome::Unknown, Fetched::outcome);
            self.heard(partition, &outcome);
            self.clients.end(calls[&partition], outcome);
            answered.extend(fetched.map(|fetched| (partition, fetched)));
        }
        answered
    }
}

fn wanted_of((of, place): &(Partition, Place)) -> FetchPartition {
    FetchPartition {
        partition: of.index,
        current_leader_epoch: place.leader_epoch.map_or(-1, |epoch| epoch.0 as i32),
        fetch_offset: place.offset,
        partition_max_bytes: PARTITION_BYTES,
        ..Default::default()
    }
}

impl FetchSession {
    /// The next fetch names everything.
    fn begin(&mut self, number: u64) {
        *self = Self { id: self.id, number, ..Self::default() };
    }

    /// What the next fetch has to name.
    fn changed(&self, wanted: &BTreeMap<Partition, Place>) -> Vec<(Partition, Place)> {
        let is_news = |(of, place): &(&Partition, &Place)| self.named.get(of) != Some(place);
        wanted.iter().filter(is_news).map(|(of, place)| (*of, *place)).collect()
    }

    /// The answer is lost. If the fetch arrived, nobody may make it once more.
    fn lose(&mut self, insists: bool) {
        if !insists {
            self.epoch = 0;
        }
    }

    /// The broker does not go on with the session, and may have it still.
    fn refused(&mut self, code: i16) {
        self.epoch = 0;
        if code == FETCH_SESSION_ID_NOT_FOUND {
            self.id = 0;
        }
    }

    /// The broker has taken what was wanted into the session of this id; 0 when it has none, or ends it.
    fn go_on(&mut self, id: i32, wanted: BTreeMap<Partition, Place>) {
        assert!(self.epoch == 0 || id == 0 || self.id == id, "a session keeps its id");
        self.id = id;
        self.epoch = match (id, self.epoch) {
            (0, _) => 0,
            (_, i32::MAX) => 1,
            (_, epoch) => epoch + 1,
        };
        self.turn += 1;
        self.told.retain(|of, _| wanted.contains_key(of));
        self.named = wanted;
    }

    /// Takes answers into account; what is known of each partition then.
    fn hear(
        &mut self,
        mut answers: BTreeMap<Partition, PartitionData>,
    ) -> Vec<(Partition, Option<Fetched>)> {
        let mut all = Vec::new();
        for of in self.named.keys().copied() {
            let fetched = match answers.remove(&of) {
                Some(data) => Fetched::of(data),
                None => Fetched::unchanged(self.told.get(&of).copied()),
            };
            match fetched.error {
                0 => self.told.insert(of, (fetched.high_watermark, fetched.log_start)),
                _ => self.told.remove(&of),
            };
            all.push((of, Some(fetched)));
        }
        assert!(answers.is_empty(), "an answer is about partitions of the session");
        all
    }
}

impl Fetched {
    /// The answer to all of a fetch that was refused.
    fn failed(error: i16) -> Self {
        Self { error, ..Self::unchanged(None) }
    }

    /// What a session says of a partition that it leaves out: what it told last.
    fn unchanged(told: Option<(i64, i64)>) -> Self {
        let (high_watermark, log_start) = told.unwrap_or((-1, -1));
        let (batches, preferred, bad) = (Vec::new(), None, None);
        let (error, from_follower) = (0, false);
        Self { error, high_watermark, log_start, batches, preferred, from_follower, bad }
    }
}
