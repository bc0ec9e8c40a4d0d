//! Hand-written histories for the checks' own tests: one topic `t` with one partition, in which
//! record number n has the timestamp 1000 + n.

use super::{Check, Violation, index::Index};
use crate::{
    batch::{Producer, ReadBatch, ReadRecord, Sent},
    group::{Ask, FinalGroup, GroupCall, Heard, Partitions},
    history::{
        BatchImage, Boundary, Change, FinalLog, FinalReplicas, History, LogImage, MarkKind,
        MetadataSeen, Outcome, Partition, PartitionSeen, Produce, Promise, Request, Topic,
    },
};
use std::{collections::BTreeMap, ops::Range};

/// The broker's wall clock during every call, unless a test says otherwise.
pub const WALL: i64 = 900;

pub const PARTITION: Partition = Partition { topic: 0, index: 0 };

#[derive(Clone, Default)]
pub struct Example {
    pub history: History,
}

impl Example {
    pub fn new() -> Self {
        let mut example = Self::default();
        let topic = Topic { name: "t".into(), id: [1; 16], ..Topic::default() };
        example.history.topics.push(topic);
        example
    }

    /// The same in a cluster of three, with min.insync.replicas of 2.
    pub fn in_cluster() -> Self {
        let mut example = Self::new();
        let promise =
            Promise { brokers: 3, replication_factor: 3, min_insync: 2, ..Promise::default() };
        example.history.promise = promise;
        example
    }

    /// The same where nothing happens to brokers but that their wall clocks are wrong; machine 1 has
    /// applied the metadata up to offset 1.
    pub fn undisturbed() -> Self {
        let mut example = Self::in_cluster();
        example.history.promise.is_undisturbed = true;
        example.saw(1, 1, "a", in_sync(1, 1));
        example
    }

    /// In the end the cluster has this log on each of its machines, and broker 1 leads.
    pub fn replicated(&mut self, logs: [LogImage; 3]) -> &mut FinalReplicas {
        let logs = logs.into_iter().enumerate().map(|(at, log)| (at as i32 + 1, log)).collect();
        let seen = in_sync(1, 1);
        let replicas = FinalReplicas { partition: Some(PARTITION), seen, logs };
        self.history.final_replicas.push(replicas);
        self.history.final_replicas.last_mut().expect("it was just pushed")
    }

    /// A machine had applied the metadata up to an offset.
    pub fn saw(&mut self, machine: i32, offset: u64, digest: &str, seen: PartitionSeen) {
        // Somebody has just looked, too.
        self.history.look_at(machine);
        let unknown_at = self.history.look_at(machine);
        let (at, nanos) = (self.history.tick(), self.history.nanos);
        self.history.metadata.push(MetadataSeen {
            at,
            nanos,
            unknown_at,
            machine,
            offset,
            digest: digest.to_owned(),
            topics: [[1; 16]].into(),
            partitions: BTreeMap::from([(PARTITION, seen)]),
            brokers: BTreeMap::from([(1, 1)]),
            fenced: Vec::new(),
        });
    }

    /// The same with a compacted topic.
    pub fn compacted() -> Self {
        let mut example = Self::new();
        example.history.topics[0].compacted = true;
        example
    }

    /// An administrator asked for a change; what came of it.
    pub fn changed(&mut self, change: Change, outcome: Outcome) {
        let call = self.history.invoke(2, WALL, Request::Admin(change));
        self.history.end(call, outcome);
    }

    /// A produce that was invoked and has no outcome yet.
    pub fn produce(&mut self, numbers: Range<u64>, producer: Option<Producer>) -> usize {
        let records = numbers.map(sent).collect();
        let produce = Produce { partition: PARTITION, acks: -1, producer, records };
        self.history.invoke(0, WALL, Request::Produce(produce))
    }

    pub fn acknowledge(&mut self, call: usize, base_offset: i64) {
        let outcome = Outcome::Produced { base_offset, append_time: -1, log_start: 0 };
        self.history.end(call, outcome);
    }

