//! The partition's driver, disk and clients, and every check.

use crate::{
    clients::{Client, anonymous},
    model::{Model, Verdict},
    statistics::Statistics,
};
use highwater_core::{
    config::TopicConfig,
    partition::{
        Acks, Assignment, Effect, Effects, Input, OffsetSpec, PLENTY, Partition, PartitionError,
        ReadPosition, Recovered, ReplicaOptions, Response, SegmentSummary, SideState,
    },
    record::{BATCH_HEADER_BYTES, Batch},
    time::{Instant, Now, Timestamp},
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, RequestId, WriteId},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

const RETENTION: Duration = Duration::from_secs(3600);

/// What a request must be answered with.
enum Expected {
    Produced { batch: Batch, verdict: Verdict, acks: Acks, end: u64, deadline: Instant },
    Readable { offset: u64 },
    Deleted { to: u64, high_watermark: u64 },
    Offset { spec: OffsetSpec },
}

pub struct World {
    random: ChaCha8Rng,
    now: Now,
    partition: Partition,
    model: Model,
    clients: Vec<Client>,
    /// Encoded, as it is on the disk.
    checkpoint: Vec<u8>,
    persisting: VecDeque<u64>,
    searching: VecDeque<RequestId>,
    expected: BTreeMap<RequestId, Expected>,
    parked: BTreeSet<RequestId>,
    /// Every acknowledged batch: its records and their offset.
    acked: Vec<(bytes::Bytes, u64)>,
    next_request: u64,
    has_failed: bool,
    /// The log start that could not be stored, during the step that says so.
    not_persisted: Option<u64>,
    pub statistics: Statistics,
}

