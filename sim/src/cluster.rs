//! The machines of a run and the network between them: brokers, and controllers behind them where a
//! scenario separates them. One machine alone is a broker without peers, as it is without a cluster.

use crate::{
    choices::Choices,
    clock::SimClock,
    dice::Dice,
    history::{CoordinatorsSeen, GroupPromise, Partition, Promise},
    machine::{Machine, Parts, address},
    metadata,
    network::{ClientLinks, Network},
    recorder::{Recorder, now_nanos},
    scenario::{FaultPlan, SEPARATE_CONTROLLERS, Scenario},
    trace::Effect,
    witness::Witness,
};
use highwater_core::{
    metadata::{Endpoint, Image, OFFSETS_TOPIC, PartitionRegistration},
    types::{BrokerId, PartitionIndex, TopicId},
};
use highwater_node::{
    config::{BrokerConfig, MetadataSnapshots, Settings},
    env::Clock,
};
use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

/// The port for clients on every machine.
const CLIENT_PORT: u16 = 9092;
/// The port for other brokers on every machine.
const PEER_PORT: u16 = 9093;
/// The wall clock at the start of a run, in milliseconds.
pub const WALL_AT_START: i64 = 1_700_000_000_000;
/// The broker's data directory on its simulated disk.
pub const DATA_DIR: &str = "/data";
/// The most replicas of a partition.
const MOST_REPLICAS: i64 = 3;
/// The most brokers of a run: their addresses must not reach the clients'.
const MOST_BROKERS: i64 = 9;

/// The ids of the voters of the metadata quorum.
type Voters = RangeInclusive<i32>;

/// The machines of a run. Clones are the same.
#[derive(Clone)]
pub struct Cluster {
    /// The machines, by id.
    ///
    /// Invariant: machine n stands at n - 1, and there is at least one.
    pub machines: Arc<Vec<Machine>>,
    /// What is between them.
    pub network: Network,
    /// What is between them and single clients.
    pub client_links: ClientLinks,
    /// What happens in the run.
    pub recorder: Recorder,
    /// Who looks at what brokers have.
    pub witness: Arc<Mutex<Witness>>,
}

