//! Scenarios: what a run does, as data. A scenario file opens with a comment sentence, says why it
//! exists, and names its workload, its broker's shape and the faults it enables. Whatever a file
//! leaves open is drawn from the seed.

mod keys;

use crate::{disk::CutStyle, network::MessageKind, trace::Effect};
use keys::{Keys, unknown};
use std::{collections::BTreeMap, ops::RangeInclusive};
use toml::{Table, Value};

/// The most brokers of a run: their addresses must not reach the clients'.
const MOST_BROKERS: i64 = 9;

/// Machines that only vote, unless the scenario says how many.
pub const SEPARATE_CONTROLLERS: i64 = 3;

/// Inclusive bounds from which a run draws.
pub type Bounds = RangeInclusive<i64>;

/// One scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name without its extension.
    pub name: String,
    /// Why it exists, opening with `Why:`.
    pub why: String,
    /// Simulated milliseconds under faults.
    pub millis: u64,
    /// Whether each seed enables only some of the faults.
    pub swarm: bool,
    /// Whether the faults may exceed what the cluster promises to survive. Then only what holds
    /// whatever happens is checked, and nothing has to work in the end.
    pub unlimited: bool,
    /// The machines.
    pub cluster: ClusterShape,
    /// The brokers' configuration.
    pub broker: BrokerShape,
    /// What the clients do.
    pub workload: WorkloadShape,
    /// What goes wrong.
    pub faults: Vec<FaultPlan>,
}

/// Bounds of the cluster. The default is one broker that stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterShape {
    /// Brokers.
    pub brokers: Bounds,
    /// How many voters the metadata quorum has: the first brokers, all when absent; or as many
    /// machines beside them.
    pub controllers: Option<Bounds>,
    /// Whether the voters are machines of their own, which are no brokers; three when `controllers`
    /// is absent.
    pub separate_controllers: bool,
    /// `min.insync.replicas`, never more than there are replicas.
    pub min_insync: Bounds,
    /// Racks that the machines stand in, one after the other. Consumers that are in one read from a
    /// follower there. 0 knows none.
    pub racks: Bounds,
    /// How far the machines' wall clocks are off at the start, in milliseconds.
    pub wall_offset_millis: Bounds,
}

/// Bounds of the broker's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerShape {
    /// Bytes of a segment.
    pub segment_bytes: Bounds,
    /// `retention.ms` of the topics; none keeps everything.
    pub retention_millis: Option<Bounds>,
    /// How often retention looks, in milliseconds.
    pub retention_check_millis: Bounds,
    /// Bytes of a segment of `__consumer_offsets`.
    pub offsets_segment_bytes: Bounds,
    /// How often is looked for something to compact, in milliseconds.
    pub cleaner_backoff_millis: Bounds,
}

/// Bounds of the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadShape {
    /// Topics that live as long as the run.
    pub topics: Bounds,
    /// Partitions of a topic.
    pub partitions: Bounds,
    /// Producers.
    pub producers: Bounds,
    /// Consumers.
    pub consumers: Bounds,
    /// Clients that create and delete topics, records and configurations.
    pub admins: Bounds,
    /// Records in a batch.
    pub records: Bounds,
    /// Calls of each client at most.
    pub calls: Bounds,
    /// Milliseconds between two calls of one client; each kind of client has its own when absent.
    pub pause: Option<Bounds>,
    /// Compacted topics, which two clients write and read.
    pub compacted_topics: Bounds,
    /// Groups of consumers.
    pub groups: Bounds,
    /// Members of a group.
    pub group_members: Bounds,
    /// The protocols that a group draws from.
    pub group_protocols: Vec<GroupProtocol>,
    /// How likely a member is to be static.
    pub group_static: f64,
    /// How likely a member is, in each step, to be slow, to die, to leave or to be cut off from its
    /// coordinator.
    pub group_unrest: f64,
}

/// How the members of a group speak to their coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup, SyncGroup and Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
    /// Some members so and some so.
    Mixed,
}

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, [$($key:literal),*], [$($effect:ident),*];)+) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind { $($(#[doc = $doc])+ $variant,)+ }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$variant,)+];

            /// The name in scenario files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$variant => $name,)+ }
            }

            /// The keys of its table in scenario files.
            const fn keys(self) -> &'static [&'static str] {
                match self { $(FaultKind::$variant => &["times", "effects" $(, $key)*],)+ }
            }

            /// The effects without which a campaign did not test it.
            const fn effects(self) -> &'static [Effect] {
                match self { $(FaultKind::$variant => &[$(Effect::$effect),*],)+ }
            }
        }
    };
}

