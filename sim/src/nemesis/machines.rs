//! What goes wrong with single machines: stops, pauses, disks, clocks.

use super::Nemesis;
use crate::{
    batch,
    choices::Choices,
    clock::Strobe,
    disk::{CutStyle, Latency, TrapOn},
    history::{MarkKind, Partition},
    inspect::{self, Place, Segment},
    machine::Machine,
    recorder::now_nanos,
    scenario::{FaultKind, Strike},
    trace::Effect,
};
use highwater_node::env::Clock;
use madsim::time;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::sync::OwnedMutexGuard;

/// How long a fault waits for the disk operation it wants to strike at.
const TRAP_PATIENCE: Duration = Duration::from_millis(400);
/// How long a restarted broker has to become ready before the next fault may come.
const READY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a fault waits for every replica to be in sync.
const SYNC_PATIENCE: Duration = Duration::from_secs(20);
/// Where a batch header keeps the leader epoch, which its checksum does not cover.
const LEADER_EPOCH_AT: std::ops::Range<usize> = 12..16;

/// When a machine is stopped, each as often as it is likely.
const STRIKES: [(&str, Strike); 6] = [
    ("any-time", Strike::AnyTime),
    ("any-time", Strike::AnyTime),
    ("disk-operation", Strike::DiskOperation),
    ("disk-operation", Strike::DiskOperation),
    ("rename", Strike::Rename),
    ("recovery", Strike::Recovery),
];

impl Nemesis {
    /// A fault that is triggered waits for no other; the others take turns.
    async fn take_turn(&self) -> Option<OwnedMutexGuard<()>> {
        match self.is_punctual() {
            true => None,
            false => Some(self.turn.clone().lock_owned().await),
        }
    }

    pub(super) async fn stop_and_start(&mut self) {
        let _turn = self.take_turn().await;
        // Who chose a moment does not want another one.
        let fixed = self.plan.on.or(self.is_punctual().then_some(Strike::AnyTime));
        let fixed = STRIKES.iter().find(|(_, strike)| Some(*strike) == fixed);
        let known = |name: &str| STRIKES.iter().find(|(known, _)| *known == name);
        let name = self.draw.text(
            "on",
            |dice| fixed.unwrap_or_else(|| dice.pick(&STRIKES)).0.to_owned(),
            |name| known(name).is_some(),
        );
        let strike = known(&name).map_or(Strike::AnyTime, |(_, strike)| *strike);
        let (machines, _claim) = self.claimed_targets();
        let Some(first) = machines.first().cloned() else { return };
        match strike {
            Strike::AnyTime => {}
            Strike::DiskOperation => self.wait_for(&first, TrapOn::Any, 1..=60).await,
            Strike::Rename => self.wait_for(&first, TrapOn::Rename, 1..=2).await,
            Strike::Recovery => {
                self.stop(&machines).await;
                self.pause().await;
                machines.iter().for_each(Machine::restart);
                self.wait_for(&first, TrapOn::Any, 1..=40).await;
            }
        }
        self.draw.note("struck", now_nanos() / 1_000_000);
        self.stop(&machines).await;
        self.pause().await;
        self.start_again(&machines).await;
    }

    async fn wait_for(
        &mut self,
        machine: &Machine,
        on: TrapOn,
        count: std::ops::RangeInclusive<u64>,
    ) {
        let sprung = machine.disk.trap(on, self.draw.between("operations", count));
        // Without such an operation the fault strikes when patience ends.
        let _ = time::timeout(TRAP_PATIENCE, sprung).await;
    }

    async fn stop(&mut self, machines: &[Machine]) {
        for machine in machines {
            match self.plan.kind {
                FaultKind::ProcessKill if self.draw.chance("cleanly", self.plan.clean) => {
                    self.stop_cleanly(machine).await;
                }
                FaultKind::ProcessKill => machine.kill(),
                _ => self.cut_power(machine),
            }
        }
    }

    /// What becomes of unsynced bytes belongs to the strike, not to what the disk did before.
    fn cut_power(&mut self, machine: &Machine) {
        let contents = self.plan.contents;
        let contents = contents.unwrap_or_else(|| self.draw.named("contents", &CutStyle::WEIGHTED));
        let entries = self.plan.entries;
        let entries = entries.unwrap_or_else(|| self.draw.named("entries", &CutStyle::WEIGHTED));
        {
            let mut model = machine.disk.model();
            model.cut_styles = (Some(contents), Some(entries));
            model.draw_from(self.draw.fork());
        }
        machine.cut_power();
    }

    pub(super) async fn start_again(&mut self, machines: &[Machine]) {
        machines.iter().for_each(Machine::restart);
        for machine in machines {
            if !machine.wait_ready(READY_PATIENCE).await {
                let id = machine.id;
                self.cluster.recorder.note(format_args!("broker {id} did not become ready"));
            }
        }
    }

