//! One run: one seed of one scenario, from an empty disk to the judgement.

use crate::{
    cluster::Cluster,
    dice::Dice,
    explain,
    history::{FinalLog, FinalReplicas, History, MarkKind, Partition},
    machine::Machine,
    nemesis,
    oracle::{self, Evidence},
    recorder::{Recorder, now_nanos},
    report::{Failure, Ops, Report},
    scenario::{FaultKind, FaultPlan, Scenario, expected_effects},
    trace::{Effect, Trace},
    workload::{self, ClientNumber, Clients, Session, TopicPlan},
};
use highwater_core::{
    mutant::Mutant,
    situation::Situation,
    types::{PartitionIndex, TopicId},
};
use madsim::{
    runtime::{Handle, NodeHandle, Runtime},
    task, time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Simulated time after which a run is stuck, beside the time under faults.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// How long a broker on a healthy disk has to start, in simulated time.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How long clients have to come to an end when they are asked to.
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(10);

/// How long the healed replicas of a cluster have to become the same, in simulated time.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How often the metadata of a cluster is looked at.
const OBSERVE_EVERY: Duration = Duration::from_millis(20);

/// What a run is told besides its scenario.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The seed from which everything is drawn.
    pub seed: u64,
    /// Whether to keep the trace's lines.
    pub keep_trace: bool,
}

/// What a run was judged by.
#[derive(Debug, Default)]
pub struct Judged {
    /// Everything that happened.
    pub history: History,
    /// What the check that does not hold points at.
    pub evidence: Evidence,
}

/// Runs one seed; the report, and the trace's lines if they were kept.
#[must_use]
pub fn run(scenario: &Scenario, options: &RunOptions) -> (Report, Vec<String>) {
    let trace = Trace::new(options.keep_trace);
    let (report, _) = run_in(scenario, options, &trace);
    (report, trace.lines())
}

/// Runs one seed and writes it down in this trace; the report, and what it was judged by.
#[must_use]
pub fn run_in(scenario: &Scenario, options: &RunOptions, trace: &Trace) -> (Report, Judged) {
    let started = stopwatch();
    let recorder = Recorder::new(trace.clone());
    let plans = enabled_faults(scenario, options.seed);
    catch_panics();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = Runtime::with_seed_and_config(options.seed, network(options.seed));
        runtime.set_time_limit(TIME_LIMIT + Duration::from_millis(scenario.millis));
        runtime.block_on(simulate(scenario, &plans, options.seed, recorder.clone()))
    }));
    let mut failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some(Failure { check: "panic".into(), message: panic_message() }),
    };
    let history = recorder.history();
    let mut evidence = Evidence::default();
    if failure.is_none() {
        failure = oracle::first_violation(&history).map(|(check, found)| {
            evidence = *found.evidence;
            Failure { check: check.name.into(), message: found.message }
        });
    }
    if failure.is_none() && Mutant::Canary.is_planted() {
        let message = "the canary fails every run".into();
        failure = Some(Failure { check: "canary".into(), message });
    }
    if let Some(failure) = &failure {
        trace.event(
            trace.last_nanos(),
            format_args!("FAILED {}: {}", failure.check, failure.message),
        );
    }
    let report = Report {
        scenario: scenario.name.clone(),
        seed: options.seed,
        passed: failure.is_none(),
        hash: trace.hash(),
        simulated_seconds: trace.last_nanos() as f64 / 1e9,
        events: trace.count(),
        ops: ops(&history),
        effects: effects(trace, &plans),
        situations: situations(),
        failure,
        wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    (report, Judged { history: history.clone(), evidence })
}

/// The faults of this seed: all that the scenario names, or some of them under `swarm`.
fn enabled_faults(scenario: &Scenario, seed: u64) -> Vec<FaultPlan> {
    if !scenario.swarm {
        return scenario.faults.clone();
    }
    let mut dice = Dice::new(seed, "swarm");
    let weight = *dice.pick(&[0.15, 0.3, 0.5]);
    scenario.faults.iter().filter(|_| dice.chance(weight)).cloned().collect()
}

fn network(seed: u64) -> madsim::Config {
    let slowest = Dice::new(seed, "network").between(2..=6);
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_millis(1)..Duration::from_millis(slowest);
    config
}