    /// An acknowledged produce with acks=all.
    pub fn produced(&mut self, numbers: Range<u64>, base_offset: i64) -> usize {
        let call = self.produce(numbers, None);
        self.acknowledge(call, base_offset);
        call
    }

    /// An acknowledged produce of an idempotent producer.
    pub fn produced_by(&mut self, numbers: Range<u64>, base_offset: i64, producer: Producer) {
        let call = self.produce(numbers, Some(producer));
        self.acknowledge(call, base_offset);
    }

    pub fn fetched(&mut self, offset: i64, high_watermark: i64, batches: Vec<ReadBatch>) {
        self.fetched_from(offset, 0, high_watermark, batches);
    }

    pub fn fetched_from(
        &mut self,
        offset: i64,
        log_start: i64,
        high_watermark: i64,
        batches: Vec<ReadBatch>,
    ) {
        let call = self.history.invoke(1, WALL, Request::Fetch { partition: PARTITION, offset });
        self.history.end(call, Outcome::Fetched { high_watermark, log_start, batches, bad: None });
    }

    /// The healed broker serves these batches from offset zero.
    pub fn finish(&mut self, batches: Vec<ReadBatch>) -> &mut FinalLog {
        let end = batches.last().map_or(0, |batch| batch.last_offset + 1);
        let log = FinalLog { partition: Some(PARTITION), end, batches, ..FinalLog::default() };
        self.history.finals.push(log);
        self.history.finals.last_mut().expect("it was just pushed")
    }

    /// The broker stopped with these logs before, after the cut and recovered.
    pub fn boundary(&mut self, before: LogImage, after: LogImage, recovered: LogImage) {
        let stopped = self.history.mark(1, MarkKind::Stopped);
        let one = |image| BTreeMap::from([(PARTITION, image)]);
        self.history.boundaries.push(Boundary {
            machine: 1,
            stopped,
            power: true,
            before: one(before),
            after: one(after),
            recovered: Some(one(recovered)),
        });
        self.history.mark(1, MarkKind::Ready);
    }

    /// The group `g` in the end: what it has committed, and the ends of its partitions.
    pub fn final_group(
        &mut self,
        committed: &[(i32, i64)],
        ends: &[(i32, i64)],
    ) -> &mut FinalGroup {
        let of = |offsets: &[(i32, i64)]| {
            offsets
                .iter()
                .map(|(index, offset)| (Partition { topic: 0, index: *index }, *offset))
                .collect()
        };
        let (committed, ends) = (of(committed), of(ends));
        let group = FinalGroup { name: "g".into(), committed, ends, ..FinalGroup::default() };
        self.history.final_groups.push(group);
        self.history.final_groups.last_mut().expect("it was just pushed")
    }

    /// A member of the group `g`, client 1, asked the coordinator; what came of it.
    pub fn asked(&mut self, member: &str, instance: Option<&str>, ask: Ask, outcome: Outcome) {
        let (member, instance) = (member.to_owned(), instance.map(str::to_owned));
        let of = GroupCall { group: "g".into(), member, instance, ask, subscription: None };
        let call = self.history.invoke(1, WALL, Request::Group(of));
        self.history.end(call, outcome);
    }

    /// A member of the group `g`, client 1, asks the coordinator; what comes of it is not known yet.
    pub fn asks(&mut self, member: &str, ask: Ask) -> usize {
        let member = member.to_owned();
        let of = GroupCall { group: "g".into(), member, instance: None, ask, subscription: None };
        self.history.invoke(1, WALL, Request::Group(of))
    }

    /// It is that much later, in milliseconds.
    pub fn passes(&mut self, millis: u64) {
        self.history.nanos += millis * 1_000_000;
    }

    /// A broker answers.
    pub fn ready(&mut self, machine: i32) {
        self.history.mark(machine, MarkKind::Ready);
    }

