//! Crashes, elections, clocks that jump, and the end of all of them.

use crate::{
    clients::Protocol,
    world::{MILLI, World},
};
use highwater_core::coordinator::Shard;
use rand::RngExt;
use std::collections::BTreeSet;

/// A round of a healed cluster, and how many may pass until it is calm. Expressions are looked up
/// every ten seconds, and a commit may wait for its retention.
const ROUND: u64 = 25 * MILLI;
const ROUNDS_MAX: usize = 1600;

impl World {
    pub fn fault(&mut self, who: usize) {
        if self.random.random_range(0..12) >= self.settings.fault_rate {
            return;
        }
        match self.random.random_range(0..100) {
            0..25 => self.elect(),
            25..33 => self.crash(who),
            33..55 => (0..self.brokers.len()).for_each(|who| self.start(who)),
            55..62 => self.partition.shrink(who),
            62..72 => {
                let client = self.random.random_range(0..self.clients.len());
                self.clients[client].crash(&mut self.mint);
            }
            72..80 => {
                let client = self.random.random_range(0..self.clients.len());
                let pause = self.random.random_range(500..4000) * MILLI;
                self.clients[client].common.asleep_until = self.time + pause;
            }
            80..88 if self.settings.wall_steps => {
                self.statistics.wall_steps += 1;
                let days = self.random.random_range(-30..=30);
                self.brokers[who].wall_error += days * 86_400_000;
            }
            92..96 => self.doubt_for_nothing(who),
            88..92 => self.time += self.random.random_range(100..1500) * MILLI,
            _ => {}
        }
    }

    fn elect(&mut self) {
        self.statistics.elections += 1;
        let Self { partition, random, brokers, .. } = self;
        partition.elect(random, |who| brokers[who].up);
    }

    fn crash(&mut self, who: usize) {
        if !self.brokers[who].up {
            return;
        }
        self.statistics.crashes += 1;
        self.brokers[who].up = false;
        self.brokers[who].restart(&self.settings.group);
        self.partition.replicas[who].leads = false;
        if self.partition.leader() == who || self.random.random_bool(0.1) {
            self.elect();
        }
    }

    fn start(&mut self, who: usize) {
        self.brokers[who].up = true;
        // Whoever led before it crashed leads again in a newer epoch only.
        if self.partition.leader() == who
            && !self.partition.replicas[who].leads
            && self.partition.replicas[who].epoch == self.partition.epoch()
        {
            self.elect();
        }
    }

    /// Everything heals, and after a while everybody has what is to be had; then everybody leaves,
    /// and nothing is left behind.
    pub fn settle(&mut self) {
        self.settings.loss = 0.0;
        self.settings.fault_rate = 0;
        self.settings.load_piece = usize::MAX;
        (0..self.brokers.len()).for_each(|who| self.start(who));
        // A log that could not be loaded is loaded by the next leader.
        self.elect();
        let rounds = (0..ROUNDS_MAX).find(|_| {
            self.round();
            self.trouble().is_none()
        });
        if rounds.is_none() {
            let why = self.trouble().unwrap_or_default();
            panic!("G12: the groups do not come to rest: {why}");
        }
        self.statistics.converged += 1;
        self.wind_up();
    }

    /// Everybody does all that is to be done, in order, and nothing gets lost.
    fn round(&mut self) {
        self.time += ROUND;
        for message in core::mem::take(&mut self.network) {
            self.deliver(message);
        }
        for client in 0..self.clients.len() {
            self.act_as(client, true);
        }
        for who in 0..self.brokers.len() {
            self.brokers[who].image = self.images.len() - 1;
            self.learn(who);
            self.load_some(who);
            self.tick(who);
            // A change of the image wants a tick, whatever the deadlines say.
            self.step(who, highwater_core::coordinator::Input::Tick, None);
            self.tick(who);
        }
        for _ in 0..2 {
            (0..self.brokers.len()).for_each(|who| self.partition.replicate(who, 10_000));
        }
        (0..self.brokers.len()).for_each(|who| self.tell_high_watermark(who));
    }