impl Cluster {
    /// Machines with empty disks whose brokers are starting, which these faults may strike. What has no
    /// name is drawn from the seed.
    #[must_use]
    pub fn start(
        seed: u64,
        (scenario, plans): (&Scenario, &[FaultPlan]),
        choices: &mut Choices,
        recorder: Recorder,
    ) -> Self {
        let groups = GroupPromise::under(scenario, plans);
        let promise = promise_of(scenario, (groups, plans), choices);
        recorder.history().promise = promise;
        let network = Network::new(seed, recorder.trace.clone());
        let mut settings = shared_settings(scenario, choices);
        settings.extend(group_settings(scenario, choices));
        let voters = promise.is_cluster().then(|| voters_of(scenario, &promise, choices));
        let snapshots = snapshots_of(scenario, choices);
        let last =
            voters.as_ref().map_or(promise.brokers, |voters| promise.brokers.max(*voters.end()));
        let ids = (1..=last).map(BrokerId);
        let start = |id: BrokerId| {
            network.join(id, peer_endpoint(id));
            let owner = if promise.is_cluster() { format!("b{id} ") } else { String::new() };
            let offset = match promise.is_cluster() {
                true => choices.within("wall_offset_millis", &scenario.cluster.wall_offset_millis),
                false => 0,
            };
            let mut config = config_of(id, voters.as_ref(), &promise, &settings);
            config.metadata_snapshots = snapshots;
            let parts = Parts {
                id,
                owner,
                // The first machine draws as the only one of a run does.
                seed: seed.wrapping_add((id.0 as u64 - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                wall: WALL_AT_START + offset,
                config,
            };
            Machine::start(parts, network.clone(), recorder.clone())
        };
        let machines = Arc::new(ids.map(start).collect());
        let (client_links, witness) = (ClientLinks::default(), Arc::default());
        let cluster = Self { machines, network, client_links, recorder, witness };
        cluster.watch_cuts();
        cluster
    }

    /// Whether every broker has started.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.machines.iter().all(Machine::is_ready)
    }

    /// The metadata that is furthest ahead.
    #[must_use]
    pub fn image(&self) -> Option<Arc<Image>> {
        let images = self.machines.iter().filter_map(|machine| Some(machine.broker()?.image()));
        images.max_by_key(|image| image.applied())
    }

    /// The same, also of brokers that do not run any more: those who run may know less than they did.
    #[must_use]
    pub fn newest_image(&self) -> Option<Arc<Image>> {
        let images = self.machines.iter().filter_map(Machine::newest_image);
        images.max_by_key(|image| image.applied())
    }

    /// Who leads a partition.
    #[must_use]
    pub fn leader_of(&self, partition: Partition) -> Option<BrokerId> {
        let id = TopicId(self.recorder.history().topics.get(partition.topic)?.id);
        let index = PartitionIndex(partition.index as u32);
        self.image()?.partition(id, index)?.leader
    }

    /// Who leads a partition of `__consumer_offsets`, once there is one.
    #[must_use]
    pub fn a_coordinator(&self, dice: &mut Dice) -> Option<BrokerId> {
        let image = self.image()?;
        let partitions = &image.topic_named(OFFSETS_TOPIC)?.partitions;
        dice.pick(partitions).leader
    }

    /// Who leads the metadata quorum, by the latest term that anybody knows.
    #[must_use]
    pub fn controller(&self) -> Option<BrokerId> {
        let known = self.machines.iter().filter_map(|machine| Some(machine.broker()?.leadership()));
        known.filter(|known| known.leader.is_some()).max_by_key(|known| known.term)?.leader
    }

    /// Notes what metadata each broker has applied, who leads the quorum as far as it knows, and who
    /// coordinates groups, and what replicas have and know.
    pub fn observe(&self) {
        self.observe_coordinators();
        self.machines.iter().for_each(metadata::note);
        self.look_at_replicas();
    }

    fn observe_coordinators(&self) {
        let Some(image) = self.image() else { return };
        let Some(topic) = image.topic_named(OFFSETS_TOPIC) else { return };
        let leader = |of: &PartitionRegistration| {
            (of.leader.map(|leader| leader.0), of.leader_epoch.0 as i32)
        };
        let leaders: Vec<_> = topic.partitions.iter().map(leader).collect();
        let mut history = self.recorder.history();
        let before = history.coordinators.last().map(|seen| &seen.leaders);
        if before.is_some_and(|before| *before != leaders) {
            self.recorder.trace.effect(Effect::CoordinatorMoved, 1);
        }
        let at = history.tick();
        history.coordinators.push(CoordinatorsSeen { at, nanos: now_nanos(), leaders });
    }

    /// Whether every machine that was set up as a voter of the metadata quorum is one. Whose log was
    /// lost is none until it has another one.
    #[must_use]
    pub fn has_all_votes(&self) -> bool {
        let votes = self.machines.iter().filter(|machine| machine.votes).count();
        if votes == 0 {
            return true;
        }
        let brokers = self.machines.iter().filter_map(Machine::broker);
        let leading = brokers
            .map(|broker| broker.quorum_status())
            .find(|status| status.leadership.leader == Some(status.seen_by));
        leading.is_some_and(|status| status.voters.len() >= votes)
    }

    /// Whether every partition has all its replicas in sync, as far as anybody knows.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let Some(image) = self.image() else { return false };
        image.topics().flat_map(|topic| &topic.partitions).all(|partition| {
            partition.leader.is_some() && partition.isr.len() == partition.replicas.len()
        })
    }
}

/// Where a broker listens for clients.
#[must_use]
pub fn client_address(broker: i32) -> String {
    format!("{}:{CLIENT_PORT}", address(BrokerId(broker)))
}

/// A healthy clock for the clients.
#[must_use]
pub fn client_clock() -> Arc<dyn Clock> {
    Arc::new(SimClock::new(WALL_AT_START))
}

fn peer_endpoint(id: BrokerId) -> Endpoint {
    Endpoint { host: address(id), port: PEER_PORT }
}

