//! What goes wrong in a run, and when: one task for each enabled fault, striking at moments drawn
//! from the seed, or when the cluster is in a state that the fault waits for. Each strike has a name,
//! such as `power-cut#2`, and choices of its own.

mod aim;
mod clients;
mod machines;
mod messages;
mod network;
mod stops;
mod trigger;

use crate::{
    choices::Choices,
    cluster::Cluster,
    recorder::now_nanos,
    scenario::{Bounds, FaultKind, FaultPlan, Trigger},
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
    let journal = &cluster.recorder.journal;
    journal.expect_kinds(&plans.iter().map(FaultPlan::name).collect::<Vec<_>>());
    let struck = Struck::default();
    let ends_at = now_nanos() + millis * 1_000_000;
    let spawn = |plan: &FaultPlan| {
        let nemesis = Nemesis {
            cluster: cluster.clone(),
            plan: plan.clone(),
            draw: journal.aside(seed, &plan.name()),
            turn: turn.clone(),
            struck: struck.clone(),
            ends_at,
        };
        task::spawn(nemesis.run(plan.times_in(seed), millis))
    };
    plans.iter().filter(|plan| plan.kind != FaultKind::ConnectionCut).map(spawn).collect()
}

/// One fault, and the strike of it that goes on.
struct Nemesis {
    cluster: Cluster,
    plan: FaultPlan,
    /// The choices of the strike.
    draw: Choices,
    turn: Arc<Mutex<()>>,
    /// Those that strike when they are triggered take no turns; what they stop is left alone.
    struck: Struck,
    /// When the time under faults is over, in nanoseconds.
    ends_at: u64,
}

impl Nemesis {
    async fn run(mut self, times: u32, millis: u64) {
        let moments = match &self.plan.trigger {
            Trigger::Drawn => millis as i64 / 20..=millis as i64 * 9 / 10,
            Trigger::At(at) => at.clone(),
            Trigger::When(_) | Trigger::After(_) => return self.strike_when_triggered(times).await,
        };
        for (moment, draw) in self.strikes_by_time(times, &moments) {
            let now = now_nanos() / 1_000_000;
            time::sleep(Duration::from_millis(moment.saturating_sub(now))).await;
            if self.plan.ends_in_time && now_nanos() >= self.ends_at {
                return;
            }
            self.draw = draw;
            self.strike().await;
        }
    }

    /// The strikes at moments that are known, in order. What a run draws for the time behind the point
    /// at which it leaves its script does not strike before that.
    fn strikes_by_time(&self, times: u32, moments: &Bounds) -> Vec<(u64, Choices)> {
        let journal = &self.cluster.recorder.journal;
        let mut strikes = Vec::new();
        for name in journal.strikes(&self.plan.name(), times) {
            let mut draw = journal.strike(&name);
            let at = draw.within("at", moments).max(0) as u64;
            if draw.is_free() && journal.branch_millis().is_some_and(|point| at < point) {
                journal.forget_strike(&draw.owner());
            } else {
                strikes.push((at, draw));
            }
        }
        strikes.sort_by_key(|(at, _)| *at);
        strikes
    }

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
                let rate = self.draw.within("pace_percent", &self.plan.pace) as f64 / 100.0;
                self.change_pace(rate, Effect::ClockDrifted).await;
            }
            FaultKind::ClockFreeze => self.change_pace(0.0, Effect::ClockFrozen).await,
            FaultKind::ClockStrobe => self.strobe_the_clock().await,
            FaultKind::WallFreeze => self.freeze_the_wall_clock().await,
            FaultKind::SlowDisk => self.slow_down().await,
            FaultKind::MachinePause => self.stand_still().await,
            FaultKind::DiskWipe => self.wipe().await,
            FaultKind::RollingRestart => self.roll_over().await,
            FaultKind::NetworkPartition
            | FaultKind::PartialPartition
            | FaultKind::OneWayCut
            | FaultKind::Isolation => self.cut_links().await,
            FaultKind::FlappingLink => self.flap().await,
            FaultKind::ConnectionReset => self.reset_connections(),
            FaultKind::MessageLoss | FaultKind::MessageDuplication | FaultKind::MessageDelay => {
                self.change_weather().await;
            }
            FaultKind::HeldMessage
            | FaultKind::DroppedMessage
            | FaultKind::DuplicatedMessage
            | FaultKind::DelayedMessage => self.catch_a_message().await,
            FaultKind::ClientIsolation => self.isolate_a_client().await,
            FaultKind::ConnectionCut => {}
        }
    }
}
