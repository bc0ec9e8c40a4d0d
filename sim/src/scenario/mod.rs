//! Scenarios: what a run does, as data. A scenario file opens with a comment sentence, says why it
//! exists, and names its workload, its broker's shape and the faults it enables. Whatever a file
//! leaves open is drawn from the seed.

use crate::{disk::CutStyle, trace::Effect};
use std::{collections::BTreeMap, ops::RangeInclusive};
use toml::{Table, Value};

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
    /// The broker's configuration.
    pub broker: BrokerShape,
    /// What the clients do.
    pub workload: WorkloadShape,
    /// What goes wrong.
    pub faults: Vec<FaultPlan>,
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
    PowerCut = "power-cut", ["on", "contents", "entries", "pause"], [PowerCut];
    /// The process is killed and started again.
    ProcessKill = "process-kill", ["on", "pause"], [ProcessKilled];
    /// A sync of a log fails; the broker is restarted some time later.
    SyncError = "sync-error", ["pause"], [SyncFailed];
    /// Writes fail for a while; the broker is restarted some time later.
    WriteError = "write-error", ["pause", "chance"], [WriteFailed];
    /// Reads fail for a while; the broker is restarted some time later.
    ReadError = "read-error", ["pause", "chance"], [ReadFailed];
    /// The disk is full for a while; the broker is restarted when there is room again.
    FullDisk = "full-disk", ["pause", "spare"], [DiskFull];
    /// A bit flips in a closed segment.
    BitRot = "bit-rot", [], [BitFlipped, RottenRead];
    /// The wall clock jumps.
    ClockStep = "clock-step", ["millis"], [ClockStepped];
    /// The monotonic clock runs at half to double pace for a while.
    ClockDrift = "clock-drift", ["pause"], [ClockDrifted];
    /// Both clocks stand still for a while.
    ClockFreeze = "clock-freeze", ["pause"], [ClockFrozen];
    /// The wall clock jumps to and fro for a while.
    ClockStrobe = "clock-strobe", ["pause", "millis"], [ClockStrobed];
    /// Disk operations are slow for a while, some as slow as stalled.
    SlowDisk = "slow-disk", ["pause", "chance", "millis", "files"], [OperationDelayed];
    /// Clients lose their connections in the middle of a call.
    ConnectionCut = "connection-cut", ["chance"], [CallCut];
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
    let millis = root.bounds("millis", 2_000..=2_000)?;
    let swarm = matches!(root.take("swarm"), Some(Value::Boolean(true)));
    let broker = broker_shape(root.table("broker")?)?;
    let workload = workload_shape(root.table("workload")?)?;
    let faults = root.table("faults")?;
    root.finish()?;
    let faults = fault_plans(faults)?;
    let millis = *millis.end() as u64;
    Ok(Scenario { name: name.into(), why, millis, swarm, broker, workload, faults })
}

fn broker_shape(mut keys: Keys) -> Result<BrokerShape, String> {
    let retention = keys.bounds("retention_millis", -1..=-1)?;
    let shape = BrokerShape {
        segment_bytes: keys.bounds("segment_bytes", 2_048..=16_384)?,
        retention_millis: (*retention.start() >= 0).then_some(retention),
        retention_check_millis: keys.bounds("retention_check_millis", 200..=500)?,
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
        effects: keys.effects(kind.effects())?,
    };
    keys.finish()?;
    Ok(plan)
}

/// The keys of one table: each is taken once, and what is left over is an error.
struct Keys {
    path: String,
    table: Table,
    asked: Vec<&'static str>,
}

impl Keys {
    fn new(path: &str, table: Table) -> Self {
        Self { path: path.to_owned(), table, asked: Vec::new() }
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn table(&mut self, key: &'static str) -> Result<Keys, String> {
        match self.take(key) {
            None => Ok(Keys::new(key, Table::new())),
            Some(Value::Table(table)) => Ok(Keys::new(key, table)),
            Some(_) => Err(format!("{key}: must be a table")),
        }
    }

    fn bounds(&mut self, key: &'static str, default: Bounds) -> Result<Bounds, String> {
        let place = format!("{}{key}", self.prefix());
        let wrong = || format!("{place}: must be an integer or [least, most]");
        match self.take(key) {
            None => Ok(default),
            Some(Value::Integer(value)) => Ok(value..=value),
            Some(Value::Array(values)) => match values[..] {
                [Value::Integer(least), Value::Integer(most)] if least <= most => Ok(least..=most),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }

    fn fraction(&mut self, key: &'static str, default: f64) -> Result<f64, String> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Float(value)) if (0.0..=1.0).contains(&value) => Ok(value),
            Some(_) => Err(format!("{}{key}: must be between 0.0 and 1.0", self.prefix())),
        }
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{}{key}: must be a string", self.prefix())),
        }
    }

    fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let text = value.as_str().unwrap_or_default();
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(format!("{}{key}: must be one of {}", self.prefix(), names.join(", "))),
        }
    }

    fn cut_style(&mut self, key: &'static str) -> Result<Option<CutStyle>, String> {
        self.choice(
            key,
            &[
                ("lose-all", CutStyle::LoseAll),
                ("prefix", CutStyle::Prefix),
                ("scatter", CutStyle::Scatter),
                ("keep-all", CutStyle::KeepAll),
            ],
        )
    }

    fn effects(&mut self, default: &[Effect]) -> Result<Vec<Effect>, String> {
        let mut effects = default.to_vec();
        let Some(value) = self.take("effects") else { return Ok(effects) };
        for name in value.as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = name.as_str().unwrap_or_default();
            let names: Vec<_> = Effect::ALL.iter().map(|effect| effect.name()).collect();
            let found = Effect::ALL.iter().find(|effect| effect.name() == name);
            effects.push(*found.ok_or_else(|| unknown(&self.path, name, &names))?);
        }
        Ok(effects)
    }

    fn finish(self) -> Result<(), String> {
        let asked = self.asked.clone();
        self.finish_knowing(&asked)
    }

    fn finish_knowing(self, known: &[&str]) -> Result<(), String> {
        match self.table.keys().next() {
            Some(key) => Err(unknown(&self.path, key, known)),
            None => Ok(()),
        }
    }

    fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}.", self.path) }
    }
}

fn unknown(path: &str, key: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|name| distance(name, key));
    let hint = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
    format!("unknown key `{key}`{place}{hint}")
}

/// Edit distance: insertions, deletions and replacements.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[right.len()]
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
    fn a_scenario_must_say_what_and_why() {
        assert!(error(&GOOD.replace("# The", "#The")).contains("line 1"));
        assert!(error(&GOOD.replace("Why: ", "")).contains("why"));
    }
}
