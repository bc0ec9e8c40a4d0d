//! What goes wrong in a run, and when: one task for each enabled fault, striking at moments drawn
//! from the seed.

mod machines;
mod network;

use crate::{
    cluster::Cluster,
    dice::Dice,
    history::Partition,
    machine::Machine,
    recorder::now_nanos,
    scenario::{FaultKind, FaultPlan, Target},
    trace::Effect,
};
use highwater_core::types::BrokerId;
use madsim::{
    task::{self, JoinHandle},
    time,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// Starts every enabled fault; the tasks end when all have struck.
#[must_use]
pub fn unleash(
    cluster: &Cluster,
    plans: &[FaultPlan],
    millis: u64,
    seed: u64,
) -> Vec<JoinHandle<()>> {
    // Faults that stop a broker take turns.
    let turn = Arc::new(Mutex::new(()));
    let spawn = |plan: &FaultPlan| {
        let nemesis = Nemesis {
            cluster: cluster.clone(),
            plan: plan.clone(),
            dice: Dice::new(seed, plan.kind.name()),
            turn: turn.clone(),
        };
        task::spawn(nemesis.run(millis))
    };
    plans.iter().filter(|plan| plan.kind != FaultKind::ConnectionCut).map(spawn).collect()
}

struct Nemesis {
    cluster: Cluster,
    plan: FaultPlan,
    dice: Dice,
    turn: Arc<Mutex<()>>,
}

impl Nemesis {
    async fn run(mut self, millis: u64) {
        let times = self.dice.within(&self.plan.times).max(0);
        let mut moments: Vec<u64> =
            (0..times).map(|_| self.dice.between(millis / 20..=millis * 9 / 10)).collect();
        moments.sort_unstable();
        for moment in moments {
            let now = now_nanos() / 1_000_000;
            let start = moment.saturating_sub(now);
            time::sleep(Duration::from_millis(start)).await;
            self.strike().await;
        }
    }

    async fn strike(&mut self) {
        self.cluster.recorder.note(format_args!("fault {}", self.plan.kind.name()));
        match self.plan.kind {
            FaultKind::PowerCut | FaultKind::ProcessKill => self.stop_and_start().await,
            FaultKind::SyncError => self.fail_a_sync().await,
            FaultKind::WriteError | FaultKind::ReadError | FaultKind::FullDisk => {
                self.break_the_disk().await;
            }
            FaultKind::BitRot => self.rot(),
            FaultKind::ClockStep => self.step_the_clock(),
            FaultKind::ClockDrift => {
                let rate = 0.5 + self.dice.between(0..=150) as f64 / 100.0;
                self.change_pace(rate, Effect::ClockDrifted).await;
            }
            FaultKind::ClockFreeze => self.change_pace(0.0, Effect::ClockFrozen).await,
            FaultKind::ClockStrobe => self.strobe_the_clock().await,
            FaultKind::SlowDisk => self.slow_down().await,
            FaultKind::MachinePause => self.stand_still().await,
            FaultKind::DiskWipe => self.wipe().await,
            FaultKind::RollingRestart => self.roll_over().await,
            FaultKind::NetworkPartition
            | FaultKind::PartialPartition
            | FaultKind::OneWayCut
            | FaultKind::Isolation => self.cut_links().await,
            FaultKind::FlappingLink => self.flap().await,
            FaultKind::MessageLoss | FaultKind::MessageDuplication | FaultKind::MessageDelay => {
                self.change_weather().await;
            }
            FaultKind::HeldMessage => self.hold_a_message().await,
            FaultKind::ConnectionCut => {}
        }
    }

    async fn pause(&mut self) {
        let millis = self.dice.within(&self.plan.pause).max(0) as u64;
        time::sleep(Duration::from_millis(millis)).await;
    }

    /// The machine to strike.
    fn target(&mut self) -> Machine {
        self.targets().swap_remove(0)
    }

    /// The machines to strike: the one that the plan wants first, and as many others as it says.
    fn targets(&mut self) -> Vec<Machine> {
        let mut rest: Vec<Machine> = self.cluster.machines.to_vec();
        if rest.len() == 1 || self.plan.target == Target::All {
            return rest;
        }
        let count = (self.dice.within(&self.plan.nodes).max(1) as usize).min(rest.len());
        let wanted = match self.plan.target {
            Target::Leader => self.a_leader(),
            Target::Controller => self.cluster.controller(),
            Target::Coordinator => self.cluster.a_coordinator(&mut self.dice),
            Target::Any | Target::All => None,
        };
        let mut targets = Vec::new();
        if let Some(at) = rest.iter().position(|machine| Some(machine.id) == wanted) {
            targets.push(rest.swap_remove(at));
        }
        while targets.len() < count {
            let at = self.dice.index(rest.len());
            targets.push(rest.swap_remove(at));
        }
        targets
    }

    /// The leader of some partition of a topic that lives as long as the run.
    fn a_leader(&mut self) -> Option<BrokerId> {
        let lasting = |topic: &usize| {
            let history = self.cluster.recorder.history();
            !history.topics[*topic].deleted
        };
        let topics = self.cluster.recorder.history().topics.len();
        let topics: Vec<usize> = (0..topics).filter(lasting).collect();
        if topics.is_empty() {
            return None;
        }
        let topic = *self.dice.pick(&topics);
        self.cluster.leader_of(Partition { topic, index: 0 })
    }
}