    /// Stands still, in the middle of whatever it does.
    pub(super) async fn stand_still(&mut self) {
        let _turn = self.take_turn().await;
        let (machines, _claim) = self.claimed_targets();
        machines.iter().for_each(Machine::pause);
        self.pause().await;
        machines.iter().for_each(Machine::resume);
    }

    /// Disks are lost when every copy and every vote is there, and no more before that is so again:
    /// otherwise more would be lost at once than the plan says, and than a quorum survives.
    pub(super) async fn wipe(&mut self) {
        let turn = self.turn.clone();
        let _turn = turn.lock().await;
        // Whoever chose the moment may strike while replicas lag, if every lost copy is there again.
        let may_strike = self.is_punctual() && !self.struck.has_lost_copies();
        if !may_strike && !self.wait_in_sync().await && !self.is_unlimited() {
            self.cluster.recorder.note(format_args!("no wipe: not every copy is there"));
            return;
        }
        let (machines, _claim) = self.claimed_targets();
        machines.iter().for_each(Machine::wipe);
        self.pause().await;
        self.start_again(&machines).await;
        let are_back = self.wait_in_sync().await;
        self.struck.lost_copies(!are_back);
    }

    fn is_unlimited(&self) -> bool {
        self.cluster.recorder.history().promise.unlimited
    }

