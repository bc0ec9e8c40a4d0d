//! What a partition wants done, and whether its answers are true.

use crate::{
    broker::Expected,
    clients::Place,
    world::{Message, World},
};
use highwater_core::{
    partition::{Acks, Effect, Input, PartitionError, Response},
    producers::SequenceError,
    types::{LeaderEpoch, Offset, RequestId},
};
use rand::RngExt;

impl World {
    pub fn perform(&mut self, who: usize, effect: Effect) {
        let broker = &mut self.brokers[who];
        let process = broker.process.as_mut().expect("it was stepped");
        match effect {
            Effect::Append { write, batch } => {
                assert!(!process.has_failed, "nothing is appended to a failed log");
                let epoch = batch.header.leader_epoch.expect("a placed batch has an epoch");
                let leads = process.partition.is_leader();
                assert!(!leads || epoch == process.partition.leader_epoch(), "R18");
                let (base, end) = (batch.header.base_offset.0, batch.header.next_offset().0);
                self.ghost.appended(base, epoch.0, batch.header.crc, end);
                broker.disk.append(write, batch);
            }
            Effect::Truncate { write, to } => {
                self.statistics.truncations += 1;
                let agreed = self.ghost.agreement(&broker.disk.live, &mut broker.trusted_live);
                let known = self.ghost.committed_up_to(process.partition.leader_epoch().0);
                let agreed = agreed.min(broker.disk.live.end()).min(known);
                let kept = to.0.max(self.ghost.deleted);
                assert!(kept >= agreed, "R13: {to} is below the committed {agreed}");
                broker.disk.truncate(write, to.0);
                broker.trusted_live = broker.trusted_live.min(self.ghost.count_below(to.0));
            }
            Effect::Reset { write, to, producers } => {
                self.statistics.resets += 1;
                let agreed = self.ghost.agreement(&broker.disk.live, &mut broker.trusted_live);
                let live = &broker.disk.live;
                let is_empty = live.entries.is_empty() || live.end() <= broker.disk.start;
                let known = self.ghost.committed_up_to(process.partition.leader_epoch().0);
                let agreed = agreed.min(broker.disk.live.end()).min(known);
                let kept = to.0.max(self.ghost.deleted);
                assert!(is_empty || kept >= agreed, "R13: a reset takes nothing that is committed");
                assert!(is_empty || to.0 > broker.disk.live.end(), "R13: a reset goes forward");
                broker.disk.reset(write, to.0, producers);
                broker.trusted_live = self.ghost.count_below(to.0);
            }
            Effect::ProposeIsr { leader_epoch, proposal } => {
                self.statistics.proposals += 1;
                let (from, incarnation) = (broker.id, process.incarnation);
                let message = Message::Proposal {
                    from,
                    incarnation,
                    at: leader_epoch,
                    proposal,
                    told: false,
                };
                self.send(message);
            }
            Effect::Respond { request, response } => self.check_response(who, request, response),
            Effect::Wake { request } => {
                self.statistics.wakes += 1;
                process.serving.wake(request);
            }
            Effect::Mention { request } => {
                self.statistics.mentions += 1;
                process.serving.mention(request);
            }
            Effect::AdvanceLogStart { to } => {
                assert!(to.0 <= broker.disk.durable.end(), "L15: the start is flushed");
                assert!(to.0 <= self.ghost.end(), "L15: only committed records are deleted");
                broker.disk.starts.push_back(to.0);
            }
            Effect::HighWatermarkAdvanced { to } => {
                if let Some(isr) = process.partition.isr() {
                    let enough = isr.len() >= self.controller.min_insync;
                    assert!(enough, "KIP-966: nothing is committed below min.insync.replicas");
                    let epoch = process.partition.leader_epoch().0;
                    self.ghost.commit(&broker.disk.live, to.0, epoch);
                }
            }
            Effect::FindByTimestamp { .. } | Effect::RollSegment => panic!("nobody asked"),
        }
    }

