//! What a partition is told, what it wants done, and what it answers.

use super::{
    Assignment, IsrOutcome, IsrProposal, ReadPosition, ReplicaBatches, ReplicaFetchError,
    ReplicaPosition, error::PartitionError,
};
use crate::{
    config::TopicConfig,
    producers::{ProducerDescription, ProducerStates},
    record::{Batch, PlacedBatch, ProducerIdentity},
    time::{Instant, Timestamp},
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, RequestId, WriteId},
};
use alloc::vec::Vec;
use core::time::Duration;

/// How many replicas must have a record before its produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// `acks=0`: none. The answer comes at once and promises nothing.
    None,
    /// `acks=1`: the leader, which means flushed to its disk.
    Leader,
    /// `acks=all`: every in-sync replica, flushed to their disks.
    All,
}

/// The offset a ListOffsets request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset (-2).
    Earliest,
    /// The high watermark (-1).
    Latest,
    /// The record with the newest timestamp (-3, KIP-734).
    MaxTimestamp,
    /// The first offset on local disk (-4, KIP-405): here always the log start offset.
    EarliestLocal,
    /// The last offset in tiered storage (-5, KIP-1005): here always none.
    LatestTiered,
    /// The first offset not yet in tiered storage (-6, KIP-1023): here always none.
    EarliestPendingUpload,
    /// The first record whose timestamp is at or after this one.
    At(Timestamp),
}

/// A closed segment, as the log offers it for retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Offset that the segment's name states, inclusive.
    pub base_offset: Offset,
    /// Base offset of the next segment, exclusive.
    pub end_offset: Offset,
    /// Size of its batches in bytes.
    pub bytes: u64,
    /// Newest record timestamp; `None` when no record has one.
    pub max_timestamp: Option<Timestamp>,
    /// Wall clock of its last append (or the file's modification time after a restart).
    pub modified: Timestamp,
}

