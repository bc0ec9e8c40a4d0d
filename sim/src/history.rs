//! What happened in a run, as the clients saw it and as the simulator knows it: calls with their
//! outcomes, faults, boundaries at crashes, and the state at the end. Oracles judge nothing else.

use crate::{
    batch::{Producer, ReadBatch, Sent},
    group::{FinalGroup, GroupCall, Heard},
};
use std::collections::BTreeMap;

pub use change::{Change, Named};
pub use state::{
    Absence, BatchImage, Boundary, CheckpointImage, CoordinatorsSeen, FinalLog, FinalReplicas,
    FinalTopic, LogImage, MetadataSeen, Miscount, PartitionSeen, ReplicaAt, ReplicaSeen, Required,
    TermSeen,
};
pub use times::{Aged, Calm, CleanStop, Overdue, Undone};

mod change;
mod state;
mod times;

/// A position in the total order of everything that happened.
pub type Moment = u64;

/// One partition of one incarnation of a topic: the index of the topic in [`History::topics`], and
/// the partition's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Index in [`History::topics`].
    pub topic: usize,
    /// Index of the partition, from zero.
    pub index: i32,
}

/// One incarnation of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, which no other incarnation has.
    pub id: [u8; 16],
    /// `retention.ms`, when time may remove records.
    pub retention_millis: Option<i64>,
    /// `retention.bytes`, when size may remove records.
    pub retention_bytes: Option<i64>,
    /// Whether its log is compacted: then it keeps the newest record of each key.
    pub compacted: bool,
    /// Whether `durability` is `replicated`: a crash of all in-sync replicas at once may lose
    /// acknowledged records.
    pub replicated: bool,
    /// Whether a replica that is not in sync may lead, and so give up acknowledged records.
    pub unclean: bool,
    /// Whether somebody asked for its deletion.
    pub deleted: bool,
    /// How many partitions it was created with; 0 when nobody knows.
    pub partitions: usize,
    /// Its own configuration when it was created.
    pub configs: BTreeMap<String, String>,
    /// When it was known to be there.
    pub known_at: Moment,
}

/// What the cluster of a run promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// How many brokers there are. One alone is no cluster.
    pub brokers: i32,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync: i16,
    /// Racks that the brokers are in.
    pub racks: i32,
    /// Whether the faults may exceed what the cluster promises to survive.
    pub unlimited: bool,
    /// Whether nothing happens to the brokers but that their wall clocks are wrong.
    pub is_undisturbed: bool,
    /// Whether messages between brokers may arrive twice.
    pub repeats_messages: bool,
    /// Whether everybody who runs is as quick as on a healthy machine: faults stop processes, and do
    /// nothing else.
    pub is_brisk: bool,
    /// Whether every wall clock keeps its pace and is never set.
    pub has_true_clocks: bool,
    /// What members of groups may rely on.
    pub groups: GroupPromise,
}

impl Default for Promise {
    fn default() -> Self {
        Self {
            brokers: 1,
            replication_factor: 1,
            min_insync: 1,
            racks: 0,
            unlimited: false,
            is_undisturbed: false,
            repeats_messages: false,
            is_brisk: true,
            has_true_clocks: true,
            groups: GroupPromise::default(),
        }
    }
}

/// What members of groups may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPromise {
    /// How long a member may be silent, in milliseconds of its coordinator's monotonic clock.
    pub session_millis: u64,
    /// How long a member may take to join again, and to give partitions up, by the same clock.
    pub rebalance_millis: u64,
    /// The slowest and the fastest pace of brokers, in percent; the slowest is 0 where a machine, or its
    /// clocks, stand still at times.
    pub paces: (u64, u64),
    /// Whether a call arrives, and what is decided about it is answered, within a time that is known: no
    /// client is cut off, and no broker that is alone has a slow disk.
    pub is_prompt: bool,
}

impl Default for GroupPromise {
    fn default() -> Self {
        let (paces, is_prompt) = ((100, 100), true);
        Self { session_millis: 1_500, rebalance_millis: 900, paces, is_prompt }
    }
}

impl Promise {
    /// Whether there is more than one broker.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        self.brokers > 1
    }
}

