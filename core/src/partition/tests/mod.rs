//! Rule tests: inputs to exact effects.

mod coordinator;
mod deletion;
mod failure;
mod following;
mod isr;
mod journal;
mod leading;
mod produce;
mod read_replica;
mod reading;
mod replicas;
mod standing;

use super::*;
use crate::{
    record::{Batch, BatchBuilder, NewRecord, Origin, PlacedBatch},
    time::Timestamp,
    types::{BrokerEpoch, ProducerEpoch, ProducerId, Sequence},
};
use alloc::{vec, vec::Vec};

pub(super) const WALL: i64 = 1_000_000_000_000;
const EPOCH: LeaderEpoch = LeaderEpoch(3);
const BROKER: BrokerId = BrokerId(1);

/// This broker leads and holds the only replica.
pub(super) fn alone() -> Assignment {
    Assignment {
        leader: Some(BROKER),
        leader_epoch: EPOCH,
        partition_epoch: PartitionEpoch(0),
        replicas: vec![BROKER],
        isr: vec![BROKER],
        eligible: BTreeMap::from([(BROKER, BrokerEpoch(1))]),
        min_insync: 1,
        counts_flushed: true,
    }
}

/// A consumer that knows nothing but its offset.
pub(super) fn position(offset: u64) -> ReadPosition {
    ReadPosition {
        offset: Offset(offset),
        current_leader_epoch: None,
        last_fetched_epoch: None,
        from_follower: false,
    }
}

/// A partition, its clocks, and what is needed to speak to it.
pub(super) struct Fixture {
    pub(super) partition: Partition,
    pub(super) now: Now,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(TopicConfig::default(), Recovered::default())
    }

    pub(super) fn with(config: TopicConfig, recovered: Recovered) -> Self {
        let now = Now { monotonic: Instant(0), wall: Timestamp(WALL) };
        let recovered = Recovered { high_watermark: recovered.log_end_offset, ..recovered };
        let options = ReplicaOptions { broker: BROKER, lag_max: Duration::from_secs(30) };
        let mut fixture = Self { partition: Partition::new(now, options, config, recovered), now };
        fixture.step(Input::Assigned(alone()));
        fixture
    }

    pub(super) fn step(&mut self, input: Input) -> Effects {
        let mut effects = Effects::new();
        self.partition.step(self.now, input, &mut effects);
        effects
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now.monotonic = self.now.monotonic.after(Duration::from_secs(seconds));
        self.now.wall.0 += seconds as i64 * 1000;
    }

    /// Produces with a deadline 30 seconds ahead.
    pub(super) fn produce(&mut self, request: u64, acks: Acks, batch: Batch) -> Effects {
        let deadline = self.now.monotonic.after(Duration::from_secs(30));
        self.step(Input::Produce { request: RequestId(request), acks, batch, deadline })
    }

    pub(super) fn flushed(&mut self, through: u64) -> Effects {
        self.step(Input::Flushed { through: WriteId(through) })
    }

    pub(super) fn fetch(&mut self, request: u64, offset: u64, park: bool) -> Effects {
        let position = position(offset);
        self.step(Input::Fetch { request: RequestId(request), position, park })
    }

    /// Appends and flushes `count` batches of one record each.
    pub(super) fn fill(&mut self, count: u64) {
        for _ in 0..count {
            let request = 1_000_000 + self.partition.next_write.0;
            self.produce(request, Acks::None, batch(1));
        }
        self.flushed(self.partition.next_write.0 - 1);
    }
}

/// A batch of `count` records of nobody, stamped with the fixture's first wall clock.
pub(super) fn batch(count: u32) -> Batch {
    build(BatchBuilder::new(), count, WALL)
}

/// A batch of producer 1 in epoch 0.
pub(super) fn idempotent(base_sequence: i32, count: u32) -> Batch {
    of_producer(1, 0, base_sequence, count)
}

