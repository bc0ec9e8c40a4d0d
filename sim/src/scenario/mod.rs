//! Scenarios: what a run does, as data. A scenario file opens with a comment sentence, says why it
//! exists, and names its workload, its broker's shape and the faults it enables. Whatever a file
//! leaves open is drawn from the seed.
//!
//! Every key is described once, in `shapes` and `faults`: the parser reads by the description, and
//! the reference in `scenarios/README.md` is made from it.

mod faults;
mod habits;
mod keys;
pub mod limits;
mod plans;
mod promise;
mod reference;
mod refusals;
mod shapes;
mod source;

#[cfg(test)]
mod tests;

pub use faults::{FaultKind, FaultPlan, Strike, Target, Trigger};
pub use habits::{GroupHabit, GroupManners};
pub use promise::that_may_strike;
pub use reference::{reference, with_reference};
pub use shapes::{BrokerShape, Budget, ClusterShape, Spread, Stakes, WorkloadShape};
pub use source::{ScenarioError, nearest};

use crate::{condition::Known, trace::Effect};
use keys::Keys;
use refusals::Surroundings;
use source::Mistake;
use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};
use toml::de::DeTable;

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
    /// Whether some of those strike seldom, and some over and over.
    pub uneven: bool,
    /// Whether the faults may exceed what the cluster promises to survive. Then only what holds
    /// whatever happens is checked, and in the end whatever somebody is left to serve must work.
    pub unlimited: bool,
    /// The machines.
    pub cluster: ClusterShape,
    /// The brokers' configuration.
    pub broker: BrokerShape,
    /// What the clients do.
    pub workload: WorkloadShape,
    /// What is at stake.
    pub stakes: Stakes,
    /// How much of it is run.
    pub budget: Budget,
    /// What goes wrong.
    pub faults: Vec<FaultPlan>,
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

impl Scenario {
    /// Parses the scenario file of this name. The error calls it `NAME.toml`.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        Self::parse_file(name, &format!("{name}.toml"), text)
    }

    /// Parses a scenario file that is to be called `file` in errors.
    pub fn parse_file(name: &str, file: &str, text: &str) -> Result<Self, ScenarioError> {
        let text = source::without_mark(text);
        parse(name, text).map_err(|mistake| mistake.in_file(file, text))
    }

    /// The text of a scenario file, which is to be called `file` in errors.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<String, ScenarioError> {
        source::decode(file, bytes)
    }
}

fn parse(name: &str, text: &str) -> Result<Scenario, Mistake> {
    let table = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    opens_with_a_sentence(text)?;
    let mut root = Keys::new(("", 0..0), table.into_inner(), shapes::ROOT, |_| true, text)?;
    let why = why(&root)?;
    root.not_both("seed", "seeds", "both name the seeds of a frozen failure")?;
    root.integer("seed")?;
    root.integers("seeds")?;
    let cluster_keys = root.table("cluster", shapes::CLUSTER)?;
    let cluster = shapes::cluster(&cluster_keys)?;
    let broker = shapes::broker(&root.table("broker", shapes::BROKER)?)?;
    refusals::wall_clocks(&cluster_keys, (&cluster, &broker))?;
    let workload_keys = root.table("workload", shapes::WORKLOAD)?;
    let workload = shapes::workload(&workload_keys)?;
    shapes::lossy_topics(&workload_keys, &cluster)?;
    let stakes = shapes::stakes(&root.table("checks", shapes::CHECKS_TABLE)?)?;
    let budget_keys = root.table("budget", shapes::BUDGET)?;
    let budget = shapes::budget(&budget_keys)?;
    let millis = match budget_keys.optional_bounds("millis")? {
        Some(_) if root.has("millis") => {
            let message = "contradicts `millis` outside of the table; leave one of them out";
            return Err(budget_keys.wrong("millis", message));
        }
        Some(millis) => millis,
        None => root.bounds("millis")?,
    };
    let (swarm, unlimited) = (root.flag("swarm")?, root.flag("unlimited")?);
    let uneven = root.flag("uneven")?;
    if uneven && !swarm {
        return Err(root.wrong("uneven", "does nothing without `swarm = true`"));
    }
    let known = known(&cluster, &workload);
    let mut faults = Vec::new();
    for table in root.tables("faults")? {
        let at = table.span();
        faults.extend(plans::plans((table.into_inner(), at), (&known, text))?);
    }
    let surroundings = Surroundings {
        cluster: &cluster,
        broker: &broker,
        workload: &workload,
        unlimited,
        millis: *millis.end(),
    };
    refusals::refuse(&surroundings, &faults)?;
    Ok(Scenario {
        name: name.into(),
        why,
        millis: millis.end().unsigned_abs(),
        swarm,
        uneven,
        unlimited,
        cluster,
        broker,
        workload,
        stakes,
        budget,
        faults: faults.into_iter().map(|(plan, _)| plan).collect(),
    })
}

