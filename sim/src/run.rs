//! One run: one seed of one scenario, from an empty disk to the judgement.

use crate::{
    aging,
    choices::{Branch, Choices, Journal, Misfit},
    cluster::Cluster,
    dice::Dice,
    explain,
    heal::{self, START_WITHIN},
    history::{Calm, FinalReplicas, History, MarkKind, Partition},
    lab::Lab,
    machine::Machine,
    nemesis,
    network::{LATE_MILLIS, Weather},
    oracle::{self, Evidence},
    recorder::{Recorder, now_nanos},
    report::{Failure, Ops, Report},
    scenario::{FaultKind, FaultPlan, Scenario, WorkloadShape, expected_effects, that_may_strike},
    stuck,
    swarm::enabled_faults,
    tally,
    trace::{Effect, Trace},
    workload::{self, ClientNumber, Clients, Session, TopicPlan},
};
use highwater_core::{
    mutant::Mutant,
    situation::Situation,
    types::{PartitionIndex, TopicId},
};
use highwater_script::Decisions;
use madsim::{
    rand,
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
/// How long clients have to come to an end when they are asked to.
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(10);

/// How long the healed replicas of a cluster have to become the same, in simulated time.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How often the metadata of a cluster is looked at.
const OBSERVE_EVERY: Duration = Duration::from_millis(20);
/// The same where topics may lose what was acknowledged.
const OBSERVE_CLOSELY_EVERY: Duration = Duration::from_millis(1);

/// How a run goes, in full.
#[derive(Clone, Debug)]
pub struct Course {
    /// The seed from which everything is drawn that has a name.
    pub seed: u64,
    /// The seed from which the rest is drawn: latencies, the order in which tasks run.
    pub network_seed: u64,
    /// What is not drawn: the decisions of a script.
    pub given: Option<Decisions>,
    /// From when on everything is drawn nevertheless.
    pub branch: Option<Branch>,
    /// The applications that run beside the clients, and the checks of those who brought them.
    pub lab: Lab,
}

impl Course {
    /// Everything is drawn from one seed.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        Self { seed, network_seed: seed, given: None, branch: None, lab: Lab::new() }
    }
}

/// What is left of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The outcome.
    pub report: Report,
    /// The trace's lines, if they were kept.
    pub lines: Vec<String>,
    /// Sixteen bits of the trace's hash after each event.
    pub prefixes: Vec<u16>,
    /// Everything that was chosen.
    pub decisions: Decisions,
    /// The first of the decisions given that did not apply.
    pub misfit: Option<Misfit>,
}

/// What a run was judged by.
#[derive(Debug, Default)]
pub struct Judged {
    /// Everything that happened.
    pub history: History,
    /// What the check that does not hold points at.
    pub evidence: Evidence,
}

/// Runs one course of a scenario, and keeps the trace's lines if told to.
#[must_use]
pub fn follow(scenario: &Scenario, course: Course, keep_trace: bool) -> Ran {
    follow_in(scenario, course, &Trace::new(keep_trace)).0
}

/// Runs one course of a scenario and writes it down in this trace; what is left of it, and what it
/// was judged by.
#[must_use]
pub fn follow_in(scenario: &Scenario, course: Course, trace: &Trace) -> (Ran, Judged) {
    let started = stopwatch();
    let Course { seed, network_seed, given, branch, lab } = course;
    let journal = Journal::following(seed, given, branch, trace.clone());
    let recorder = Recorder::new(trace.clone(), journal.clone());
    let mut choices = journal.run();
    let plans = enabled_faults(scenario, &mut choices);
    let slowest = choices.between("slowest_latency_millis", 2..=6);
    catch_panics();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = Runtime::with_seed_and_config(network_seed, network(slowest));
        runtime.set_time_limit(TIME_LIMIT + Duration::from_millis(scenario.millis));
        let seeds = (seed, network_seed);
        let brought = (&lab, recorder.clone());
        runtime.block_on(simulate(scenario, &plans, seeds, choices, brought))
    }));
    let mut failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some(Failure { check: "panic".into(), message: panic_message() }),
    };
    journal.expect_no_other_strikes();
    let history = std::mem::take(&mut *recorder.history());
    let mut evidence = Evidence::default();
    if failure.is_none() {
        failure = oracle::first_violation(&history).map(|(check, found)| {
            evidence = *found.evidence;
            Failure { check: check.name.into(), message: found.message }
        });
    }
    if failure.is_none()
        && let Some((check, found)) = lab.first_violation(&history)
    {
        evidence = *found.evidence;
        failure = Some(Failure { check: check.name().into(), message: found.message });
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
        seed,
        passed: failure.is_none(),
        hash: trace.hash(),
        simulated_seconds: trace.last_nanos() as f64 / 1e9,
        events: trace.count(),
        ops: ops(&history),
        effects: effects(trace, &plans),
        situations: situations(),
        failure,
        excuses: history.excuses.clone(),
        divergence: None,
        wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let ran = Ran {
        report,
        lines: trace.lines(),
        prefixes: trace.prefixes(),
        decisions: journal.taken(),
        misfit: journal.misfit(),
    };
    (ran, Judged { history, evidence })
}