    /// What keeps the groups from being at rest.
    fn trouble(&self) -> Option<String> {
        let leader = &self.brokers[self.partition.leader()];
        let Some(shard) = leader.coordinator.shard() else {
            return Some(format!(
                "the coordinator is not loaded: {:?}",
                leader.coordinator.epoch()
            ));
        };
        let state = shard.hard_state();
        let image = self.newest_image();
        for (id, group) in &state.groups {
            if !group.members.is_empty() && group.leader.is_none() {
                return Some(format!("{id} is not assigned: {group:?}"));
            }
        }
        for group in ["red", "blue"] {
            let mut owned = BTreeSet::new();
            let mut wanted = BTreeSet::new();
            let of_group = self.clients.iter().filter(|client| &*client.common.group == group);
            let mut members = 0;
            for client in of_group {
                match &client.protocol {
                    Protocol::Classic(member) if member.has_ended => {}
                    Protocol::Classic(member) => {
                        if !member.is_stable() {
                            if self.has_no_room(group) {
                                return None;
                            }
                            let (id, refused) = (&member.id, &member.refused);
                            return Some(format!("{id} of {group} is not stable: {refused:?}"));
                        }
                        members += 1;
                        for (topic, partition) in &member.owned {
                            let topic = image.topic_named(topic).map(|topic| topic.id);
                            let Some(topic) = topic else { continue };
                            if !owned.insert((topic, *partition)) {
                                return Some(format!("two of {group} own {topic} {partition}"));
                            }
                        }
                    }
                    Protocol::Consumer(consumer) => {
                        if !consumer.is_settled() {
                            if self.has_no_room(group) {
                                return None;
                            }
                            return Some(format!("{} of {group} is not settled", consumer.id));
                        }
                        members += 1;
                        for (topic, partition) in consumer.holds() {
                            if !owned.insert((topic, partition.0)) {
                                return Some(format!("two of {group} own {topic} {partition}"));
                            }
                        }
                    }
                    Protocol::Committer(_) | Protocol::Administrator(_) => {}
                }
            }
            let Some(consumer) = leader.view.consumer.get(group) else { continue };
            if consumer.current.len() != members {
                return Some(format!(
                    "{group} has {} members of {members}",
                    consumer.current.len()
                ));
            }
            for about in consumer.members.values() {
                for name in consumer.topics(about) {
                    let Some(topic) = image.topic_named(&name) else { continue };
                    let all = 0..topic.partitions.len() as u32;
                    wanted.extend(all.map(|partition| (topic.id, partition)));
                }
            }
            if owned != wanted {
                return Some(format!("{group} owns {owned:?} of {wanted:?}"));
            }
            if !consumer.is_stable() {
                return Some(format!("{group} is not stable: {consumer:?}"));
            }
        }
        None
    }

    /// Some groups admit fewer members than want to join, or no members of both kinds.
    fn has_no_room(&self, group: &str) -> bool {
        let members = self.clients.iter().filter(|client| {
            let is_member = matches!(client.protocol, Protocol::Classic(_) | Protocol::Consumer(_));
            is_member && &*client.common.group == group
        });
        let consumers = members
            .clone()
            .filter(|client| matches!(client.protocol, Protocol::Consumer(_)))
            .count();
        let count = members.count();
        let config = &self.settings.group;
        let mixed = consumers > 0 && consumers < count;
        count > config.max_size.min(config.consumer_max_size) || mixed
    }

    /// Everybody leaves. Nothing waits, and after the retention nothing is remembered.
    fn wind_up(&mut self) {
        self.clients.iter_mut().for_each(|client| client.crash(&mut self.mint));
        self.clients.clear();
        self.network.clear();
        let retention = self.settings.group.offsets_retention.as_millis() as u64 * MILLI;
        let end = self.time + 2 * retention + 12_000 * MILLI;
        while self.time < end {
            self.round();
            self.time += 10 * ROUND;
        }
        for _ in 0..20 {
            self.round();
        }
        let leader = &self.brokers[self.partition.leader()];
        let waiting = leader.requests.len() + leader.coordinator.deferred_answers();
        assert_eq!(waiting, 0, "LV9: requests wait for ever");
        let shard = leader.coordinator.shard().expect("nothing has happened since");
        assert!(shard.clone().waiting().is_empty(), "LV9: the shard keeps requests");
        let state = shard.hard_state();
        let clocks_are_sane = !self.settings.wall_steps;
        if clocks_are_sane {
            let left = (state.groups, state.consumer_groups.len(), state.offsets);
            assert!(
                left.0.is_empty() && left.1 == 0 && left.2.is_empty(),
                "LV9, O5: something is left when nobody is there any more: {left:?}"
            );
        }
    }
}
