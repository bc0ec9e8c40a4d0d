//! Fetch (key 1): reads what is below the high watermark, waiting for `min_bytes` of it.
//!
//! A fetch that finds too little parks on every partition it names; each wakes it when its
//! answer may have changed. Sessions (KIP-227) are `core::fetch_session`. A leader may name a
//! follower instead of records, which answers then (KIP-392).

use super::{Context, errors, leader_hints::LeaderHints, read_replicas::ReadReplicas, resolve};
use crate::{
    broker::{FetchKey, MemoryPermit, ParkedRequests, PartitionDriver, Position},
    log::LogError,
    wire::{
        ErrorCode, Str,
        generated::fetch::{
            EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
            NodeEndpoint, PartitionData,
        },
    },
};
use bytes::Bytes;
use highwater_core::{
    fetch_session::{Answered, FetchContext, SessionError, SessionId, SessionRequest, Wanted},
    metadata::MAX_TOPIC_NAME_BYTES,
    partition::{Input, PartitionError, ReadPosition, Readable, Response},
    time::Instant,
    types::{Offset, RequestId},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Memory taken for the first read of an answer: a batch may be larger than the limit it is read
/// under.
const FIRST_READ_BYTES: usize = 256 << 10;
/// Fetches that the memory for reads must be enough for at one time.
const READERS_AT_LEAST: usize = 4;
/// The most partitions in one fetch.
const PARTITIONS_MAX: usize = 100_000;

/// The first version whose answers name the leaders' addresses (KIP-951).
const HINTS_SINCE: i16 = 16;

/// A wanted partition and its driver.
struct Target<'a> {
    wanted: &'a Wanted<FetchKey, Position>,
    driver: Result<Arc<PartitionDriver>, ErrorCode>,
    /// Whether a follower may answer.
    from_follower: bool,
}

/// Serves a fetch. The permits are for the records in the answer.
pub async fn handle(context: Context, request: FetchRequest) -> (FetchResponse, Vec<MemoryPermit>) {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let now = context.shared.doors.clock.now().monotonic;
    let deadline = now.after(wait);
    let partitions: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if partitions > PARTITIONS_MAX {
        let refusal =
            FetchResponse { error_code: ErrorCode::InvalidRequest as i16, ..Default::default() };
        return (refusal, Vec::new());
    }
    let begun = match begin(&context, now, &request) {
        Ok(begun) => begun,
        Err(error) => return (session_refusal(error), Vec::new()),
    };
    let replicas = ReadReplicas::new(&context, &request.rack_id);
    let from_follower = replicas.may_be_followers();
    let target = |wanted| Target { wanted, driver: driver_of(&context, wanted), from_follower };
    let targets: Vec<Target<'_>> = begun.partitions.iter().map(target).collect();
    let min_bytes = u64::try_from(request.min_bytes).unwrap_or(0);
    wait_until_worthwhile(&context, &targets, &replicas, (min_bytes, deadline)).await;
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
    let mut reading = Reading {
        context: &context,
        replicas: &replicas,
        read_committed: request.isolation_level == 1,
        remaining: max_bytes
            .min(context.shared.config.fetch_max_bytes)
            .min(context.shared.reads.total() / READERS_AT_LEAST),
        memory: Vec::new(),
        has_records: false,
    };
    let mut answers = Vec::with_capacity(targets.len());
    let mut hints = LeaderHints::new(&context, HINTS_SINCE);
    for target in &targets {
        let mut data = reading.read(target).await;
        let key = &target.wanted.key;
        let topic = hints.topic_id(&key.topic, key.topic_id);
        if let Some(hint) = hints.for_code(data.error_code, topic, key.partition) {
            let (leader_id, leader_epoch) = (hint.leader_id, hint.leader_epoch);
            data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
        }
        answers.push(data);
    }
    let memory = reading.memory;
    let mut response = respond(&context, &begun, answers);
    response.node_endpoints = hints
        .endpoints()
        .map(|node| NodeEndpoint {
            node_id: node.id,
            host: node.host,
            port: node.port,
            rack: node.rack,
        })
        .collect();
    (response, memory)
}

