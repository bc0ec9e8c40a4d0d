//! Serving followers: a fetch waits until one of its partitions has something to tell.
//!
//! It belongs to a session, in which the follower names only what has moved. A partition with nothing
//! to tell rests: a request stays parked on it over many fetches, and rings when there is something.

use super::{
    Lookup, PartitionDriver, Shared,
    replica_sessions::{Key, ReplicaSession},
};
use crate::{
    log::LogError,
    peer::messages::{
        AnswerStamp, FetchedPartition, FetchedRecords, PeerReply, ReplicaFetch, ReplicaFetched,
    },
};
use bytes::Bytes;
use highwater_core::{
    partition::{Input, Partition, ReplicaFetchError, ReplicaPosition, ReplicaReadable, Response},
    replica_session::SessionFetch,
    time::Instant,
    types::{BrokerEpoch, BrokerId, RequestId},
};
use std::{sync::Arc, time::Duration};

/// The longest wait that a follower may ask for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// One fetch while it is served.
struct Serving<'a> {
    shared: &'a Shared,
    follower: BrokerId,
    broker_epoch: BrokerEpoch,
    heard: Option<Instant>,
    session: ReplicaSession,
}

/// What a partition has for the follower at this moment.
enum Found {
    /// Nothing; it has a request parked on it, and rings.
    Nothing,
    /// Records, which the follower has to wait for because it is out of sync and throttled.
    HeldUp(Instant),
    /// Something.
    News,
}

/// Serves one fetch of a follower.
pub async fn serve(shared: &Arc<Shared>, follower: BrokerId, fetch: ReplicaFetch) -> PeerReply {
    let ReplicaFetch { broker_epoch, session, partitions, forgotten, .. } = fetch;
    let wait = Duration::from_millis(u64::from(fetch.max_wait_millis)).min(WAIT_MAX);
    let now = shared.doors.clock.now().monotonic;
    let named = partitions.iter().map(|it| ((it.topic, it.index), it.position)).collect();
    let begun = SessionFetch { session, named, forgotten: forgotten.clone() };
    let begun = shared.replica_sessions().begin(now, (follower, broker_epoch), begun);
    let Ok(mut session) = begun else { return PeerReply::SessionLost };
    for key in &forgotten {
        session.attached.forget(key);
    }
    session.call_roll(now, wait);
    let deadline = now.after(wait).min(session.next_roll_call(wait));
    let heard = fetch.heard.filter(|stamp| Some(stamp.broker_epoch) == shared.broker_epoch);
    let heard = heard.map(|stamp| stamp.at);
    let mut serving = Serving { shared, follower, broker_epoch, heard, session };
    serving.wait(deadline).await;
    let partitions = serving.answer(fetch.max_bytes as usize).await;
    let session = serving.session.next_turn();
    shared.replica_sessions().end(follower, serving.session);
    let at = shared.doors.clock.now().monotonic;
    let broker_epoch = shared.broker_epoch.unwrap_or_default();
    let stamp = AnswerStamp { broker_epoch, at };
    PeerReply::Fetched(ReplicaFetched { partitions, session, stamp })
}