fault_kinds! {
    /// The machine loses its power and comes back.
    PowerCut = "power-cut", ["on", "contents", "entries", "pause", "target", "nodes"], [PowerCut];
    /// The process is killed and started again.
    ProcessKill = "process-kill", ["on", "pause", "target", "nodes"], [ProcessKilled];
    /// A sync of a log fails; the broker is restarted some time later.
    SyncError = "sync-error", ["pause", "target"], [SyncFailed];
    /// Writes fail for a while; the broker is restarted some time later.
    WriteError = "write-error", ["pause", "chance", "target"], [WriteFailed];
    /// Reads fail for a while; the broker is restarted some time later.
    ReadError = "read-error", ["pause", "chance", "target"], [ReadFailed];
    /// The disk is full for a while; the broker is restarted when there is room again.
    FullDisk = "full-disk", ["pause", "spare", "target"], [DiskFull];
    /// A bit flips in a closed segment.
    BitRot = "bit-rot", [], [BitFlipped, RottenRead];
    /// The wall clock jumps.
    ClockStep = "clock-step", ["millis", "target"], [ClockStepped];
    /// The monotonic clock runs at half to double pace for a while.
    ClockDrift = "clock-drift", ["pause", "target"], [ClockDrifted];
    /// Both clocks stand still for a while.
    ClockFreeze = "clock-freeze", ["pause", "target"], [ClockFrozen];
    /// The wall clock jumps to and fro for a while.
    ClockStrobe = "clock-strobe", ["pause", "millis", "target"], [ClockStrobed];
    /// Disk operations are slow for a while, some as slow as stalled.
    SlowDisk = "slow-disk", ["pause", "chance", "millis", "files", "target"], [OperationDelayed];
    /// Clients lose their connections in the middle of a call.
    ConnectionCut = "connection-cut", ["chance"], [CallCut];
    /// The machines fall into two halves that do not hear each other for a while.
    NetworkPartition = "network-partition", ["pause"], [MessageCut];
    /// Two machines that both hear a third do not hear each other for a while.
    PartialPartition = "partial-partition", ["pause"], [MessageCut];
    /// A link works in one direction only for a while.
    OneWayCut = "one-way-cut", ["pause", "target"], [MessageCut];
    /// A machine hears no other and is heard by none for a while.
    Isolation = "isolation", ["pause", "target"], [MessageCut];
    /// A link breaks and works again, over and over.
    FlappingLink = "flapping-link", ["pause", "millis"], [MessageCut];
    /// Messages are lost for a while.
    MessageLoss = "message-loss", ["pause", "chance"], [MessageLost];
    /// Messages arrive twice for a while.
    MessageDuplication = "message-duplication", ["pause", "chance"], [MessageDuplicated];
    /// Messages are late and overtake each other for a while.
    MessageDelay = "message-delay", ["pause", "chance", "millis"], [MessageDelayed, MessageReordered];
    /// One message is held for a while and everything behind it goes on.
    HeldMessage = "held-message", ["pause", "message"], [MessageHeld];
    /// A machine stands still for a while and goes on as if nothing had happened.
    MachinePause = "machine-pause", ["pause", "target", "nodes"], [MachinePaused];
    /// A machine loses its disk and comes back with an empty one.
    DiskWipe = "disk-wipe", ["pause", "target", "nodes"], [DiskWiped];
    /// Every machine is stopped cleanly and started again, one after the other.
    RollingRestart = "rolling-restart", ["pause"], [RolledOver];
}

impl FaultKind {
    /// Whether it happens between machines.
    #[must_use]
    pub const fn needs_peers(self) -> bool {
        matches!(
            self,
            Self::NetworkPartition
                | Self::PartialPartition
                | Self::OneWayCut
                | Self::Isolation
                | Self::FlappingLink
                | Self::MessageLoss
                | Self::MessageDuplication
                | Self::MessageDelay
                | Self::HeldMessage
                | Self::DiskWipe
        )
    }

