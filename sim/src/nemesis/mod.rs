//! What goes wrong in a run, and when: one task for each enabled fault. Each of its strikes has a
//! name, such as `power-cut#2`, and choices of its own.

mod machines;
mod network;

use crate::{
    choices::{Choices, Journal},
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
    let journal = &cluster.recorder.journal;
    journal.expect_kinds(&plans.iter().map(|plan| plan.kind.name()).collect::<Vec<_>>());
    let spawn = |plan: &FaultPlan| {
        let kind = plan.kind.name();
        let times = Dice::new(seed, kind).within(&plan.times).max(0) as u32;
        let named = journal.strikes(kind, times).into_iter().map(|name| {
            let mut draw = journal.strike(&name);
            let at = draw.within("at", &(millis as i64 / 20..=millis as i64 * 9 / 10)).max(0);
            (at as u64, draw)
        });
        let mut strikes: Vec<(u64, Choices)> = named.collect();
        strikes.retain(|(at, draw)| belongs_to_the_run(journal, *at, draw));
        strikes.sort_by_key(|(at, _)| *at);
        task::spawn(run(cluster.clone(), plan.clone(), strikes, turn.clone()))
    };
    plans.iter().filter(|plan| plan.kind != FaultKind::ConnectionCut).map(spawn).collect()
}

/// What a run draws for the time behind the point at which it leaves its script does not strike
/// before that.
fn belongs_to_the_run(journal: &Journal, at: u64, draw: &Choices) -> bool {
    let is_early = draw.is_free() && journal.branch_millis().is_some_and(|point| at < point);
    if is_early {
        journal.forget_strike(&draw.owner());
    }
    !is_early
}

/// Strikes one behind the other, each when its time has come.
async fn run(
    cluster: Cluster,
    plan: FaultPlan,
    strikes: Vec<(u64, Choices)>,
    turn: Arc<Mutex<()>>,
) {
    for (moment, draw) in strikes {
        let now = now_nanos() / 1_000_000;
        let start = moment.saturating_sub(now);
        time::sleep(Duration::from_millis(start)).await;
        let (cluster, plan, turn) = (cluster.clone(), plan.clone(), turn.clone());
        Nemesis { cluster, plan, draw, turn }.strike().await;
    }
}

/// One strike.
struct Nemesis {
    cluster: Cluster,
    plan: FaultPlan,
    draw: Choices,
    turn: Arc<Mutex<()>>,
}

impl Nemesis {
    async fn strike(&mut self) {
        self.cluster.recorder.note(format_args!("fault {}", self.draw.owner()));
        match self.plan.kind {
            FaultKind::PowerCut | FaultKind::ProcessKill => self.stop_and_start().await,
            FaultKind::SyncError => self.fail_a_sync().await,
            FaultKind::WriteError | FaultKind::ReadError | FaultKind::FullDisk => {
                self.break_the_disk().await;
            }
            FaultKind::BitRot => self.rot(),
            FaultKind::ClockStep => self.step_the_clock(),
            FaultKind::ClockDrift => {
                let rate = self.draw.between("pace_percent", 50..=200) as f64 / 100.0;
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
        let millis = self.draw.within("pause", &self.plan.pause).max(0) as u64;
        time::sleep(Duration::from_millis(millis)).await;
    }

    /// The machine to strike.
    fn target(&mut self) -> Machine {
        self.targets().swap_remove(0)
    }

    /// The machines to strike: the one that the plan wants first, and as many others as it says.
    fn targets(&mut self) -> Vec<Machine> {
        let machines = self.cluster.machines.clone();
        if machines.len() == 1 {
            return machines.to_vec();
        }
        let wanted = self.wanted();
        let (plan, count) = (&self.plan, machines.len());
        let draw = |dice: &mut Dice| {
            let mut rest: Vec<BrokerId> = machines.iter().map(|machine| machine.id).collect();
            if plan.target == Target::All {
                return names(&rest);
            }
            let count = (dice.within(&plan.nodes).max(1) as usize).min(rest.len());
            let mut targets = Vec::new();
            if let Some(at) = rest.iter().position(|id| Some(*id) == wanted) {
                targets.push(rest.swap_remove(at));
            }
            while targets.len() < count {
                let at = dice.index(rest.len());
                targets.push(rest.swap_remove(at));
            }
            names(&targets)
        };
        let text = self.draw.text("machines", draw, |text| {
            !text.is_empty() && text.split(' ').all(|id| is_machine(id, count))
        });
        let ids = text.split(' ').filter_map(|id| id.parse::<usize>().ok());
        ids.map(|id| machines[id - 1].clone()).collect()
    }

    /// The machine that the plan wants struck, if there is one now.
    fn wanted(&mut self) -> Option<BrokerId> {
        let mut dice = self.draw.fork();
        match self.plan.target {
            Target::Leader => self.a_leader(&mut dice),
            Target::Controller => self.cluster.controller(),
            Target::Coordinator => self.cluster.a_coordinator(&mut dice),
            Target::Any | Target::All => None,
        }
    }

    /// The leader of some partition of a topic that lives as long as the run.
    fn a_leader(&self, dice: &mut Dice) -> Option<BrokerId> {
        let lasting = |topic: &usize| {
            let history = self.cluster.recorder.history();
            !history.topics[*topic].deleted
        };
        let topics = self.cluster.recorder.history().topics.len();
        let topics: Vec<usize> = (0..topics).filter(lasting).collect();
        if topics.is_empty() {
            return None;
        }
        let topic = *dice.pick(&topics);
        self.cluster.leader_of(Partition { topic, index: 0 })
    }
}

fn names(ids: &[BrokerId]) -> String {
    ids.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(" ")
}

fn is_machine(id: &str, count: usize) -> bool {
    id.parse::<usize>().is_ok_and(|id| (1..=count).contains(&id))
}