/// Everything that happened in one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What the cluster promises.
    pub promise: Promise,
    /// Every topic that was ever created.
    pub topics: Vec<Topic>,
    /// Every call, in the order of its beginning.
    pub calls: Vec<Call>,
    /// Faults and lives of the brokers.
    pub marks: Vec<Mark>,
    /// The logs around each end of a broker's life.
    pub boundaries: Vec<Boundary>,
    /// The metadata that brokers had applied, whenever somebody looked.
    pub metadata: Vec<MetadataSeen>,
    /// When somebody looked last at what metadata a machine's broker has applied.
    pub looked_at: BTreeMap<i32, Moment>,
    /// What brokers in sync were found not to have.
    pub absences: Vec<Absence>,
    /// Whom leaders counted as in sync against the metadata.
    pub miscounts: Vec<Miscount>,
    /// What brokers had not done in time, where everybody who runs is quick.
    pub overdue: Vec<Overdue>,
    /// What replicas knew of themselves, whenever somebody looked and it was news.
    pub replicas: Vec<ReplicaSeen>,
    /// When faults began to strike.
    pub unleashed: Moment,
    /// When they were over and brokers were stopped and started for the end; `None` before.
    pub healed: Option<Moment>,
    /// Who led the metadata quorum, as brokers knew, whenever somebody looked and it was news.
    pub terms: Vec<TermSeen>,
    /// Who led the partitions of `__consumer_offsets`, again and again.
    pub coordinators: Vec<CoordinatorsSeen>,
    /// What the machines of the healed cluster hold of each partition at the end.
    pub final_replicas: Vec<FinalReplicas>,
    /// What the healed broker serves at the end.
    pub finals: Vec<FinalLog>,
    /// The groups at the end.
    pub final_groups: Vec<FinalGroup>,
    /// Why partitions could not be served at the end, where the faults exceeded the promise.
    pub excuses: Vec<String>,
    /// The topics that the healed broker describes at the end.
    pub final_topics: Vec<FinalTopic>,
    /// The times in which nothing goes wrong.
    pub calms: Vec<Calm>,
    /// The clean stops of brokers.
    pub clean_stops: Vec<CleanStop>,
    /// When which machine's process was started again, in simulated nanoseconds.
    pub starts: Vec<(u64, i32)>,
    /// What is left of logs in the end that were left alone until retention was due.
    pub aged: Vec<Aged>,
    /// What a broker's wall clock showed at some moments, among them those before and after each
    /// jump, in milliseconds.
    pub walls: Vec<(Moment, i64)>,
    /// Behind the last record of each partition that was acknowledged with acks=all.
    pub acknowledged_ends: BTreeMap<Partition, i64>,
    /// What applications of others observed.
    pub observations: Vec<Observation>,
    /// The newest generation or member epoch of each group that a member was told.
    pub generations: BTreeMap<String, i32>,
    /// The instances of static members by group and member id, as leaders of classic groups were
    /// told: a member whose answer was lost does not know its own id.
    pub instances: BTreeMap<(String, String), String>,
    /// What time it is, in simulated nanoseconds; calls begin and end then.
    pub nanos: u64,
    next: Moment,
}

/// Something that an application saw or promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Moment,
    /// The application's name.
    pub workload: String,
    /// The number of its process; what it observes in the end has the number behind the last.
    pub process: u32,
    /// What kind of observation it is.
    pub what: String,
    /// What was observed.
    pub value: String,
}

/// One call of one client.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which client made it. A client makes its calls one after the other unless they are pipelined.
    pub client: u32,
    /// Which broker it was sent to.
    pub broker: i32,
    /// When it was invoked.
    pub invoked: Moment,
    /// The same in simulated nanoseconds.
    pub began: u64,
    /// The earliest that any broker's wall clock showed then, in milliseconds.
    pub wall: i64,
    /// When its outcome was known; `None` when it never was, so that it may take effect at any time.
    pub ended: Option<Moment>,
    /// When the client had an outcome, also one that says nothing, in simulated nanoseconds.
    pub over: u64,
    /// How long the broker may wait before it answers, as the request says, in nanoseconds.
    pub waits: u64,
    /// The leader epoch that the client said it knows (KIP-320).
    pub knew: Option<i32>,
    /// The fetch session that it was part of (KIP-227).
    pub session: Option<InSession>,
    /// What was asked.
    pub request: Request,
    /// What came back.
    pub outcome: Outcome,
}

/// The part of one partition in a fetch session. What an answer leaves out has not changed, and counts
/// as told once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InSession {
    /// Tells the session from the others of its client.
    pub number: u64,
    /// How many fetches of the session came before this one.
    pub turn: u32,
    /// How many partitions this fetch is about.
    pub partitions: usize,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// One batch to one partition.
    Produce(Produce),
    /// Records of a partition from an offset.
    Fetch {
        /// Where to read.
        partition: Partition,
        /// The first offset wanted.
        offset: i64,
    },
    /// An offset by timestamp, or Kafka's special values (-1 latest, -2 earliest, -3 maximum).
    ListOffsets {
        /// Where to look.
        partition: Partition,
        /// Milliseconds, or a special value.
        timestamp: i64,
    },
    /// Where a leader epoch ends (KIP-320).
    EpochEnd {
        /// Where to look.
        partition: Partition,
        /// The epoch.
        epoch: i32,
    },
    /// Removal of the records before an offset.
    DeleteRecords {
        /// Where.
        partition: Partition,
        /// The new log start; -1 is the high watermark.
        before: i64,
    },
    /// A producer id, or a new epoch of this one.
    InitProducer {
        /// The identity to bump.
        bump: Option<(i64, i16)>,
    },
    /// Something of a group's coordinator.
    Group(GroupCall),
    /// A change of the metadata.
    Admin(Change),
}