    /// Whether bytes that were not synced may be lost by it, or behind it.
    #[must_use]
    pub const fn may_cost_unsynced_bytes(self) -> bool {
        !matches!(self, Self::ClockStep | Self::ClockStrobe | Self::ConnectionCut | Self::BitRot)
    }
}

/// When a fault strikes.
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

/// Which machines a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// One enabled fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often.
    pub times: Bounds,
    /// When.
    pub on: Option<Strike>,
    /// What happens to unsynced bytes; drawn when absent.
    pub contents: Option<CutStyle>,
    /// What happens to unsynced directory entries; drawn when absent.
    pub entries: Option<CutStyle>,
    /// How long it lasts, or how long the broker stays down, in milliseconds.
    pub pause: Bounds,
    /// How likely it is for one operation while it lasts.
    pub chance: f64,
    /// Milliseconds of a clock step or of a delay.
    pub millis: Bounds,
    /// Bytes left on a full disk.
    pub spare: Bounds,
    /// Only files whose path contains this are slow; drawn when absent.
    pub files: Option<String>,
    /// Which machines it strikes.
    pub target: Target,
    /// How many machines it strikes at once.
    pub nodes: Bounds,
    /// Which message is held, such as `fetch reply`; drawn when absent.
    pub message: Option<MessageKind>,
    /// The effects without which a campaign did not test it.
    pub effects: Vec<Effect>,
}

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scenario {scenario}: {message}")]
pub struct ScenarioError {
    /// The scenario's name.
    pub scenario: String,
    /// What is wrong and where.
    pub message: String,
}

impl Scenario {
    /// Parses a scenario file.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        parse(name, text).map_err(|message| ScenarioError { scenario: name.to_owned(), message })
    }
}

fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let opening = text.lines().next().unwrap_or_default();
    if !opening.starts_with("# ") || !opening.ends_with('.') {
        return Err("line 1: must be a comment with a sentence that says what happens".into());
    }
    let table: Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
    let mut root = Keys::new("", table);
    let why = match root.take("why") {
        Some(Value::String(why)) if why.starts_with("Why: ") => why,
        _ => return Err("why: must be a string that starts with \"Why: \"".into()),
    };
    // The seeds of a frozen failure are the runner's business.
    let _ = (root.take("seed"), root.take("seeds"));
    let millis = root.bounds("millis", 2_000..=2_000)?;
    let swarm = matches!(root.take("swarm"), Some(Value::Boolean(true)));
    let unlimited = matches!(root.take("unlimited"), Some(Value::Boolean(true)));
    let cluster = cluster_shape(root.table("cluster")?)?;
    let broker = broker_shape(root.table("broker")?)?;
    let workload = workload_shape(root.table("workload")?)?;
    let faults = root.table("faults")?;
    root.finish()?;
    let faults = fault_plans(faults)?;
    let millis = *millis.end() as u64;
    let name = name.into();
    let scenario =
        Scenario { name, why, millis, swarm, unlimited, cluster, broker, workload, faults };
    within_the_promise(&scenario)?;
    Ok(scenario)
}

/// Faults that the cluster does not promise to survive are for scenarios that say so.
fn within_the_promise(scenario: &Scenario) -> Result<(), String> {
    let copies = *scenario.cluster.min_insync.start();
    let brokers = &scenario.cluster.brokers;
    for plan in &scenario.faults {
        let name = plan.kind.name();
        if plan.kind.needs_peers() && *brokers.start() == 1 {
            return Err(format!("faults.{name}: needs cluster.brokers of 2 at least"));
        }
        if scenario.unlimited {
            continue;
        }
        if plan.kind == FaultKind::DiskWipe && *plan.nodes.end() >= copies {
            return Err(format!(
                "faults.{name}.nodes: an acknowledged record is on min_insync = {copies} disks at \
                 least, so fewer may be wiped at once; or set unlimited = true"
            ));
        }
        if plan.kind == FaultKind::BitRot && *brokers.end() > 1 {
            return Err(format!("faults.{name}: not promised in a cluster; set unlimited = true"));
        }
    }
    Ok(())
}