/// The whole run in simulated time. The error says what went wrong apart from the oracles.
async fn simulate(
    scenario: &Scenario,
    plans: &[FaultPlan],
    seed: u64,
    recorder: Recorder,
) -> Result<(), Failure> {
    let mut dice = Dice::new(seed, "run");
    let cluster = Cluster::start(seed, scenario, &mut dice, recorder.clone());
    recorder.note_wall();
    if recorder.trace.events.is_on() {
        recorder.trace.events.watch(explain::probe(cluster.clone()));
    }
    let node = Handle::current()
        .create_node()
        .name("clients")
        .ip("10.0.1.1".parse().expect("a literal address"))
        .build();
    start(&cluster).await?;
    let observing = task::spawn(observe(cluster.clone()));
    let (partitions, compacted) = create_topics(scenario, &mut dice, &node, &cluster, seed).await?;
    let impatience = plans.iter().find(|plan| plan.kind == FaultKind::ConnectionCut);
    let impatience = impatience.map_or(0.0, |plan| plan.chance);
    let mut clients = Clients::new(seed, cluster.clone(), partitions, impatience);
    clients.compacted = Arc::new(compacted);
    let working = clients.spawn(&node, &scenario.workload);
    let striking = nemesis::unleash(&cluster, plans, scenario.millis, seed);
    time::sleep(Duration::from_millis(scenario.millis)).await;
    for fault in striking {
        let _ = fault.await;
    }
    clients.stop();
    let healed = heal(&cluster, plans, &mut dice).await;
    for client in working {
        let _ = time::timeout(CLIENTS_END_WITHIN, client).await;
    }
    clients.impatience = 0.0;
    let finished = match healed {
        Ok(()) => finish(&cluster, &node, &clients, (seed, scenario)).await,
        failed => failed,
    };
    observing.abort();
    cluster.observe();
    count_changes(&recorder);
    recorder.trace.events.stop_watching(now_nanos());
    // Beyond its promise the cluster need not come back.
    if scenario.unlimited { Ok(()) } else { finished }
}

async fn start(cluster: &Cluster) -> Result<(), Failure> {
    let started = cluster.wait_ready(START_WITHIN).await;
    started.map_err(|message| Failure { check: "LV7 starts".into(), message })
}

/// Looks at the metadata, and at who leads its quorum, again and again.
async fn observe(cluster: Cluster) {
    if cluster.machines.len() == 1 {
        return;
    }
    let mut controller = None;
    loop {
        cluster.observe();
        if let Some(now) = cluster.controller()
            && controller.replace(now).is_some_and(|before| before != now)
        {
            cluster.recorder.trace.effect(Effect::ControllerChanged, 1);
        }
        time::sleep(OBSERVE_EVERY).await;
    }
}

/// The topics that live as long as the run; the partitions of those that are not compacted, and of
/// those that are.
async fn create_topics(
    scenario: &Scenario,
    dice: &mut Dice,
    node: &NodeHandle,
    cluster: &Cluster,
    seed: u64,
) -> Result<(Vec<Partition>, Vec<Partition>), Failure> {
    let shape = &scenario.workload;
    let (mut plain, mut compacted) = (Vec::new(), Vec::new());
    for number in 0..dice.within(&shape.topics) {
        let partitions = dice.within(&shape.partitions) as i32;
        let retention_millis = scenario.broker.retention_millis.as_ref().map(|b| dice.within(b));
        let plan = TopicPlan { partitions, retention_millis, compacted: None };
        plain.extend(create(format!("t{number}"), plan, node, cluster, seed).await?);
    }
    let mut dice = Dice::new(seed, "compacted topics");
    for number in 0..dice.within(&shape.compacted_topics) {
        let deletions_stay = Some(dice.between(0..=1_500) as i64);
        let plan = TopicPlan { partitions: 1, retention_millis: None, compacted: deletions_stay };
        compacted.extend(create(format!("c{number}"), plan, node, cluster, seed).await?);
    }
    Ok((plain, compacted))
}