/// One batch sent to one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Produce {
    /// Where to.
    pub partition: Partition,
    /// 0, 1 or -1 for all.
    pub acks: i16,
    /// The idempotent producer, if it is one.
    pub producer: Option<Producer>,
    /// The records.
    pub records: Vec<Sent>,
}

/// What came back from a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing: the connection broke, or it took too long. It may have taken effect.
    Unknown,
    /// An error code.
    Failed(i16),
    /// A produce was acknowledged.
    Produced {
        /// Offset of the first record; negative when the broker did not say (acks=0).
        base_offset: i64,
        /// The broker's timestamp under LogAppendTime, else -1.
        append_time: i64,
        /// The log start offset, or -1.
        log_start: i64,
    },
    /// Records were read, perhaps none.
    Fetched {
        /// Exclusive bound of what readers may see.
        high_watermark: i64,
        /// The first offset there is.
        log_start: i64,
        /// What was read.
        batches: Vec<ReadBatch>,
        /// Why reading the bytes stopped before their end, if it did for another reason than that
        /// the response was full.
        bad: Option<String>,
    },
    /// An offset was found; -1 when there is none.
    Offset {
        /// The offset.
        offset: i64,
        /// The timestamp of its record, or -1.
        timestamp: i64,
        /// The leader epoch that was told with it: of the record, or of the end.
        leader_epoch: Option<i32>,
    },
    /// The end of a leader epoch was told.
    EpochEnd {
        /// The largest epoch that is known and not above the one asked for; -1 when there is none.
        epoch: i32,
        /// The offset behind its last record; -1 when there is none.
        end: i64,
    },
    /// Records were removed.
    Deleted {
        /// The log start that is durable now.
        low_watermark: i64,
    },
    /// A producer identity was given.
    Identity {
        /// Producer id.
        id: i64,
        /// Producer epoch.
        epoch: i16,
    },
    /// A group's coordinator answered.
    Heard(Heard),
    /// It succeeded and that is all.
    Done,
}

/// A fault, or a turn in a broker's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Moment,
    /// The same in simulated nanoseconds.
    pub nanos: u64,
    /// On which broker's machine.
    pub machine: i32,
    /// What.
    pub kind: MarkKind,
}

/// What a [`Mark`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// The broker has shut down cleanly; what is left of its process is [`MarkKind::Stopped`] next.
    ShutDown,
    /// The broker's process died or its machine lost its power.
    Stopped,
    /// The broker answered for the first time in this life.
    Ready,
    /// A sync of this partition's log failed.
    SyncFailed(Partition),
    /// A bit in a closed segment of this partition was flipped, in a record of this offset.
    Rotten(Partition, i64),
    /// The wall clock jumped by this many milliseconds.
    ClockStepped(i64),
    /// The machine lost its disk.
    Wiped,
}

impl History {
    /// The next moment.
    pub fn tick(&mut self) -> Moment {
        self.next += 1;
        self.next
    }

    /// Notes that somebody looks at what metadata a machine's broker has applied; returns when it was
    /// looked at before. What happened up to then is not later than that moment.
    pub fn look_at(&mut self, machine: i32) -> Moment {
        self.looked_at.insert(machine, self.next).unwrap_or(0)
    }

    /// Notes that a call to broker 1 begins; returns its index.
    pub fn invoke(&mut self, client: u32, wall: i64, request: Request) -> usize {
        let invoked = self.tick();
        let outcome = Outcome::Unknown;
        let (broker, began) = (1, self.nanos);
        let (ended, over) = (None, began);
        let (waits, knew, session) = (times::waits_by_itself(&request), None, None);
        self.calls.push(Call {
            client,
            broker,
            invoked,
            began,
            wall,
            ended,
            over,
            waits,
            knew,
            session,
            request,
            outcome,
        });
        self.calls.len() - 1
    }

    /// Notes how a call ended. An unknown outcome has no end: it may still take effect.
    pub fn end(&mut self, call: usize, outcome: Outcome) {
        let now = self.tick();
        self.calls[call].ended = (outcome != Outcome::Unknown).then_some(now);
        self.calls[call].over = self.nanos;
        self.note_progress(call, &outcome);
        self.calls[call].outcome = outcome;
    }