fn promise_of(
    scenario: &Scenario,
    (groups, plans): (GroupPromise, &[FaultPlan]),
    choices: &mut Choices,
) -> Promise {
    let shape = &scenario.cluster;
    let promise = Promise {
        unlimited: scenario.unlimited,
        is_brisk: plans.iter().all(|plan| plan.kind.only_stops_processes()),
        has_true_clocks: !plans.iter().any(|plan| plan.kind.is_of_clocks()),
        is_undisturbed: plans.iter().all(|plan| plan.kind.spares_brokers()),
        repeats_messages: plans.iter().any(|plan| plan.kind.repeats_messages()),
        groups,
        ..Promise::default()
    };
    if *shape.brokers.end() == 1 {
        return promise;
    }
    let brokers = choices.within("brokers", &shape.brokers).clamp(1, MOST_BROKERS);
    let replicas = brokers.min(MOST_REPLICAS);
    Promise {
        brokers: brokers as i32,
        replication_factor: replicas as i16,
        min_insync: choices.within("min_insync", &shape.min_insync).clamp(1, replicas) as i16,
        racks: choices.within("racks", &shape.racks).max(0) as i32,
        ..promise
    }
}

/// The voters of the metadata quorum: the first brokers, or the machines behind the brokers.
fn voters_of(scenario: &Scenario, promise: &Promise, choices: &mut Choices) -> Voters {
    let shape = &scenario.cluster;
    let brokers = promise.brokers;
    let drawn = shape.controllers.as_ref();
    let drawn = drawn.map(|bounds| choices.within("controllers", bounds).max(1) as i32);
    if shape.separate_controllers {
        return brokers + 1..=brokers + drawn.unwrap_or(SEPARATE_CONTROLLERS as i32);
    }
    1..=drawn.unwrap_or(brokers).min(brokers)
}

/// How soon the metadata log gives way to snapshots. Nothing is drawn where a scenario does not say.
fn snapshots_of(scenario: &Scenario, choices: &mut Choices) -> MetadataSnapshots {
    let Some(entries) = &scenario.cluster.snapshot_entries else {
        return MetadataSnapshots::default();
    };
    MetadataSnapshots {
        entries: choices.within("snapshot_entries", entries).max(1) as u64,
        entries_kept: choices.between("snapshot_entries_kept", 0..=12),
        rewrite_bytes_min: choices.between("snapshot_rewrite_bytes", 0..=16_384),
    }
}

/// What all brokers of a run are told: small segments, so that they roll, and no waiting.
fn shared_settings(scenario: &Scenario, choices: &mut Choices) -> Vec<(&'static str, String)> {
    let mut draw = |key: &'static str, bounds: &crate::scenario::Bounds| {
        (key, choices.within(key, bounds).to_string())
    };
    let shape = &scenario.broker;
    vec![
        ("log.dirs", DATA_DIR.to_owned()),
        ("admin.listen", "none".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        draw("log.segment.bytes", &shape.segment_bytes),
        draw("log.index.interval.bytes", &(64..=1_024)),
        draw("log.retention.check.interval.ms", &shape.retention_check_millis),
        draw("log.segment.delete.delay.ms", &(0..=100)),
        ("log.message.timestamp.after.max.ms", i64::MAX.to_string()),
    ]
}

/// Few coordinators with small logs, and sessions that end within a short run.
fn group_settings(scenario: &Scenario, choices: &mut Choices) -> Vec<(&'static str, String)> {
    let shape = &scenario.broker;
    let mut draw = |key: &'static str, bounds: &crate::scenario::Bounds| {
        (key, choices.within(key, bounds).to_string())
    };
    // A check removes groups without members and offsets, whose successors begin at generation 1
    // again: where checks are frequent, groups are founded with an offset.
    let retention_check = if shape.looks_for_expired_offsets() { 1_000 } else { 600_000 };
    let session = scenario.workload.group_manners.session_millis;
    let mut settings = vec![
        draw("offsets.topic.num.partitions", &(1..=2)),
        draw("offsets.topic.segment.bytes", &shape.offsets_segment_bytes),
        draw("log.cleaner.backoff.ms", &shape.cleaner_backoff_millis),
        ("group.min.session.timeout.ms", "500".to_owned()),
        draw("group.initial.rebalance.delay.ms", &(0..=200)),
        ("group.consumer.session.timeout.ms", session.to_string()),
        ("group.consumer.heartbeat.interval.ms", "300".to_owned()),
        ("offsets.commit.timeout.ms", "1000".to_owned()),
        ("offsets.retention.check.interval.ms", retention_check.to_string()),
    ];
    let minutes = shape.offsets_retention_minutes;
    settings.extend(minutes.map(|minutes| ("offsets.retention.minutes", minutes.to_string())));
    settings
}