    /// A broker's process is gone.
    pub fn stopped(&mut self, machine: i32) {
        self.history.mark(machine, MarkKind::Stopped);
    }

    /// The broker was stopped and is there again.
    pub fn restarted(&mut self) {
        self.history.mark(1, MarkKind::Stopped);
        self.history.mark(1, MarkKind::Ready);
    }

    /// A heartbeat was answered with an error code.
    pub fn refused_beat(&mut self, member: &str, generation: i32, code: i16) {
        self.asked(member, None, Ask::Heartbeat { generation }, Outcome::Failed(code));
    }

    /// A heartbeat of a consumer group was answered with an error code.
    pub fn refused(&mut self, member: &str, went_by: i32, code: i16) {
        let ask = Ask::ConsumerHeartbeat { epoch: went_by, owned: partitions(&[]) };
        self.asked(member, None, ask, Outcome::Failed(code));
    }

    /// A heartbeat of a consumer group was answered, if it arrived, and nobody heard that.
    pub fn unheard(&mut self, member: &str, went_by: i32, owned: &[i32]) {
        let ask = Ask::ConsumerHeartbeat { epoch: went_by, owned: partitions(owned) };
        self.asked(member, None, ask, Outcome::Unknown);
    }

    /// A member joined a generation that it leads.
    pub fn joined(&mut self, member: &str, generation: i32) {
        let (member, leader) = (member.to_owned(), member.to_owned());
        let heard = Heard::Joined { generation, member: member.clone(), leader };
        self.asked(&member, None, Ask::Join, Outcome::Heard(heard));
    }

    /// A static member joined a generation.
    pub fn joined_as(&mut self, member: &str, generation: i32, instance: &str) {
        let (leader, member) = (member.to_owned(), member.to_owned());
        let heard = Heard::Joined { generation, member: member.clone(), leader };
        self.asked(&member, Some(instance), Ask::Join, Outcome::Heard(heard));
    }

    /// A member got its assignment.
    pub fn synced(&mut self, member: &str, generation: i32, assigned: &Partitions) {
        let ask = Ask::Sync { generation, given: BTreeMap::new() };
        self.asked(member, None, ask, Outcome::Heard(Heard::Assigned(assigned.clone())));
    }

    /// A leader gave a member this, and got nothing itself.
    pub fn led(&mut self, leader: &str, generation: i32, member: &str, share: &Partitions) {
        let given = BTreeMap::from([(member.to_owned(), share.clone())]);
        let heard = Outcome::Heard(Heard::Assigned(Partitions::new()));
        self.asked(leader, None, Ask::Sync { generation, given }, heard);
    }

    /// A heartbeat was taken.
    pub fn alive(&mut self, member: &str, generation: i32, instance: Option<&str>) {
        self.asked(member, instance, Ask::Heartbeat { generation }, Outcome::Heard(Heard::Alive));
    }

    /// A heartbeat of a consumer group was taken.
    pub fn told(
        &mut self,
        member: &str,
        went_by: i32,
        owned: &[i32],
        epoch: i32,
        assigned: Option<Partitions>,
    ) {
        let ask = Ask::ConsumerHeartbeat { epoch: went_by, owned: partitions(owned) };
        self.asked(member, None, ask, Outcome::Heard(Heard::Told { epoch, assigned }));
    }

    pub fn committed(&mut self, member: &str, generation: i32, index: i32, offset: i64) {
        let codes = BTreeMap::from([(Partition { topic: 0, index }, 0)]);
        let outcome = Outcome::Heard(Heard::Committed(codes));
        self.asked(member, None, commit(generation, index, offset), outcome);
    }