pub(super) fn of_producer(id: u64, epoch: i16, base_sequence: i32, count: u32) -> Batch {
    let (id, epoch, base) = (ProducerId(id), ProducerEpoch(epoch), Sequence(base_sequence));
    build(BatchBuilder::new().producer(id, epoch, base), count, WALL)
}

pub(super) fn build(mut builder: BatchBuilder, count: u32, timestamp: i64) -> Batch {
    let timestamp = Timestamp(timestamp);
    (0..count).for_each(|_| builder.push(NewRecord { timestamp, ..NewRecord::default() }));
    Batch::parse(builder.build(), usize::MAX, Origin::Client).expect("valid")
}

pub(super) fn append(write: u64, batch: Batch, base_offset: u64) -> Effect {
    let batch = batch.placed(Offset(base_offset), EPOCH, None);
    Effect::Append { write: WriteId(write), batch }
}

pub(super) fn appended(effects: &[Effect]) -> Vec<&PlacedBatch> {
    let batches = effects.iter().filter_map(|effect| match effect {
        Effect::Append { batch, .. } => Some(batch),
        _ => None,
    });
    batches.collect()
}

pub(super) fn respond(request: u64, response: Response) -> Effect {
    Effect::Respond { request: RequestId(request), response }
}

pub(super) fn produced(request: u64, base_offset: u64) -> Effect {
    let response = Response::Produced {
        base_offset: Offset(base_offset),
        log_append_time: None,
        log_start_offset: Offset(0),
    };
    respond(request, response)
}

pub(super) fn failed(request: u64, error: impl Into<PartitionError>) -> Effect {
    respond(request, Response::Error(error.into()))
}

pub(super) fn advanced(to: u64) -> Effect {
    Effect::HighWatermarkAdvanced { to: Offset(to) }
}

pub(super) fn wake(request: u64) -> Effect {
    Effect::Wake { request: RequestId(request) }
}

#[test]
fn a_recovered_log_is_wholly_readable() {
    let recovered = Recovered {
        log_start_offset: Offset(10),
        log_end_offset: Offset(20),
        ..Recovered::default()
    };
    let fixture = Fixture::with(TopicConfig::default(), recovered);
    let partition = &fixture.partition;
    assert_eq!(partition.log_start_offset(), Offset(10));
    assert_eq!(partition.high_watermark(), Offset(20));
    assert_eq!(partition.last_stable_offset(), Offset(20));
    assert_eq!(partition.log_end_offset(), Offset(20));
    assert_eq!(partition.next_deadline(), None);
}

#[test]
fn a_log_that_its_leader_cannot_continue_is_damaged() {
    let with = |epochs: &[(u32, u64)], start, end| {
        let mut recovered = Recovered {
            log_start_offset: Offset(start),
            log_end_offset: Offset(end),
            ..Recovered::default()
        };
        for (epoch, start_offset) in epochs {
            assert!(recovered.epochs.assign(LeaderEpoch(*epoch), Offset(*start_offset)));
        }
        recovered
    };
    for (recovered, is_sound) in [
        (with(&[], 0, 0), true),
        (with(&[(2, 5)], 0, 9), true),
        (with(&[(3, 9)], 0, 9), true),
        (with(&[(4, 5)], 0, 9), false),
        (with(&[(2, 10)], 0, 9), false),
        (with(&[], 10, 9), false),
    ] {
        assert_eq!(recovered.check(EPOCH).is_ok(), is_sound, "{recovered:?}");
    }
}

#[test]
fn the_side_state_is_that_of_the_flushed_offset() {
    let mut fixture = Fixture::new();
    fixture.produce(1, Acks::All, idempotent(0, 2));
    fixture.produce(2, Acks::All, idempotent(2, 3));
    assert_eq!(fixture.partition.side_state().offset, Offset(0));
    assert!(fixture.partition.side_state().producers.is_empty());
    fixture.flushed(1);
    let state = fixture.partition.side_state();
    assert_eq!(state.offset, Offset(2));
    let producer = state.producers.get(ProducerId(1)).expect("flushed");
    assert_eq!(producer.last().expect("one batch").last_sequence, Sequence(1));
}