/// The only replica of a partition, which leads in this epoch.
fn alone(now: Now, leader_epoch: LeaderEpoch, recovered: Recovered) -> Partition {
    const BROKER: BrokerId = BrokerId(1);
    let options = ReplicaOptions { broker: BROKER, lag_max: Duration::from_secs(30) };
    let mut partition = Partition::new(now, options, config(), recovered);
    let assignment = Assignment {
        leader: Some(BROKER),
        leader_epoch,
        partition_epoch: PartitionEpoch(leader_epoch.0),
        replicas: vec![BROKER],
        isr: vec![BROKER],
        eligible: BTreeMap::from([(BROKER, BrokerEpoch(1))]),
        min_insync: 1,
        counts_flushed: true,
    };
    let mut effects = Effects::new();
    partition.step(now, Input::Assigned(assignment), &mut effects);
    let advances = |effect: &Effect| matches!(effect, Effect::HighWatermarkAdvanced { .. });
    assert!(effects.iter().all(advances), "nobody waits for a new leader yet");
    partition
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let now = Now { monotonic: Instant(0), wall: Timestamp(1_000_000_000_000) };
        let clients = (0..random.random_range(1..5)).map(|id| Client::new(id, &mut random));
        Self {
            clients: clients.collect(),
            random,
            now,
            partition: alone(now, LeaderEpoch(0), Recovered::default()),
            model: Model::default(),
            checkpoint: SideState::starting_at(Offset(0)).encode(),
            persisting: VecDeque::new(),
            searching: VecDeque::new(),
            expected: BTreeMap::new(),
            parked: BTreeSet::new(),
            acked: Vec::new(),
            next_request: 0,
            has_failed: false,
            not_persisted: None,
            statistics: Statistics::default(),
        }
    }

    /// One thing happens.
    pub fn turn(&mut self) {
        self.now.monotonic.0 += self.random.random_range(0..20_000_000);
        self.now.wall.0 += self.random.random_range(0..20_000);
        match self.random.random_range(0..1000) {
            0..450 => self.produce(),
            450..600 => self.flush(),
            600..700 => self.fetch(),
            700..740 => self.delete(),
            740..780 => self.persist_log_start(),
            780..820 => self.list_offsets(),
            820..860 => self.answer_search(),
            860..890 => self.offer_segments(),
            890..930 => self.checkpoint = self.checked_side_state().encode(),
            930..980 => self.tick(),
            980..985 => self.now.wall.0 += self.random.random_range(-86_400_000..86_400_000),
            985..987 => self.fail_log(),
            987..995 => self.crash(),
            _ => self.cancel(),
        }
    }

    /// Everything heals: what was not acknowledged is sent until it is.
    pub fn settle(&mut self) {
        if self.has_failed {
            self.crash();
        }
        for _ in 0..20 {
            for index in 0..self.clients.len() {
                let open: Vec<_> = self.clients[index].open.iter().cloned().collect();
                open.into_iter().for_each(|sent| self.send(sent.batch, Acks::All));
            }
            self.model.durable = self.model.log.len();
            self.report_flushed();
        }
        let open = self.clients.iter().map(|client| client.open.len()).sum::<usize>();
        assert_eq!(open, 0, "every batch is acknowledged once everything heals");
        self.crash();
        self.check_history();
    }

    fn produce(&mut self) {
        let wall = self.now.wall;
        let who = self.random.random_range(0..=self.clients.len());
        let batch = match self.clients.get_mut(who) {
            Some(client) => {
                let is_known = self.model.knows(client.id);
                client.next_batch(&mut self.random, wall, is_known)
            }
            None => anonymous(&mut self.random, wall),
        };
        let acks = [Acks::All, Acks::All, Acks::Leader, Acks::None][self.random.random_range(0..4)];
        self.send(batch, acks);
    }

    fn send(&mut self, batch: Batch, acks: Acks) {
        let verdict = self.model.verdict(&batch.header);
        let base_offset = match verdict {
            Verdict::Duplicate { base_offset } => base_offset,
            _ => self.model.log_end(),
        };
        let end = base_offset + batch.header.offset_count();
        let wait = Duration::from_millis(self.random.random_range(1..2000));
        let deadline = self.now.monotonic.after(wait);
        let appended = self.model.log.len();
        let request =
            self.expect(Expected::Produced { batch: batch.clone(), verdict, acks, end, deadline });
        self.step(Input::Produce { request, acks, batch, deadline });
        let is_new = verdict == Verdict::New && !self.has_failed;
        assert_eq!(self.model.log.len() - appended, usize::from(is_new), "{verdict:?}");
    }

    fn flush(&mut self) {
        let unflushed = self.model.log.len() - self.model.durable;
        if self.has_failed || unflushed == 0 {
            return;
        }
        self.model.durable += self.random.random_range(1..=unflushed);
        self.report_flushed();
    }

    fn report_flushed(&mut self) {
        if let Some(last) = self.model.log[..self.model.durable].last()
            && last.incarnation == self.model.incarnation
        {
            self.step(Input::Flushed { through: last.write });
        }
    }

    fn fetch(&mut self) {
        let offset = self.random.random_range(0..=self.model.log_end() + 1);
        let park = self.random.random_bool(0.7);
        let current_leader_epoch =
            self.random.random_bool(0.5).then_some(self.partition.leader_epoch());
        let request = self.expect(Expected::Readable { offset });
        if park {
            self.parked.insert(request);
        }
        let position = ReadPosition {
            offset: Offset(offset),
            current_leader_epoch,
            last_fetched_epoch: None,
            from_follower: false,
        };
        self.step(Input::Fetch { request, position, park });
    }

    fn delete(&mut self) {
        let high_watermark = self.model.durable_end();
        let near = self.model.visible_start + self.random.random_range(0..20);
        let before = self.random.random_bool(0.9).then_some(near);
        let to = before.unwrap_or(high_watermark);
        let request = self.expect(Expected::Deleted { to, high_watermark });
        self.step(Input::DeleteRecords { request, before: before.map(Offset) });
    }

    fn persist_log_start(&mut self) {
        if self.has_failed {
            return;
        }
        if let Some(to) = self.persisting.pop_front() {
            if self.random.random_bool(0.1) {
                self.not_persisted = Some(to);
                self.step(Input::LogStartNotPersisted { to: Offset(to) });
                self.not_persisted = None;
                return;
            }
            self.model.durable_start = self.model.durable_start.max(to);
            self.model.visible_start = self.model.durable_start;
            self.step(Input::LogStartPersisted { to: Offset(to) });
        }
    }

    fn list_offsets(&mut self) {
        let at = OffsetSpec::At(self.now.wall);
        let spec = [OffsetSpec::Earliest, OffsetSpec::Latest, OffsetSpec::MaxTimestamp, at]
            [self.random.random_range(0..4)];
        let request = self.expect(Expected::Offset { spec });
        self.step(Input::ListOffsets { request, spec, current_leader_epoch: None });
    }

    fn answer_search(&mut self) {
        let Some(request) = self.searching.pop_front() else { return };
        let start = self.model.visible_start;
        let found = (start < self.model.durable_end()).then_some((self.now.wall, Offset(start)));
        self.step(Input::Found { request, found });
    }

    /// Offers the durable log as segments of some batches each, the last of them active.
    fn offer_segments(&mut self) {
        let from = self
            .model
            .log
            .partition_point(|entry| entry.header.next_offset().0 <= self.model.visible_start);
        let entries = &self.model.log[from..];
        let length = self.random.random_range(1..10);
        let mut segments: Vec<SegmentSummary> = entries
            .chunks(length)
            .map(|batches| SegmentSummary {
                base_offset: batches[0].header.base_offset,
                end_offset: batches[batches.len() - 1].header.next_offset(),
                bytes: batches.iter().map(|entry| entry.header.size_in_bytes as u64).sum(),
                max_timestamp: batches.iter().map(|entry| entry.header.max_timestamp).max(),
                modified: self.now.wall,
            })
            .collect();
        let total_bytes = segments.iter().map(|segment| segment.bytes).sum();
        segments.pop();
        let asked = self.persisting.len();
        self.step(Input::Segments { closed: segments.clone(), active: None, total_bytes });
        for to in self.persisting.iter().skip(asked) {
            self.statistics.retentions += 1;
            for segment in segments.iter().filter(|segment| segment.end_offset.0 <= *to) {
                let newest = segment.max_timestamp.expect("every batch has one");
                let age = self.now.wall.0 - newest.0;
                assert!(age > RETENTION.as_millis() as i64, "a young segment is deleted");
            }
        }
    }

    fn tick(&mut self) {
        if self.partition.next_deadline().is_some_and(|at| at <= self.now.monotonic) {
            self.step(Input::Tick);
            let next = self.partition.next_deadline();
            assert!(next.is_none_or(|at| at > self.now.monotonic), "a tick is enough");
        }
    }

    fn fail_log(&mut self) {
        self.statistics.log_failures += 1;
        self.has_failed = true;
        let readable = self.random.random_bool(0.5);
        self.step(Input::LogFailed { readable });
        let waits = |expected: &Expected| !matches!(expected, Expected::Offset { .. });
        assert!(!self.expected.values().any(waits), "nothing waits for a failed log");
    }

    fn cancel(&mut self) {
        if let Some(request) = self.parked.pop_last() {
            self.step(Input::Cancel { request });
        }
        if let Some((request, _)) = self.expected.pop_first() {
            self.searching.retain(|searching| *searching != request);
            self.step(Input::Cancel { request });
        }
    }

    /// The power fails: of what was not flushed, some first part may have survived. Then the log
    /// is recovered and a new leader epoch begins.
    fn crash(&mut self) {
        self.statistics.crashes += 1;
        let unflushed = self.model.log.len() - self.model.durable;
        let surviving = self.model.durable + self.random.random_range(0..=unflushed);
        self.statistics.lost_batches += (self.model.log.len() - surviving) as u64;
        self.model.log.truncate(surviving);
        self.model.durable = surviving;
        if let Some(to) = self.persisting.pop_front()
            && self.random.random_bool(0.5)
        {
            self.model.durable_start = self.model.durable_start.max(to);
        }
        self.model.visible_start = self.model.durable_start;
        self.model.incarnation += 1;
        self.persisting.clear();
        self.searching.clear();
        self.expected.clear();
        self.parked.clear();
        self.has_failed = false;
        let side = self.recovered_side_state();
        let recovered = Recovered {
            log_start_offset: Offset(self.model.durable_start),
            log_end_offset: Offset(self.model.log_end()),
            high_watermark: side.high_watermark.min(Offset(self.model.log_end())),
            epochs: side.epochs,
            producers: side.producers,
            tail: Vec::new(),
        };
        let epoch = LeaderEpoch(self.partition.leader_epoch().0 + 1);
        self.partition = alone(self.now, epoch, recovered);
        self.check_acknowledged_records_survive();
    }

    fn recovered_side_state(&self) -> SideState {
        let mut side = SideState::decode(&self.checkpoint).expect("own encoding");
        assert!(side.offset.0 <= self.model.log_end(), "a checkpoint holds flushed state only");
        for entry in &self.model.log {
            side.replay(&entry.header).expect("the log is sound");
        }
        assert_eq!(side.producers, self.replayed(self.model.log.len()).producers);
        side
    }

    /// The side state of the first `count` batches, from nothing.
    fn replayed(&self, count: usize) -> SideState {
        let mut side = SideState::starting_at(Offset(0));
        for entry in &self.model.log[..count] {
            side.replay(&entry.header).expect("the log is sound");
        }
        side
    }

    fn checked_side_state(&self) -> SideState {
        let live = self.partition.side_state();
        let replayed = self.replayed(self.model.durable);
        assert_eq!(live.offset, replayed.offset, "a checkpoint is as of the flushed offset");
        let encoded = |side: &SideState| {
            let mut bytes = Vec::new();
            side.producers.encode(&mut bytes);
            bytes
        };
        assert_eq!(encoded(&live), encoded(&replayed), "replaying the log gives the live state");
        for offset in self.model.visible_start..self.model.durable_end() {
            let offset = Offset(offset);
            assert_eq!(live.epochs.epoch_at(offset), replayed.epochs.epoch_at(offset));
        }
        live
    }

    fn expect(&mut self, expected: Expected) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.expected.insert(request, expected);
        request
    }

    fn step(&mut self, input: Input) {
        self.statistics.steps += 1;
        let before = (self.partition.high_watermark(), self.partition.log_start_offset());
        let mut effects = Effects::new();
        self.partition.step(self.now, input, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        let after = (self.partition.high_watermark(), self.partition.log_start_offset());
        assert!(after.0 >= before.0 && after.1 >= before.1, "both only advance");
        assert!(after == before || self.parked.is_empty(), "every change wakes the readers");
        assert_eq!(after.0.0, self.model.durable_end(), "the high watermark is what was flushed");
        assert!(after.1.0 <= self.model.durable_start, "the log start is durable");
        assert_eq!(self.partition.log_end_offset().0, self.model.log_end());
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Append { write, batch } => {
                assert!(!self.has_failed, "nothing is appended to a failed log");
                assert!(batch.header.leader_epoch == Some(self.partition.leader_epoch()));
                self.check_write_id(write);
                self.model.append(write, batch);
            }
            Effect::Respond { request, response } => {
                let expected = self.expected.remove(&request).expect("answered exactly once");
                self.check(request, expected, response);
            }
            Effect::Wake { request } => {
                self.statistics.wakes += 1;
                self.parked.remove(&request);
            }
            Effect::Mention { .. } => panic!("the only replica has no follower"),
            Effect::FindByTimestamp { request, before, .. } => {
                assert!(before.0 <= self.model.durable_end(), "only flushed records are searched");
                self.searching.push_back(request);
            }
            Effect::AdvanceLogStart { to } => {
                assert!(to.0 <= self.model.durable_end(), "only flushed records are deleted");
                self.persisting.push_back(to.0);
            }
            Effect::RollSegment => panic!("no active segment was offered"),
            Effect::Truncate { .. } | Effect::Reset { .. } | Effect::ProposeIsr { .. } => {
                panic!("the only replica follows nobody and needs no other")
            }
            Effect::HighWatermarkAdvanced { to } => assert_eq!(to.0, self.model.durable_end()),
        }
    }

    fn check_write_id(&self, write: WriteId) {
        let newest =
            self.model.log.last().filter(|last| last.incarnation == self.model.incarnation);
        assert!(newest.is_none_or(|last| write.0 == last.write.0 + 1), "ids increase by one");
    }

    fn check(&mut self, request: RequestId, expected: Expected, response: Response) {
        if response == Response::Error(PartitionError::StorageFailed) {
            let not_deleted = matches!(&expected, Expected::Deleted { to, .. }
                if self.not_persisted.is_some_and(|failed| *to <= failed));
            assert!(self.has_failed || not_deleted, "only what the disk refused fails");
            self.parked.remove(&request);
            return;
        }
        match expected {
            Expected::Produced { batch, verdict, acks, end, deadline } => {
                self.check_produced((batch, verdict, acks), end, deadline, response);
            }
            Expected::Readable { offset } => self.check_readable(request, offset, response),
            Expected::Deleted { to, high_watermark } => {
                self.check_deleted(to, high_watermark, response);
            }
            Expected::Offset { spec } => self.check_offset(spec, response),
        }
    }

    fn check_produced(
        &mut self,
        (batch, verdict, acks): (Batch, Verdict, Acks),
        end: u64,
        deadline: Instant,
        response: Response,
    ) {
        let base_offset = match response {
            Response::Produced { base_offset, .. } => base_offset.0,
            Response::Error(PartitionError::RequestTimedOut) => {
                self.statistics.timeouts += 1;
                return assert!(self.now.monotonic >= deadline, "it was not late");
            }
            Response::Error(PartitionError::Sequence(error)) => {
                self.statistics.refusals += 1;
                let refused = matches!(verdict, Verdict::StaleEpoch | Verdict::OutOfOrder);
                return assert!(refused, "{verdict:?} was refused: {error}");
            }
            other => panic!("{verdict:?} was answered with {other:?}"),
        };
        assert_eq!(base_offset + batch.header.offset_count(), end);
        match verdict {
            Verdict::New => {}
            Verdict::Duplicate { .. } => self.statistics.duplicates += 1,
            _ => panic!("{verdict:?} must not be acknowledged"),
        }
        if acks != Acks::None {
            assert!(end <= self.model.durable_end(), "acknowledged before it was flushed");
            self.acknowledge(batch, base_offset);
        }
    }

    fn acknowledge(&mut self, batch: Batch, base_offset: u64) {
        self.statistics.acks += 1;
        self.acked.push((batch.bytes.slice(BATCH_HEADER_BYTES..), base_offset));
        if let Some(producer) = batch.header.producer {
            let client = &mut self.clients[producer.id.0 as usize];
            client.acknowledged(&batch.bytes, base_offset);
        }
    }

    fn check_readable(&mut self, request: RequestId, offset: u64, response: Response) {
        let (start, end) = (self.model.visible_start, self.model.log_end());
        match response {
            Response::Readable(readable) => {
                assert!((start..=end).contains(&offset));
                assert_eq!(readable.high_watermark.0, self.model.durable_end());
                assert_eq!(readable.log_start_offset.0, start);
                let exact = self.model.exact_bytes_from(offset);
                let available = readable.available_bytes;
                assert!(exact.map_or(available > 0, |exact| exact == available));
                assert!(exact.is_some() || available == PLENTY || available < 1 << 30);
            }
            Response::Error(PartitionError::OffsetOutOfRange { .. }) => {
                assert!(!(start..=end).contains(&offset), "{offset} is in {start}..={end}");
                self.parked.remove(&request);
            }
            other => panic!("a fetch was answered with {other:?}"),
        }
    }

    fn check_deleted(&mut self, to: u64, high_watermark: u64, response: Response) {
        match response {
            Response::RecordsDeleted { low_watermark } => {
                self.statistics.deletions += 1;
                assert!(to <= low_watermark.0);
                assert!(low_watermark.0 <= self.model.durable_start, "not durable yet");
            }
            Response::Error(PartitionError::OffsetOutOfRange { .. }) => {
                assert!(to > high_watermark);
            }
            other => panic!("a deletion was answered with {other:?}"),
        }
    }

    fn check_offset(&self, spec: OffsetSpec, response: Response) {
        let Response::Offset { offset, .. } = response else {
            panic!("a lookup was answered with {response:?}");
        };
        let offset = offset.map(|offset| offset.0);
        match spec {
            OffsetSpec::Earliest => assert_eq!(offset, Some(self.model.visible_start)),
            OffsetSpec::Latest => assert_eq!(offset, Some(self.model.durable_end())),
            _ => assert!(offset.is_none_or(|offset| offset >= self.model.visible_start)),
        }
    }

    fn check_acknowledged_records_survive(&self) {
        for (body, offset) in &self.acked {
            let entry = self.model.entry_at(*offset).expect("an acknowledged record is lost");
            assert_eq!(self.model.log[entry].body, *body, "an acknowledged record was replaced");
        }
    }

    /// Every batch of an idempotent producer is in the log once, in program order.
    fn check_history(&self) {
        for client in &self.clients {
            let bodies =
                client.done.iter().map(|sent| sent.batch.bytes.slice(BATCH_HEADER_BYTES..));
            let logged = self.model.log.iter().filter(|entry| {
                entry.header.producer.is_some_and(|producer| producer.id.0 == client.id)
            });
            assert!(bodies.eq(logged.map(|entry| entry.body.clone())), "client {}", client.id);
        }
    }
}

fn config() -> TopicConfig {
    TopicConfig {
        retention: Some(RETENTION),
        // The wall clock jumps by days here, which must not refuse a retry.
        timestamp_after_max: Duration::from_millis(i64::MAX as u64),
        ..TopicConfig::default()
    }
}