    pub(super) async fn wait_in_sync(&self) -> bool {
        let deadline = now_nanos() + SYNC_PATIENCE.as_nanos() as u64;
        let is_whole = || {
            let cluster = &self.cluster;
            cluster.is_ready() && cluster.is_in_sync() && cluster.has_all_votes()
        };
        while !is_whole() {
            if now_nanos() > deadline {
                return false;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// One sync fails; some time later the broker is stopped, by a power cut at times, since only
    /// that shows what the media really holds.
    pub(super) async fn fail_a_sync(&mut self) {
        let _turn = self.take_turn().await;
        let (machines, _claim) = self.claimed_targets();
        let Some(machine) = machines.first().cloned() else { return };
        let victims = [".log", ".log", ".log", "/topics/", "/topics/", "/metadata"];
        let victim = match &self.plan.files {
            Some(files) => files.clone(),
            None => self.draw.named("files", &victims.map(|victim| (victim, victim))).to_owned(),
        };
        let failed = self.cluster.recorder.trace.effect_count(Effect::SyncFailed);
        {
            let mut model = machine.disk.model();
            model.faults.only = Some(victim);
            model.faults.sync_error = 1.0;
        }
        for _ in 0..200 {
            if self.cluster.recorder.trace.effect_count(Effect::SyncFailed) > failed {
                break;
            }
            time::sleep(Duration::from_millis(1)).await;
        }
        {
            let mut model = machine.disk.model();
            model.faults.only = None;
            model.faults.sync_error = 0.0;
        }
        self.pause().await;
        self.stop_anyhow(&machine).await;
    }

    async fn stop_anyhow(&mut self, machine: &Machine) {
        if self.draw.chance("power_cut", 0.6) {
            self.cut_power(machine);
        } else {
            machine.kill();
        }
        time::sleep(Duration::from_millis(self.draw.between("down", 5..=50))).await;
        self.start_again(std::slice::from_ref(machine)).await;
    }

    pub(super) async fn break_the_disk(&mut self) {
        let _turn = self.take_turn().await;
        let (machines, _claim) = self.claimed_targets();
        let Some(machine) = machines.first().cloned() else { return };
        {
            let spare = self.draw.within("spare", &self.plan.spare).max(0) as u64;
            let drawn = self.draw.chance("only_logs", 0.7).then(|| ".log".to_owned());
            let only = self.plan.files.clone().or(drawn);
            let mut model = machine.disk.model();
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
        machine.repair_disk();
        self.stop_anyhow(&machine).await;
    }

    /// Flips a bit in a segment that is not the last of its log.
    pub(super) fn rot(&mut self) {
        let Some(machine) = self.target() else { return };
        let segments = self.closed_segments(&machine);
        if segments.is_empty() {
            return;
        }
        let (partition, path) = self.draw.pick("segment", &segments).clone();
        let found = {
            let model = machine.disk.model();
            let files = model.live_files();
            let bytes = files.iter().find(|(of, _)| *of == path).map(|(_, bytes)| *bytes);
            bytes.and_then(|bytes| batch_byte(&mut self.draw, bytes))
        };
        let Some((position, offset)) = found else { return };
        let bit = self.draw.between("bit", 0..=7) as u8;
        if machine.disk.model().flip_bit(&path, position, bit) {
            self.cluster.recorder.mark(machine.id.0, MarkKind::Rotten(partition, offset));
            let path = path.display();
            self.cluster.recorder.note(format_args!("bit {bit} of byte {position} of {path}"));
        }
    }

    fn closed_segments(&self, machine: &Machine) -> Vec<(Partition, PathBuf)> {
        let topics = self.cluster.recorder.history().topics.clone();
        let mut by_partition: BTreeMap<Partition, BTreeMap<Segment, PathBuf>> = BTreeMap::new();
        for (path, _) in machine.disk.model().live_files() {
            if let Place::Segment(partition, segment) = inspect::place_of(&path, &topics) {
                by_partition.entry(partition).or_default().insert(segment, path);
            }
        }
        let closed = by_partition.into_iter().flat_map(|(partition, mut segments)| {
            segments.pop_last();
            segments.into_values().map(move |path| (partition, path))
        });
        closed.collect()
    }

    pub(super) fn step_the_clock(&mut self) {
        let machines = self.targets();
        let millis = self.draw.within("millis", &self.plan.millis);
        for machine in machines {
            self.cluster.recorder.note_wall();
            machine.clock.change(|model| model.step(millis));
            self.cluster.recorder.note_wall();
            self.cluster.recorder.mark(machine.id.0, MarkKind::ClockStepped(millis));
            self.cluster.recorder.trace.effect(Effect::ClockStepped, 1);
        }
    }

    pub(super) async fn strobe_the_clock(&mut self) {
        let Some(machine) = self.target() else { return };
        let amplitude_millis = self.draw.within("millis", &self.plan.millis);
        let period_nanos = self.draw.between("period", 1..=40) * 1_000_000;
        self.cluster.recorder.note_wall();
        let strobe = Strobe { amplitude_millis, period_nanos };
        machine.clock.change(|model| model.strobe(Some(strobe)));
        self.pause().await;
        self.cluster.recorder.note_wall();
        machine.clock.change(|model| model.strobe(None));
        self.cluster.recorder.note_wall();
        // What it showed on its far side, at the latest.
        let wall = machine.clock.now().wall.0;
        self.cluster.recorder.history().note_wall(wall.saturating_add(amplitude_millis));
        self.cluster.recorder.trace.effect(Effect::ClockStrobed, 1);
    }

    pub(super) async fn freeze_the_wall_clock(&mut self) {
        let machines = self.targets();
        for machine in &machines {
            machine.clock.change(|model| model.freeze_wall(now_nanos(), true));
        }
        self.pause().await;
        for machine in &machines {
            self.cluster.recorder.note_wall();
            machine.clock.change(|model| model.freeze_wall(now_nanos(), false));
            self.cluster.recorder.note_wall();
            self.cluster.recorder.trace.effect(Effect::WallFrozen, 1);
        }
    }

    pub(super) async fn change_pace(&mut self, rate: f64, effect: Effect) {
        let Some(machine) = self.target() else { return };
        let frozen = rate == 0.0;
        set_pace(&machine, rate, frozen);
        self.pause().await;
        set_pace(&machine, 1.0, false);
        self.cluster.recorder.trace.effect(effect, 1);
    }

    pub(super) async fn slow_down(&mut self) {
        let machines = self.targets();
        let (least, most) = (*self.plan.millis.start(), *self.plan.millis.end());
        let slow = least.max(1) as u64..=most.max(1) as u64;
        // A device may be slow for some files only: then checkpoints overtake the log.
        let drawn = self.draw.chance("only_logs", 0.5).then(|| ".log".to_owned());
        let only = self.plan.files.clone().or(drawn);
        for machine in &machines {
            let latency = &mut machine.disk.model().faults.latency;
            (latency.slow_chance, latency.slow, latency.only) =
                (self.plan.chance, slow.clone(), only.clone());
        }
        self.pause().await;
        for machine in &machines {
            machine.disk.model().faults.latency = Latency::default();
        }
    }
}

fn set_pace(machine: &Machine, rate: f64, frozen: bool) {
    machine.clock.change(|model| {
        model.set_rate(now_nanos(), rate);
        model.freeze_wall(now_nanos(), frozen);
    });
}

/// A byte of some batch that its checksum, its place or its framing protects, and the offset of
/// that batch.
fn batch_byte(draw: &mut Choices, bytes: &[u8]) -> Option<(u64, i64)> {
    let (batches, ..) = batch::decode_all(bytes);
    let chosen = draw.between("batch", 0..=batches.len().saturating_sub(1) as u64) as usize;
    let mut at = 0;
    for (index, read) in batches.iter().enumerate() {
        let (_, size) = batch::decode(&bytes[at..]).ok()?;
        if index == chosen {
            let mut byte = draw.between("byte", 0..=size as u64 - 1) as usize;
            if LEADER_EPOCH_AT.contains(&byte) {
                byte = LEADER_EPOCH_AT.end;
            }
            return Some(((at + byte) as u64, read.base_offset));
        }
        at += size;
    }
    None
}