    /// A commit of partition 0 of some topics was answered, of each with a code.
    pub fn committed_in_part(&mut self, member: &str, codes: &[i16]) {
        let partition = |topic: usize| Partition { topic, index: 0 };
        let codes = codes.iter().copied().enumerate();
        let codes: BTreeMap<_, _> = codes.map(|(topic, code)| (partition(topic), code)).collect();
        let outcome = Outcome::Heard(Heard::Committed(codes));
        self.asked(member, None, commit(1, 0, 7), outcome);
    }

    pub fn refused_commit(
        &mut self,
        member: &str,
        generation: i32,
        index: i32,
        offset: i64,
        code: i16,
    ) {
        self.asked(member, None, commit(generation, index, offset), Outcome::Failed(code));
    }

    pub fn unknown_commit(&mut self, member: &str, generation: i32, index: i32, offset: i64) {
        self.asked(member, None, commit(generation, index, offset), Outcome::Unknown);
    }

    /// Somebody asked for the committed offset of a partition.
    pub fn read_offset(&mut self, index: i32, offset: Option<i64>) {
        let of = Partition { topic: 0, index };
        let offsets = offset.into_iter().map(|offset| (of, offset)).collect();
        let ask = Ask::Offsets { partitions: [of].into() };
        self.asked("", None, ask, Outcome::Heard(Heard::Offsets(offsets)));
    }

    /// Whether the check holds.
    pub fn holds(&self, check: &Check) -> bool {
        (check.judge)(&Index::new(&self.history)).is_ok()
    }

    /// What a check says about it that does not hold.
    pub fn violation(&self, check: &Check) -> Violation {
        (check.judge)(&Index::new(&self.history)).expect_err("the check does not hold")
    }
}

/// Partitions of the topic `t`.
pub fn partitions(indexes: &[i32]) -> Partitions {
    indexes.iter().map(|index| Partition { topic: 0, index: *index }).collect()
}

fn commit(generation: i32, index: i32, offset: i64) -> Ask {
    let offsets = BTreeMap::from([(Partition { topic: 0, index }, offset)]);
    Ask::Commit { generation, offsets }
}

pub fn sent(number: u64) -> Sent {
    Sent { number, timestamp: 1_000 + number as i64 }
}

/// A batch as it is read, with records of these numbers.
pub fn batch(base_offset: i64, numbers: Range<u64>) -> ReadBatch {
    let count = (numbers.end - numbers.start) as i64;
    let record = |(at, number): (usize, u64)| ReadRecord {
        offset: base_offset + at as i64,
        timestamp: sent(number).timestamp,
        number: Some(number),
    };
    ReadBatch {
        base_offset,
        last_offset: base_offset + count - 1,
        leader_epoch: 0,
        max_timestamp: sent(numbers.end - 1).timestamp,
        append_time: false,
        producer: None,
        records: numbers.enumerate().map(record).collect(),
    }
}

pub fn batch_by(base_offset: i64, numbers: Range<u64>, producer: Producer) -> ReadBatch {
    ReadBatch { producer: Some(producer), ..batch(base_offset, numbers) }
}

pub fn producer(epoch: i16, base_sequence: i32) -> Producer {
    Producer { id: 7, epoch, base_sequence }
}

/// The partition with all its replicas in sync.
pub fn in_sync(leader: i32, leader_epoch: i32) -> PartitionSeen {
    let all = vec![1, 2, 3];
    PartitionSeen {
        leader: Some(leader),
        leader_epoch,
        partition_epoch: leader_epoch,
        isr: all.clone(),
        replicas: all,
        min_insync: 1,
        ..PartitionSeen::default()
    }
}

/// A log on disk with these batches.
pub fn image(batches: &[ReadBatch]) -> LogImage {
    let image = |batch: &ReadBatch| BatchImage {
        base_offset: batch.base_offset,
        last_offset: batch.last_offset,
        leader_epoch: batch.leader_epoch,
        crc: batch.records[0].number.unwrap_or(0) as u32,
        first_number: batch.records[0].number,
        producer: batch.producer,
    };
    LogImage { batches: batches.iter().map(image).collect(), ..LogImage::default() }
}
