//! The faults of a scenario: what there is, and what each may be told.

use super::{
    Bounds,
    keys::{Key, Takes},
    shapes::keys,
};
use crate::{
    condition::{Change, Expression, PartitionName},
    disk::CutStyle,
    network::{Message, MessageKind, Way},
    trace::Effect,
};

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, [$($key:literal),*], [$($effect:ident),*];)+) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind { $($(#[doc = $doc])+ $variant,)+ }

        /// The keys of `[faults]`.
        pub(super) const KINDS: &[Key] = &[$(Key { name: $name, takes: Takes::Table, text: "" },)+];

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$variant,)+];

            /// The name in scenario files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$variant => $name,)+ }
            }

            /// What it does, in a sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(FaultKind::$variant => concat!($($doc),+),)+ }
            }

            /// The keys of its table beside [`EVERY_STRIKE`].
            #[must_use]
            pub const fn keys(self) -> &'static [&'static str] {
                match self { $(FaultKind::$variant => &[$($key),*],)+ }
            }

            /// The effects without which a campaign did not test it.
            #[must_use]
            pub const fn effects(self) -> &'static [Effect] {
                match self { $(FaultKind::$variant => &[$(Effect::$effect),*],)+ }
            }
        }
    };
}

fault_kinds! {
    /// The machine loses its power and comes back.
    PowerCut = "power-cut", ["on", "target", "nodes", "contents", "entries", "pause", "until"], [PowerCut];
    /// The process is killed and started again.
    ProcessKill = "process-kill", ["on", "target", "nodes", "clean", "pause", "until"], [ProcessKilled];
    /// A sync of a log fails; the broker is restarted some time later.
    SyncError = "sync-error", ["on", "target", "files", "pause", "until"], [SyncFailed];
    /// Writes fail for a while; the broker is restarted some time later.
    WriteError = "write-error", ["on", "target", "files", "chance", "pause", "until"], [WriteFailed];
    /// Reads fail for a while; the broker is restarted some time later.
    ReadError = "read-error", ["on", "target", "files", "chance", "pause", "until"], [ReadFailed];
    /// The disk is full for a while; the broker is restarted when there is room again.
    FullDisk = "full-disk", ["on", "target", "spare", "pause", "until"], [DiskFull];
    /// A bit flips in a closed segment.
    BitRot = "bit-rot", ["on", "target"], [BitFlipped, RottenRead];
    /// The wall clock jumps.
    ClockStep = "clock-step", ["on", "target", "millis"], [ClockStepped];
    /// The monotonic clock runs at another pace for a while.
    ClockDrift = "clock-drift", ["on", "target", "pace", "pause", "until"], [ClockDrifted];
    /// Both clocks stand still for a while.
    ClockFreeze = "clock-freeze", ["on", "target", "pause", "until"], [ClockFrozen];
    /// The wall clock jumps to and fro for a while.
    ClockStrobe = "clock-strobe", ["on", "target", "millis", "pause", "until"], [ClockStrobed];
    /// The wall clock stands still for a while, and the monotonic one does not.
    WallFreeze = "wall-freeze", ["on", "target", "nodes", "pause", "until"], [WallFrozen];
    /// Disk operations are slow for a while, some as slow as stalled.
    SlowDisk = "slow-disk", ["on", "target", "nodes", "files", "chance", "millis", "pause", "until"], [OperationDelayed];
    /// Clients lose their connections in the middle of a call, all the time.
    ConnectionCut = "connection-cut", ["chance"], [CallCut];
    /// One client is cut off from all brokers, or from one, for a while; nobody else notices.
    ClientIsolation = "client-isolation", ["client", "target", "direction", "pause", "until"], [CallIsolated];
    /// The machines fall into two halves that do not hear each other for a while.
    NetworkPartition = "network-partition", ["on", "target", "pause", "until"], [MessageCut];
    /// Two machines that both hear a third do not hear each other for a while.
    PartialPartition = "partial-partition", ["from", "to", "pause", "until"], [MessageCut];
    /// A link works in one direction only for a while.
    OneWayCut = "one-way-cut", ["on", "target", "from", "to", "pause", "until"], [MessageCut];
    /// A machine hears no other and is heard by none for a while.
    Isolation = "isolation", ["on", "target", "pause", "until"], [MessageCut];
    /// A link breaks and works again, over and over.
    FlappingLink = "flapping-link", ["from", "to", "millis", "pause"], [MessageCut];
    /// Connections between machines break: who waits for an answer over one learns that none comes, and not whether its request arrived.
    ConnectionReset = "connection-reset", ["from", "to"], [CallReset];
    /// Messages are lost for a while.
    MessageLoss = "message-loss", ["from", "to", "chance", "pause", "until"], [MessageLost];
    /// Messages arrive twice for a while.
    MessageDuplication = "message-duplication", ["from", "to", "chance", "pause", "until"], [MessageDuplicated];
    /// Messages are late and overtake each other for a while.
    MessageDelay = "message-delay", ["from", "to", "chance", "millis", "pause", "until"], [MessageDelayed, MessageReordered];
    /// One message is held for a while and everything behind it goes on.
    HeldMessage = "held-message", ["message", "command", "partition", "from", "to", "nth", "count", "patience", "pause", "until"], [MessageHeld];
    /// One message is lost.
    DroppedMessage = "dropped-message", ["message", "command", "partition", "from", "to", "nth", "count", "patience"], [MessageLost];
    /// One message arrives twice, the second time later.
    DuplicatedMessage = "duplicated-message", ["message", "command", "partition", "from", "to", "nth", "count", "patience", "millis"], [MessageDuplicated];
    /// One message takes longer, and everything behind it goes on.
    DelayedMessage = "delayed-message", ["message", "command", "partition", "from", "to", "nth", "count", "patience", "millis"], [MessageDelayed];
    /// A machine stands still for a while and goes on as if nothing had happened.
    MachinePause = "machine-pause", ["on", "target", "nodes", "pause", "until"], [MachinePaused];
    /// A machine loses its disk and comes back with an empty one.
    DiskWipe = "disk-wipe", ["on", "target", "nodes", "pause", "until"], [DiskWiped];
    /// Every machine is stopped cleanly and started again, one after the other.
    RollingRestart = "rolling-restart", ["pause"], [RolledOver];
}

