//! The tables of a scenario besides its faults: their keys, and what they become.

use super::{
    Bounds, GroupProtocol, SEPARATE_CONTROLLERS,
    habits::{GroupHabit, GroupManners},
    keys::{Key, Keys, Takes},
    source::{Mistake, nearest},
};
use crate::{dice::Dice, oracle::CHECKS};
use highwater_core::mutant::Mutant;

/// The most brokers of a run: their addresses must not reach the clients'.
pub(super) const MOST_BROKERS: i64 = 9;
/// More of anything than a run could make.
const MANY: i64 = 1_000_000;
/// A segment; the broker takes none that is smaller.
const SEGMENT_BYTES: (i64, i64) = (1_024, 1 << 30);
/// The most partitions of all topics together that are not compacted. Every one is read to its end when
/// the run is over, by everybody who reads, within the minute or so that it has for that.
const MOST_PARTITIONS: i64 = 100;
/// The most bytes of a batch: in more than that, a run would do little else than to copy them.
const MOST_BATCH_BYTES: i64 = 256 << 10;
/// Milliseconds up to three thousand centuries, either way.
const EVER: (i64, i64) = (-10_000_000_000_000_000, 10_000_000_000_000_000);

const fn bounds(default: (i64, i64), within: (i64, i64)) -> Takes {
    Takes::Bounds { default: Some(default), within }
}

const fn optional(within: (i64, i64)) -> Takes {
    Takes::Bounds { default: None, within }
}