fn begin(
    context: &Context,
    now: Instant,
    request: &FetchRequest,
) -> Result<FetchContext<FetchKey, Position>, SessionError> {
    let session = match (request.session_id, request.session_epoch) {
        (id, -1) => SessionRequest::Sessionless { close: (id != 0).then_some(SessionId(id)) },
        (id, 0) => SessionRequest::Open { close: (id != 0).then_some(SessionId(id)) },
        (id, epoch) => SessionRequest::Continue { id: SessionId(id), epoch },
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let name = topic_name(&topic.topic);
        for partition in &topic.partitions {
            wanted.push(Wanted {
                key: FetchKey {
                    topic: name.clone(),
                    topic_id: topic.topic_id,
                    partition: partition.partition,
                },
                position: Position {
                    offset: partition.fetch_offset,
                    max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
                    current_leader_epoch: errors::epoch(partition.current_leader_epoch),
                    last_fetched_epoch: errors::epoch(partition.last_fetched_epoch),
                },
            });
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let name = topic_name(&topic.topic);
        for partition in &topic.partitions {
            forgotten.push(FetchKey {
                topic: name.clone(),
                topic_id: topic.topic_id,
                partition: *partition,
            });
        }
    }
    let fresh = SessionId((context.shared.doors.entropy.next_u64() >> 33) as i32 | 1);
    context.shared.fetch_sessions().begin(now, session, fresh, wanted, &forgotten)
}

/// A topic's name as sessions keep it. No topic has a longer one than is kept.
fn topic_name(name: &str) -> Arc<str> {
    let kept = if name.len() > MAX_TOPIC_NAME_BYTES { "" } else { name };
    kept.into()
}

fn session_refusal(error: SessionError) -> FetchResponse {
    let code = match error {
        SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
    };
    FetchResponse { error_code: code as i16, ..Default::default() }
}

fn driver_of(
    context: &Context,
    wanted: &Wanted<FetchKey, Position>,
) -> Result<Arc<PartitionDriver>, ErrorCode> {
    let key = &wanted.key;
    let topic = if context.version >= 13 {
        resolve::Topic::with_id(context, key.topic_id)
    } else {
        resolve::Topic::named(context, &key.topic)
    };
    topic.partition(context, key.partition)
}

/// Returns when there are `min_bytes` to read, something to report, or no time left.
async fn wait_until_worthwhile(
    context: &Context,
    targets: &[Target<'_>],
    replicas: &ReadReplicas,
    (min_bytes, deadline): (u64, Instant),
) {
    let clock = &context.shared.doors.clock;
    while clock.now().monotonic < deadline {
        let wake = Arc::new(Notify::new());
        let mut parked = ParkedRequests::default();
        let mut available = 0_u64;
        for target in targets {
            let Ok(driver) = &target.driver else { return };
            let Some(offset) = target.offset() else { return };
            let (request, response) = driver.park(wake.clone(), target.input(offset, true));
            parked.add(driver, request);
            match response {
                Response::Readable(Readable { diverging: None, available_bytes, .. }) => {
                    if replicas.preferred(driver, offset).is_some() {
                        return;
                    }
                    let wanted = target.position().max_bytes as u64;
                    available = available.saturating_add(available_bytes.min(wanted));
                }
                _ => return,
            }
        }
        if targets.is_empty() || available >= min_bytes {
            return;
        }
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = context.shared.closing() => return,
            () = clock.sleep_until(deadline) => return,
        }
    }
}

impl Target<'_> {
    fn position(&self) -> &Position {
        &self.wanted.position
    }

    /// The offset, unless it is negative and so out of every range.
    fn offset(&self) -> Option<Offset> {
        u64::try_from(self.position().offset).ok().map(Offset)
    }

    /// What the partition's machine is asked.
    fn input(&self, offset: Offset, park: bool) -> impl FnOnce(RequestId) -> Input {
        let position = ReadPosition {
            offset,
            current_leader_epoch: self.position().current_leader_epoch,
            last_fetched_epoch: self.position().last_fetched_epoch,
            from_follower: self.from_follower,
        };
        move |request| Input::Fetch { request, position, park }
    }
}

/// The progress of reading one answer.
struct Reading<'a> {
    context: &'a Context,
    replicas: &'a ReadReplicas,
    read_committed: bool,
    remaining: usize,
    memory: Vec<MemoryPermit>,
    has_records: bool,
}

