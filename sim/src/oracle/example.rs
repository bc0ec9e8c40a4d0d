//! Hand-written histories for the checks' own tests: one topic `t` with one partition, in which
//! record number n has the timestamp 1000 + n.

use super::{Check, index::Index};
use crate::{
    batch::{Producer, ReadBatch, ReadRecord, Sent},
    history::{
        BatchImage, Boundary, FinalLog, FinalReplicas, History, LogImage, MarkKind, MetadataSeen,
        Outcome, Partition, PartitionSeen, Produce, Promise, Request, Topic,
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
        let topic = Topic { name: "t".into(), id: [1; 16], retention_millis: None, deleted: false };
        example.history.topics.push(topic);
        example
    }

    /// The same in a cluster of three, with min.insync.replicas of 2.
    pub fn in_cluster() -> Self {
        let mut example = Self::new();
        let promise =
            Promise { brokers: 3, replication_factor: 3, min_insync: 2, unlimited: false };
        example.history.promise = promise;
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
        self.history.metadata.push(MetadataSeen {
            machine,
            offset,
            digest: digest.to_owned(),
            partitions: BTreeMap::from([(PARTITION, seen)]),
            brokers: BTreeMap::from([(1, 1)]),
            fenced: Vec::new(),
        });
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

    /// Whether the check holds.
    pub fn holds(&self, check: &Check) -> bool {
        (check.judge)(&Index::new(&self.history)).is_ok()
    }
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
