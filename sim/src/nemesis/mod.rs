//! What goes wrong in a run, and when: one task for each enabled fault, striking at moments drawn
//! from the seed, or when the cluster is in a state that the fault waits for.

mod aim;
mod machines;
mod messages;
mod network;
mod trigger;

use crate::{
    cluster::Cluster,
    dice::Dice,
    recorder::now_nanos,
    scenario::{FaultKind, FaultPlan, Trigger},
    trace::Effect,
};
use aim::Struck;
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
    let struck = Struck::default();
    let ends_at = now_nanos() + millis * 1_000_000;
    let spawn = |plan: &FaultPlan| {
        let nemesis = Nemesis {
            cluster: cluster.clone(),
            plan: plan.clone(),
            dice: Dice::new(seed, &plan.name()),
            turn: turn.clone(),
            struck: struck.clone(),
            ends_at,
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
    /// Those that strike when they are triggered take no turns; what they stop is left alone.
    struck: Struck,
    /// When the time under faults is over, in nanoseconds.
    ends_at: u64,
}

impl Nemesis {
    async fn run(mut self, millis: u64) {
        if self.plan.trigger != Trigger::Drawn {
            return self.strike_when_triggered().await;
        }
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
        self.cluster.recorder.note(format_args!("fault {}", self.plan.name()));
        match self.plan.kind {
            FaultKind::PowerCut | FaultKind::ProcessKill => self.stop_and_start().await,
            FaultKind::SyncError => self.fail_a_sync().await,
            FaultKind::WriteError | FaultKind::ReadError | FaultKind::FullDisk => {
                self.break_the_disk().await;
            }
            FaultKind::BitRot => self.rot(),
            FaultKind::ClockStep => self.step_the_clock(),
            FaultKind::ClockDrift => {
                let rate = self.dice.within(&self.plan.pace) as f64 / 100.0;
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
            FaultKind::HeldMessage
            | FaultKind::DroppedMessage
            | FaultKind::DuplicatedMessage
            | FaultKind::DelayedMessage => self.catch_a_message().await,
            FaultKind::ConnectionCut => {}
        }
    }
}