fn cluster_shape(mut keys: Keys) -> Result<ClusterShape, String> {
    let shape = ClusterShape {
        brokers: keys.bounds("brokers", 1..=1)?,
        controllers: keys.optional_bounds("controllers")?,
        separate_controllers: keys.flag("separate_controllers")?,
        min_insync: keys.bounds("min_insync", 1..=2)?,
        racks: keys.bounds("racks", 0..=0)?,
        wall_offset_millis: keys.bounds("wall_offset_millis", 0..=0)?,
    };
    let (least, most) = (*shape.brokers.start(), *shape.brokers.end());
    if least < 1 || most > MOST_BROKERS {
        return Err(format!("cluster.brokers: must be between 1 and {MOST_BROKERS}"));
    }
    if shape.controllers.as_ref().is_some_and(|controllers| *controllers.start() < 1) {
        return Err("cluster.controllers: must be at least 1".into());
    }
    let most_separate = shape.controllers.as_ref().map_or(SEPARATE_CONTROLLERS, |all| *all.end());
    if shape.separate_controllers && (least < 2 || most + most_separate > MOST_BROKERS) {
        return Err(format!(
            "cluster.separate_controllers: stand beside 2 brokers at least, {MOST_BROKERS} machines \
             in all"
        ));
    }
    if *shape.racks.start() < 0 {
        return Err("cluster.racks: must not be negative".into());
    }
    keys.finish()?;
    Ok(shape)
}

fn broker_shape(mut keys: Keys) -> Result<BrokerShape, String> {
    let retention = keys.bounds("retention_millis", -1..=-1)?;
    let shape = BrokerShape {
        segment_bytes: keys.bounds("segment_bytes", 2_048..=16_384)?,
        retention_millis: (*retention.start() >= 0).then_some(retention),
        retention_check_millis: keys.bounds("retention_check_millis", 200..=500)?,
        offsets_segment_bytes: keys.bounds("offsets_segment_bytes", 4_096..=65_536)?,
        cleaner_backoff_millis: keys.bounds("cleaner_backoff_millis", 300..=2_000)?,
    };
    keys.finish()?;
    Ok(shape)
}

fn workload_shape(mut keys: Keys) -> Result<WorkloadShape, String> {
    let shape = WorkloadShape {
        topics: keys.bounds("topics", 1..=2)?,
        partitions: keys.bounds("partitions", 1..=2)?,
        producers: keys.bounds("producers", 2..=4)?,
        consumers: keys.bounds("consumers", 1..=2)?,
        admins: keys.bounds("admins", 0..=1)?,
        records: keys.bounds("records", 1..=8)?,
        calls: keys.bounds("calls", 30..=80)?,
        pause: keys.optional_bounds("pause")?,
        compacted_topics: keys.bounds("compacted_topics", 0..=0)?,
        groups: keys.bounds("groups", 0..=0)?,
        group_members: keys.bounds("group_members", 2..=4)?,
        group_protocols: keys.group_protocols()?,
        group_static: keys.fraction("group_static", 0.25)?,
        group_unrest: keys.fraction("group_unrest", 0.01)?,
    };
    keys.finish()?;
    Ok(shape)
}

fn fault_plans(mut faults: Keys) -> Result<Vec<FaultPlan>, String> {
    let mut plans = Vec::new();
    for kind in FaultKind::ALL.iter().copied() {
        if faults.has(kind.name()) {
            plans.push(fault_plan(kind, faults.table(kind.name())?)?);
        }
    }
    let names: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
    faults.finish_knowing(&names)?;
    Ok(plans)
}

fn fault_plan(kind: FaultKind, mut keys: Keys) -> Result<FaultPlan, String> {
    if let Some(key) = keys.table.keys().find(|key| !kind.keys().contains(&key.as_str())) {
        return Err(unknown(&keys.path, key, kind.keys()));
    }
    let on = keys.choice(
        "on",
        &[
            ("any-time", Strike::AnyTime),
            ("rename", Strike::Rename),
            ("recovery", Strike::Recovery),
            ("disk-operation", Strike::DiskOperation),
        ],
    )?;
    let (contents, entries) = (keys.cut_style("contents")?, keys.cut_style("entries")?);
    let plan = FaultPlan {
        kind,
        times: keys.bounds("times", 1..=2)?,
        on,
        contents,
        entries,
        pause: keys.bounds("pause", 20..=200)?,
        chance: keys.fraction("chance", 0.2)?,
        millis: keys.bounds("millis", 10..=200)?,
        spare: keys.bounds("spare", 0..=8_192)?,
        files: keys.text("files")?,
        target: keys.target()?,
        nodes: keys.bounds("nodes", 1..=1)?,
        message: keys.message()?,
        effects: keys.effects(kind.effects())?,
    };
    keys.finish()?;
    Ok(plan)
}