    fn check_response(&mut self, who: usize, request: RequestId, response: Response) {
        let broker = &mut self.brokers[who];
        let process = broker.process.as_mut().expect("it was stepped");
        let expected = process.requests.remove(&request).expect("answered exactly once");
        let has_failed = process.has_failed;
        match (expected, response) {
            (
                Expected::Produced { place: Place::Next, .. },
                Response::Error(PartitionError::Sequence(SequenceError::OutOfOrder { .. })),
            ) if self.settings.config.producer_id_expiration.as_secs() > 100 => {
                panic!("I8: all before it were acknowledged, and it was called out of order");
            }
            (
                Expected::Produced { place: Place::Repeated, .. },
                Response::Error(PartitionError::Sequence(error)),
            ) if self.settings.config.producer_id_expiration.as_secs() > 100 => {
                panic!(
                    "I1: it was acknowledged, is among the newest five, and is refused: {error}"
                );
            }
            (Expected::Produced { producer, identity, acks, .. }, response) => {
                self.check_produced(who, (producer, identity, acks), response);
            }
            (Expected::Replica { position }, response) => {
                self.replica_answer = Some(self.answer_to(who, position, response));
            }
            (Expected::Readable { offset, is_current }, response) => {
                self.check_readable(who, offset, is_current, response);
            }
            (Expected::Latest { is_current: true }, Response::Offset { offset, .. }) => {
                // R11, KIP-207: the present leader knows the end of what is committed, or says
                // that it does not.
                assert_eq!(offset, Some(Offset(self.ghost.end())), "R11");
                self.statistics.lists += 1;
            }
            (Expected::Latest { .. }, Response::Offset { .. }) => {}
            (Expected::Latest { .. }, Response::Error(error)) => {
                self.statistics.not_available +=
                    u64::from(error == PartitionError::OffsetNotAvailable);
            }
            (Expected::Deleted { to, told }, Response::RecordsDeleted { low_watermark }) => {
                self.statistics.deletions += 1;
                assert!(to <= low_watermark.0);
                // Whoever answers: also a leader that was replaced and does not know it.
                assert!(
                    low_watermark.0 >= told,
                    "L15: a low watermark of {low_watermark} was told after {told}"
                );
                self.ghost.told_deleted = self.ghost.told_deleted.max(low_watermark.0);
                for member in process.partition.isr().into_iter().flatten() {
                    let start = self.brokers[Self::index_of(member)].disk.start;
                    assert!(start >= to, "deleted on every in-sync replica, and durable");
                }
            }
            (Expected::Deleted { .. }, Response::Error(error)) => {
                let known = matches!(
                    error,
                    PartitionError::NotLeader { .. }
                        | PartitionError::StorageFailed
                        | PartitionError::RequestTimedOut
                        | PartitionError::OffsetOutOfRange { .. }
                );
                assert!(known, "a deletion failed: {error}");
            }
            (Expected::Producers, Response::Producers(found)) => {
                // I1: what is known of producers is what the log says.
                let replayed = broker.disk.live.replayed(u64::MAX).producers;
                let known = replayed.iter().map(|(id, state)| (id, state.last().copied()));
                let known = known.map(|(id, last)| {
                    (id, last.map(|last| last.last_sequence), last.map(|last| last.last_offset))
                });
                let found = found.iter().map(|it| (it.id, it.last_sequence, it.last_offset));
                assert!(found.eq(known), "I1: the producers are those of the log");
            }
            (Expected::EpochEnd { epoch }, Response::EpochEnd(end)) => {
                // L2: the epochs are those of the log, and the leader's own.
                let current = process.partition.leader_epoch().0;
                if let Some(end) = end {
                    let entries = &broker.disk.live.entries;
                    let first_above = entries
                        .iter()
                        .filter(|entry| entry.end() > broker.disk.start)
                        .find(|entry| entry.header.leader_epoch.is_some_and(|it| it.0 > epoch));
                    let log_end = broker.disk.live.end();
                    let expected = first_above.map_or(log_end, |entry| entry.base());
                    assert_eq!(
                        end.end_offset.0.max(broker.disk.start),
                        expected.max(broker.disk.start),
                        "L2"
                    );
                } else {
                    assert!(epoch > current, "L2: every epoch up to the leader's has an end");
                }
            }
            (_, Response::Error(PartitionError::NotLeader { .. })) => {}
            (_, Response::Error(PartitionError::StorageFailed)) => assert!(has_failed),
            (_, other) => panic!("not an answer to this: {other:?}"),
        }
    }