fn network(slowest: u64) -> madsim::Config {
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_millis(1)..Duration::from_millis(slowest);
    config
}

/// The whole run in simulated time. The error says what went wrong apart from the oracles.
async fn simulate(
    scenario: &Scenario,
    plans: &[FaultPlan],
    (seed, network_seed): (u64, u64),
    mut choices: Choices,
    (lab, recorder): (&Lab, Recorder),
) -> Result<(), Failure> {
    let striking = that_may_strike(plans, seed, &recorder.journal);
    let (about, is_quiet) = ((scenario, &striking[..]), striking.is_empty());
    let cluster = Cluster::start(network_seed, about, &mut choices, recorder.clone());
    recorder.note_wall();
    if recorder.trace.events.is_on() {
        recorder.trace.events.watch(explain::probe(cluster.clone()));
    }
    let node = Handle::current()
        .create_node()
        .name("clients")
        .ip("10.0.1.1".parse().expect("a literal address"))
        .build();
    heal::wait_ready(&cluster).await?;
    let observing = task::spawn(observe(cluster.clone(), observe_every(&scenario.workload)));
    let departing = task::spawn(depart(cluster.clone()));
    let (partitions, compacted) =
        create_topics(scenario, &mut choices, &node, &cluster, network_seed).await?;
    let impatience = plans.iter().find(|plan| plan.kind == FaultKind::ConnectionCut);
    let impatience = impatience.map_or(0.0, |plan| plan.chance);
    let mut clients = Clients::new(network_seed, cluster.clone(), partitions, impatience);
    clients.compacted = Arc::new(compacted);
    clients.groups = Arc::new(workload::group_plans(&mut choices, &scenario.workload));
    if scenario.broker.looks_for_expired_offsets() {
        // Only then does the coordinator look for groups that are over.
        let founding = clients.clone();
        let founded = node.spawn(async move { workload::found_groups(&founding).await }).await;
        let founded = founded.unwrap_or_else(|_| Err("the founder of the groups was lost".into()));
        founded.map_err(|message| Failure { check: "harness".into(), message })?;
    }
    cluster.observe();
    {
        let mut history = recorder.history();
        history.unleashed = history.tick();
    }
    let calm_from = now_nanos();
    let mut working = clients.spawn(&node, &scenario.workload, &mut choices);
    working.extend(lab.spawn(&node, &clients, network_seed));
    let drawn = scenario.millis as i64;
    let millis = choices.within("millis", &(drawn..=drawn)).max(1) as u64;
    let striking = nemesis::unleash(&cluster, plans, millis, seed);
    time::sleep(Duration::from_millis(millis)).await;
    for fault in striking {
        let _ = fault.await;
    }
    clients.stop();
    cluster.observe();
    {
        let mut history = recorder.history();
        history.healed = Some(history.tick());
    }
    if is_quiet {
        note_calm(&cluster, calm_from, false);
    }
    let healed = heal::heal(&cluster, plans).await;
    for client in working {
        let _ = time::timeout(CLIENTS_END_WITHIN, client).await;
    }
    clients.impatience = 0.0;
    let finished = match healed {
        Err(failure) => Err(failure),
        Ok(missing) => {
            // Beyond its promise the cluster need not come back whole; those who did must serve.
            recorder.history().excuses.extend(missing);
            finish(&cluster, &node, &clients, (network_seed, lab)).await
        }
    };
    observing.abort();
    departing.abort();
    cluster.observe();
    tally::changes(&recorder);
    tally::given_up(&recorder);
    recorder.trace.events.stop_watching(now_nanos());
    finished
}