macro_rules! keys {
    ($(#[doc = $doc:literal])+ $table:ident: $($name:literal = $takes:expr, $text:literal;)+) => {
        $(#[doc = $doc])+
        pub const $table: &[Key] = &[$(Key { name: $name, takes: $takes, text: $text },)+];
    };
}
pub(super) use keys;

keys! {
    /// The keys outside of every table.
    ROOT:
    "why" = Takes::Text("Why: ..."), "why the scenario exists; begins with `Why: `";
    "seed" = Takes::Integer(None, (0, i64::MAX)), "the one seed of a frozen failure";
    "seeds" = Takes::Integers, "the seeds of a frozen failure";
    "millis" = bounds((2_000, 2_000), (1, 600_000)), "simulated milliseconds under faults. Of a range the upper end counts, and the lower one says nothing";
    "swarm" = Takes::Flag, "each seed enables only some of the faults";
    "uneven" = Takes::Flag, "with `swarm`: each fault that is enabled and strikes more than once may strike as seldom as its `times` say, or three times as often as they say, in the time under faults";
    "unlimited" = Takes::Flag, "the faults may exceed what the cluster promises to survive; then only what holds whatever happens is checked";
    "cluster" = Takes::Table, "the machines";
    "broker" = Takes::Table, "the brokers' configuration";
    "workload" = Takes::Table, "what the clients do";
    "checks" = Takes::Table, "what is at stake";
    "budget" = Takes::Table, "how much of it is run";
    "faults" = Takes::Table, "what goes wrong";
}

keys! {
    /// The keys of `[cluster]`.
    CLUSTER:
    "brokers" = bounds((1, 1), (1, MOST_BROKERS)), "brokers; one stands alone and is no cluster";
    "controllers" = optional((1, MOST_BROKERS)), "how many voters the metadata quorum has: the first brokers, all when absent; or as many machines beside them";
    "separate_controllers" = Takes::Flag, "the voters are machines of their own, which are no brokers; three when `controllers` is absent";
    "min_insync" = bounds((1, 2), (1, 3)), "`min.insync.replicas`, never more than there are replicas, of which there are three at most";
    "racks" = bounds((0, 0), (0, MOST_BROKERS)), "racks that the machines stand in, one after the other; consumers that are in one read from a follower there. 0 knows none";
    "wall_offset_millis" = bounds((0, 0), EVER), "how far the machines' wall clocks are off at the start, in milliseconds; less than seven days ahead unless `broker.retention_millis` is set";
    "snapshot_entries" = optional((1, MANY)), "entries of the metadata log that make a snapshot due, of which a few stay; 5000 when absent, more than a run has";
}

keys! {
    /// The keys of `[broker]`.
    BROKER:
    "segment_bytes" = bounds((2_048, 16_384), SEGMENT_BYTES), "bytes of a segment";
    "retention_millis" = optional((0, EVER.1)), "`retention.ms` of the topics; seven days when absent, and no clock is so far ahead then";
    "retention_bytes" = optional((0, EVER.1)), "`retention.bytes` of the topics; everything is kept when absent";
    "retention_check_millis" = bounds((200, 500), (1, MANY)), "how often retention looks, in milliseconds";
    "offsets_segment_bytes" = bounds((4_096, 65_536), SEGMENT_BYTES), "bytes of a segment of `__consumer_offsets`";
    "cleaner_backoff_millis" = bounds((300, 2_000), (1, MANY)), "how often something to compact is looked for, in milliseconds";
    "offsets_retention_minutes" = Takes::Integer(None, (1, MANY)), "`offsets.retention.minutes`; expired offsets are looked for every second then";
}

keys! {
    /// The keys of `[workload]`.
    WORKLOAD:
    "topics" = bounds((1, 2), (0, 20)), "topics that live as long as the run: `t0`, `t1`, ...; none only where there are others, or no producers, consumers and admins, who choose among these and the next two";
    "replicated_topics" = bounds((0, 0), (0, 20)), "topics with `durability=replicated` beside them: `r0`, `r1`, ...";
    "unclean_topics" = bounds((0, 0), (0, 20)), "topics with `unclean.leader.election.enable=true` beside them: `u0`, `u1`, ...; what was acknowledged before an election that gave records up may be lost";
    "partitions" = bounds((1, 2), (1, 50)), "partitions of each of all these, of which there are 100 at most: all are read when the run is over";
    "producers" = bounds((2, 4), (0, 40)), "producers";
    "consumers" = bounds((1, 2), (0, 40)), "consumers without a group";
    "admins" = bounds((0, 1), (0, 9)), "clients that create and delete topics, records and configurations, move replicas and elect leaders";
    "records" = bounds((1, 8), (1, 1_000)), "records in a batch";
    "value_bytes" = optional((64, 65_536)), "bytes of a value, in steps of 64; 8 to 134 when absent. A batch has 262144 at most, or a run would do little else than to copy them";
    "calls" = bounds((30, 80), (0, MANY)), "calls of each client at most";
    "pause" = optional((0, 600_000)), "milliseconds between two calls of one client; each kind of client has its own when absent";
    "rate" = optional((1, 100_000)), "records per second that each producer sends, instead of a pause";
    "partition_choice" = Takes::One(CHOICES), "how producers and the writers of keys spread over partitions: all alike, by Zipf's law, or four of five to the first";
    "compacted_topics" = bounds((0, 0), (0, 20)), "topics with `cleanup.policy=compact` and one partition: `c0`, `c1`, ...; two clients write and read them";
    "keys" = bounds((61, 61), (1, 61)), "how many keys the compacted topics have";
    "key_choice" = Takes::One(CHOICES), "how the records of compacted topics spread over their keys";
    "groups" = bounds((0, 0), (0, 9)), "groups of consumers: `g0`, `g1`, ...";
    "group_members" = bounds((2, 4), (0, 9)), "members of a group";
    "group_protocols" = Takes::Some(|| PROTOCOLS.iter().map(|(name, _)| *name).collect()), "what a group draws from: `classic` (JoinGroup, SyncGroup, Heartbeat; the leader assigns ranges), `consumer` (ConsumerGroupHeartbeat, KIP-848), `mixed`; all when absent";
    "group_static" = Takes::Fraction(0.25), "how likely a member has a `group.instance.id`, some of them one that another has, too";
    "group_unrest" = Takes::Fraction(0.01), "how likely a member is, in each step, to be silent for too long, to die, to leave, or to be cut off from its coordinator alone";
    "group_session_millis" = Takes::Integer(Some(1_500), (500, 20_000)), "how long a member may be silent, in milliseconds; in the end, so long is waited for those who are gone, half a minute at most";
    "group_rebalance_millis" = Takes::Integer(Some(900), (50, 20_000)), "how long a member may take to join again, or to give partitions up, in milliseconds; less than a call takes would be nothing";
    "group_habits" = Takes::Some(|| GroupHabit::NAMED.iter().map(|(name, _)| *name).collect()), "what members do besides, each now and then: `expressions` (KIP-848: they subscribe by regular expressions), `old-beats` (an old heartbeat arrives once more, and who is fenced for it joins again), `late-commits` (KIP-848: a commit of an older member epoch arrives late), `keeps-partitions` (KIP-848: partitions are not given up within the rebalance timeout), `slow-joins` (classic: a member that is to join again is alive and does not for a while), `slow-syncs` (classic: a member takes its time between joining and asking for its assignment), `idles` (nothing is committed twice), `brief-beats` (KIP-848: a heartbeat says what has changed since the last that was answered and no more, as those of Java do), `rewinds` (a member goes back to an earlier offset, and commits that); none when absent";
    "fetch_sessions" = Takes::Fraction(0.0), "how likely a consumer without a group uses fetch sessions (KIP-227): it fetches all its partitions of one leader together, and names only what has changed";
    "epoch_lookups" = Takes::Fraction(0.0), "how likely a call of a consumer without a group asks where a leader epoch ends (KIP-320)";
    "own_epochs" = Takes::Fraction(0.0), "how likely an idempotent producer raises its epoch by itself (KIP-360) when it takes a new one; then it sends with the old one, too";
}

keys! {
    /// The keys of `[checks]`.
    CHECKS_TABLE:
    "promise" = Takes::Some(|| CHECKS.iter().map(|check| id_of(check.name)).collect()), "the checks that are at stake, by id; printed with a failed run. Every check is made all the same";
    "mutant" = Takes::Text("ack-before-fsync"), "the planted bug that this scenario is to expose within 50 seeds";
}

keys! {
    /// The keys of `[budget]`.
    BUDGET:
    "millis" = optional((1, 600_000)), "the same as `millis` outside of any table";
    "seeds_smoke" = Takes::Integer(Some(10), (1, 100_000)), "seeds that every change must pass";
    "seeds_nightly" = Takes::Integer(Some(200), (1, 1_000_000)), "seeds of `cargo xtask sim --nightly`";
}

const CHOICES: &[&str] = &["even", "zipf", "hot"];

const PROTOCOLS: &[(&str, GroupProtocol)] = &[
    ("classic", GroupProtocol::Classic),
    ("consumer", GroupProtocol::Consumer),
    ("mixed", GroupProtocol::Mixed),
];

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
    /// Racks that the machines stand in, one after the other. Consumers that are in one read from a
    /// follower there. 0 knows none.
    pub racks: Bounds,
    /// `min.insync.replicas`, never more than there are replicas.
    pub min_insync: Bounds,
    /// How far the machines' wall clocks are off at the start, in milliseconds.
    pub wall_offset_millis: Bounds,
    /// Entries of the metadata log that make a snapshot due; more than a run has when absent.
    pub snapshot_entries: Option<Bounds>,
}

/// Bounds of the broker's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerShape {
    /// Bytes of a segment.
    pub segment_bytes: Bounds,
    /// `retention.ms` of the topics; none keeps everything.
    pub retention_millis: Option<Bounds>,
    /// `retention.bytes` of the topics; none keeps everything.
    pub retention_bytes: Option<Bounds>,
    /// How often retention looks, in milliseconds.
    pub retention_check_millis: Bounds,
    /// Bytes of a segment of `__consumer_offsets`.
    pub offsets_segment_bytes: Bounds,
    /// How often is looked for something to compact, in milliseconds.
    pub cleaner_backoff_millis: Bounds,
    /// `offsets.retention.minutes`, Kafka's when absent.
    pub offsets_retention_minutes: Option<i64>,
}