impl Serving<'_> {
    /// Waits until a partition has something to tell, at most until `deadline`.
    async fn wait(&mut self, deadline: Instant) {
        let clock = &self.shared.doors.clock;
        let bell = self.session.attached.bell.clone();
        loop {
            let rung = bell.take();
            rung.woken.into_iter().for_each(|key| self.session.wake(key));
            rung.mentioned.into_iter().for_each(|key| self.session.mention(key));
            let mut has_news = rung.hurry;
            let mut look_again = deadline;
            for (key, position) in self.session.awake() {
                match self.look_at(key, position) {
                    Found::Nothing => self.session.rest(&key),
                    Found::HeldUp(until) => look_again = look_again.min(until),
                    Found::News => has_news = true,
                }
            }
            if has_news || clock.now().monotonic >= deadline {
                return;
            }
            tokio::select! {
                biased;
                () = bell.rung() => {}
                () = self.shared.closing() => return,
                () = clock.sleep_until(look_again) => {}
            }
        }
    }

    /// Puts the fetch to a partition, where it stays parked.
    fn look_at(&mut self, key: Key, position: ReplicaPosition) -> Found {
        let Ok(driver) = driver_of(self.shared, key) else {
            self.session.attached.forget(&key);
            return Found::News;
        };
        let parked = &mut self.session.attached;
        let earlier = parked.take(key, &driver);
        let input = input((self.follower, self.broker_epoch), (position, self.heard), true);
        let (request, response) = driver.park_for_follower(earlier, parked.bell.clone(), input);
        parked.add(key, driver.clone(), request);
        let Response::ReplicaReadable(readable) = response else { return Found::News };
        self.session.has_news(&key, readable.high_watermark, readable.log_start_offset);
        if readable.diverging.is_some() || readable.hurry {
            return Found::News;
        }
        if readable.available_bytes == 0 {
            return Found::Nothing;
        }
        self.held_up_until(&driver).map_or(Found::News, Found::HeldUp)
    }

    /// Until when the follower has to wait for records, because it is out of sync and throttled.
    fn held_up_until(&self, driver: &PartitionDriver) -> Option<Instant> {
        let now = self.shared.doors.clock.now().monotonic;
        let until = self.shared.throttles.leader.holds_up(now, &driver.id)?;
        let in_sync =
            driver.inspect(Partition::isr).is_some_and(|isr| isr.contains(&self.follower));
        (!in_sync).then_some(until)
    }

    /// What there is to tell, in at most `room` bytes of records, except that the first batch is
    /// told whole.
    async fn answer(&mut self, mut room: usize) -> Vec<FetchedPartition> {
        // A partition that catches up must leave room for those that keep up.
        let partition_max = self.shared.config.replica_fetch_max_bytes as usize;
        let mut is_first = true;
        let mut partitions = Vec::new();
        for (key, position) in self.session.to_answer() {
            let outcome = match driver_of(self.shared, key) {
                Ok(driver) => {
                    let asked =
                        input((self.follower, self.broker_epoch), (position, self.heard), false);
                    let response = driver.ask(asked);
                    let may_read = self.held_up_until(&driver).is_none();
                    let limits = (&mut room, if may_read { partition_max } else { 0 });
                    let read =
                        read(&driver, position, response, limits, is_first && may_read).await;
                    let now = self.shared.doors.clock.now().monotonic;
                    let bytes = read.as_ref().map_or(0, |read| read.fetched.records.len());
                    self.shared.throttles.leader.record(now, &driver.id, bytes);
                    is_first &= bytes == 0;
                    read
                }
                Err(error) => Err(error),
            };
            let outcome = match outcome {
                Ok(Read { fetched, hurry, has_records }) => {
                    let (end, start) = (fetched.high_watermark, fetched.log_start_offset);
                    let tells = !fetched.records.is_empty() || fetched.diverging.is_some() || hurry;
                    if tells || has_records {
                        self.session.wake(key);
                    }
                    if !self.session.has_news(&key, end, start) && !tells {
                        continue;
                    }
                    self.session.told(&key, end, start);
                    Ok(fetched)
                }
                Err(error) => {
                    self.session.wake(key);
                    if let ReplicaFetchError::OffsetOutOfRange { producers, .. } = &error {
                        let bytes = producers.encoded_bytes();
                        // It is asked for again at once, and some time first.
                        if bytes > room && !partitions.is_empty() {
                            continue;
                        }
                        room = room.saturating_sub(bytes);
                    }
                    Err(error)
                }
            };
            let (topic, index) = key;
            let ReplicaPosition { leader_epoch, fetch_offset, .. } = position;
            partitions.push(FetchedPartition { topic, index, leader_epoch, fetch_offset, outcome });
        }
        partitions
    }
}

fn input(
    (follower, broker_epoch): (BrokerId, BrokerEpoch),
    (position, heard): (ReplicaPosition, Option<Instant>),
    park: bool,
) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::ReplicaFetch { request, follower, broker_epoch, position, heard, park }
}

fn driver_of(
    shared: &Shared,
    (topic, index): Key,
) -> Result<Arc<PartitionDriver>, ReplicaFetchError> {
    match shared.partitions.get(topic, index) {
        Lookup::Open(driver) => Ok(driver),
        Lookup::Offline => Err(ReplicaFetchError::StorageFailed),
        Lookup::Opening | Lookup::Unknown => Err(ReplicaFetchError::NotLeader),
    }
}

/// What a partition has to tell.
struct Read {
    fetched: FetchedRecords,
    /// The leader wants to hear again at once.
    hurry: bool,
    /// There are records, whether they had room or not.
    has_records: bool,
}

async fn read(
    driver: &PartitionDriver,
    position: ReplicaPosition,
    response: Response,
    (room, partition_max): (&mut usize, usize),
    is_first: bool,
) -> Result<Read, ReplicaFetchError> {
    let readable = match response {
        Response::ReplicaReadable(readable) => readable,
        Response::ReplicaRefused(error) => return Err(error),
        other => unreachable!("a replica's fetch was answered with {other:?}"),
    };
    let ReplicaReadable { log_start_offset, high_watermark, diverging, end, hurry, .. } = readable;
    let from = position.fetch_offset;
    let has_records = diverging.is_none() && from < end;
    let limit = partition_max.min(*room);
    let records = if !has_records || (limit == 0 && !is_first) {
        Bytes::new()
    } else {
        let read = driver.log().read(from, end, limit, *room > 0).await;
        read.map_err(|error| match error {
            // Truncated or deleted under the read: the next fetch finds out.
            LogError::OffsetOutOfRange { .. } => ReplicaFetchError::NotLeader,
            error => {
                tracing::error!(partition = %driver.id, %error, "a follower's read failed");
                ReplicaFetchError::StorageFailed
            }
        })?
    };
    *room = room.saturating_sub(records.len());
    let fetched = FetchedRecords { high_watermark, log_start_offset, diverging, records };
    Ok(Read { fetched, hurry, has_records })
}