/// The keys that every fault has that strikes at moments.
pub const EVERY_STRIKE: &[&str] = &["times", "at", "when", "after", "delay", "effects"];

const LONG: (i64, i64) = (0, 600_000);
/// What is waited for when the time under faults is over already: a run has two minutes beside it, in
/// which everything must also heal and be read.
const AFTERWARDS: i64 = 30_000;
pub(super) const MOMENTS: &[&str] = &["any-time", "rename", "recovery", "disk-operation"];
pub(super) const CLIENTS: &[&str] = &["any", "producer", "consumer", "admin", "keyed", "member"];
const DIRECTIONS: &[&str] = &["both", "to-broker", "from-broker"];
const STYLES: &[&str] = &["lose-all", "prefix", "scatter", "keep-all"];

keys! {
    /// The keys of faults. Which one has which, [`FaultKind::keys`] says.
    FAULT:
    "times" = Takes::Bounds { default: Some((1, 2)), within: (0, 100) }, "how often it strikes, at moments drawn from the seed; with `when` or `every ... change`, how often at most, and once when absent";
    "at" = Takes::Bounds { default: None, within: LONG }, "strikes once, so many milliseconds after the start of the run";
    "when" = Takes::Text("high_watermark(t0/0) > 10"), "strikes whenever this condition becomes true";
    "after" = Takes::Text("first leader change of t0/0"), "strikes after this change";
    "delay" = Takes::Bounds { default: Some((0, 0)), within: (0, AFTERWARDS) }, "milliseconds between `when` or `after` and the strike";
    "effects" = Takes::Some(|| Effect::ALL.iter().map(|effect| effect.name()).collect()), "more effects without which a campaign did not test it";
    "on" = Takes::Text("leader(t0/0)"), "the same as `target`; of power cuts and kills also a moment at the disk: `any-time`, `rename` (between a rename and the sync of its directory), `recovery`, `disk-operation`; drawn when absent";
    "target" = Takes::Text("leader(t0/0)"), "whom it strikes: `any`, `leader` (of a partition that is drawn), `controller`, `coordinator`, `all`, or an expression; one of several is drawn. Of a network partition: one of the halves. Of an isolated client: the brokers that it is cut off from; absent, that is one or all of them";
    "client" = Takes::One(CLIENTS), "which kind of client is cut off, of which one is drawn: `keyed` are those of compacted topics, `member` those of groups";
    "direction" = Takes::One(DIRECTIONS), "which way is cut: what the client sends, what it is answered, or both; drawn when absent";
    "nodes" = Takes::Bounds { default: Some((1, 1)), within: (1, 9) }, "how many machines it strikes at once; of an expression no more than it names";
    "contents" = Takes::One(STYLES), "what a power cut does to unsynced bytes; drawn when absent";
    "entries" = Takes::One(STYLES), "what a power cut does to unsynced directory entries; drawn when absent";
    "clean" = Takes::Fraction(0.25), "how likely the process is asked to shut down before it is killed";
    "pause" = Takes::Bounds { default: Some((20, 200)), within: (0, 50_000) }, "milliseconds that it lasts, or that the broker stays down; of a held message, from when it was caught. All strikes of a fault may take a minute, half a second beside each `pause` included: so much is there in a run to wait for them, besides `millis`";
    "until" = Takes::Text("count(isr(t0/0)) == 1"), "it lasts until this condition is true, and no longer than `pause` if that is given";
    "chance" = Takes::Fraction(0.2), "how likely it is for one operation, message or call while it lasts";
    "millis" = Takes::Bounds { default: Some((10, 200)), within: (-10_000_000_000_000_000, 10_000_000_000_000_000) }, "milliseconds of a clock step, or of a delay; of a delay 0 to 5000, since what is late must have come when a healed cluster is checked. A clock stays less than seven days ahead unless `broker.retention_millis` is set";
    "spare" = Takes::Bounds { default: Some((0, 8_192)), within: (0, 1 << 30) }, "bytes left on a full disk";
    "files" = Takes::Text(".log"), "only files whose path contains this; drawn when absent";
    "pace" = Takes::Bounds { default: Some((50, 200)), within: (1, 1_000) }, "the pace of a clock, in percent";
    "from" = Takes::Text("leader(t0/0)"), "who sends; anybody when absent. A one-way cut takes every link from those to these, other faults one of them";
    "to" = Takes::Text("follower(t0/0)"), "who receives; anybody when absent";
    "message" = Takes::Text("fetch reply"), "which message; drawn when absent";
    "command" = Takes::One(Message::COMMANDS), "of `propose`: which command of the metadata it carries";
    "partition" = Takes::Text("t0/0"), "only a message about this partition";
    "nth" = Takes::Bounds { default: Some((1, 1)), within: (1, 10_000) }, "which of them, counted from the strike";
    "count" = Takes::Bounds { default: Some((1, 1)), within: (1, 10_000) }, "how many of them, one after the other";
    "patience" = Takes::Bounds { default: Some((2_000, 2_000)), within: (1, AFTERWARDS) }, "milliseconds for which the message is waited for";
}