impl BrokerShape {
    /// Whether the brokers look often for offsets that have expired.
    #[must_use]
    pub const fn looks_for_expired_offsets(&self) -> bool {
        self.retention_millis.is_some() || self.offsets_retention_minutes.is_some()
    }
}

impl ClusterShape {
    /// The most machines that vote and are no brokers.
    pub(super) fn separate_voters(&self) -> i64 {
        let voters = self.controllers.as_ref().map_or(SEPARATE_CONTROLLERS, |voters| *voters.end());
        if self.separate_controllers { voters } else { 0 }
    }
}

/// How draws spread over some things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// All alike.
    #[default]
    Even,
    /// The n-th in proportion to 1/n.
    Zipf,
    /// Four of five go to the first.
    Hot,
}

impl Spread {
    /// One of so many things, of which there must be one.
    pub fn index(self, dice: &mut Dice, count: usize) -> usize {
        match self {
            Self::Even => dice.index(count),
            Self::Hot if count == 1 || dice.chance(0.8) => 0,
            Self::Hot => 1 + dice.index(count - 1),
            Self::Zipf => {
                let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
                let mut left = dice.between(0..=1_000_000) as f64 / 1_000_000.0 * total;
                let is_it = |rank: &usize| {
                    left -= 1.0 / (*rank + 1) as f64;
                    left <= 0.0
                };
                (0..count).find(is_it).unwrap_or(count - 1)
            }
        }
    }
}