/// The effects that a campaign must show, given the faults that a run enabled.
#[must_use]
pub fn expected_effects(faults: &[FaultPlan]) -> BTreeMap<Effect, u64> {
    faults.iter().flat_map(|plan| &plan.effects).map(|effect| (*effect, 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"# The machine loses its power.
why = "Why: records must survive."
millis = 1500
[workload]
producers = [1, 3]
[faults.power-cut]
times = 2
contents = "scatter"
effects = ["writes_torn"]
"#;

    fn error(text: &str) -> String {
        Scenario::parse("x", text).unwrap_err().to_string()
    }

    #[test]
    fn a_scenario_has_its_values_and_defaults() {
        let scenario = Scenario::parse("x", GOOD).unwrap();
        assert_eq!((scenario.millis, scenario.workload.producers), (1_500, 1..=3));
        let plan = &scenario.faults[0];
        assert_eq!((plan.kind, plan.times.clone()), (FaultKind::PowerCut, 2..=2));
        assert_eq!(plan.contents, Some(CutStyle::Scatter));
        assert_eq!(plan.effects, [Effect::PowerCut, Effect::WriteTorn]);
    }

    #[test]
    fn separate_controllers_stand_beside_brokers() {
        let with = |lines: &str| {
            let text = GOOD.replace("[workload]", &format!("[cluster]\n{lines}\n[workload]"));
            Scenario::parse("x", &text).map(|scenario| scenario.cluster)
        };
        let shape = with("brokers = 3\ncontrollers = 3\nseparate_controllers = true").unwrap();
        assert!(shape.separate_controllers);
        assert!(!with("brokers = 3").unwrap().separate_controllers);
        for wrong in ["brokers = 1", "brokers = 7", "brokers = 5\ncontrollers = 5"] {
            let error = with(&format!("{wrong}\nseparate_controllers = true")).unwrap_err();
            assert!(error.to_string().contains("cluster.separate_controllers"), "{error}");
        }
        let error = with("separate_controllers = 1").unwrap_err().to_string();
        assert!(error.contains("must be true or false"), "{error}");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let text = GOOD.replace("producers", "producer");
        assert!(
            error(&text)
                .contains("unknown key `producer` in `workload`; did you mean `producers`?")
        );
        let text = GOOD.replace("power-cut", "power-cuts");
        assert!(
            error(&text)
                .contains("unknown key `power-cuts` in `faults`; did you mean `power-cut`?")
        );
        let text = GOOD.replace("contents", "content");
        assert!(error(&text).contains("did you mean `contents`?"));
    }

    #[test]
    fn groups_draw_from_the_protocols_that_are_named() {
        let with = |line: &str| {
            let text = GOOD.replace("[workload]", &format!("[workload]\n{line}"));
            Scenario::parse("x", &text).map(|scenario| scenario.workload.group_protocols)
        };
        assert_eq!(with("groups = 1").unwrap().len(), 3);
        let mixed = with("group_protocols = [\"mixed\"]").unwrap();
        assert_eq!(mixed, [GroupProtocol::Mixed]);
        for wrong in ["[]", "[\"both\"]", "\"mixed\""] {
            let error = with(&format!("group_protocols = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("workload.group_protocols"), "{error}");
        }
    }

    #[test]
    fn a_plan_that_exceeds_the_promise_must_say_so() {
        let text = GOOD.replace("[faults.power-cut]", "[faults.disk-wipe]").replace(
            "contents = \"scatter\"\neffects = [\"writes_torn\"]",
            "[cluster]\nbrokers = 3\nmin_insync = 2\n",
        );
        let two = text.replace("times = 2", "times = 2\nnodes = [1, 2]");
        assert_eq!(Scenario::parse("x", &text).unwrap().cluster.brokers, 3..=3);
        assert!(error(&two).contains("faults.disk-wipe.nodes"));
        let unlimited = two.replace("millis", "unlimited = true\nmillis");
        assert!(Scenario::parse("x", &unlimited).is_ok());
    }

    #[test]
    fn a_scenario_must_say_what_and_why() {
        assert!(error(&GOOD.replace("# The", "#The")).contains("line 1"));
        assert!(error(&GOOD.replace("Why: ", "")).contains("why"));
    }
}
