//! The clients of a run: they speak the real protocol over the simulated network, and everything
//! they ask and hear is recorded.

mod admin;
mod calm;
mod consumer;
mod finale;
mod group;
mod keyed;
mod path;
mod producer;
mod session;
mod turns;

pub use admin::{TopicPlan, create_topic, find_topic};
pub use calm::ask_promptly;
pub use finale::{converge, read_back};
pub use group::{GroupPlan, found as found_groups, plans as group_plans, read_everything};
pub use session::{ClientNumber, Session};
pub use turns::Turns;

use crate::{
    choices::Choices,
    cluster::Cluster,
    history::{Outcome, Partition},
    recorder::Recorder,
    scenario::WorkloadShape,
};
use madsim::{runtime::NodeHandle, task::JoinHandle};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The clients of compacted topics, and where their numbers begin.
const KEYED_CLIENTS: u32 = 2;
const FIRST_KEYED_CLIENT: u32 = 50;

/// What all clients of a run share.
#[derive(Clone)]
pub struct Clients {
    /// What they are clients of.
    pub cluster: Cluster,
    /// Where calls are written down.
    pub recorder: Recorder,
    /// The topics that live as long as the run: their partitions.
    pub partitions: Arc<Vec<Partition>>,
    /// The partitions of compacted topics.
    pub compacted: Arc<Vec<Partition>>,
    /// The groups of consumers.
    pub groups: Arc<Vec<GroupPlan>>,
    /// How likely a client is to give a call up while it waits.
    pub impatience: f64,
    /// From which everything is drawn that has no name.
    seed: u64,
    stopping: Arc<AtomicBool>,
}

impl Clients {
    /// Clients of these partitions.
    #[must_use]
    pub fn new(seed: u64, cluster: Cluster, partitions: Vec<Partition>, impatience: f64) -> Self {
        Self {
            recorder: cluster.recorder.clone(),
            cluster,
            partitions: Arc::new(partitions),
            compacted: Arc::default(),
            groups: Arc::default(),
            impatience,
            seed,
            stopping: Arc::default(),
        }
    }

    /// A call has ended.
    fn end(&self, call: usize, outcome: Outcome) {
        self.recorder.end(call, outcome);
        self.cluster.look_at_answer(call);
    }

    /// Starts everybody on the clients' machine. Whom a script leaves out keeps its number.
    #[must_use]
    pub fn spawn(
        &self,
        node: &NodeHandle,
        shape: &WorkloadShape,
        choices: &mut Choices,
    ) -> Vec<JoinHandle<()>> {
        let mut running = Vec::new();
        let mut number = 1;
        let mut next = |kind: &str| {
            number += 1;
            let name = format!("{kind} {number}");
            let turns = Turns::of(self, &name)?;
            self.cluster.client_links.join(&name, number);
            Some((Session::new(self.clone(), ClientNumber(number)), turns))
        };
        for _ in 0..choices.within("producers", &shape.producers) {
            let client = next("producer");
            running.extend(
                client.map(|(session, turns)| {
                    node.spawn(producer::run(session, turns, shape.clone()))
                }),
            );
        }
        for _ in 0..choices.within("consumers", &shape.consumers) {
            let client = next("consumer");
            running.extend(
                client.map(|(session, turns)| {
                    node.spawn(consumer::run(session, turns, shape.clone()))
                }),
            );
        }
        for _ in 0..choices.within("admins", &shape.admins) {
            let client = next("admin");
            running.extend(
                client
                    .map(|(session, turns)| node.spawn(admin::run(session, turns, shape.clone()))),
            );
        }
        running.extend(self.spawn_keyed(node, shape, choices));
        running.extend(group::spawn(self, node, shape));
        self.recorder.journal.expect_no_other_clients();
        running
    }

    fn spawn_keyed(
        &self,
        node: &NodeHandle,
        shape: &WorkloadShape,
        choices: &mut Choices,
    ) -> Vec<JoinHandle<()>> {
        if self.compacted.is_empty() {
            return Vec::new();
        }
        let keys = choices.within("keys", &shape.keys);
        let spawn = |number: u32| {
            let name = format!("keyed {number}");
            let turns = Turns::of(self, &name)?;
            self.cluster.client_links.join(&name, number);
            let session = Session::new(self.clone(), ClientNumber(number));
            Some(node.spawn(keyed::run(session, turns, shape.clone(), keys)))
        };
        let last = FIRST_KEYED_CLIENT + KEYED_CLIENTS;
        (FIRST_KEYED_CLIENT..last).filter_map(spawn).collect()
    }

    /// How many brokers there are.
    #[must_use]
    pub fn brokers(&self) -> i32 {
        self.recorder.history().promise.brokers
    }

    /// Asks everybody to come to an end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether everybody shall come to an end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