/// Bounds of the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadShape {
    /// Topics that live as long as the run.
    pub topics: Bounds,
    /// Topics with `durability=replicated` beside them.
    pub replicated_topics: Bounds,
    /// Topics with `unclean.leader.election.enable=true` beside them.
    pub unclean_topics: Bounds,
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
    /// Bytes of a value, in steps of 64; small and drawn when absent.
    pub value_bytes: Option<Bounds>,
    /// Calls of each client at most.
    pub calls: Bounds,
    /// Milliseconds between two calls of one client; each kind of client has its own when absent.
    pub pause: Option<Bounds>,
    /// Records per second of a producer, instead of a pause.
    pub rate: Option<Bounds>,
    /// How records spread over partitions.
    pub partition_choice: Spread,
    /// Compacted topics, which two clients write and read.
    pub compacted_topics: Bounds,
    /// Keys of the compacted topics.
    pub keys: Bounds,
    /// How records spread over keys.
    pub key_choice: Spread,
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
    /// What else the members of groups do.
    pub group_manners: GroupManners,
    /// How likely a consumer is to use fetch sessions.
    pub fetch_sessions: f64,
    /// How likely a call of a consumer is to ask for the end of a leader epoch.
    pub epoch_lookups: f64,
    /// How likely an idempotent producer is to raise its epoch by itself.
    pub own_epochs: f64,
}

/// What a scenario puts at stake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stakes {
    /// The checks, by id.
    pub promise: Vec<&'static str>,
    /// The planted bug that the scenario is to expose.
    pub mutant: Option<Mutant>,
}

/// How much of a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Seeds that every change must pass.
    pub seeds_smoke: u64,
    /// Seeds of a night.
    pub seeds_nightly: u64,
}

pub(super) fn cluster(keys: &Keys<'_>) -> Result<ClusterShape, Mistake> {
    let shape = ClusterShape {
        brokers: keys.bounds("brokers")?,
        controllers: keys.optional_bounds("controllers")?,
        separate_controllers: keys.flag("separate_controllers")?,
        racks: keys.bounds("racks")?,
        min_insync: keys.bounds("min_insync")?,
        wall_offset_millis: keys.bounds("wall_offset_millis")?,
        snapshot_entries: keys.optional_bounds("snapshot_entries")?,
    };
    let most = *shape.brokers.end();
    let alone = [
        "controllers",
        "separate_controllers",
        "racks",
        "min_insync",
        "wall_offset_millis",
        "snapshot_entries",
    ];
    if let Some(key) = alone.into_iter().find(|key| keys.has(key) && most == 1) {
        let message = "does nothing with one broker; set cluster.brokers to 2 at least";
        return Err(keys.wrong(key, message));
    }
    let voters = shape.separate_voters();
    if most + voters > MOST_BROKERS {
        let message = format!(
            "{most} brokers and {voters} voters are too many: there are {MOST_BROKERS} machines at most"
        );
        return Err(keys.wrong("separate_controllers", message));
    }
    let of_brokers = shape.controllers.as_ref().filter(|_| !shape.separate_controllers);
    if of_brokers.is_some_and(|controllers| *controllers.end() > most) {
        let message = format!("there are {most} brokers at most (cluster.brokers); name no more");
        return Err(keys.wrong("controllers", message));
    }
    if keys.has("min_insync") && *shape.min_insync.start() > most {
        let message = format!(
            "no partition could be written: there are {most} brokers at most (cluster.brokers)"
        );
        return Err(keys.wrong("min_insync", message));
    }
    Ok(shape)
}

