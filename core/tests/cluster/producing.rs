//! What producers send, and how it arrives: one behind the other over a connection, or never.

use crate::{
    broker::{Broker, Expected, Process},
    clients::Place,
    world::World,
};
use highwater_core::{
    partition::{Acks, Input},
    record::Batch,
};
use rand::RngExt;
use std::time::Duration;

/// A batch on its way over a producer's connection with a process.
pub struct Sent {
    to: (usize, u64),
    batch: Batch,
    place: Place,
}

impl World {
    /// A client sends to whom it takes for the leader.
    pub fn produce(&mut self, who: usize) {
        let mut who = who;
        if self.random.random_bool(0.8) {
            let leads = |broker: &Broker| {
                broker.process.as_ref().is_some_and(|process| process.partition.is_leader())
            };
            let leaders: Vec<_> =
                (0..self.brokers.len()).filter(|who| leads(&self.brokers[*who])).collect();
            who = *leaders.get(who % leaders.len().max(1)).unwrap_or(&who);
        }
        if !self.brokers[who].is_live() {
            return;
        }
        let client = self.random.random_range(0..=self.producers.len());
        if let Some(producer) = self.producers.get_mut(client) {
            let batches = producer.batches(&mut self.random, &mut self.mint);
            // What it sent before, over the same connection, arrives before or never.
            self.arrive(client, usize::MAX);
            self.arriving[client].clear();
            let Some(process) = self.brokers[who].process.as_ref() else { return };
            let to = (who, process.incarnation);
            for batch in batches {
                let place = self.producers[client].place_of(&batch);
                self.arriving[client].push_back(Sent { to, batch, place });
            }
            let at_once = self.random.random_range(0..6);
            self.arrive(client, at_once);
        } else {
            let expires = self.settings.config.producer_id_expiration < Duration::from_secs(100);
            let batch = if expires && self.random.random_bool(0.3) {
                self.mint.gap()
            } else {
                self.mint.anonymous(&mut self.random)
            };
            let acks = [Acks::All, Acks::Leader, Acks::None][self.random.random_range(0..3)];
            self.produce_batch(who, batch, None, acks);
        }
    }

    /// Batches that a producer sent arrive in their order, if their connection still exists.
    pub fn arrive(&mut self, client: usize, count: usize) {
        for _ in 0..count {
            let Some(Sent { to: (who, incarnation), .. }) = self.arriving[client].front() else {
                return;
            };
            let (who, broker) = (*who, &self.brokers[*who]);
            let connected = |process: &Process| process.incarnation == *incarnation;
            if !broker.process.as_ref().is_some_and(connected) {
                self.arriving[client].clear();
            } else if broker.is_live() {
                let Sent { batch, place, .. } = self.arriving[client].pop_front().expect("seen");
                self.take_batch(who, batch, (Some(client as u64), place), Acks::All);
            } else {
                return;
            }
        }
    }

    pub fn produce_batch(&mut self, who: usize, batch: Batch, producer: Option<u64>, acks: Acks) {
        let place_of = |client: u64| self.producers[client as usize].place_of(&batch);
        let place = producer.map_or(Place::Other, place_of);
        self.take_batch(who, batch, (producer, place), acks);
    }

    fn take_batch(
        &mut self,
        who: usize,
        batch: Batch,
        (producer, place): (Option<u64>, Place),
        acks: Acks,
    ) {
        let identity = batch.header.crc;
        let request = self.expect(who, Expected::Produced { producer, identity, acks, place });
        let wait = Duration::from_millis(self.random.random_range(1..3000));
        let deadline = self.brokers[who].now(self.time).monotonic.after(wait);
        self.step(who, Input::Produce { request, acks, batch, deadline });
    }
}