    fn check_produced(
        &mut self,
        who: usize,
        (producer, identity, acks): (Option<u64>, u32, Acks),
        response: Response,
    ) {
        let base = match response {
            Response::Produced { base_offset, .. } => base_offset.0,
            Response::Error(error) => {
                self.statistics.failures += 1;
                let known = matches!(
                    error,
                    PartitionError::NotLeader { .. }
                        | PartitionError::NotEnoughReplicas { .. }
                        | PartitionError::NotEnoughReplicasAfterAppend
                        | PartitionError::RequestTimedOut
                        | PartitionError::StorageFailed
                        | PartitionError::Sequence(_)
                );
                return assert!(known, "a produce failed: {error}");
            }
            other => panic!("a produce was answered with {other:?}"),
        };
        let broker = &self.brokers[who];
        match acks {
            Acks::All => {
                // R1: committed, so every check of committed records is about it, from now on.
                assert!(self.ghost.has(base, identity), "R1: acknowledged and not committed");
                self.statistics.acks += 1;
                if let Some(producer) = producer {
                    self.producers[producer as usize].acknowledged(identity);
                }
            }
            Acks::Leader => {
                let log = &broker.disk.durable;
                let entry = log.entries.get(log.index_at(base));
                let is_flushed = entry.is_some_and(|entry| entry.identity() == identity);
                assert!(is_flushed, "acks=1: acknowledged before it was flushed");
            }
            Acks::None => {}
        }
    }

    fn check_readable(&mut self, who: usize, offset: u64, is_current: bool, response: Response) {
        let broker = &self.brokers[who];
        let process = broker.process.as_ref().expect("it was stepped");
        match response {
            Response::Readable(readable) => {
                self.statistics.reads += 1;
                // L4, R7: only what is committed is read, and the log was checked to have it as
                // everybody else has it.
                assert_eq!(readable.high_watermark, process.partition.high_watermark(), "L4");
                assert!(readable.high_watermark.0 <= self.ghost.end(), "L4");
                let agrees = readable.diverging.is_none();
                let knows = process.partition.high_watermark().0 >= offset || is_current;
                assert!(agrees || !knows, "a reader of committed records never diverges");
            }
            Response::Error(PartitionError::OffsetOutOfRange { lowest, .. }) => {
                // B27: a consumer of committed records starts over only when they are deleted.
                let is_deleted = offset < lowest.0;
                let is_old_leader = process.partition.is_leader() && !is_current;
                assert!(is_deleted || is_old_leader, "{offset} is committed and out of range");
            }
            Response::Error(error) => {
                let known = matches!(
                    error,
                    PartitionError::NotLeader { .. }
                        | PartitionError::OffsetNotAvailable
                        | PartitionError::FencedLeaderEpoch { .. }
                        | PartitionError::UnknownLeaderEpoch { .. }
                );
                assert!(known, "a read failed: {error}");
            }
            other => panic!("a read was answered with {other:?}"),
        }
    }

    /// L2, L10, I1: epochs, producers and what a checkpoint would store are those of the log.
    pub fn check_side_state(&mut self, who: usize) {
        let broker = &mut self.brokers[who];
        let Some(process) = broker.process.as_ref().filter(|_| !broker.is_paused) else { return };
        let partition = &process.partition;
        let side = partition.side_state();
        assert!(side.offset <= partition.flushed_offset(), "L10: a checkpoint is of flushed state");
        let expires = self.settings.config.producer_id_expiration.as_secs() < 100;
        if side.offset.0 >= broker.disk.live.base {
            let replayed = broker.disk.live.replayed(side.offset.0);
            assert_eq!(replayed.offset, side.offset, "L10: it is of a batch boundary");
            let encoded = |side: &highwater_core::partition::SideState| {
                let mut bytes = Vec::new();
                side.producers.encode(&mut bytes);
                bytes
            };
            assert!(expires || encoded(&side) == encoded(&replayed), "I1, L10: producers");
            for offset in partition.log_start_offset().0..side.offset.0 {
                let offset = Offset(offset);
                let (found, known) =
                    (side.epochs.epoch_at(offset), replayed.epochs.epoch_at(offset));
                assert_eq!(found, known, "L2, L10: the epoch of {offset}");
            }
        }
        broker.disk.checkpoint = side.high_watermark.0;
        let (is_live, newest) = (broker.is_live(), partition.leader_epoch().0);
        if !is_live {
            return;
        }
        if !expires {
            let request = self.expect(who, Expected::Producers);
            self.step(who, Input::DescribeProducers { request });
        }
        let epoch = self.random.random_range(0..=newest + 1);
        let request = self.expect(who, Expected::EpochEnd { epoch });
        let epoch = LeaderEpoch(epoch);
        self.step(who, Input::EpochEnd { request, epoch, current_leader_epoch: None });
    }
}
