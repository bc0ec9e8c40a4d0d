//! What is legal key by key and makes no sense in its scenario: faults that the cluster does not promise
//! to survive, that never strike, that strike nobody or do nothing, or that a run has no time for.

use super::{
    Bounds,
    faults::{FaultKind, FaultPlan, Target, Trigger},
    keys::Keys,
    shapes::{BrokerShape, ClusterShape, WorkloadShape},
    source::Mistake,
};
use crate::condition::{Crowd, Expression};

/// How long the strikes of one fault may last in all, in milliseconds. A run has two minutes beside its
/// time under faults, in which everything must also heal and be read.
const LONGEST_STRIKES: i64 = 60_000;
/// What a broker takes that stops and starts again, and what is waited for before that.
const RESTART: i64 = 500;
/// What a broker takes that starts with an empty disk, until it is in sync again.
const REFILL: i64 = 2_500;
/// `retention.ms` where nobody says otherwise, in milliseconds: clocks that are as far ahead remove
/// records that no check knows to be too old.
const SEVEN_DAYS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// What a fault must fit.
pub(super) struct Surroundings<'a> {
    pub(super) cluster: &'a ClusterShape,
    pub(super) broker: &'a BrokerShape,
    pub(super) workload: &'a WorkloadShape,
    pub(super) unlimited: bool,
    /// Milliseconds under faults.
    pub(super) millis: i64,
}

/// A rule for single faults.
type Rule = fn(&Surroundings<'_>, &FaultPlan, &Keys<'_>) -> Result<(), Mistake>;

/// The first that is found tells most: what cannot be is said before what may not be.
const RULES: [Rule; 7] = [
    has_its_time,
    can_come_true,
    names_somebody,
    has_its_victims,
    finds_its_message,
    keeps_records,
    is_within_the_promise,
];