/// Something that happened to a partition.
#[derive(Clone, Debug)]
pub enum Input {
    /// The metadata says who leads, and who replicates.
    Assigned(Assignment),
    /// A producer sent a batch. Answered with [`Response::Produced`] or an error.
    Produce {
        /// The request.
        request: RequestId,
        /// When to answer.
        acks: Acks,
        /// The batch, parsed with [`crate::record::Origin::Client`].
        batch: Batch,
        /// When to answer with an error although the record may still become durable.
        deadline: Instant,
    },
    /// A batch was refused because the partition was not open here yet, and will come again: what was
    /// sent behind it waits for that.
    ProduceRefused(ProducerIdentity),
    /// The coordinator whose state this partition holds appends to it. Checked as a produce of
    /// `acks=all` is, and answered at once with [`Response::Appended`] or an error:
    /// [`Effect::HighWatermarkAdvanced`] tells when the batch is committed.
    AppendAsCoordinator {
        /// The request.
        request: RequestId,
        /// The leader epoch that the coordinator's state was loaded in: in another one the log is
        /// another one too.
        leader_epoch: LeaderEpoch,
        /// The batch, parsed with [`crate::record::Origin::Client`].
        batch: Batch,
    },
    /// A consumer asks what it may read. Answered at once with [`Response::Readable`] or an error.
    Fetch {
        /// The request.
        request: RequestId,
        /// Where it wants to read, and what it knows.
        position: ReadPosition,
        /// Unless the answer is an error, also send [`Effect::Wake`], once, as soon as another
        /// fetch may be answered differently.
        park: bool,
    },
    /// A follower asks for what it does not have. Answered at once with
    /// [`Response::ReplicaReadable`] or [`Response::ReplicaRefused`].
    ReplicaFetch {
        /// The request.
        request: RequestId,
        /// The follower.
        follower: BrokerId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// Where its log is.
        position: ReplicaPosition,
        /// When this broker answered what the follower had heard from it before it sent this, by
        /// this broker's clock; `None` when it had heard nothing of this process. At that moment the
        /// follower led nothing in a newer epoch.
        heard: Option<Instant>,
        /// Unless the answer is an error or a divergence, also send [`Effect::Wake`], once, as
        /// soon as another fetch may be answered differently.
        park: bool,
    },
    /// A follower has flushed more of a log that agrees with this one.
    ReplicaFlushed {
        /// The follower.
        follower: BrokerId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// The epoch in which the logs were found to agree.
        leader_epoch: LeaderEpoch,
        /// What it has flushed, exclusive.
        flushed: Offset,
    },
    /// The answer to [`Effect::ProposeIsr`].
    IsrAnswered {
        /// The leader epoch of the proposal.
        leader_epoch: LeaderEpoch,
        /// The registration that the proposal was to replace.
        partition_epoch: PartitionEpoch,
        /// What became of it.
        outcome: IsrOutcome,
    },
    /// The leader has answered a fetch from [`super::Partition::fetch_position`].
    Fetched {
        /// The leader epoch that the fetch named.
        leader_epoch: LeaderEpoch,
        /// The offset that it asked for.
        fetch_offset: Offset,
        /// The answer.
        outcome: Result<ReplicaBatches, ReplicaFetchError>,
    },
    /// The requester is gone or has its answer: forget a parked request.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Answered with [`Response::Offset`] or an error.
    ListOffsets {
        /// The request.
        request: RequestId,
        /// Which offset.
        spec: OffsetSpec,
        /// The leader epoch that the client knows.
        current_leader_epoch: Option<LeaderEpoch>,
    },
    /// The answer to [`Effect::FindByTimestamp`].
    Found {
        /// The request that it was for.
        request: RequestId,
        /// Timestamp and offset of the record found.
        found: Option<(Timestamp, Offset)>,
    },
    /// The log could not carry out [`Effect::FindByTimestamp`].
    FindFailed {
        /// The request that it was for.
        request: RequestId,
    },
    /// OffsetForLeaderEpoch. Answered with [`Response::EpochEnd`] or an error.
    EpochEnd {
        /// The request.
        request: RequestId,
        /// The epoch whose end is asked for.
        epoch: LeaderEpoch,
        /// The leader epoch that the client knows.
        current_leader_epoch: Option<LeaderEpoch>,
    },
    /// Delete every record below an offset. Answered with [`Response::RecordsDeleted`], after the
    /// new log start is durable on every replica that may lead and it is proven that this broker led
    /// when it was asked, or an error.
    DeleteRecords {
        /// The request.
        request: RequestId,
        /// The new log start, inclusive; `None` is the high watermark.
        before: Option<Offset>,
    },
    /// A deletion's client waits for other replicas no longer. It is answered when this broker's own
    /// log start is durable: with an error, unless all of them have it by then. Nothing happens if it
    /// was answered before.
    DeletionOverdue {
        /// The request of the deletion.
        request: RequestId,
    },
    /// [`Effect::AdvanceLogStart`] to this offset is durable.
    LogStartPersisted {
        /// The new log start.
        to: Offset,
    },
    /// The log could not carry out [`Effect::AdvanceLogStart`] to this offset, but goes on.
    LogStartNotPersisted {
        /// The log start that was wanted.
        to: Offset,
    },
    /// Answered with [`Response::Producers`].
    DescribeProducers {
        /// The request.
        request: RequestId,
    },
    /// Every append with an id up to and including `through` is in the log's file: it can be read,
    /// and survives a crash of this process.
    Written {
        /// The newest such append.
        through: WriteId,
    },
    /// Every append with an id up to and including `through` is durable.
    Flushed {
        /// The newest such append.
        through: WriteId,
    },
    /// The log failed for good: nothing that was not reported flushed will be.
    LogFailed {
        /// Whether flushed records can still be read.
        readable: bool,
    },
    /// The topic's effective configuration changed.
    ConfigChanged(TopicConfig),
    /// The segments of the log: decide what retention lets go.
    Segments {
        /// The closed segments, oldest first, without a gap.
        closed: Vec<SegmentSummary>,
        /// The segment that is appended to, unless it is empty.
        active: Option<SegmentSummary>,
        /// Size of the whole log, the active segment included, in bytes.
        total_bytes: u64,
    },
    /// This broker has not heard of the controller for so long that others may lead by now. Unless
    /// the ISR vouches for this leader, produces and deletions are refused, those that have waited for
    /// replicas for longer than `patience` are failed, and readers at the end are sent away: all will
    /// ask who leads.
    OutOfTouch {
        /// When this process went on after it had stood still for the last time; what followers had heard
        /// up to then vouches for nothing.
        resumed: Instant,
        /// How long a produce may wait.
        patience: Duration,
        /// For how long a follower's fetch vouches for its leader. Followers may wait for an answer
        /// for a good part of it.
        vouches_for: Duration,
    },
    /// The controller was heard again.
    InTouch,
    /// A deadline may have passed.
    Tick,
}

