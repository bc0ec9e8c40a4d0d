//! What the simulator saw with its own eyes: logs on disks, the metadata, and what was there at the end.

use super::{Moment, Partition};
use crate::batch::{Producer, ReadBatch};
use std::collections::{BTreeMap, BTreeSet};

/// The logs around one end of a broker's life, as they lay on its disk.
#[derive(Clone, Debug, Default)]
pub struct Boundary {
    /// Whose life it was.
    pub machine: i32,
    /// When the life ended.
    pub stopped: Moment,
    /// Whether the machine lost its power, or only the process died.
    pub power: bool,
    /// What the process had written when it ended.
    pub before: BTreeMap<Partition, LogImage>,
    /// What the disk held after the power cut, before anybody looked.
    pub after: BTreeMap<Partition, LogImage>,
    /// What the next life had made of it when it was ready; `None` when it never was.
    pub recovered: Option<BTreeMap<Partition, LogImage>>,
}

/// One partition's log on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogImage {
    /// Its whole batches, in order.
    pub batches: Vec<BatchImage>,
    /// The checkpoint beside it, if there is a readable one.
    pub checkpoint: Option<CheckpointImage>,
    /// Whether a fault flipped a bit of it.
    pub rotten: bool,
    /// Of a compacted topic: the offset and number of the newest record of each key.
    pub newest: BTreeMap<u64, (i64, u64)>,
}

impl LogImage {
    /// Where it starts: what its files hold below its log start is no part of it. A follower keeps
    /// there what it had, whether its leader had the same or not, until the segment goes.
    #[must_use]
    pub fn start(&self) -> i64 {
        let first = self.batches.first().map_or(0, |batch| batch.base_offset);
        let log_start = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start);
        first.max(log_start)
    }
}

/// A batch in a log file, without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchImage {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Leader epoch of the append.
    pub leader_epoch: i32,
    /// The checksum, which stands for the content.
    pub crc: u32,
    /// The number of its first record, if it is one of ours.
    pub first_number: Option<u64>,
    /// The producer, if it was idempotent.
    pub producer: Option<Producer>,
}

/// What a checkpoint file promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointImage {
    /// Everything before this offset is durable.
    pub recovery_point: i64,
    /// The first offset there is.
    pub log_start: i64,
    /// Whether the log is being emptied, so that no segment file is part of it.
    pub is_emptying: bool,
    /// Up to where records were known to be committed, exclusive.
    pub high_watermark: i64,
    /// The leader epochs up to the recovery point: each with the offset at which it begins.
    pub epochs: Vec<(i32, i64)>,
    /// The producers at the recovery point: (id, epoch, last sequence).
    pub producers: Vec<(i64, i16, i32)>,
}

/// A topic that the healed broker describes at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partitions: usize,
    /// Its own configuration; `None` when the broker did not tell it.
    pub configs: Option<BTreeMap<String, String>>,
}

/// The metadata that one broker had applied at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataSeen {
    /// When somebody looked.
    pub at: Moment,
    /// The same in simulated nanoseconds.
    pub nanos: u64,
    /// The last moment before that at which the machine was known not to have applied this.
    pub unknown_at: Moment,
    /// On which broker's machine.
    pub machine: i32,
    /// Position in the metadata log.
    pub offset: u64,
    /// Stands for the whole content.
    pub digest: String,
    /// The ids of all topics.
    pub topics: BTreeSet<[u8; 16]>,
    /// The partitions of known topics.
    pub partitions: BTreeMap<Partition, PartitionSeen>,
    /// The registrations of brokers: their epochs.
    pub brokers: BTreeMap<i32, u64>,
    /// The brokers that are fenced.
    pub fenced: Vec<i32>,
}

/// A broker that the newest metadata names in sync did not have what it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// When somebody looked.
    pub at: Moment,
    /// Of which partition.
    pub partition: Partition,
    /// Which broker.
    pub broker: i32,
    /// What it did not have.
    pub required: Required,
    /// Who was in sync.
    pub isr: Vec<i32>,
    /// The position in the metadata log at which they were.
    pub offset: u64,
    /// What was there instead.
    pub found: String,
}