impl Reading<'_> {
    async fn read(&mut self, target: &Target<'_>) -> PartitionData {
        let mut data = PartitionData {
            partition_index: target.wanted.key.partition,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            records: Some(Bytes::new()),
            ..Default::default()
        };
        data.aborted_transactions = self.read_committed.then(Vec::new);
        let outcome = self.read_into(target, &mut data).await;
        if let Ok(driver) = &target.driver {
            self.context.shared.metrics.fetch_request(&driver.metrics, outcome.is_err());
        }
        if let Err(code) = outcome {
            data.error_code = code as i16;
        }
        data
    }

    async fn read_into(
        &mut self,
        target: &Target<'_>,
        data: &mut PartitionData,
    ) -> Result<(), ErrorCode> {
        let driver = target.driver.as_ref().map_err(|code| *code)?;
        let offset = target.offset().ok_or(ErrorCode::OffsetOutOfRange)?;
        let position = target.position();
        let readable = match driver.ask(target.input(offset, false)) {
            Response::Readable(readable) => readable,
            Response::Error(error) => return Err(errors::of_partition(&error)),
            other => unreachable!("a fetch was answered with {other:?}"),
        };
        data.high_watermark = errors::offset(readable.high_watermark);
        data.last_stable_offset = errors::offset(readable.last_stable_offset);
        data.log_start_offset = errors::offset(readable.log_start_offset);
        if let Some(end) = readable.diverging {
            data.diverging_epoch = EpochEndOffset {
                epoch: errors::epoch_number(end.epoch),
                end_offset: errors::offset(end.end_offset),
            };
            return Ok(());
        }
        if let Some(replica) = self.replicas.preferred(driver, offset) {
            data.preferred_read_replica = replica.0;
            return Ok(());
        }
        let mut before = readable.high_watermark;
        if self.read_committed {
            before = before.min(readable.last_stable_offset);
        }
        if offset >= before {
            return Ok(());
        }
        let Some((limit, permit)) = self.take_room(position.max_bytes).await else {
            return Ok(());
        };
        let at_least_one = !self.has_records;
        let records = driver.log().read(offset, before, limit, at_least_one).await;
        let records = records.map_err(|error| match error {
            // What replicas have received is committed before it is written here, where
            // `durability=replicated` counts it, and on followers.
            LogError::OffsetOutOfRange { offset, log_end_offset, .. }
                if offset > log_end_offset =>
            {
                ErrorCode::OffsetNotAvailable
            }
            // Retention has overtaken the read.
            LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            error => {
                tracing::error!(partition = %driver.id, %error, "a read failed");
                errors::of_partition(&PartitionError::StorageFailed)
            }
        })?;
        self.remaining = self.remaining.saturating_sub(records.len());
        if !records.is_empty() {
            self.has_records = true;
            self.memory.push(permit.shrunk_to(records.len()));
        }
        self.context.shared.metrics.fetched(&driver.metrics, records.len() as u64);
        data.records = Some(records);
        Ok(())
    }

    /// Room for the next partition's records; `None` when the answer is full. The first records
    /// wait for memory, later ones are left for the next fetch.
    async fn take_room(&mut self, max_bytes: usize) -> Option<(usize, MemoryPermit)> {
        let reads = &self.context.shared.reads;
        let limit = max_bytes.min(self.remaining);
        if !self.has_records {
            // No permit is held here, so waiting cannot lock two fetches into each other. The
            // first batch is read whole, however small the limit.
            return Some((limit, reads.take(limit.max(FIRST_READ_BYTES)).await));
        }
        if limit == 0 {
            return None;
        }
        reads.try_take(limit).map(|permit| (limit, permit))
    }
}

fn respond(
    context: &Context,
    begun: &FetchContext<FetchKey, Position>,
    answers: Vec<PartitionData>,
) -> FetchResponse {
    let answered: Vec<Answered> = answers
        .iter()
        .map(|data| Answered {
            must_send: data.error_code != ErrorCode::None as i16
                || data.records.as_ref().is_some_and(|records| !records.is_empty())
                || data.diverging_epoch.epoch != -1
                || data.preferred_read_replica != -1,
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
        })
        .collect();
    let include = context.shared.fetch_sessions().finish(begun, &answered);
    let mut response = FetchResponse {
        session_id: begun.session.map_or(0, |session| session.0),
        ..Default::default()
    };
    for ((wanted, data), include) in begun.partitions.iter().zip(answers).zip(include) {
        if !include {
            continue;
        }
        let key = &wanted.key;
        match response.responses.last_mut() {
            Some(last) if *last.topic == *key.topic && last.topic_id == key.topic_id => {
                last.partitions.push(data);
            }
            _ => response.responses.push(FetchableTopicResponse {
                topic: Str::from(&*key.topic),
                topic_id: key.topic_id,
                partitions: vec![data],
            }),
        }
    }
    response
}