pub(super) fn broker(keys: &Keys<'_>) -> Result<BrokerShape, Mistake> {
    Ok(BrokerShape {
        segment_bytes: keys.bounds("segment_bytes")?,
        retention_millis: keys.optional_bounds("retention_millis")?,
        retention_bytes: keys.optional_bounds("retention_bytes")?,
        retention_check_millis: keys.bounds("retention_check_millis")?,
        offsets_segment_bytes: keys.bounds("offsets_segment_bytes")?,
        cleaner_backoff_millis: keys.bounds("cleaner_backoff_millis")?,
        offsets_retention_minutes: keys.integer("offsets_retention_minutes")?,
    })
}

pub(super) fn workload(keys: &Keys<'_>) -> Result<WorkloadShape, Mistake> {
    let spread = |key: &str| {
        let spreads = [Spread::Even, Spread::Zipf, Spread::Hot];
        Ok(keys.one(key)?.map(|at| spreads[at]).unwrap_or_default())
    };
    let shape = WorkloadShape {
        topics: keys.bounds("topics")?,
        replicated_topics: keys.bounds("replicated_topics")?,
        unclean_topics: keys.bounds("unclean_topics")?,
        partitions: keys.bounds("partitions")?,
        producers: keys.bounds("producers")?,
        consumers: keys.bounds("consumers")?,
        admins: keys.bounds("admins")?,
        records: keys.bounds("records")?,
        value_bytes: keys.optional_bounds("value_bytes")?,
        calls: keys.bounds("calls")?,
        pause: keys.optional_bounds("pause")?,
        rate: keys.optional_bounds("rate")?,
        partition_choice: spread("partition_choice")?,
        compacted_topics: keys.bounds("compacted_topics")?,
        keys: keys.bounds("keys")?,
        key_choice: spread("key_choice")?,
        groups: keys.bounds("groups")?,
        group_members: keys.bounds("group_members")?,
        group_protocols: protocols(keys)?,
        group_static: keys.fraction("group_static")?,
        group_unrest: keys.fraction("group_unrest")?,
        group_manners: manners(keys)?,
        fetch_sessions: keys.fraction("fetch_sessions")?,
        epoch_lookups: keys.fraction("epoch_lookups")?,
        own_epochs: keys.fraction("own_epochs")?,
    };
    keys.not_both("rate", "pause", "both say how often producers send")?;
    does_something(keys, &shape)?;
    is_carried(keys, &shape)?;
    Ok(shape)
}

/// Everything that is said has something to be said of.
fn does_something(keys: &Keys<'_>, shape: &WorkloadShape) -> Result<(), Mistake> {
    let none = |bounds: &Bounds| *bounds.end() == 0;
    let idle = [
        ("group_members", none(&shape.groups), "groups"),
        ("group_protocols", none(&shape.groups), "groups"),
        ("group_static", none(&shape.groups), "groups"),
        ("group_unrest", none(&shape.groups), "groups"),
        ("group_session_millis", none(&shape.groups), "groups"),
        ("group_rebalance_millis", none(&shape.groups), "groups"),
        ("group_habits", none(&shape.groups), "groups"),
        ("keys", none(&shape.compacted_topics), "compacted_topics"),
        ("key_choice", none(&shape.compacted_topics), "compacted_topics"),
        ("rate", none(&shape.producers), "producers"),
        ("fetch_sessions", none(&shape.consumers), "consumers"),
        ("epoch_lookups", none(&shape.consumers), "consumers"),
        ("own_epochs", none(&shape.producers), "producers"),
    ];
    if let Some((key, _, needs)) = idle.into_iter().find(|(key, idle, _)| *idle && keys.has(key)) {
        let message = format!("does nothing without {needs}; set workload.{needs} to 1 at least");
        return Err(keys.wrong(key, message));
    }
    if none(&shape.group_members) {
        let message = "no group would have a member; set it to 1 at least, or leave groups out";
        return Err(keys.wrong("group_members", message));
    }
    let clients = [&shape.producers, &shape.consumers, &shape.admins];
    let topics = [&shape.topics, &shape.replicated_topics, &shape.unclean_topics];
    let may_lack = topics.iter().all(|count| *count.start() == 0);
    if may_lack && !clients.into_iter().all(none) {
        let message = "there may be none, and clients that choose one; set it to 1 at least, or \
                       producers, consumers and admins to 0";
        return Err(keys.wrong("topics", message));
    }
    Ok(())
}

