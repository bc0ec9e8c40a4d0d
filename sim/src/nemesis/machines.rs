//! What goes wrong in a run, and when: one task for each enabled fault, striking at moments drawn
//! from the seed.

use crate::{
    batch,
    clock::Strobe,
    dice::Dice,
    disk::{Latency, TrapOn},
    history::{MarkKind, Partition},
    inspect::{self, Place},
    recorder::now_nanos,
    scenario::{FaultKind, FaultPlan, Strike},
    trace::Effect,
    world::World,
};
use highwater_node::env::Clock;
use madsim::{
    task::{self, JoinHandle},
    time,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How long a fault waits for the disk operation it wants to strike at.
const TRAP_PATIENCE: Duration = Duration::from_millis(400);
/// How long a restarted broker has to become ready before the next fault may come.
const READY_PATIENCE: Duration = Duration::from_secs(5);
/// Where a batch header keeps the leader epoch, which its checksum does not cover.
const LEADER_EPOCH_AT: std::ops::Range<usize> = 12..16;

/// Starts every enabled fault; the tasks end when all have struck.
#[must_use]
pub fn unleash(world: &World, plans: &[FaultPlan], millis: u64, seed: u64) -> Vec<JoinHandle<()>> {
    // Faults that stop the broker take turns.
    let turn = Arc::new(Mutex::new(()));
    let spawn = |plan: &FaultPlan| {
        let nemesis = Nemesis {
            world: world.clone(),
            plan: plan.clone(),
            dice: Dice::new(seed, plan.kind.name()),
            turn: turn.clone(),
        };
        task::spawn(nemesis.run(millis))
    };
    plans.iter().filter(|plan| plan.kind != FaultKind::ConnectionCut).map(spawn).collect()
}

struct Nemesis {
    world: World,
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
        self.world.recorder.note(format_args!("fault {}", self.plan.kind.name()));
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
            FaultKind::ConnectionCut => {}
        }
    }

    async fn pause(&mut self) {
        let millis = self.dice.within(&self.plan.pause).max(0) as u64;
        time::sleep(Duration::from_millis(millis)).await;
    }

    async fn stop_and_start(&mut self) {
        let turn = self.turn.clone();
        let _turn = turn.lock().await;
        let drawn = *self.dice.pick(&[
            Strike::AnyTime,
            Strike::AnyTime,
            Strike::DiskOperation,
            Strike::DiskOperation,
            Strike::Rename,
            Strike::Recovery,
        ]);
        let strike = self.plan.on.unwrap_or(drawn);
        match strike {
            Strike::AnyTime => {}
            Strike::DiskOperation => self.wait_for(TrapOn::Any, 1..=60).await,
            Strike::Rename => self.wait_for(TrapOn::Rename, 1..=2).await,
            Strike::Recovery => {
                self.stop().await;
                self.pause().await;
                self.world.restart();
                self.wait_for(TrapOn::Any, 1..=40).await;
            }
        }
        self.stop().await;
        self.pause().await;
        self.start_again().await;
    }

    async fn wait_for(&mut self, on: TrapOn, count: std::ops::RangeInclusive<u64>) {
        let sprung = self.world.disk.trap(on, self.dice.between(count));
        // Without such an operation the fault strikes when patience ends.
        let _ = time::timeout(TRAP_PATIENCE, sprung).await;
    }

    async fn stop(&mut self) {
        let styles = (self.plan.contents, self.plan.entries);
        self.world.disk.model().cut_styles = styles;
        match self.plan.kind {
            FaultKind::ProcessKill if self.dice.chance(0.25) => self.world.shut_down().await,
            FaultKind::ProcessKill => self.world.kill(),
            _ => self.world.cut_power(),
        }
    }

    async fn start_again(&mut self) {
        self.world.restart();
        if !self.world.wait_ready(READY_PATIENCE).await {
            self.world.recorder.note(format_args!("the broker did not become ready"));
        }
    }

    /// One sync fails; some time later the broker is stopped, by a power cut at times, since only
    /// that shows what the media really holds.
    async fn fail_a_sync(&mut self) {
        let turn = self.turn.clone();
        let _turn = turn.lock().await;
        let victims = [".log", ".log", ".log", "/topics/", "/topics/", "/metadata"];
        let victim = *self.dice.pick(&victims);
        let failed = self.world.recorder.trace.effect_count(Effect::SyncFailed);
        {
            let mut model = self.world.disk.model();
            model.faults.only = Some(victim.to_owned());
            model.faults.sync_error = 1.0;
        }
        for _ in 0..200 {
            if self.world.recorder.trace.effect_count(Effect::SyncFailed) > failed {
                break;
            }
            time::sleep(Duration::from_millis(1)).await;
        }
        {
            let mut model = self.world.disk.model();
            model.faults.only = None;
            model.faults.sync_error = 0.0;
        }
        self.pause().await;
        self.stop_anyhow().await;
    }

    async fn stop_anyhow(&mut self) {
        if self.dice.chance(0.6) {
            self.world.cut_power();
        } else {
            self.world.kill();
        }
        time::sleep(Duration::from_millis(self.dice.between(5..=50))).await;
        self.start_again().await;
    }

    async fn break_the_disk(&mut self) {
        let turn = self.turn.clone();
        let _turn = turn.lock().await;
        {
            let spare = self.dice.within(&self.plan.spare).max(0) as u64;
            let only = self.dice.chance(0.7).then(|| ".log".to_owned());
            let mut model = self.world.disk.model();
            match self.plan.kind {
                FaultKind::WriteError => {
                    (model.faults.write_error, model.faults.only) = (self.plan.chance, only);
                }
                FaultKind::ReadError => {
                    (model.faults.read_error, model.faults.only) = (self.plan.chance, only);
                }
                _ => {
                    let used = model.used();
                    model.faults.capacity = Some(used + spare);
                }
            }
        }
        self.pause().await;
        self.world.repair_disk();
        self.stop_anyhow().await;
    }

    /// Flips a bit in a segment that is not the last of its log.
    fn rot(&mut self) {
        let segments = self.closed_segments();
        if segments.is_empty() {
            return;
        }
        let (partition, path) = self.dice.pick(&segments).clone();
        let found = {
            let model = self.world.disk.model();
            let files = model.live_files();
            let bytes = files.iter().find(|(of, _)| *of == path).map(|(_, bytes)| *bytes);
            bytes.and_then(|bytes| self.dice.batch_byte(bytes))
        };
        let Some((position, offset)) = found else { return };
        let bit = self.dice.between(0..=7) as u8;
        if self.world.disk.model().flip_bit(&path, position, bit) {
            self.world.recorder.mark(MarkKind::Rotten(partition, offset));
            let path = path.display();
            self.world.recorder.note(format_args!("bit {bit} of byte {position} of {path}"));
        }
    }

    fn closed_segments(&self) -> Vec<(Partition, PathBuf)> {
        let topics = self.world.recorder.history().topics.clone();
        let mut by_partition: BTreeMap<Partition, BTreeMap<i64, PathBuf>> = BTreeMap::new();
        for (path, _) in self.world.disk.model().live_files() {
            if let Place::Segment(partition, base) = inspect::place_of(&path, &topics) {
                by_partition.entry(partition).or_default().insert(base, path);
            }
        }
        let closed = by_partition.into_iter().flat_map(|(partition, mut segments)| {
            segments.pop_last();
            segments.into_values().map(move |path| (partition, path))
        });
        closed.collect()
    }

    fn step_the_clock(&mut self) {
        let millis = self.dice.within(&self.plan.millis);
        self.world.recorder.note_wall();
        self.world.clock.model().step(millis);
        self.world.recorder.note_wall();
        self.world.recorder.mark(MarkKind::ClockStepped(millis));
        self.world.recorder.trace.effect(Effect::ClockStepped, 1);
    }

    async fn strobe_the_clock(&mut self) {
        let amplitude_millis = self.dice.within(&self.plan.millis);
        let period_nanos = self.dice.between(1..=40) * 1_000_000;
        self.world.recorder.note_wall();
        self.world.clock.model().strobe(Some(Strobe { amplitude_millis, period_nanos }));
        self.pause().await;
        self.world.recorder.note_wall();
        self.world.clock.model().strobe(None);
        self.world.recorder.note_wall();
        // What it showed on its far side, at the latest.
        let wall = self.world.clock.now().wall.0;
        self.world.recorder.history().note_wall(wall.saturating_add(amplitude_millis));
        self.world.recorder.trace.effect(Effect::ClockStrobed, 1);
    }

    async fn change_pace(&mut self, rate: f64, effect: Effect) {
        let frozen = rate == 0.0;
        self.set_pace(rate, frozen);
        self.pause().await;
        self.set_pace(1.0, false);
        self.world.recorder.trace.effect(effect, 1);
    }

    fn set_pace(&self, rate: f64, frozen: bool) {
        let mut clock = self.world.clock.model();
        clock.set_rate(now_nanos(), rate);
        clock.freeze_wall(now_nanos(), frozen);
    }

    async fn slow_down(&mut self) {
        let (least, most) = (*self.plan.millis.start(), *self.plan.millis.end());
        let slow = least.max(1) as u64..=most.max(1) as u64;
        // A device may be slow for some files only: then checkpoints overtake the log.
        let drawn = self.dice.chance(0.5).then(|| ".log".to_owned());
        let only = self.plan.files.clone().or(drawn);
        {
            let latency = &mut self.world.disk.model().faults.latency;
            (latency.slow_chance, latency.slow, latency.only) = (self.plan.chance, slow, only);
        }
        self.pause().await;
        self.world.disk.model().faults.latency = Latency::default();
    }
}

impl Dice {
    /// A byte of some batch that its checksum, its place or its framing protects, and the offset of
    /// that batch.
    fn batch_byte(&mut self, bytes: &[u8]) -> Option<(u64, i64)> {
        let (batches, ..) = batch::decode_all(bytes);
        let chosen = self.index(batches.len().max(1));
        let mut at = 0;
        for (index, read) in batches.iter().enumerate() {
            let (_, size) = batch::decode(&bytes[at..]).ok()?;
            if index == chosen {
                let mut byte = self.index(size);
                if LEADER_EPOCH_AT.contains(&byte) {
                    byte = LEADER_EPOCH_AT.end;
                }
                return Some(((at + byte) as u64, read.base_offset));
            }
            at += size;
        }
        None
    }
}
