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
mod promise;
mod reference;
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
use source::Mistake;
use std::{collections::BTreeMap, ops::RangeInclusive};
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
        parse(name, text).map_err(|mistake| mistake.in_file(file, text))
    }
}

fn parse(name: &str, text: &str) -> Result<Scenario, Mistake> {
    let table = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let opening = text.lines().next().unwrap_or_default();
    if !opening.starts_with("# ") || !opening.ends_with('.') {
        let message = "the first line must be a comment with a sentence that says what happens, \
                       such as `# The leader loses its power.`";
        return Err(Mistake::new(&(0..0), message));
    }
    let mut root = Keys::new(("", 0..0), table.into_inner(), shapes::ROOT, |_| true, text)?;
    let why = why(&root)?;
    root.not_both("seed", "seeds", "both name the seeds of a frozen failure")?;
    root.integer("seed")?;
    root.integers("seeds")?;
    let cluster = shapes::cluster(&root.table("cluster", shapes::CLUSTER)?)?;
    let broker = shapes::broker(&root.table("broker", shapes::BROKER)?)?;
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
        faults.extend(faults::plans((table.into_inner(), at), (&known, text))?);
    }
    let has_replicated = *workload.replicated_topics.end() > 0;
    within_the_promise((&cluster, has_replicated, unlimited), &faults)?;
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

/// What is no TOML, with what would be.
fn syntax(text: &str, error: &toml::de::Error) -> Mistake {
    let at = error.span().unwrap_or(0..0);
    let message = error.message();
    let remedy = match message {
        _ if message.contains("duplicate") => {
            let key = text.get(at.clone()).unwrap_or_default();
            return Mistake::new(
                &at,
                format!(
                    "`{key}` is there twice; leave one out, or write `[[{key}]]` for several \
                     faults of one kind"
                ),
            );
        }
        _ if message.contains("string") => "; put texts in quotes: `target = \"leader\"`",
        _ => "; a line is `key = value`, `[table]` or `# a comment`",
    };
    Mistake::new(&at, format!("not TOML: {}{remedy}", message.replace('\n', ", ")))
}

fn why(root: &Keys<'_>) -> Result<String, Mistake> {
    const EXAMPLE: &str = "write `why = \"Why: what would be lost otherwise.\"`";
    match root.text("why")? {
        Some((why, _)) if why.starts_with("Why: ") => Ok(why),
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

/// Faults that the cluster does not promise to survive are for scenarios that say so.
fn within_the_promise(
    (cluster, has_replicated, unlimited): (&ClusterShape, bool, bool),
    faults: &[(FaultPlan, Keys<'_>)],
) -> Result<(), Mistake> {
    let copies = *cluster.min_insync.start();
    for (plan, keys) in faults {
        let wrong = |key: &str, message: String| {
            let message = format!("{}: {message}", keys.named(key));
            Mistake::new(&keys.place(key), message.replace(".: ", ": "))
        };
        if plan.kind.needs_peers() && *cluster.brokers.start() == 1 {
            return Err(wrong("", "needs cluster.brokers of 2 at least".into()));
        }
        if unlimited {
            continue;
        }
        if plan.kind == FaultKind::DiskWipe && *plan.nodes.end() >= copies {
            let message = format!(
                "an acknowledged record is on min_insync = {copies} disks at least, so fewer may \
                 be wiped at once; raise cluster.min_insync, or set `unlimited = true`"
            );
            return Err(wrong("nodes", message));
        }
        if plan.kind == FaultKind::DiskWipe && plan.target == Target::All {
            let message = "no copy would be left; name fewer, or set `unlimited = true`".into();
            return Err(wrong("target", message));
        }
        if plan.kind == FaultKind::BitRot && *cluster.brokers.end() > 1 {
            let message = "not promised in a cluster; set `unlimited = true`".into();
            return Err(wrong("", message));
        }
        if has_replicated && plan.kind.fails_logs() {
            let message = "a log that fails loses what it had received and not flushed, which \
                           counts in workload.replicated_topics; set `unlimited = true`";
            return Err(wrong("", message.into()));
        }
    }
    Ok(())
}

/// The effects that a campaign must show, given the faults that a run enabled.
#[must_use]
pub fn expected_effects(faults: &[FaultPlan]) -> BTreeMap<Effect, u64> {
    faults.iter().flat_map(|plan| &plan.effects).map(|effect| (*effect, 0)).collect()
}