/// What a broker in sync must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Required {
    /// On its disk, the batch that was acknowledged to the call invoked at this moment.
    Stored(Moment),
    /// The same, in its memory at least.
    Received(Moment),
    /// The same as on its disk, on those of `min.insync.replicas` brokers, whoever they are.
    Copies(Moment),
    /// On its disk, everything below the high watermark of its leader.
    Committed {
        /// The leader.
        leader: i32,
        /// Its high watermark, exclusive.
        high_watermark: i64,
    },
}

/// A leader counted others as in sync than the metadata did in the same version of the registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miscount {
    /// When somebody looked.
    pub at: Moment,
    /// Of which partition.
    pub partition: Partition,
    /// Which leader.
    pub broker: i32,
    /// The version of the registration.
    pub partition_epoch: u32,
    /// Whom it counted.
    pub counted: Vec<i32>,
    /// Who was in sync.
    pub isr: Vec<i32>,
}

/// What a broker's replica of a partition had come to when somebody looked and it was news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    /// When.
    pub at: Moment,
    /// On which broker's machine.
    pub machine: i32,
    /// In which life of the broker.
    pub life: u64,
    /// Of which partition.
    pub partition: Partition,
    /// What it knew of itself; `None` when there was none.
    pub replica: Option<ReplicaAt>,
}

/// What a replica knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaAt {
    /// Tells its log from others that the same broker has or had of the partition.
    pub log: u64,
    /// Whether it leads.
    pub leads: bool,
    /// The newest leader epoch that it knows.
    pub leader_epoch: i32,
    /// Where its log starts, inclusive.
    pub log_start: i64,
    /// The end of what consumers may read, exclusive.
    pub high_watermark: i64,
    /// The end of its log, exclusive.
    pub log_end: i64,
}

/// Who leads the metadata quorum, as one broker knew at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermSeen {
    /// When.
    pub at: Moment,
    /// On which broker's machine.
    pub machine: i32,
    /// The term.
    pub term: u64,
    /// Its leader.
    pub leader: i32,
}

/// Who led the partitions of `__consumer_offsets` at some moment, as the newest metadata said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorsSeen {
    /// When somebody looked.
    pub at: Moment,
    /// The same in simulated nanoseconds.
    pub nanos: u64,
    /// The leader and the leader epoch of each partition.
    pub leaders: Vec<(Option<i32>, i32)>,
}

/// A partition's place in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSeen {
    /// Who leads it.
    pub leader: Option<i32>,
    /// The epoch of that leadership.
    pub leader_epoch: i32,
    /// Counts the changes of all this.
    pub partition_epoch: i32,
    /// The in-sync replicas.
    pub isr: Vec<i32>,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// The replicas outside of the ISR that may lead.
    pub elr: Vec<i32>,
    /// The replicas that a reassignment adds.
    pub adding: Vec<i32>,
    /// The replicas that a reassignment removes when it is complete.
    pub removing: Vec<i32>,
    /// `min.insync.replicas`.
    pub min_insync: u32,
}

/// One partition at the end: where it is, and what each machine's disk holds of it.
#[derive(Clone, Debug, Default)]
pub struct FinalReplicas {
    /// Which partition; `None` in an empty value only.
    pub partition: Option<Partition>,
    /// Its place in the cluster.
    pub seen: PartitionSeen,
    /// The log on each machine.
    pub logs: BTreeMap<i32, LogImage>,
}

/// What the healed broker serves of one partition at the end.
#[derive(Clone, Debug, Default)]
pub struct FinalLog {
    /// Which partition; `None` in an empty value only.
    pub partition: Option<Partition>,
    /// The error it is offline with, if it is.
    pub error: Option<i16>,
    /// The first offset there is.
    pub log_start: i64,
    /// The offset after the last record.
    pub end: i64,
    /// Everything from `log_start` to `end`.
    pub batches: Vec<ReadBatch>,
    /// Lookups by timestamp: asked milliseconds, and the (offset, timestamp) answered.
    pub lookups: Vec<(i64, Option<(i64, i64)>)>,
    /// The (offset, timestamp) answered for the maximum timestamp.
    pub newest: Option<(i64, i64)>,
    /// Fetches at single offsets: the offset asked, and the batch that came first.
    pub points: Vec<(i64, Option<(i64, i64)>)>,
    /// The active producers described: (id, epoch, last sequence).
    pub producers: Vec<(i64, i32, i32)>,
}
