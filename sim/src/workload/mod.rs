//! The clients of a run: they speak the real protocol over the simulated network, and everything
//! they ask and hear is recorded.

mod admin;
mod consumer;
mod finale;
mod group;
mod keyed;
mod producer;
mod session;

pub use admin::{TopicPlan, create_topic, find_topic};
pub use finale::{converge, read_back};
pub use group::{plans as group_plans, read_everything};
pub use session::{ClientNumber, Session};

use crate::{
    cluster::Cluster, dice::Dice, history::Partition, recorder::Recorder, scenario::WorkloadShape,
};
use madsim::{runtime::NodeHandle, task::JoinHandle};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
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
    /// How likely a client is to give a call up while it waits.
    pub impatience: f64,
    seed: u64,
    next_number: Arc<AtomicU64>,
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
            impatience,
            seed,
            next_number: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Starts everybody on the clients' machine.
    #[must_use]
    pub fn spawn(&self, node: &NodeHandle, shape: &WorkloadShape) -> Vec<JoinHandle<()>> {
        let mut dice = Dice::new(self.seed, "workload");
        let mut running = Vec::new();
        let mut number = 1;
        let mut next = |kind: &str| {
            number += 1;
            (ClientNumber(number), Dice::new(self.seed, &format!("{kind} {number}")))
        };
        for _ in 0..dice.within(&shape.producers) {
            let (client, own) = next("producer");
            running.push(node.spawn(producer::run(self.clone(), client, own, shape.clone())));
        }
        for _ in 0..dice.within(&shape.consumers) {
            let (client, own) = next("consumer");
            running.push(node.spawn(consumer::run(self.clone(), client, own, shape.clone())));
        }
        for _ in 0..dice.within(&shape.admins) {
            let (client, own) = next("admin");
            running.push(node.spawn(admin::run(self.clone(), client, own, shape.clone())));
        }
        for number in 0..if self.compacted.is_empty() { 0 } else { KEYED_CLIENTS } {
            let client = ClientNumber(FIRST_KEYED_CLIENT + number);
            let own = Dice::new(self.seed, &format!("keyed {number}"));
            running.push(node.spawn(keyed::run(self.clone(), client, own, shape.clone())));
        }
        running.extend(group::spawn(self, node, shape));
        running
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

    /// How many keys compacted topics have in this run: the same for everybody who writes.
    #[must_use]
    pub fn keys(&self, shape: &WorkloadShape) -> i64 {
        Dice::new(self.seed, "keys").within(&shape.keys)
    }

    /// The next record number of the run.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }
}