/// What one broker is told.
fn config_of(
    id: BrokerId,
    voters: Option<&Voters>,
    promise: &Promise,
    shared: &[(&'static str, String)],
) -> BrokerConfig {
    let mut settings = Settings::new();
    settings.set("listeners", &client_address(id.0), "the simulator");
    for (key, value) in shared {
        settings.set(key, value, "the simulator");
    }
    for (key, value) in voters.map(|all| cluster_settings(id, all, promise)).iter().flatten() {
        settings.set(key, value, "the simulator");
    }
    if voters.is_some_and(|voters| *voters.start() > promise.brokers) {
        for (key, value) in role_settings(id, promise) {
            settings.set(key, &value, "the simulator");
        }
    }
    settings.build().expect("the simulator's configuration is valid")
}

/// What makes a machine a member of the cluster whose metadata `voters` keep. The sessions are quick,
/// so that a short run sees many of them end.
fn cluster_settings(
    id: BrokerId,
    voters: &Voters,
    promise: &Promise,
) -> Vec<(&'static str, String)> {
    let mut settings = rack_settings(id, promise);
    let host = address(id);
    let voters: Vec<String> = voters
        .clone()
        .map(|voter| format!("{voter}@{}:{PEER_PORT}", address(BrokerId(voter))))
        .collect();
    settings.extend([
        ("node.id", id.0.to_string()),
        ("cluster.id", "simulated".to_owned()),
        ("listeners", format!("PLAINTEXT://{host}:{CLIENT_PORT},CONTROLLER://{host}:{PEER_PORT}")),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.quorum.election.timeout.ms", "400".to_owned()),
        ("controller.quorum.heartbeat.interval.ms", "100".to_owned()),
        ("broker.session.timeout.ms", "1000".to_owned()),
        ("broker.heartbeat.interval.ms", "200".to_owned()),
        ("replica.lag.time.max.ms", "1500".to_owned()),
        ("replica.fetch.wait.max.ms", "300".to_owned()),
        ("default.replication.factor", promise.replication_factor.to_string()),
        ("min.insync.replicas", promise.min_insync.to_string()),
    ]);
    // So little that answers do not hold everything and that its disk is waited for; others can have
    // received everything and flushed nothing.
    if id.0 % 3 == 0 {
        settings.push(("replica.fetch.response.max.bytes", "16384".to_owned()));
    }
    settings
}

/// Where brokers do not vote: what a machine is.
fn role_settings(id: BrokerId, promise: &Promise) -> Vec<(&'static str, String)> {
    if id.0 <= promise.brokers {
        return vec![("process.roles", "broker".to_owned())];
    }
    vec![
        ("process.roles", "controller".to_owned()),
        ("listeners", format!("CONTROLLER://{}:{PEER_PORT}", address(id))),
    ]
}

/// Where a broker stands, if there are racks, and that consumers read in their own.
fn rack_settings(id: BrokerId, promise: &Promise) -> Vec<(&'static str, String)> {
    if promise.racks == 0 {
        return Vec::new();
    }
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let rack = rack_of((id.0 - 1) % promise.racks);
    vec![("broker.rack", rack), ("replica.selector.class", selector.to_owned())]
}

/// The name of a rack, which are counted from zero.
#[must_use]
pub fn rack_of(number: i32) -> String {
    format!("rack-{number}")
}
