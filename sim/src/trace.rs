//! The trace of a run: every client call, disk operation and fault in the order it happened, folded
//! into a 128-bit hash that must be the same whenever the same seed runs again, and the counts of
//! what the faults did.

use crate::explain::EventLog;
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// FNV-1a of 128 bits: stable over versions, platforms and builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv128(u128);

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Default for Fnv128 {
    fn default() -> Self {
        Self(FNV_OFFSET)
    }
}

impl Fnv128 {
    /// Folds bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// The hash so far.
    #[must_use]
    pub fn value(self) -> u128 {
        self.0
    }
}

macro_rules! effects {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Something a fault really did to the system, as opposed to a fault that was scheduled.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Effect { $($(#[doc = $doc])+ $variant,)+ }

        impl Effect {
            /// Every effect.
            pub const ALL: &'static [Effect] = &[$(Effect::$variant,)+];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Effect::$variant => $name,)+ }
            }

            /// What happened, in a sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Effect::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

effects! {
    /// The broker's process was killed; its page cache survived.
    ProcessKilled = "processes_killed",
    /// The machine lost its power.
    PowerCut = "power_cuts",
    /// A power cut hit a broker that was still recovering.
    RecoveryInterrupted = "recoveries_interrupted",
    /// Bytes written and never synced were lost at a power cut.
    BytesDiscarded = "bytes_discarded",
    /// A write reached the media in part.
    WriteTorn = "writes_torn",
    /// A later write survived where an earlier one was lost.
    WriteReordered = "writes_reordered",
    /// A created or removed directory entry was undone at a power cut.
    EntryLost = "entries_lost",
    /// A rename was undone at a power cut.
    RenameUndone = "renames_undone",
    /// A sync failed and its dirty pages were dropped.
    SyncFailed = "syncs_failed",
    /// A read failed.
    ReadFailed = "reads_failed",
    /// A write failed, perhaps half done.
    WriteFailed = "writes_failed",
    /// A write or a new file found the disk full.
    DiskFull = "disk_full",
    /// A bit of a stored file was flipped.
    BitFlipped = "bits_flipped",
    /// A read returned a byte range with a flipped bit.
    RottenRead = "rotten_reads",
    /// A disk operation took longer than a healthy disk takes.
    OperationDelayed = "operations_delayed",
    /// The wall clock jumped.
    ClockStepped = "clock_steps",
    /// The wall clock jumped to and fro for a while.
    ClockStrobed = "clock_strobes",
    /// The monotonic clock ran at another pace for a while.
    ClockDrifted = "clock_drifts",
    /// Both clocks stood still for a while.
    ClockFrozen = "clock_freezes",
    /// The wall clock stood still for a while, and the monotonic one did not.
    WallFrozen = "wall_freezes",
    /// A connection of a client was cut while a call was under way.
    CallCut = "calls_cut",
    /// A call of a client, or its answer, met a link that was cut.
    CallIsolated = "calls_isolated",
    /// Segments went by retention.
    SegmentsRetired = "segments_retired",
    /// Compaction removed a record.
    RecordCompacted = "records_compacted",
    /// The connection broke over which a broker waited for the answer of another one.
    CallReset = "calls_reset",
    /// A message between brokers met a link that was cut.
    MessageCut = "messages_cut",
    /// A message between brokers was lost.
    MessageLost = "messages_lost",
    /// A message between brokers arrived twice.
    MessageDuplicated = "messages_duplicated",
    /// A message between brokers took longer than on a healthy network.
    MessageDelayed = "messages_delayed",
    /// A message between brokers arrived before one that was sent earlier.
    MessageReordered = "messages_reordered",
    /// A message between brokers was held, and everything behind it went on.
    MessageHeld = "messages_held",
    /// A message between brokers found nobody at its destination.
    MessageUnheard = "messages_unheard",
    /// A machine stood still for a while, as one whose processor is taken away.
    MachinePaused = "machines_paused",
    /// A machine lost its disk and came back with an empty one.
    DiskWiped = "disks_wiped",
    /// Every machine was stopped cleanly and started again, one after the other.
    RolledOver = "rolled_over",
    /// A partition got another leader.
    LeaderChanged = "leader_changes",
    /// The metadata quorum got another leader.
    ControllerChanged = "controller_changes",
    /// A replica left the in-sync replicas of a partition.
    IsrShrunk = "isr_shrinks",
    /// A replica was elected that was not in sync, nor eligible.
    UncleanElection = "unclean_elections",
    /// Every broker crashed that had all acknowledged records of a replicated topic's partition.
    CopiesCrashed = "copies_crashed",
    /// An acknowledged record was given up, as its topic allows.
    RecordGivenUp = "records_given_up",
    /// A follower answered a consumer in its rack.
    FollowerRead = "follower_reads",
    /// A member of a group was silent for longer than it may.
    MemberSlow = "members_slow",
    /// A member of a group died without a word.
    MemberDied = "members_died",
    /// A member of a group left it.
    MemberLeft = "members_left",
    /// A member of a group did not reach its coordinator for a while.
    MemberCutOff = "members_cut_off",
    /// Another broker became the coordinator of groups.
    CoordinatorMoved = "coordinator_moves",
}

/// Where everything that happens in a run is written down. Cheap to clone; one per run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
    /// The same for pictures: what happened with what led to it. Off in most runs.
    pub events: EventLog,
}

#[derive(Debug, Default)]
struct Inner {
    hash: Fnv128,
    count: u64,
    last_nanos: u64,
    line: String,
    lines: Option<Vec<String>>,
    prefixes: Vec<u16>,
    effects: BTreeMap<Effect, u64>,
}

impl Trace {
    /// A trace that keeps its lines when `keep` is set, and only their hash otherwise.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        let inner = Inner { lines: keep.then(Vec::new), ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), events: EventLog::default() }
    }

    /// The same, which also keeps events for a picture.
    #[must_use]
    pub fn with_events() -> Self {
        Self { events: EventLog::on(), ..Self::new(false) }
    }

    /// Writes down one event at a simulated time in nanoseconds.
    pub fn event(&self, nanos: u64, text: fmt::Arguments<'_>) {
        let mut inner = self.inner();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let _ = write!(line, "{seconds}.{rest:09} {text}");
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        let prefix = (inner.hash.value() >> 112) as u16;
        inner.prefixes.push(prefix);
        inner.count += 1;
        inner.last_nanos = nanos;
        if let Some(lines) = &mut inner.lines {
            lines.push(line.clone());
        }
        inner.line = line;
    }

    /// Counts something a fault did.
    pub fn effect(&self, effect: Effect, amount: u64) {
        *self.inner().effects.entry(effect).or_default() += amount;
    }

    /// How much a fault did so far.
    #[must_use]
    pub fn effect_count(&self, effect: Effect) -> u64 {
        self.inner().effects.get(&effect).copied().unwrap_or_default()
    }

    /// All effects so far.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<Effect, u64> {
        self.inner().effects.clone()
    }

    /// The hash of every event so far, as 32 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.inner().hash.value())
    }

    /// The number of events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner().count
    }

    /// The simulated time of the last event, in nanoseconds.
    #[must_use]
    pub fn last_nanos(&self) -> u64 {
        self.inner().last_nanos
    }

    /// The kept lines; none when the trace does not keep them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.clone().unwrap_or_default()
    }

    /// Sixteen bits of the hash as it was after each event.
    #[must_use]
    pub fn prefixes(&self) -> Vec<u16> {
        self.inner().prefixes.clone()
    }

    /// A panic elsewhere is a failure of the run that still wants its trace.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_order_and_content() {
        let trace = |events: &[&str]| {
            let trace = Trace::new(false);
            events.iter().for_each(|event| trace.event(1, format_args!("{event}")));
            trace.hash()
        };
        assert_eq!(trace(&["a", "b"]), trace(&["a", "b"]));
        assert_ne!(trace(&["a", "b"]), trace(&["b", "a"]));
        assert_eq!(trace(&["a"]).len(), 32);
    }

    #[test]
    fn lines_are_kept_when_asked_for() {
        let trace = Trace::new(true);
        trace.event(1_500_000_000, format_args!("sync failed"));
        assert_eq!(trace.lines(), ["1.500000000 sync failed"]);
    }
}
