//! Power cuts, kills, pauses, cuts of the network, and the end of all of them.

use crate::world::{CONTROLLER, Message, World};
use highwater_core::{partition::Acks, partition::Input, types::BrokerId};
use rand::RngExt;

/// How long the cluster may take to be whole again, in rounds of [`ROUND`].
const ROUNDS_MAX: usize = 400;
const ROUND: u64 = 50_000_000;

impl World {
    pub fn fault(&mut self, who: usize) {
        match self.random.random_range(0..100) {
            0..8 => self.crash(who, true),
            8..14 => self.crash(who, false),
            14..17 => self.crash_several(),
            17..40 => (0..self.brokers.len()).for_each(|who| self.start(who)),
            40..46 => self.brokers[who].is_paused = self.brokers[who].process.is_some(),
            46..60 => self.brokers.iter_mut().for_each(|broker| broker.is_paused = false),
            60..68 => {
                let count = self.brokers.len() as i32;
                let mut node = || self.random.random_range(CONTROLLER..=count);
                self.cut.insert((node(), node()));
            }
            68..78 => self.cut.clear(),
            78..88 => {
                self.controller.fence(self.brokers[who].id);
                self.controller_changed();
            }
            88..95 => {
                self.controller.move_leader(&mut self.random);
                self.controller_changed();
            }
            95..97 => self.fail_log(who),
            _ => self.time += self.random.random_range(0..1_500_000_000),
        }
    }

    /// In a cluster that only replicates, fewer than `min.insync.replicas` may forget at once.
    fn may_lose(&self, who: usize) -> bool {
        let id = self.brokers[who].id;
        let counted = self.controller.counts_flushed || self.lossy.contains(&id);
        counted || self.lossy.len() + 1 < self.controller.min_insync
    }

    fn crash(&mut self, who: usize, loses_power: bool) {
        if self.brokers[who].process.is_none() || !self.may_lose(who) {
            return;
        }
        self.statistics.crashes += 1;
        self.lossy.insert(self.brokers[who].id);
        let broker = &mut self.brokers[who];
        let lost = if loses_power {
            let survivors = self.random.random_range(0..=broker.disk.unflushed());
            broker.disk.lose_power(survivors)
        } else {
            broker.disk.kill()
        };
        self.statistics.lost_batches += lost as u64;
        broker.died();
        if self.random.random_bool(0.5) {
            let id = broker.id;
            self.controller.fence(id);
        }
        self.controller_changed();
    }

    fn crash_several(&mut self) {
        for who in 0..self.brokers.len() {
            if self.random.random_bool(0.7) {
                self.crash(who, true);
            }
        }
    }

    /// A new process registers, unless there is one.
    fn start(&mut self, who: usize) {
        let id = self.brokers[who].id;
        if self.brokers[who].process.is_some() || self.is_cut(id.0, CONTROLLER) {
            return;
        }
        let epoch = self.controller.register(id, true);
        self.boot(who, epoch);
        self.controller_changed();
    }

    /// It stops in order: everything is flushed, and the controller knows.
    fn restart_cleanly(&mut self, who: usize) {
        let unflushed = self.brokers[who].disk.unflushed();
        self.flush_some(who, unflushed);
        let broker = &mut self.brokers[who];
        broker.disk.lose_power(0);
        broker.died();
        let epoch = self.controller.register(broker.id, false);
        self.boot(who, epoch);
        self.controller_changed();
    }

    fn fail_log(&mut self, who: usize) {
        let broker = &self.brokers[who];
        if !broker.is_live() || broker.has_failed() {
            return;
        }
        if !self.controller.counts_flushed {
            // A failed log is lost for certain, and that might be one too many.
            return self.restart_cleanly(who);
        }
        self.statistics.log_failures += 1;
        let process = self.brokers[who].process.as_mut().expect("it is live");
        process.has_failed = true;
        self.step(who, Input::LogFailed { readable: true });
    }

    /// Everything heals, first all but one broker, then that one, too.
    pub fn settle(&mut self) {
        self.cut.clear();
        self.settings.loss = 0.0;
        if self.random.random_bool(0.5) {
            self.settings.lost_sessions = 0.0;
        }
        for who in 0..self.brokers.len() {
            self.brokers[who].is_paused = false;
            if self.brokers[who].has_failed() {
                self.crash(who, true);
            }
            self.start(who);
        }
        let spare = self.random.random_range(0..self.brokers.len());
        if self.brokers.len() > self.controller.min_insync && self.may_lose(spare) {
            // Sometimes nothing happens any more but that.
            let idles = self.random.random_bool(0.5);
            for who in 0..self.brokers.len() {
                let unflushed = self.brokers[who].disk.unflushed();
                self.flush_some(who, if idles { unflushed } else { 0 });
            }
            self.crash(spare, false);
            self.controller.fence(self.brokers[spare].id);
            self.controller_changed();
            // The only one that has everything may be the one that is down.
            let leads = (0..ROUNDS_MAX).any(|_| {
                self.round(!idles);
                self.is_whole(Some(spare), !idles) || self.controller.leader.is_none()
            });
            assert!(leads, "R19: not without broker {}: {}", spare + 1, self.describe());
            // What it has to learn may be that alone.
            if let Some(leader) = self.controller.leader {
                self.delete(Self::index_of(leader));
            }
            self.start(spare);
        }
        let is_whole = (0..ROUNDS_MAX).any(|_| {
            self.round(true);
            self.is_whole(None, true)
        });
        assert!(is_whole, "R19: the cluster does not become whole again: {}", self.describe());
        self.statistics.elections += self.controller.elections;
        self.statistics.shrinks += self.controller.shrinks;
        self.statistics.joins += self.controller.joins;
    }

