//! A consumer: reads one partition after the other from the start, from the end, from a timestamp
//! or from anywhere; where there are racks, mostly in one, so that followers answer it. One that uses
//! fetch sessions reads all partitions of a leader together.

use super::{
    Turns,
    session::{FetchSessions, Fetched, Session},
};
use crate::{
    choices::Choices,
    cluster::{WALL_AT_START, rack_of},
    history::Partition,
    scenario::{Spread, WorkloadShape},
};
use madsim::time;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How likely a consumer is to be in a rack, if there are any.
const IN_A_RACK: f64 = 0.8;
/// How likely it is to ask the leader again where to read.
const ASK_AGAIN: f64 = 0.1;
/// How likely one that uses fetch sessions is to leave a partition out for a while, or to take it back.
const PAUSE_OR_RESUME: f64 = 0.1;
/// How likely it is to go on with a session although an answer was lost.
const INSIST: f64 = 0.3;

/// OFFSET_OUT_OF_RANGE: the position is not in the log (any more).
const OFFSET_OUT_OF_RANGE: i16 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

/// Reads until the run comes to an end.
pub async fn run(session: Session, mut turns: Turns, shape: WorkloadShape) {
    let racks = session.clients.recorder.history().promise.racks;
    let rack = (racks > 0 && turns.client.chance("in_a_rack", IN_A_RACK)).then(|| {
        let rack = turns.client.between("rack", 0..=racks as u64 - 1);
        rack_of(rack as i32)
    });
    let uses_sessions = is_drawn(&mut turns.client, "fetch_sessions", shape.fetch_sessions);
    let in_sessions = uses_sessions.then(|| InSessions::of(&session.clients.partitions));
    let pause = shape.pause.clone().unwrap_or(1..=20);
    let calls = turns.client.within("calls", &shape.calls);
    let draw = turns.client.clone();
    let (positions, epoch_lookups) = (BTreeMap::new(), shape.epoch_lookups);
    let mut consumer = Consumer { session, draw, positions, rack, in_sessions, epoch_lookups };
    for _ in 0..calls {
        let Some(draw) = turns.next(&mut consumer.session).await else { return };
        consumer.draw = draw;
        let pause = consumer.draw.within("pause", &pause).max(0) as u64;
        if !consumer.session.connected().await {
            return;
        }
        consumer.act().await;
        time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Whether something is so that the scenario asks for with this probability. Nothing is drawn where it
/// does not.
fn is_drawn(draw: &mut Choices, name: &'static str, probability: f64) -> bool {
    probability > 0.0 && draw.chance(name, probability)
}

/// What a consumer does.
#[derive(Clone, Copy)]
enum Kind {
    Seek(i64),
    Timestamp,
    Anywhere,
    Poll,
}

struct Consumer {
    session: Session,
    /// The choices of the operation.
    draw: Choices,
    positions: BTreeMap<Partition, i64>,
    rack: Option<String>,
    /// Whether it uses fetch sessions.
    in_sessions: Option<InSessions>,
    /// How likely it is to ask where a leader epoch ends.
    epoch_lookups: f64,
}

/// A consumer's fetch sessions, and what it reads in them.
struct InSessions {
    sessions: FetchSessions,
    reads: BTreeSet<Partition>,
}

impl InSessions {
    fn of(partitions: &[Partition]) -> Self {
        Self { sessions: FetchSessions::default(), reads: partitions.iter().copied().collect() }
    }
}

impl Consumer {
    async fn act(&mut self) {
        let partition = self.session.choose(Spread::Even, &mut self.draw);
        if is_drawn(&mut self.draw, "epoch_lookup", self.epoch_lookups) {
            return self.ask_epoch_end(partition).await;
        }
        let kinds = [
            (1, "earliest", Kind::Seek(EARLIEST)),
            (1, "latest", Kind::Seek(LATEST)),
            (1, "newest", Kind::Seek(NEWEST)),
            (1, "timestamp", Kind::Timestamp),
            (1, "anywhere", Kind::Anywhere),
            (15, "poll", Kind::Poll),
        ];
        match self.draw.weighted("kind", &kinds) {
            Kind::Seek(special) => self.seek(partition, special).await,
            Kind::Timestamp => {
                let timestamp = WALL_AT_START + self.draw.between("after_start", 0..=3_000) as i64;
                self.seek(partition, timestamp).await;
            }
            Kind::Anywhere => {
                let end = self.positions.get(&partition).copied().unwrap_or(0);
                let anywhere = self.draw.between("offset", 0..=end.max(0) as u64) as i64;
                self.positions.insert(partition, anywhere);
                self.poll(partition).await;
            }
            Kind::Poll => self.poll(partition).await,
        }
    }

    async fn seek(&mut self, partition: Partition, timestamp: i64) {
        if let Some(Ok((offset, _))) = self.session.list_offset(partition, timestamp).await
            && offset >= 0
        {
            self.positions.insert(partition, offset);
        }
    }

    async fn poll(&mut self, partition: Partition) {
        let position = self.positions.get(&partition).copied().unwrap_or(0);
        let wait = Duration::from_millis(*self.draw.pick("wait", &[0, 10, 60]));
        let bytes = self.draw.between("bytes", 1..=8_000) as i32;
        if self.in_sessions.is_some() {
            return self.poll_all_with(partition, (wait, bytes)).await;
        }
        if let Some(fetched) = self.fetch(partition, position, wait, bytes).await {
            self.take(partition, &fetched).await;
        }
    }

    /// Asks where an epoch ends, of those up to the newest that the metadata told.
    async fn ask_epoch_end(&mut self, partition: Partition) {
        let newest = self.session.epoch_of(partition).map_or(0, |epoch| u64::from(epoch.0));
        let epoch = self.draw.between("epoch", 0..=newest) as i32;
        self.session.ask_epoch_end(partition, epoch).await;
    }

    /// Reads on in every partition that the leader of this one leads, too.
    async fn poll_all_with(&mut self, partition: Partition, limits: (Duration, i32)) {
        let pauses = self.draw.chance("pause_or_resume", PAUSE_OR_RESUME);
        let insists = self.draw.chance("insist", INSIST);
        if !self.session.towards(partition).await {
            return;
        }
        let Some(in_sessions) = &mut self.in_sessions else { return };
        if pauses && !in_sessions.reads.remove(&partition) {
            in_sessions.reads.insert(partition);
        }
        let at = |of: &Partition| (*of, self.positions.get(of).copied().unwrap_or(0));
        let wanted: BTreeMap<Partition, i64> = in_sessions.reads.iter().map(at).collect();
        let sessions = &mut in_sessions.sessions;
        sessions.insist = insists;
        for (of, fetched) in self.session.fetch_in_session(sessions, &wanted, limits).await {
            self.take(of, &fetched).await;
        }
    }

    /// Takes into account what a fetch brought.
    async fn take(&mut self, partition: Partition, fetched: &Fetched) {
        match fetched.error {
            0 => {
                if let Some(last) = fetched.batches.last() {
                    self.positions.insert(partition, last.last_offset + 1);
                }
            }
            // The leader may have it.
            OFFSET_OUT_OF_RANGE if fetched.from_follower => {}
            OFFSET_OUT_OF_RANGE if self.session.is_connected() => {
                self.seek(partition, EARLIEST).await;
            }
            _ => {}
        }
    }

    async fn fetch(
        &mut self,
        partition: Partition,
        position: i64,
        wait: Duration,
        bytes: i32,
    ) -> Option<Fetched> {
        let Some(rack) = &self.rack else {
            return self.session.fetch(partition, position, wait, bytes).await;
        };
        if self.draw.chance("ask_again", ASK_AGAIN) {
            self.session.forget_preferred(partition);
        }
        self.session.fetch_in_rack(partition, position, (wait, bytes), rack).await
    }
}