/// Something the driver must do, in order, before the next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append to the log, in this order, and report [`Input::Flushed`] when it is durable.
    Append {
        /// Identity of the append; ids increase by one.
        write: WriteId,
        /// The batch.
        batch: PlacedBatch,
    },
    /// Cut the log: nothing at or above `to` may be read any more, and the next append goes there.
    /// It is durable before any later append is reported flushed.
    Truncate {
        /// Identity of the change, in the order of the appends.
        write: WriteId,
        /// The new log end, exclusive: a batch boundary.
        to: Offset,
    },
    /// Give up the whole log and go on with an empty one.
    Reset {
        /// Identity of the change, in the order of the appends.
        write: WriteId,
        /// Where the empty log begins.
        to: Offset,
        /// The producers as of there: no batch that is to come tells of them.
        producers: ProducerStates,
    },
    /// Ask the controller for another ISR, and report [`Input::IsrAnswered`].
    ProposeIsr {
        /// The epoch of the leadership that asks.
        leader_epoch: LeaderEpoch,
        /// What it wants.
        proposal: IsrProposal,
    },
    /// Answer a request. Each request is answered exactly once, unless it is cancelled first.
    Respond {
        /// The request.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// A parked fetch should be made again; it is no longer parked.
    Wake {
        /// The request.
        request: RequestId,
    },
    /// A parked fetch of a follower has something to tell, once it is answered for another reason.
    /// It stays parked.
    Mention {
        /// The request.
        request: RequestId,
    },
    /// Search the log and report [`Input::Found`] or [`Input::FindFailed`].
    FindByTimestamp {
        /// The request that it is for.
        request: RequestId,
        /// Find the first record at or after it; `None`: the record with the newest timestamp.
        timestamp: Option<Timestamp>,
        /// Only records below this offset count.
        before: Offset,
    },
    /// Make this log start durable, report [`Input::LogStartPersisted`], and only then let
    /// segments go that lie wholly below it; or report [`Input::LogStartNotPersisted`].
    AdvanceLogStart {
        /// The new log start, inclusive.
        to: Offset,
    },
    /// Close the segment that is appended to, so that retention can let it go.
    RollSegment,
    /// More records may be read.
    HighWatermarkAdvanced {
        /// The new high watermark, exclusive.
        to: Offset,
    },
}

/// The effects of one step, in order. The driver drains it.
pub type Effects = Vec<Effect>;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// A batch was appended, or had been before.
    Produced {
        /// Offset of its first record.
        base_offset: Offset,
        /// The broker's timestamp, if the topic has LogAppendTime.
        log_append_time: Option<Timestamp>,
        /// Where the log starts.
        log_start_offset: Offset,
    },
    /// A coordinator's batch was appended.
    Appended {
        /// Offset of its first record.
        base_offset: Offset,
        /// Behind its last record.
        end: Offset,
    },
    /// What can be read.
    Readable(Readable),
    /// What a follower can have.
    ReplicaReadable(ReplicaReadable),
    /// Why a follower gets nothing.
    ReplicaRefused(ReplicaFetchError),
    /// An offset was looked up.
    Offset {
        /// Timestamp of the record at `offset`, for lookups by timestamp.
        timestamp: Option<Timestamp>,
        /// The offset; `None` when no record fits.
        offset: Option<Offset>,
        /// Epoch of the leader that appended the record at `offset`.
        leader_epoch: Option<LeaderEpoch>,
    },
    /// The end of a leader epoch; `None` for an epoch that is not known.
    EpochEnd(Option<crate::epochs::EpochEnd>),
    /// Records were deleted and will not come back.
    RecordsDeleted {
        /// The log start offset, inclusive.
        low_watermark: Offset,
    },
    /// The idempotent producers, by ascending id.
    Producers(Vec<ProducerDescription>),
    /// The request failed.
    Error(PartitionError),
}

/// What a fetch may read at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Where the log starts, inclusive.
    pub log_start_offset: Offset,
    /// Where reading ends for everybody, exclusive.
    pub high_watermark: Offset,
    /// Where reading ends for `read_committed`, exclusive.
    pub last_stable_offset: Offset,
    /// Bytes of batches from the one that holds the fetch offset up to the high watermark: exact
    /// for the newest batches, [`PLENTY`] further back.
    pub available_bytes: u64,
    /// The reader's log diverged from this one: nothing can be read before it truncates.
    pub diverging: Option<crate::epochs::EpochEnd>,
}

/// What a follower may have at this moment: written records, whether flushed and committed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaReadable {
    /// Where the leader's log starts, inclusive.
    pub log_start_offset: Offset,
    /// Where reading ends, exclusive.
    pub end: Offset,
    /// The high watermark, exclusive.
    pub high_watermark: Offset,
    /// Bytes from the batch at the fetch offset up to `end`; [`PLENTY`] when not known exactly.
    pub available_bytes: u64,
    /// The follower has to truncate first.
    pub diverging: Option<crate::epochs::EpochEnd>,
    /// The leader needs to hear again from this follower: it is to be answered at once.
    pub hurry: bool,
}

/// The count of available bytes when it is not known exactly, because there is much to read.
pub const PLENTY: u64 = u64::MAX;