/// A run comes to its end, and in time.
fn is_carried(keys: &Keys<'_>, shape: &WorkloadShape) -> Result<(), Mistake> {
    let topics = [&shape.topics, &shape.replicated_topics, &shape.unclean_topics];
    let topics: i64 = topics.iter().map(|count| *count.end()).sum();
    let partitions = topics * *shape.partitions.end();
    if partitions > MOST_PARTITIONS {
        let message = format!(
            "{topics} topics would have {partitions} partitions, and more than {MOST_PARTITIONS} are \
             not read in the time that a run has for that; lower it, or the topics"
        );
        return Err(keys.wrong("partitions", message));
    }
    let value_bytes = shape.value_bytes.as_ref().map_or(0, |bytes| *bytes.end());
    let records = *shape.records.end();
    let batch = records * value_bytes;
    if batch > MOST_BATCH_BYTES {
        let message = format!(
            "{records} records of {value_bytes} bytes are {batch}, and a batch has \
             {MOST_BATCH_BYTES} at most; lower it, or `records`"
        );
        return Err(keys.wrong("value_bytes", message));
    }
    Ok(())
}

/// Topics that may lose acknowledged records need what brings that about, and nobody who takes such
/// a loss for a mistake.
pub(super) fn lossy_topics(keys: &Keys<'_>, cluster: &ClusterShape) -> Result<(), Mistake> {
    let most = |key: &str| keys.bounds(key).map(|bounds| *bounds.end());
    for key in ["replicated_topics", "unclean_topics"] {
        if most(key)? == 0 {
            continue;
        }
        if *cluster.brokers.start() == 1 {
            let message = "one broker has no replicas; set cluster.brokers to 2 at least";
            return Err(keys.wrong(key, message));
        }
        if most("groups")? > 0 {
            let message = "groups read every topic, and their checks know of no record that may be \
                           lost; leave workload.groups out";
            return Err(keys.wrong(key, message));
        }
    }
    Ok(())
}

fn protocols(keys: &Keys<'_>) -> Result<Vec<GroupProtocol>, Mistake> {
    let named = keys.some("group_protocols")?;
    let wanted = |name: &str| {
        named.as_ref().is_none_or(|named| named.iter().any(|(given, _)| given == name))
    };
    let chosen = PROTOCOLS.iter().filter(|(name, _)| wanted(name));
    Ok(chosen.map(|(_, protocol)| *protocol).collect())
}

fn manners(keys: &Keys<'_>) -> Result<GroupManners, Mistake> {
    let millis = |key: &str| Ok(keys.integer(key)?.unwrap_or(0).unsigned_abs());
    let named = keys.some("group_habits")?.unwrap_or_default();
    let is_named = |habit: &&(&str, GroupHabit)| named.iter().any(|(name, _)| name == habit.0);
    Ok(GroupManners {
        session_millis: millis("group_session_millis")?,
        rebalance_millis: millis("group_rebalance_millis")?,
        habits: GroupHabit::NAMED.iter().filter(is_named).map(|(_, habit)| *habit).collect(),
    })
}

pub(super) fn stakes(keys: &Keys<'_>) -> Result<Stakes, Mistake> {
    let named = keys.some("promise")?.unwrap_or_default();
    let ids = CHECKS.iter().map(|check| id_of(check.name));
    let promise = ids.filter(|id| named.iter().any(|(name, _)| name == id)).collect();
    let mutant = match keys.text("mutant")? {
        None => None,
        Some((name, at)) => Some(Mutant::named(&name).ok_or_else(|| {
            let known: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
            let remedy = match nearest(&name, &known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`highwater-sim mutants` lists them".to_owned(),
            };
            Mistake::new(&at, format!("checks.mutant: `{name}` is unknown; {remedy}"))
        })?),
    };
    Ok(Stakes { promise, mutant })
}

pub(super) fn budget(keys: &Keys<'_>) -> Result<Budget, Mistake> {
    let count = |key: &str| Ok(keys.integer(key)?.unwrap_or(0).unsigned_abs());
    Ok(Budget { seeds_smoke: count("seeds_smoke")?, seeds_nightly: count("seeds_nightly")? })
}

/// The id of a check: the first word of its name, or all of it when several begin with that.
#[must_use]
pub fn id_of(name: &'static str) -> &'static str {
    match name.split_once(' ') {
        Some((id, _)) if id.len() > 1 => id,
        _ => name,
    }
}