impl FaultKind {
    /// Whether it happens between machines.
    #[must_use]
    pub const fn needs_peers(self) -> bool {
        self.is_of_messages()
            || matches!(
                self,
                Self::NetworkPartition
                    | Self::PartialPartition
                    | Self::OneWayCut
                    | Self::Isolation
                    | Self::FlappingLink
                    | Self::ConnectionReset
                    | Self::MessageLoss
                    | Self::MessageDuplication
                    | Self::MessageDelay
                    | Self::DiskWipe
            )
    }

    /// Whether it befalls single messages.
    #[must_use]
    pub const fn is_of_messages(self) -> bool {
        matches!(
            self,
            Self::HeldMessage
                | Self::DroppedMessage
                | Self::DuplicatedMessage
                | Self::DelayedMessage
        )
    }

    /// Whether it does nothing to brokers but that their wall clocks are wrong.
    #[must_use]
    pub const fn spares_brokers(self) -> bool {
        matches!(
            self,
            Self::ClockStep
                | Self::ClockStrobe
                | Self::WallFreeze
                | Self::ConnectionCut
                | Self::ClientIsolation
        )
    }

    /// Whether messages between brokers arrive twice by it, as on no connection of TCP.
    #[must_use]
    pub const fn repeats_messages(self) -> bool {
        matches!(self, Self::MessageDuplication | Self::DuplicatedMessage)
    }

    /// Whether bytes that were not synced may be lost by it, or behind it.
    #[must_use]
    pub const fn may_cost_unsynced_bytes(self) -> bool {
        !self.spares_brokers() && !matches!(self, Self::BitRot)
    }

    /// Whether it takes what a log has received and not flushed without ending its process.
    #[must_use]
    pub const fn fails_logs(self) -> bool {
        matches!(self, Self::SyncError | Self::WriteError | Self::ReadError | Self::FullDisk)
    }

    /// Whether it ends processes, and leaves those who run as quick as they are.
    #[must_use]
    pub const fn only_stops_processes(self) -> bool {
        matches!(self, Self::PowerCut | Self::ProcessKill | Self::RollingRestart)
    }