    /// Everybody does all that is to be done, in order, and nothing gets lost.
    fn round(&mut self, retries: bool) {
        self.time += ROUND;
        for message in core::mem::take(&mut self.network) {
            self.deliver(message);
        }
        for who in 0..self.brokers.len() {
            if self.brokers[who].process.is_none() {
                continue;
            }
            let newest = self.controller.history.len() - 1;
            let process = self.brokers[who].process.as_ref().expect("checked");
            if process.next_image <= newest {
                self.tell(who, newest);
            }
            if self.controller.is_fenced(self.brokers[who].id) {
                self.heartbeat(who);
            }
            let unflushed = self.brokers[who].disk.unflushed();
            self.flush_some(who, unflushed);
            self.persist_start(who);
            self.tick(who);
            let id = self.brokers[who].id;
            // Who fetches before the answer is there begins another session each time.
            let is_waiting = self.network.iter().any(|message| match message {
                Message::Fetch { from, .. } => *from == id,
                Message::Fetched { to, .. } => *to == id,
                _ => false,
            });
            if !is_waiting {
                self.send_fetch(who);
                self.send_flush_report(who);
            }
        }
        if retries {
            self.retry_open();
        }
    }

    fn retry_open(&mut self) {
        let Some(leader) = self.controller.leader else { return };
        let who = Self::index_of(leader);
        let leads = |process: &crate::broker::Process| process.partition.is_leader();
        if !self.brokers[who].process.as_ref().is_some_and(leads) {
            return;
        }
        for index in 0..self.producers.len() {
            let open: Vec<_> = self.producers[index].open.iter().cloned().collect();
            for (batch, _) in open {
                self.produce_batch(who, batch, Some(index as u64), Acks::All);
            }
        }
    }

    fn describe(&self) -> String {
        let controller = &self.controller;
        let mut text = format!(
            "leader {:?} in epoch {}, isr {:?}, elr {:?}, min {}, lossy {:?}",
            controller.leader,
            controller.leader_epoch,
            controller.isr,
            controller.elr,
            controller.min_insync,
            self.lossy,
        );
        for broker in &self.brokers {
            let Some(process) = &broker.process else { continue };
            let partition = &process.partition;
            text += &format!(
                "\n{}: {:?} in epoch {}, isr {:?}, log {}..{}..{}..{}, {} requests",
                broker.id,
                partition.leader(),
                partition.leader_epoch(),
                partition.isr(),
                partition.log_start_offset(),
                partition.high_watermark(),
                partition.flushed_offset(),
                partition.log_end_offset(),
                process.requests.len(),
            );
        }
        text
    }

    /// R19: all live replicas are the same and in sync, and nothing waits.
    fn is_whole(&self, down: Option<usize>, retries: bool) -> bool {
        let Some(leader) = self.controller.leader else { return false };
        let leader = &self.brokers[Self::index_of(leader)];
        let live = self.brokers.iter().enumerate().filter(|(who, _)| Some(*who) != down);
        let mut isr: Vec<BrokerId> = self.controller.isr.clone();
        isr.sort_unstable();
        let end = leader.disk.live.end();
        let first = |broker: &crate::broker::Broker| {
            broker.disk.live.base.max(leader.disk.live.base).max(self.ghost.deleted)
        };
        isr.iter().eq(live.clone().map(|(_, broker)| &broker.id))
            && (!self.ghost.checks_sequences
                || !retries
                || self.producers.iter().all(|producer| producer.open.is_empty()))
            && live.clone().all(|(_, broker)| {
                let Some(process) = &broker.process else { return false };
                let partition = &process.partition;
                let from = first(broker);
                let ours = &broker.disk.live.entries[broker.disk.live.index_at(from)..];
                let theirs = &leader.disk.live.entries[leader.disk.live.index_at(from)..];
                let same = ours.iter().map(|entry| entry.identity());
                partition.high_watermark().0 == end
                    && partition.log_end_offset().0 == end
                    && broker.disk.unflushed() == 0
                    && process.requests.is_empty()
                    && same.eq(theirs.iter().map(|entry| entry.identity()))
                    && partition.leader_epoch().0 == self.controller.leader_epoch
            })
    }
}