/// Refuses the first fault that breaks a rule.
pub(super) fn refuse(
    surroundings: &Surroundings<'_>,
    faults: &[(FaultPlan, Keys<'_>)],
) -> Result<(), Mistake> {
    faults.iter().try_for_each(|(plan, keys)| {
        RULES.iter().try_for_each(|rule| rule(surroundings, plan, keys))
    })
}

/// Wall clocks at the start may not be so far ahead that records are too old.
pub(super) fn wall_clocks(
    keys: &Keys<'_>,
    (cluster, broker): (&ClusterShape, &BrokerShape),
) -> Result<(), Mistake> {
    not_too_old(keys, ("wall_offset_millis", &cluster.wall_offset_millis), broker)
}

fn not_too_old(
    keys: &Keys<'_>,
    (key, ahead): (&str, &Bounds),
    broker: &BrokerShape,
) -> Result<(), Mistake> {
    if broker.retention_millis.is_some() || *ahead.end() < SEVEN_DAYS {
        return Ok(());
    }
    let message = format!(
        "records are kept for seven days, and a clock that is {} ms ahead finds them older; stay \
         below {SEVEN_DAYS}, or set broker.retention_millis",
        ahead.end()
    );
    Err(keys.wrong(key, message))
}

/// It strikes within the time under faults, and is over soon after.
fn has_its_time(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    let millis = surroundings.millis;
    let late = |key: &str, after: i64| {
        let message = format!(
            "after {after} ms the time under faults is over (`millis` is {millis}), and it never \
             strikes; name an earlier moment, or raise `millis`"
        );
        keys.wrong(key, message)
    };
    if let Trigger::At(at) = &plan.trigger
        && *at.start() > millis
    {
        return Err(late("at", *at.start()));
    }
    if *plan.delay.start() >= millis {
        return Err(late("delay", *plan.delay.start()));
    }
    let times = if plan.trigger == Trigger::Drawn { *plan.times.end() } else { 1 };
    let one = strike_millis(plan, surroundings.crowd());
    if *plan.delay.end() + times * one <= LONGEST_STRIKES {
        return Ok(());
    }
    let message = format!(
        "{times} of its strikes may last {one} ms each, and a run has time for {LONGEST_STRIKES} ms \
         of them; lower `times`, `pause`, or whatever else makes them long"
    );
    let key = ["times", "pause", "patience", "delay"].into_iter().find(|key| keys.has(key));
    Err(key.map_or_else(|| keys.wrong_altogether(&message), |key| keys.wrong(key, &message)))
}

/// How long one strike may last, about, with the restart or whatever else comes of it.
fn strike_millis(plan: &FaultPlan, crowd: Crowd) -> i64 {
    let pause = plan.pause.as_ref().map_or(0, |pause| *pause.end());
    match plan.kind {
        kind if kind.is_of_messages() => {
            let held = if kind == FaultKind::HeldMessage { pause } else { 0 };
            held.max(*plan.patience.end()) + RESTART
        }
        // A link works as long as it is broken, and both once at least.
        FaultKind::FlappingLink => pause + 2 * *plan.millis.end(),
        FaultKind::RollingRestart => crowd.machines * (pause + RESTART),
        FaultKind::DiskWipe => pause + REFILL,
        FaultKind::BitRot
        | FaultKind::ClockStep
        | FaultKind::ConnectionCut
        | FaultKind::ConnectionReset => 0,
        _ => pause + RESTART,
    }
}

/// Its conditions may be true at some time and untrue at another.
fn can_come_true(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    let when = match &plan.trigger {
        Trigger::When(when) => Some(when),
        _ => None,
    };
    let conditions = [
        ("when", when, "write `at = 0` for the beginning"),
        ("until", plan.until.as_ref(), "say how long it lasts: `pause = 300`"),
    ];
    for (key, condition, otherwise) in conditions {
        let Some(condition) = condition else { continue };
        let remedy =
            format!("ask for what changes, such as `high_watermark(t0/0) > 10`, or {otherwise}");
        if condition.is_constant() {
            let message = "says nothing of the cluster, and is the same all the time";
            return Err(keys.wrong(key, format!("{message}; {remedy}")));
        }
        if !condition.can_hold(surroundings.crowd()) {
            return Err(keys.wrong(key, format!("is never true here; {remedy}")));
        }
    }
    Ok(())
}

/// There may be machines, and links, that it strikes.
fn names_somebody(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    let crowd = surroundings.crowd();
    let target = match &plan.target {
        Target::Named(named) => Some(named),
        _ => None,
    };
    let target_key = target_key(keys);
    let ends = [(target_key, target), ("from", plan.from.as_ref()), ("to", plan.to.as_ref())];
    let is_nobody = |named: &Expression| named.most_brokers(crowd) == 0;
    if let Some((key, _)) = ends.into_iter().find(|(_, named)| named.is_some_and(is_nobody)) {
        let message = "names nobody at any time: all who are named are taken away again; take \
                       fewer away";
        return Err(keys.wrong(key, message));
    }
    if let (Some(from), Some(to)) = (&plan.from, &plan.to)
        && from.is_the_broker_of(to)
    {
        let message = "is the broker in `from`, and nobody has a link to itself; name another";
        return Err(keys.wrong("to", message));
    }
    if plan.kind == FaultKind::NetworkPartition && plan.target == Target::All {
        let message = "is to be one of two halves, and nobody is left for the other; name fewer";
        return Err(keys.wrong(target_key, message));
    }
    if *plan.nodes.start() > crowd.machines {
        let message = format!(
            "there are {} machines at most; name no more, or raise cluster.brokers",
            crowd.machines
        );
        return Err(keys.wrong("nodes", message));
    }
    Ok(())
}

/// There are clients, and a coordinator, if it wants one.
fn has_its_victims(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    let shape = surroundings.workload;
    let none = |bounds: &Bounds| *bounds.end() == 0;
    if plan.target == Target::Coordinator && none(&shape.groups) {
        let message = "without groups there is none; set workload.groups to 1 at least";
        return Err(keys.wrong(target_key(keys), message));
    }
    let missing = match plan.client {
        Some("producer") if none(&shape.producers) => "producers",
        Some("consumer") if none(&shape.consumers) => "consumers",
        Some("admin") if none(&shape.admins) => "admins",
        Some("keyed") if none(&shape.compacted_topics) => "compacted_topics",
        Some("member") if none(&shape.groups) => "groups",
        _ => return Ok(()),
    };
    let message = format!("there is no such client; set workload.{missing} to 1 at least");
    Err(keys.wrong("client", message))
}

/// The message that it waits for may be about the partition that it names.
fn finds_its_message(
    _: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    match (&plan.partition, plan.message) {
        (Some(_), Some(kind)) if !kind.message.names_partitions() => {
            let message = format!(
                "a {kind} is about no partition; leave it out, or wait for a `propose`, a `fetch` \
                 or a `flushed`"
            );
            Err(keys.wrong("partition", message))
        }
        _ => Ok(()),
    }
}

/// Clocks do not get so far ahead that records are too old.
fn keeps_records(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    match plan.kind {
        FaultKind::ClockStep | FaultKind::ClockStrobe => {
            not_too_old(keys, ("millis", &plan.millis), surroundings.broker)
        }
        _ => Ok(()),
    }
}

/// Faults that the cluster does not promise to survive are for scenarios that say so.
fn is_within_the_promise(
    surroundings: &Surroundings<'_>,
    plan: &FaultPlan,
    keys: &Keys<'_>,
) -> Result<(), Mistake> {
    let cluster = surroundings.cluster;
    if plan.kind.needs_peers() && *cluster.brokers.start() == 1 {
        return Err(keys.wrong_altogether("needs cluster.brokers of 2 at least"));
    }
    if surroundings.unlimited {
        return Ok(());
    }
    let copies = *cluster.min_insync.start();
    if plan.kind == FaultKind::DiskWipe && *plan.nodes.end() >= copies {
        let message = format!(
            "an acknowledged record is on min_insync = {copies} disks at least, so fewer may be \
             wiped at once; raise cluster.min_insync, or set `unlimited = true`"
        );
        return Err(keys.wrong("nodes", message));
    }
    if plan.kind == FaultKind::DiskWipe && plan.target == Target::All {
        let message = "no copy would be left; name fewer, or set `unlimited = true`";
        return Err(keys.wrong(target_key(keys), message));
    }
    if plan.kind == FaultKind::BitRot && *cluster.brokers.end() > 1 {
        let message = "not promised in a cluster; set `unlimited = true`";
        return Err(keys.wrong_altogether(message));
    }
    if *surroundings.workload.replicated_topics.end() > 0 && plan.kind.fails_logs() {
        let message = "a log that fails loses what it had received and not flushed, which counts \
                       in workload.replicated_topics; set `unlimited = true`";
        return Err(keys.wrong_altogether(message));
    }
    Ok(())
}

/// The key that says whom a fault strikes.
fn target_key(keys: &Keys<'_>) -> &'static str {
    if keys.has("target") { "target" } else { "on" }
}

impl Surroundings<'_> {
    fn crowd(&self) -> Crowd {
        let brokers = *self.cluster.brokers.end();
        Crowd { brokers, machines: brokers + self.cluster.separate_voters() }
    }
}
