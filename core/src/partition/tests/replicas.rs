//! Three replicas, 1 to 3, of which broker 1 is the one under test.

use super::*;

/// The metadata in `EPOCH`: version `partition_epoch`, everybody may join.
pub(super) fn three(leader: i32, partition_epoch: u32, isr: &[i32]) -> Assignment {
    Assignment {
        leader: Some(BrokerId(leader)),
        leader_epoch: EPOCH,
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: ids(&[1, 2, 3]),
        isr: ids(isr),
        eligible: [1, 2, 3].map(|id| (BrokerId(id), registration(id))).into(),
        min_insync: 1,
        counts_flushed: true,
    }
}

pub(super) fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

/// The first registration of a broker.
pub(super) fn registration(id: i32) -> BrokerEpoch {
    BrokerEpoch(10 + id as u64)
}

/// A log of one-record batches, of one epoch each, flushed and committed below `high_watermark`.
pub(super) fn log_of(epochs: &[u32], high_watermark: u64) -> Recovered {
    let mut recovered = Recovered {
        log_end_offset: Offset(epochs.len() as u64),
        high_watermark: Offset(high_watermark),
        ..Recovered::default()
    };
    for (offset, epoch) in epochs.iter().enumerate() {
        let offset = Offset(offset as u64);
        assert!(recovered.epochs.assign(LeaderEpoch(*epoch), offset));
        recovered.tail.push(batch(1).placed(offset, LeaderEpoch(*epoch), None).header);
    }
    recovered
}

pub(super) fn proposed(base: u32, isr: &[(i32, u64)]) -> Effect {
    let isr = isr.iter().map(|(id, epoch)| (BrokerId(*id), BrokerEpoch(*epoch))).collect();
    let proposal = IsrProposal { partition_epoch: PartitionEpoch(base), isr };
    Effect::ProposeIsr { leader_epoch: EPOCH, proposal }
}

pub(super) fn answered(base: u32, outcome: IsrOutcome) -> Input {
    Input::IsrAnswered { leader_epoch: EPOCH, partition_epoch: PartitionEpoch(base), outcome }
}

pub(super) fn accepted(base: u32) -> Input {
    let partition_epoch = PartitionEpoch(base + 1);
    answered(base, IsrOutcome::Accepted { partition_epoch })
}

/// Where a follower is that has `end` records, of which it has flushed `flushed`.
pub(super) fn at(end: u64, flushed: u64) -> ReplicaPosition {
    ReplicaPosition {
        leader_epoch: EPOCH,
        fetch_offset: Offset(end),
        last_fetched_epoch: (end > 0).then_some(EPOCH),
        flushed_offset: Offset(flushed),
        log_start_offset: Offset(0),
    }
}

pub(super) fn not_leader(leader: i32, epoch: u32) -> PartitionError {
    let (leader, leader_epoch) = (Some(BrokerId(leader)), LeaderEpoch(epoch));
    PartitionError::NotLeader { leader, leader_epoch }
}

/// A leader's answer with these batches.
pub(super) fn batches(high_watermark: u64, batches: &[PlacedBatch]) -> ReplicaBatches {
    let bytes = batches.iter().flat_map(|batch| batch.chunks.iter().flatten().copied());
    ReplicaBatches {
        high_watermark: Offset(high_watermark),
        log_start_offset: Offset(0),
        diverging: None,
        records: bytes.collect(),
    }
}

pub(super) fn diverging(epoch: u32, end: u64, high_watermark: u64) -> ReplicaBatches {
    let end = crate::epochs::EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end) };
    ReplicaBatches { diverging: Some(end), ..batches(high_watermark, &[]) }
}

pub(super) fn placed(batch: Batch, offset: u64, epoch: u32) -> PlacedBatch {
    batch.placed(Offset(offset), LeaderEpoch(epoch), None)
}

impl Fixture {
    pub(super) fn replica(recovered: Recovered, assignment: Assignment) -> Self {
        let now = Now { monotonic: Instant(0), wall: Timestamp(WALL) };
        let options = ReplicaOptions { broker: BROKER, lag_max: Duration::from_secs(30) };
        let partition = Partition::new(now, options, TopicConfig::default(), recovered);
        let mut fixture = Self { partition, now };
        fixture.assign(assignment);
        fixture
    }

    /// Leads an empty log with this ISR.
    pub(super) fn leading(isr: &[i32]) -> Self {
        Self::replica(Recovered::default(), three(1, 0, isr))
    }

    /// Leads two flushed records; the whole ISR is the leader.
    pub(super) fn leading_two() -> Self {
        let mut fixture = Self::leading(&[1]);
        fixture.fill(2);
        fixture
    }

    pub(super) fn assign(&mut self, assignment: Assignment) -> Effects {
        self.step(Input::Assigned(assignment))
    }

    /// What a fetch of a follower does, without its answer.
    pub(super) fn fetched_by(&mut self, follower: i32, position: ReplicaPosition) -> Effects {
        self.fetched_as(follower, registration(follower).0, position)
    }

    pub(super) fn fetched_as(
        &mut self,
        follower: i32,
        broker_epoch: u64,
        position: ReplicaPosition,
    ) -> Effects {
        let mut effects = self.ask(follower, broker_epoch, position, false);
        effects.pop();
        effects
    }

    /// A fetch of a follower; its answer comes last.
    pub(super) fn ask(
        &mut self,
        follower: i32,
        broker_epoch: u64,
        position: ReplicaPosition,
        park: bool,
    ) -> Effects {
        let (request, follower) = (RequestId(900), BrokerId(follower));
        let broker_epoch = BrokerEpoch(broker_epoch);
        // It knows an answer that was given just now.
        let heard = Some(self.now.monotonic);
        self.step(Input::ReplicaFetch { request, follower, broker_epoch, position, heard, park })
    }

    pub(super) fn flushed_by(&mut self, follower: i32, flushed: u64) -> Effects {
        self.flushed_as(follower, registration(follower).0, flushed)
    }

    pub(super) fn flushed_as(&mut self, follower: i32, epoch: u64, flushed: u64) -> Effects {
        self.step(Input::ReplicaFlushed {
            follower: BrokerId(follower),
            broker_epoch: BrokerEpoch(epoch),
            leader_epoch: EPOCH,
            flushed: Offset(flushed),
        })
    }

    /// The leader answers the fetch from the present end.
    pub(super) fn received(&mut self, batches: ReplicaBatches) -> Effects {
        let fetch_offset = self.partition.log_end_offset();
        let outcome = Ok(batches);
        self.step(Input::Fetched { leader_epoch: EPOCH, fetch_offset, outcome })
    }
}