/// Creates one topic; its partitions.
async fn create(
    name: String,
    plan: TopicPlan,
    node: &NodeHandle,
    cluster: &Cluster,
    seed: u64,
) -> Result<Vec<Partition>, Failure> {
    let clients = Clients::new(seed, cluster.clone(), Vec::new(), 0.0);
    let (wanted, count) = (name.clone(), plan.partitions);
    let created = node.spawn(async move {
        let mut session = Session::new(clients, ClientNumber(0));
        let deadline = now_nanos() + START_WITHIN.as_nanos() as u64;
        loop {
            session.connected().await;
            let topic = workload::create_topic(&mut session, &wanted, &plan).await;
            if topic.is_some() || !session.is_in_cluster() || now_nanos() > deadline {
                return topic;
            }
            // The brokers of a new cluster may not all be in it yet.
            time::sleep(Duration::from_millis(50)).await;
            session.turn();
            session.connected().await;
            let found = workload::find_topic(&mut session, &wanted, &plan).await;
            if found.is_some() {
                return found;
            }
        }
    });
    let Ok(Some(topic)) = created.await else {
        let message = format!("topic {name} could not be created on a healthy broker");
        return Err(Failure { check: "harness".into(), message });
    };
    Ok((0..count).map(|index| Partition { topic, index }).collect())
}

/// Everything works again; the brokers are stopped once more at times, so that what they
/// acknowledged must have reached the media.
async fn heal(cluster: &Cluster, plans: &[FaultPlan], dice: &mut Dice) -> Result<(), Failure> {
    cluster.recorder.note(format_args!("heal"));
    cluster.network.heal();
    for machine in cluster.machines.iter() {
        machine.resume();
        machine.repair_disk();
        machine.repair_clock();
    }
    let power = plans.iter().any(|plan| plan.kind.may_cost_unsynced_bytes());
    if power && dice.chance(0.7) {
        for machine in cluster.machines.iter() {
            machine.disk.model().cut_styles = (None, None);
            machine.cut_power();
        }
        cluster.machines.iter().for_each(Machine::restart);
    } else {
        for machine in cluster.machines.iter() {
            if !machine.is_ready() || dice.chance(0.5) {
                machine.kill();
                machine.restart();
            }
        }
    }
    start(cluster).await
}

async fn finish(
    cluster: &Cluster,
    node: &NodeHandle,
    clients: &Clients,
    (seed, scenario): (u64, &Scenario),
) -> Result<(), Failure> {
    let marks = cluster.recorder.history().marks.clone();
    let rotten: BTreeSet<Partition> = marks
        .iter()
        .filter_map(|mark| match mark.kind {
            MarkKind::Rotten(partition, _) => Some(partition),
            _ => None,
        })
        .collect();
    let (last, settling) = (clients.clone(), cluster.clone());
    let groups = workload::group_plans(seed, &scenario.workload);
    let finale = node.spawn(async move {
        workload::converge(&last, &rotten).await?;
        workload::read_everything(&last, groups).await;
        settle(&settling).await;
        workload::read_back(&last, seed).await
    });
    let outcome = finale.await.unwrap_or_else(|_| Err("the last reader was lost".into()));
    note_replicas(cluster);
    cluster.recorder.note_wall();
    count_retired(&cluster.recorder);
    count_compacted(&cluster.recorder);
    outcome.map_err(|message| Failure { check: "LV convergence".into(), message })
}

/// Waits until the replicas are the same everywhere; whether they are is judged by an oracle.
async fn settle(cluster: &Cluster) {
    if cluster.machines.len() == 1 {
        return;
    }
    let deadline = now_nanos() + SETTLE_WITHIN.as_nanos() as u64;
    while now_nanos() < deadline && !(cluster.is_in_sync() && are_equal(cluster)) {
        time::sleep(Duration::from_millis(50)).await;
    }
    cluster.recorder.note(format_args!("settled: {}", cluster.is_in_sync()));
}

/// Whether all replicas of a partition end at the same offset. What is left on a disk of a partition
/// that was deleted, or has moved, is none.
fn are_equal(cluster: &Cluster) -> bool {
    let Some(image) = cluster.image() else { return false };
    let topics = cluster.recorder.history().topics.clone();
    let mut ends: BTreeMap<Partition, BTreeSet<Option<i64>>> = BTreeMap::new();
    for machine in cluster.machines.iter() {
        for (partition, log) in machine.images() {
            let id = TopicId(topics[partition.topic].id);
            let known = image.partition(id, PartitionIndex(partition.index as u32));
            if known.is_some_and(|known| known.replicas.contains(&machine.id)) {
                let end = log.batches.last().map(|batch| batch.last_offset);
                ends.entry(partition).or_default().insert(end);
            }
        }
    }
    ends.values().all(|ends| ends.len() == 1)
}