#[test]
fn replaying_the_log_gives_the_live_side_state() {
    let mut fixture = Fixture::new();
    let mut headers = Vec::new();
    for index in 0..20 {
        let batch = of_producer(index % 3, 0, (index / 3 * 2) as i32, 2);
        let effects = fixture.produce(index, Acks::All, batch);
        headers.extend(appended(&effects).iter().map(|batch| batch.header));
    }
    fixture.flushed(20);
    let live = fixture.partition.side_state();
    for stored_after in 0..20 {
        let mut stored = SideState::starting_at(Offset(0));
        headers[..stored_after].iter().for_each(|header| stored.replay(header).expect("in order"));
        let mut state = SideState::decode(&stored.encode()).expect("own encoding");
        headers.iter().for_each(|header| state.replay(header).expect("in order"));
        state.high_watermark = live.high_watermark;
        assert_eq!(state.encode(), live.encode());
    }
}

#[test]
fn an_overlap_or_an_older_epoch_in_the_log_is_corruption() {
    let place = |offset, epoch| batch(1).placed(Offset(offset), LeaderEpoch(epoch), None).header;
    let mut state = SideState::starting_at(Offset(5));
    assert_eq!(state.replay(&place(3, 9)), Ok(()), "wholly below");
    let across = batch(2).placed(Offset(4), LeaderEpoch(2), None).header;
    let overlap = ReplayError::OffsetGap { expected: Offset(5), found: Offset(4) };
    assert_eq!(state.replay(&across), Err(overlap));
    assert_eq!(state.replay(&place(5, 2)), Ok(()));
    let (found, newest) = (Some(LeaderEpoch(1)), Some(LeaderEpoch(2)));
    let regression = ReplayError::EpochRegression { found, newest };
    let before = state.clone();
    assert_eq!(state.replay(&place(6, 1)), Err(regression));
    assert_eq!(state, before);
}

#[test]
fn an_epoch_behind_a_gap_counts_from_where_the_gap_begins() {
    let place = |offset, epoch| batch(1).placed(Offset(offset), LeaderEpoch(epoch), None).header;
    let mut state = SideState::starting_at(Offset(5));
    assert_eq!(state.replay(&place(6, 2)), Ok(()));
    assert_eq!(state.replay(&place(9, 3)), Ok(()));
    assert_eq!(state.offset, Offset(10));
    let entries: Vec<_> =
        state.epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start_offset.0)).collect();
    assert_eq!(entries, [(2, 5), (3, 7)]);
}

#[test]
fn the_side_state_s_encoding_has_the_golden_bytes() {
    let mut state = SideState::starting_at(Offset(7));
    state.replay(&batch(1).placed(Offset(7), LeaderEpoch(2), None).header).expect("in order");
    let mut golden = vec![0, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
    golden.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
    golden.extend([0, 0, 0, 0]);
    assert_eq!(state.encode(), golden);
    assert_eq!(SideState::decode(&golden), Ok(state));
    golden[1] = 3;
    assert!(SideState::decode(&golden).is_err());
    golden[1] = 2;
    golden.push(0);
    assert!(SideState::decode(&golden).is_err());
}

#[test]
fn a_side_state_without_a_high_watermark_was_committed_to_its_offset() {
    let mut state = SideState::starting_at(Offset(7));
    state.replay(&batch(1).placed(Offset(7), LeaderEpoch(2), None).header).expect("in order");
    state.high_watermark = Offset(8);
    let mut version_one = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 8];
    version_one.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
    version_one.extend([0, 0, 0, 0]);
    assert_eq!(SideState::decode(&version_one), Ok(state));
}