    /// Whether it makes a clock tell something else than the time.
    #[must_use]
    pub const fn is_of_clocks(self) -> bool {
        matches!(
            self,
            Self::ClockStep
                | Self::ClockStrobe
                | Self::ClockDrift
                | Self::ClockFreeze
                | Self::MachinePause
        )
    }

    /// Whether its table may have this key.
    pub(super) fn allows(self, key: &str) -> bool {
        let strikes = self != Self::ConnectionCut || key == "effects";
        strikes && EVERY_STRIKE.contains(&key) || self.keys().contains(&key)
    }
}

/// At which operation of the disk a stop strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// At any time.
    AnyTime,
    /// Between a rename and the sync of its directory.
    Rename,
    /// While the broker recovers from a fault before.
    Recovery,
    /// At one of the next disk operations.
    DiskOperation,
}

/// What makes a fault strike.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// Moments drawn from the seed.
    Drawn,
    /// Milliseconds since the start of the run.
    At(Bounds),
    /// A condition becomes true.
    When(Expression),
    /// Something changes.
    After(Change),
}

/// Which machines a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any, drawn at each strike.
    Any,
    /// The leader of a partition, and others when more than one is struck.
    Leader,
    /// The leader of the metadata quorum, and others when more than one is struck.
    Controller,
    /// The leader of a partition of `__consumer_offsets`, and others likewise.
    Coordinator,
    /// All.
    All,
    /// Some of those that an expression names, and nobody else.
    Named(Expression),
}

/// One enabled fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Which of several faults of this kind it is, from zero.
    pub number: usize,
    /// What makes it strike.
    pub trigger: Trigger,
    /// How often.
    pub times: Bounds,
    /// Whether it strikes no more when the time under faults is over.
    pub ends_in_time: bool,
    /// Milliseconds between the trigger and the strike.
    pub delay: Bounds,
    /// At which disk operation.
    pub on: Option<Strike>,
    /// What happens to unsynced bytes; drawn when absent.
    pub contents: Option<CutStyle>,
    /// What happens to unsynced directory entries; drawn when absent.
    pub entries: Option<CutStyle>,
    /// How likely a process is asked to shut down before it is killed.
    pub clean: f64,
    /// How long it lasts, or how long the broker stays down, in milliseconds; with `until`, none
    /// is no limit.
    pub pause: Option<Bounds>,
    /// It lasts until this is true.
    pub until: Option<Expression>,
    /// How likely it is for one operation while it lasts.
    pub chance: f64,
    /// Milliseconds of a clock step or of a delay.
    pub millis: Bounds,
    /// Bytes left on a full disk.
    pub spare: Bounds,
    /// Only files whose path contains this are concerned; drawn when absent.
    pub files: Option<String>,
    /// The pace of a clock, in percent.
    pub pace: Bounds,
    /// Which machines it strikes.
    pub target: Target,
    /// How many machines it strikes at once.
    pub nodes: Bounds,
    /// The kind of client that is cut off; any when absent.
    pub client: Option<&'static str>,
    /// Which way a client is cut off; drawn when absent.
    pub direction: Option<&'static [Way]>,
    /// Who sends what is concerned.
    pub from: Option<Expression>,
    /// Who receives what is concerned.
    pub to: Option<Expression>,
    /// Which message, such as `fetch reply`; drawn when absent.
    pub message: Option<MessageKind>,
    /// Which command of the metadata it carries.
    pub command: Option<&'static str>,
    /// Which partition it is about.
    pub partition: Option<PartitionName>,
    /// Which of these messages.
    pub nth: Bounds,
    /// How many of them.
    pub count: Bounds,
    /// Milliseconds for which the message is waited for.
    pub patience: Bounds,
    /// The effects without which a campaign did not test it.
    pub effects: Vec<Effect>,
}

impl FaultPlan {
    /// The ways of cutting a client off, by name.
    pub const DIRECTIONS: &'static [(&'static str, &'static [Way])] = &[
        (DIRECTIONS[0], Way::BOTH),
        (DIRECTIONS[1], &[Way::ToBroker]),
        (DIRECTIONS[2], &[Way::FromBroker]),
    ];

    /// The name in traces, and from which it draws: `power-cut`, `power-cut 2`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.number {
            0 => self.kind.name().to_owned(),
            number => format!("{} {}", self.kind.name(), number + 1),
        }
    }
}