    /// Keeps what faults may wait for.
    fn note_progress(&mut self, call: usize, outcome: &Outcome) {
        match (&self.calls[call].request, outcome) {
            (Request::Produce(produce), Outcome::Produced { base_offset, .. })
                if produce.acks == -1 && *base_offset >= 0 =>
            {
                let end = base_offset + produce.records.len() as i64;
                let known = self.acknowledged_ends.entry(produce.partition).or_default();
                *known = end.max(*known);
            }
            (
                Request::Group(GroupCall { group, .. }),
                Outcome::Heard(
                    Heard::Joined { generation, .. } | Heard::Told { epoch: generation, .. },
                ),
            ) => {
                let known = self.generations.entry(group.clone()).or_default();
                *known = (*generation).max(*known);
            }
            _ => {}
        }
    }

    /// Notes what the broker's wall clock shows.
    pub fn note_wall(&mut self, millis: i64) {
        let now = self.tick();
        self.walls.push((now, millis));
    }

    /// Notes a fault or a turn in a broker's life.
    pub fn mark(&mut self, machine: i32, kind: MarkKind) -> Moment {
        let (at, nanos) = (self.tick(), self.nanos);
        self.marks.push(Mark { at, nanos, machine, kind });
        at
    }

    /// Every produce with its call.
    pub fn produces(&self) -> impl Iterator<Item = (&Call, &Produce)> {
        self.calls.iter().filter_map(|call| match &call.request {
            Request::Produce(produce) => Some((call, produce)),
            _ => None,
        })
    }

    /// Every acknowledged produce that promises durability, with its base offset. In a cluster a
    /// new leader may lack what only the old one had acknowledged (acks=1).
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Call, &Produce, i64)> {
        let promises = |acks| acks == -1 || (acks == 1 && !self.promise.is_cluster());
        self.produces().filter_map(move |(call, produce)| match call.outcome {
            Outcome::Produced { base_offset, .. } if promises(produce.acks) && base_offset >= 0 => {
                Some((call, produce, base_offset))
            }
            _ => None,
        })
    }

    /// Every batch that a client read, with the call, or `None` for the reading at the end.
    pub fn reads(&self) -> impl Iterator<Item = (Partition, Option<&Call>, &ReadBatch)> {
        let fetched = self.calls.iter().flat_map(|call| match (&call.request, &call.outcome) {
            (Request::Fetch { partition, .. }, Outcome::Fetched { batches, .. }) => {
                batches.iter().map(|batch| (*partition, Some(call), batch)).collect()
            }
            _ => Vec::new(),
        });
        let last = self.finals.iter().flat_map(|log| {
            let partition = log.partition;
            log.batches.iter().filter_map(move |batch| Some((partition?, None, batch)))
        });
        fetched.chain(last)
    }

    /// The same without whatever concerns the logs of compacted topics.
    #[must_use]
    pub fn without_compacted(&self) -> Self {
        let kept = |of: &Partition| !self.topics[of.topic].compacted;
        let mut rest = self.clone();
        rest.calls.retain(|call| match &call.request {
            Request::Produce(Produce { partition, .. })
            | Request::Fetch { partition, .. }
            | Request::ListOffsets { partition, .. }
            | Request::EpochEnd { partition, .. }
            | Request::DeleteRecords { partition, .. } => kept(partition),
            Request::InitProducer { .. } | Request::Group(_) | Request::Admin(_) => true,
        });
        for boundary in &mut rest.boundaries {
            boundary.before.retain(|of, _| kept(of));
            boundary.after.retain(|of, _| kept(of));
            boundary.recovered.iter_mut().for_each(|logs| logs.retain(|of, _| kept(of)));
        }
        rest.finals.retain(|log| log.partition.as_ref().is_none_or(kept));
        rest.final_replicas.retain(|log| log.partition.as_ref().is_none_or(kept));
        rest
    }

    /// The same cluster and topics, of which only these calls are known.
    #[must_use]
    pub fn with_calls_only(&self, calls: Vec<Call>) -> Self {
        let (promise, topics) = (self.promise, self.topics.clone());
        Self { promise, topics, walls: self.walls.clone(), calls, ..Self::default() }
    }

    /// A partition's name as people write it.
    #[must_use]
    pub fn name(&self, partition: Partition) -> String {
        let topic = self.topics.get(partition.topic).map_or("?", |topic| topic.name.as_str());
        format!("{topic}-{}", partition.index)
    }

    /// How many calls succeeded, failed and remained unknown.
    #[must_use]
    pub fn outcomes(&self) -> (u64, u64, u64) {
        self.calls.iter().fold((0, 0, 0), |(ok, failed, unknown), call| match call.outcome {
            Outcome::Unknown => (ok, failed, unknown + 1),
            Outcome::Failed(_) => (ok, failed + 1, unknown),
            _ => (ok + 1, failed, unknown),
        })
    }
}