/// A run that leaves its script goes another way in everything that has no name, too.
async fn depart(cluster: Cluster) {
    let Some(branch) = cluster.recorder.journal.branch() else { return };
    time::sleep(Duration::from_nanos(branch.nanos.saturating_sub(now_nanos()))).await;
    cluster.network.draw_from(Dice::new(branch.seed, "links"));
    for machine in cluster.machines.iter() {
        machine.disk.draw_from(&format!("disk of broker {}", machine.id), branch.seed);
    }
    for _ in 0..=branch.seed % 61 {
        let _: u64 = rand::random();
    }
}

/// Looks at the metadata, and at who leads its quorum, again and again.
async fn observe(cluster: Cluster, every: Duration) {
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
        time::sleep(every).await;
    }
}

/// Where records may be lost, it matters when exactly their partition came to that.
fn observe_every(shape: &WorkloadShape) -> Duration {
    let may_lose = [&shape.replicated_topics, &shape.unclean_topics];
    let may_lose = may_lose.iter().any(|topics| *topics.end() > 0);
    if may_lose { OBSERVE_CLOSELY_EVERY } else { OBSERVE_EVERY }
}

/// The topics that live as long as the run; the partitions of those that are not compacted, and of
/// those that are.
async fn create_topics(
    scenario: &Scenario,
    choices: &mut Choices,
    node: &NodeHandle,
    cluster: &Cluster,
    seed: u64,
) -> Result<(Vec<Partition>, Vec<Partition>), Failure> {
    let shape = &scenario.workload;
    let (mut plain, mut compacted) = (Vec::new(), Vec::new());
    let ordinary = TopicPlan::default();
    let kinds = [
        ("topics", "t", &shape.topics, ordinary.clone()),
        (
            "replicated_topics",
            "r",
            &shape.replicated_topics,
            TopicPlan { replicated: true, ..ordinary.clone() },
        ),
        ("unclean_topics", "u", &shape.unclean_topics, TopicPlan { unclean: true, ..ordinary }),
    ];
    for (key, letter, count, kind) in kinds {
        // Nothing is drawn for kinds of topics that a scenario does not know of.
        let is_known = key == "topics" || *count.end() > 0;
        let count = if is_known { choices.within(key, count) } else { 0 };
        for number in 0..count {
            let partitions = choices.within("partitions", &shape.partitions) as i32;
            let retention = scenario.broker.retention_millis.as_ref();
            let retention_millis =
                retention.map(|bounds| choices.within("retention_millis", bounds));
            let retention = scenario.broker.retention_bytes.as_ref();
            let retention_bytes = retention.map(|bounds| choices.within("retention_bytes", bounds));
            let plan = TopicPlan { partitions, retention_millis, retention_bytes, ..kind.clone() };
            plain.extend(create(format!("{letter}{number}"), plan, node, cluster, seed).await?);
        }
    }
    for number in 0..choices.within("compacted_topics", &shape.compacted_topics) {
        let deletions_stay = Some(choices.between("deletions_stay_millis", 0..=1_500) as i64);
        let plan = TopicPlan { partitions: 1, compacted: deletions_stay, ..TopicPlan::default() };
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

async fn finish(
    cluster: &Cluster,
    node: &NodeHandle,
    clients: &Clients,
    (seed, lab): (u64, &Lab),
) -> Result<(), Failure> {
    let marks = cluster.recorder.history().marks.clone();
    let rotten: BTreeSet<Partition> = marks
        .iter()
        .filter_map(|mark| match mark.kind {
            MarkKind::Rotten(partition, _) if cluster.machines.len() == 1 => Some(partition),
            _ => None,
        })
        .collect();
    let (last, settling, lab) = (clients.clone(), cluster.clone(), lab.clone());
    let finale = node.spawn(async move {
        let unserved = workload::converge(&last, &rotten).await;
        let excused = self::excused(&settling, unserved, stuck::proof)?;
        if excused.is_empty() {
            workload::read_everything(&last).await;
            settle(&settling).await;
        }
        let calm_from = calm_down(&settling).await;
        if excused.is_empty() {
            workload::ask_promptly(&last).await;
            settle(&settling).await;
        }
        let unread = workload::read_back(&last, seed, &excused).await?;
        let unread = self::excused(&settling, unread, stuck::unreadable)?;
        // Applications of others rely on every partition.
        let is_whole = excused.is_empty() && unread.is_empty();
        if is_whole {
            note_calm(&settling, calm_from, true);
            aging::let_age(&settling).await;
        }
        if is_whole { lab.finish(&last, seed).await } else { Ok(()) }
    });
    let outcome = finale.await.unwrap_or_else(|_| Err("the last reader was lost".into()));
    note_replicas(cluster);
    cluster.recorder.note_wall();
    tally::retired(&cluster.recorder);
    tally::compacted(&cluster.recorder);
    outcome.map_err(|message| Failure { check: "LV convergence".into(), message })
}

/// Messages between brokers take no longer than most do from now on, and what was under way before
/// has arrived; when that is, in simulated nanoseconds.
async fn calm_down(cluster: &Cluster) -> u64 {
    cluster.network.set_everywhere(Weather { tail_chance: 0.0, ..Weather::default() });
    time::sleep(2 * Duration::from_millis(LATE_MILLIS)).await;
    now_nanos()
}

/// Nothing has gone wrong since then.
fn note_calm(cluster: &Cluster, from: u64, is_settled: bool) {
    let calm = Calm { from, until: now_nanos(), is_settled };
    cluster.recorder.history().calms.push(calm);
}

/// A partition that nobody serves is a failure, except where the faults may exceed the promise and
/// nobody who is left can serve it.
fn excused(
    cluster: &Cluster,
    unserved: Vec<(Partition, String)>,
    proof: impl Fn(&Cluster, Partition) -> Result<String, String>,
) -> Result<BTreeSet<Partition>, String> {
    let is_unlimited = cluster.recorder.history().promise.unlimited;
    let excuses = stuck::excuses(unserved, is_unlimited, |partition| proof(cluster, partition))?;
    for proof in excuses.values() {
        cluster.recorder.note(format_args!("excused: {proof}"));
        cluster.recorder.history().excuses.push(proof.clone());
    }
    Ok(excuses.into_keys().collect())
}

/// Waits until the replicas are the same everywhere; whether they are is judged by an oracle.
async fn settle(cluster: &Cluster) {
    if cluster.machines.len() == 1 {
        return;
    }
    let deadline = now_nanos() + SETTLE_WITHIN.as_nanos() as u64;
    let is_settled = || {
        all_have_applied_the_same(cluster)
            && cluster.is_in_sync()
            && are_equal(cluster)
            && all_is_committed(cluster)
    };
    while now_nanos() < deadline && !is_settled() {
        time::sleep(Duration::from_millis(50)).await;
    }
    cluster.recorder.note(format_args!("settled: {}", cluster.is_in_sync()));
}

/// Whether every broker that runs has the same metadata: any of them may be asked what there is.
fn all_have_applied_the_same(cluster: &Cluster) -> bool {
    let brokers = cluster.machines.iter().filter_map(Machine::broker);
    let applied: BTreeSet<_> = brokers.map(|broker| broker.image().applied()).collect();
    applied.len() == 1
}

/// Whether leaders have committed all that they have: a slow disk may have left one much to write.
fn all_is_committed(cluster: &Cluster) -> bool {
    let Some(image) = cluster.image() else { return false };
    let is_committed = |machine: &Machine, topic, index| {
        let replica = machine.broker().and_then(|broker| broker.replica(topic, index));
        replica.is_some_and(|replica| replica.high_watermark == replica.log_end_offset)
    };
    image.partitions().all(|(topic, index, known)| {
        let mut machines = cluster.machines.iter();
        let leader = machines.find(|machine| Some(machine.id) == known.leader);
        leader.is_some_and(|leader| is_committed(leader, topic, index))
    })
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