fn opens_with_a_sentence(text: &str) -> Result<(), Mistake> {
    let opening = text.lines().next().unwrap_or_default();
    let sentence = opening.strip_prefix("# ").and_then(|sentence| sentence.strip_suffix('.'));
    if sentence.is_some_and(|sentence| sentence.chars().any(char::is_alphabetic)) {
        return Ok(());
    }
    let message = "the first line must be a comment with a sentence that says what happens, such \
                   as `# The leader loses its power.`";
    Err(Mistake::new(&(0..0), message))
}

/// What is no TOML, with what would be.
fn syntax(text: &str, error: &toml::de::Error) -> Mistake {
    let at = error.span().unwrap_or(0..0);
    let message = error.message();
    let remedy = match message {
        _ if message.contains("duplicate") => return twice(text, &at),
        _ if message.contains("string") => "; put texts in quotes: `target = \"leader\"`",
        _ => "; a line is `key = value`, `[table]` or `# a comment`",
    };
    Mistake::new(&at, format!("not TOML: {}{remedy}", message.replace('\n', ", ")))
}

/// A key or a table that is there twice. Only of faults there may be several of a kind.
fn twice(text: &str, at: &Range<usize>) -> Mistake {
    let key = text.get(at.clone()).unwrap_or_default();
    let line = text.get(..at.start).and_then(|before| before.rsplit('\n').next());
    let is_fault = line.is_some_and(|line| line.trim_start().trim_start_matches('[') == "faults.");
    let several = match is_fault {
        true => format!(", or write `[[faults.{key}]]` above each for several faults of the kind"),
        false => String::new(),
    };
    Mistake::new(at, format!("`{key}` is there twice; leave one out{several}"))
}

fn why(root: &Keys<'_>) -> Result<String, Mistake> {
    const EXAMPLE: &str = "write `why = \"Why: what would be lost otherwise.\"`";
    match root.text("why")? {
        Some((why, _)) if why.strip_prefix("Why: ").is_some_and(|it| !it.trim().is_empty()) => {
            Ok(why)
        }
        Some((why, _)) if why.trim_end() == "Why:" => {
            Err(root.wrong("why", format!("gives no reason; {EXAMPLE}")))
        }
        Some(_) => Err(root.wrong("why", format!("must begin with `Why: `; {EXAMPLE}"))),
        None => Err(root.wrong("why", format!("is missing; {EXAMPLE}"))),
    }
}

/// What every seed has.
fn known(cluster: &ClusterShape, workload: &WorkloadShape) -> Known {
    let named = |letter: &str, count: &Bounds| -> Vec<String> {
        (0..*count.start()).map(|number| format!("{letter}{number}")).collect()
    };
    let partitions = *workload.partitions.start();
    let plain = [
        named("t", &workload.topics),
        named("r", &workload.replicated_topics),
        named("u", &workload.unclean_topics),
    ];
    let compacted = named("c", &workload.compacted_topics);
    let plain = plain.into_iter().flatten();
    let plain = plain.map(|name| (name, partitions, "workload.partitions"));
    let compacted = compacted.into_iter().map(|name| (name, 1, "what a compacted topic has"));
    let mut topics: Vec<_> = plain.chain(compacted).collect();
    let groups = named("g", &workload.groups);
    if !groups.is_empty() {
        topics.push(("__consumer_offsets".into(), 1, "what it has"));
    }
    Known {
        topics,
        brokers: *cluster.brokers.start(),
        brokers_at_most: *cluster.brokers.end(),
        groups,
    }
}

/// The effects that a campaign must show, given the faults that a run enabled.
#[must_use]
pub fn expected_effects(faults: &[FaultPlan]) -> BTreeMap<Effect, u64> {
    faults.iter().flat_map(|plan| &plan.effects).map(|effect| (*effect, 0)).collect()
}
