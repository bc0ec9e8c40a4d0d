//! One thing that happened in a run, where, and what it was about.

use crate::history::Partition;

/// The position of an event in the log of its run.
pub type EventId = usize;

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Between brokers, or with all of them.
    Network,
    /// In the metadata log.
    Controller,
    /// On a broker's machine.
    Broker(i32),
    /// At a client.
    Client(u32),
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message left a broker.
    Sent,
    /// A message reached a broker.
    Arrived,
    /// A message will not arrive, or found nobody.
    Lost,
    /// Bytes were written to a log.
    Write,
    /// A log was synced.
    Sync,
    /// Another operation of a disk.
    Disk,
    /// A client sent a request.
    Call,
    /// A client's request came to its end.
    Answer,
    /// The metadata changed.
    Decision,
    /// A broker applied such a change.
    Heard,
    /// What a replica knows changed: its role, its leader epoch, its high watermark.
    State,
    /// Something that was waited for did not come in time.
    Timer,
    /// A fault.
    Fault,
    /// A turn in the life of a broker's process.
    Life,
    /// A check that does not hold.
    Violation,
}

impl Kind {
    /// Every kind, with its name in pages and texts.
    pub const NAMES: [(Kind, &'static str); 15] = [
        (Kind::Sent, "sent"),
        (Kind::Arrived, "received"),
        (Kind::Lost, "lost"),
        (Kind::Write, "write"),
        (Kind::Sync, "fsync"),
        (Kind::Disk, "disk"),
        (Kind::Call, "call"),
        (Kind::Answer, "answer"),
        (Kind::Decision, "decision"),
        (Kind::Heard, "applied"),
        (Kind::State, "state"),
        (Kind::Timer, "timer"),
        (Kind::Fault, "fault"),
        (Kind::Life, "life"),
        (Kind::Violation, "violation"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("?", |(_, name)| name)
    }
}

/// A partition as the wire and the disk name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The topic's id.
    pub topic: [u8; 16],
    /// The partition's index.
    pub index: i32,
}

/// What an event has to do with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It has the records from `from` up to `to`, exclusive.
    Records,
    /// It asks for records from `from` on.
    Asks,
    /// It tells that everything below `to` is flushed.
    Flushed,
    /// It tells that the high watermark is `to`.
    HighWatermark,
    /// It tells that the logs part at `to`.
    Parts,
    /// It cuts the log off, or starts it anew.
    Cuts,
    /// It is about who leads and who is in sync.
    Leadership,
}

/// A part of what an event was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Which partition.
    pub slot: Slot,
    /// In which way.
    pub role: Role,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last one.
    pub to: i64,
    /// The number of the first record, if it is one that a client sent.
    pub number: Option<u64>,
}

impl About {
    /// Something about offsets of a partition.
    #[must_use]
    pub const fn new(slot: Slot, role: Role, from: i64, to: i64) -> Self {
        Self { slot, role, from, to, number: None }
    }

    /// Whether it has a record at this offset.
    #[must_use]
    pub fn has(&self, slot: Slot, offset: i64) -> bool {
        self.slot == slot && self.role == Role::Records && (self.from..self.to).contains(&offset)
    }
}

/// How a client's call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With success.
    Acknowledged,
    /// With an error.
    Failed,
    /// Without an answer: it may have taken effect.
    Unknown,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in nanoseconds of simulated time.
    pub at: u64,
    /// When it had begun, if it took time.
    pub since: Option<u64>,
    /// Where.
    pub lane: Lane,
    /// What kind of thing.
    pub kind: Kind,
    /// What, for people; what it was about is not repeated here.
    pub text: String,
    /// What it was about.
    pub about: Vec<About>,
    /// What led to it: earlier events.
    pub causes: Vec<EventId>,
    /// The other broker that it concerns: whom a message goes to, who leads.
    pub broker: Option<i32>,
    /// The client call that it belongs to, as an index of the history.
    pub call: Option<usize>,
    /// How that ended.
    pub status: Option<Status>,
}

impl Event {
    /// An event without cause, of a moment.
    #[must_use]
    pub fn new(at: u64, lane: Lane, kind: Kind, text: impl Into<String>) -> Self {
        Self {
            at,
            since: None,
            lane,
            kind,
            text: text.into(),
            about: Vec::new(),
            causes: Vec::new(),
            broker: None,
            call: None,
            status: None,
        }
    }

    /// It was about this.
    #[must_use]
    pub fn about(mut self, about: impl IntoIterator<Item = About>) -> Self {
        self.about.extend(about);
        self
    }

    /// These events led to it.
    #[must_use]
    pub fn caused_by(mut self, causes: impl IntoIterator<Item = EventId>) -> Self {
        self.causes.extend(causes);
        self
    }

    /// It concerns another broker.
    #[must_use]
    pub fn with_broker(mut self, broker: i32) -> Self {
        self.broker = Some(broker);
        self
    }

    /// It had begun then.
    #[must_use]
    pub fn since(mut self, nanos: u64) -> Self {
        self.since = Some(nanos);
        self
    }

    /// Whether it is about this partition in this way.
    #[must_use]
    pub fn concerns(&self, slot: Slot, role: Role) -> bool {
        self.about.iter().any(|about| about.slot == slot && about.role == role)
    }

    /// Whether it is about this partition at all.
    #[must_use]
    pub fn is_about(&self, slot: Slot) -> bool {
        self.about.iter().any(|about| about.slot == slot)
    }
}

/// What one replica knew at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds.
    pub at: u64,
    /// On which broker.
    pub broker: i32,
    /// Of which partition.
    pub slot: Slot,
    /// What; `None` while the broker's process does not run, or holds no replica.
    pub replica: Option<ReplicaSeen>,
}

/// What a replica knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    /// Whether it leads.
    pub leads: bool,
    /// The leader epoch that it knows.
    pub epoch: i64,
    /// The first offset there is.
    pub start: i64,
    /// Behind the last offset that was appended.
    pub end: i64,
    /// Behind the last offset that it takes for durable.
    pub flushed: i64,
    /// The high watermark, exclusive.
    pub high_watermark: i64,
}

/// Who leads a partition and who is in sync, from some moment on, as the newest metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderSeen {
    /// When, in nanoseconds.
    pub at: u64,
    /// Which partition.
    pub slot: Slot,
    /// Who leads.
    pub leader: Option<i32>,
    /// In which leader epoch.
    pub epoch: i64,
    /// The in-sync replicas.
    pub isr: Vec<i32>,
}

/// A partition of the history, as the wire names it.
#[must_use]
pub fn slot_of(topics: &[crate::history::Topic], partition: Partition) -> Option<Slot> {
    let topic = topics.get(partition.topic)?.id;
    Some(Slot { topic, index: partition.index })
}