/// What the disks hold of each partition in the end, and who leads it.
fn note_replicas(cluster: &Cluster) {
    if cluster.machines.len() == 1 {
        return;
    }
    cluster.observe();
    let images: Vec<_> = cluster.machines.iter().map(|m| (m.id.0, m.images())).collect();
    let mut history = cluster.recorder.history();
    let Some(latest) = history.metadata.iter().max_by_key(|seen| seen.offset).cloned() else {
        return;
    };
    for (partition, seen) in latest.partitions {
        let held =
            images.iter().filter_map(|(id, logs)| Some((*id, logs.get(&partition)?.clone())));
        let logs = held.filter(|(id, _)| seen.replicas.contains(id)).collect();
        let partition = Some(partition);
        history.final_replicas.push(FinalReplicas { partition, seen, logs });
    }
}

/// Log starts that moved although nobody asked for it: retention at work.
fn count_retired(recorder: &Recorder) {
    let history = recorder.history();
    let moved = |log: &&FinalLog| {
        let topic = log.partition.map(|partition| &history.topics[partition.topic]);
        log.log_start > 0 && topic.is_some_and(|topic| topic.retention_millis.is_some())
    };
    let retired = history.finals.iter().filter(moved).count() as u64;
    if retired > 0 {
        recorder.trace.effect(Effect::SegmentsRetired, retired);
    }
}

/// Records of compacted topics that are not there any more: compaction at work.
fn count_compacted(recorder: &Recorder) {
    let history = recorder.history();
    let is_compacted = |log: &&FinalLog| {
        log.partition.is_some_and(|partition| history.topics[partition.topic].compacted)
    };
    let gone = |log: &FinalLog| {
        let kept = log.batches.iter().map(|batch| batch.records.len()).sum::<usize>();
        u64::try_from(log.end - log.log_start).unwrap_or(0).saturating_sub(kept as u64)
    };
    let gone: u64 = history.finals.iter().filter(is_compacted).map(gone).sum();
    if gone > 0 {
        recorder.trace.effect(Effect::RecordCompacted, gone);
    }
}

/// What became of leaders and in-sync replicas, as the metadata tells.
fn count_changes(recorder: &Recorder) {
    let history = recorder.history();
    let mut seen: Vec<_> = history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    let mut leaders: BTreeMap<Partition, i32> = BTreeMap::new();
    let mut in_sync: BTreeMap<Partition, &[i32]> = BTreeMap::new();
    for (partition, now) in seen.into_iter().flat_map(|seen| &seen.partitions) {
        let before = now.leader.and_then(|leader| leaders.insert(*partition, leader));
        if before.is_some_and(|before| Some(before) != now.leader) {
            recorder.trace.effect(Effect::LeaderChanged, 1);
        }
        let before = in_sync.insert(*partition, &now.isr).unwrap_or_default();
        if before.iter().any(|member| !now.isr.contains(member)) {
            recorder.trace.effect(Effect::IsrShrunk, 1);
        }
    }
}

fn ops(history: &History) -> Ops {
    let (ok, fail, unknown) = history.outcomes();
    Ops { ok, fail, unknown }
}

fn effects(trace: &Trace, plans: &[FaultPlan]) -> BTreeMap<&'static str, u64> {
    let mut effects = expected_effects(plans);
    effects.extend(trace.effects());
    effects.into_iter().map(|(effect, count)| (effect.name(), count)).collect()
}

/// The situations that this process has reached: one process is one run.
fn situations() -> BTreeMap<&'static str, u64> {
    let counts = Situation::ALL.iter().map(|it| (it.name(), it.times_reached() as u64));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// The message of the last panic of any task.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic of the node is a failure of the run, with its message and place.
fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        let message = panic.to_string();
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }));
}

fn panic_message() -> String {
    let message = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    message.unwrap_or_else(|| "a panic without a message".into())
}

#[expect(clippy::disallowed_methods, reason = "the cost of a run is measured outside of it")]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}
