//! Looks at every broker of a run whenever something happens, and tells what has changed since.

use super::{
    event::{About, Event, Kind, Lane, LeaderSeen, ReplicaSeen, Role, Sample, Slot},
    log::{Found, Probe},
    message::{numbers, offset, slot},
};
use crate::{cluster::Cluster, machine::Machine};
use highwater_core::{
    metadata::{Image, PartitionRegistration},
    types::BrokerId,
};
use std::{collections::BTreeMap, sync::Arc};

/// A probe for the event log of a run.
#[must_use]
pub fn probe(cluster: Cluster) -> Probe {
    let mut watcher = Watcher {
        cluster,
        newest: None,
        controller: None,
        applied: BTreeMap::new(),
        replicas: BTreeMap::new(),
        disturbances: BTreeMap::new(),
    };
    Box::new(move |at| watcher.look(at))
}

struct Watcher {
    cluster: Cluster,
    /// The newest image that any broker had.
    newest: Option<Arc<Image>>,
    controller: Option<BrokerId>,
    /// What each broker had applied.
    applied: BTreeMap<BrokerId, Arc<Image>>,
    replicas: BTreeMap<(BrokerId, Slot), ReplicaSeen>,
    /// What was wrong with each machine.
    disturbances: BTreeMap<(BrokerId, &'static str), String>,
}

impl Watcher {
    fn look(&mut self, at: u64) -> Found {
        let mut found = Found::default();
        self.look_at_metadata(at, &mut found);
        for machine in self.cluster.machines.clone().iter() {
            self.look_at_machine(at, machine, &mut found);
            self.look_at_image(at, machine, &mut found);
            self.look_at_replicas(at, machine, &mut found);
        }
        found
    }

    fn look_at_metadata(&mut self, at: u64, found: &mut Found) {
        let controller = self.cluster.controller();
        if controller.is_some() && controller != self.controller {
            let leader = controller.map_or(0, |leader| leader.0);
            let text = format!("broker {leader} leads the metadata quorum");
            let event = Event::new(at, Lane::Controller, Kind::Decision, text);
            found.events.push(event.with_broker(leader));
            self.controller = controller;
        }
        let Some(image) = self.cluster.image() else { return };
        let before = self.newest.replace(image.clone());
        if before.as_ref().is_some_and(|before| before.applied() >= image.applied()) {
            self.newest = before;
            return;
        }
        for topic in image.topics() {
            found.names.insert(topic.id.0, topic.name.to_string());
        }
        let lane = Lane::Controller;
        found.events.extend(
            fences(before.as_deref(), &image).map(|(text, broker)| {
                Event::new(at, lane, Kind::Decision, text).with_broker(broker)
            }),
        );
        for (text, slot, now) in changes(before.as_deref(), &image) {
            let about = About::new(slot, Role::Leadership, 0, 0);
            let leader = now.leader.map(|leader| leader.0);
            let event = Event::new(at, lane, Kind::Decision, text).about([about]);
            found.events.push(Event { broker: leader, ..event });
            let epoch = i64::from(now.leader_epoch.0);
            let isr = now.isr.iter().map(|member| member.0).collect();
            found.leadership.push(LeaderSeen { at, slot, leader, epoch, isr });
        }
    }

    /// What a broker has applied that changes who leads.
    fn look_at_image(&mut self, at: u64, machine: &Machine, found: &mut Found) {
        let Some(broker) = machine.broker() else {
            self.applied.remove(&machine.id);
            return;
        };
        let image = broker.image();
        let before = self.applied.insert(machine.id, image.clone());
        let Some(before) = before.filter(|before| before.applied() < image.applied()) else {
            return;
        };
        let lane = Lane::Broker(machine.id.0);
        found.events.extend(changes(Some(&before), &image).map(|(text, slot, now)| {
            let about = About::new(slot, Role::Leadership, 0, 0);
            let text = format!("applies: {text}");
            let event = Event::new(at, lane, Kind::Heard, text).about([about]);
            Event { broker: now.leader.map(|leader| leader.0), ..event }
        }));
    }

    fn look_at_replicas(&mut self, at: u64, machine: &Machine, found: &mut Found) {
        let id = machine.id;
        let states = machine.broker().map(|broker| broker.replicas()).unwrap_or_default();
        let mut here = BTreeMap::new();
        for state in states {
            let slot = slot(state.id.topic_id, state.id.index);
            found.names.entry(slot.topic).or_insert_with(|| state.id.topic.to_string());
            let now = ReplicaSeen {
                leads: state.is_leader,
                epoch: i64::from(state.leader_epoch.0),
                start: offset(state.log_start_offset),
                end: offset(state.log_end_offset),
                flushed: offset(state.flushed_offset),
                high_watermark: offset(state.high_watermark),
            };
            here.insert(slot, now);
            let before = self.replicas.insert((id, slot), now);
            if before != Some(now) {
                found.samples.push(Sample { at, broker: id.0, slot, replica: Some(now) });
                found.events.extend(turns(at, id, slot, before, now));
            }
        }
        let gone =
            self.replicas.extract_if(.., |(of, slot), _| *of == id && !here.contains_key(slot));
        for ((_, slot), _) in gone {
            found.samples.push(Sample { at, broker: id.0, slot, replica: None });
        }
    }

    /// What is wrong with a machine's disk and clocks begins and ends.
    fn look_at_machine(&mut self, at: u64, machine: &Machine, found: &mut Found) {
        let wrong = [
            ("disk", machine.disk.model().faults.disturbance()),
            ("clock", machine.clock.disturbance()),
        ];
        for (what, now) in wrong {
            let key = (machine.id, what);
            if self.disturbances.get(&key) == now.as_ref() {
                continue;
            }
            let text = now.clone().unwrap_or_else(|| format!("the {what} is healthy again"));
            let lane = Lane::Broker(machine.id.0);
            found.events.push(Event::new(at, lane, Kind::Fault, text));
            match now {
                Some(now) => self.disturbances.insert(key, now),
                None => self.disturbances.remove(&key),
            };
        }
    }
}

/// What a replica's new state is worth telling.
fn turns(
    at: u64,
    broker: BrokerId,
    slot: Slot,
    before: Option<ReplicaSeen>,
    now: ReplicaSeen,
) -> Option<Event> {
    let lane = Lane::Broker(broker.0);
    let ReplicaSeen { leads, epoch, end, flushed, high_watermark, .. } = now;
    let turned = before.is_none_or(|before| (before.leads, before.epoch) != (leads, epoch));
    if turned {
        let role = if leads { "leads" } else { "follows" };
        let text = format!("{role} in epoch {epoch}, log end {end}, flushed {flushed}");
        let about = About::new(slot, Role::Leadership, 0, 0);
        return Some(Event::new(at, lane, Kind::State, text).about([about]));
    }
    let before = before?;
    if end < before.end {
        let text = format!("the log is cut from {} to {end}", before.end);
        let about = About::new(slot, Role::Cuts, end, before.end);
        return Some(Event::new(at, lane, Kind::State, text).about([about]));
    }
    (leads && high_watermark != before.high_watermark).then(|| {
        let about = About::new(slot, Role::HighWatermark, before.high_watermark, high_watermark);
        Event::new(at, lane, Kind::State, "moves the high watermark").about([about])
    })
}

/// The partitions whose leader or ISR is another one in the newer image.
fn changes<'a>(
    before: Option<&'a Image>,
    after: &'a Image,
) -> impl Iterator<Item = (String, Slot, &'a PartitionRegistration)> {
    after.partitions().filter_map(move |(topic, index, now)| {
        let was = before.and_then(|before| before.partition(topic, index));
        change(was, now).map(|text| (text, slot(topic, index), now))
    })
}

fn change(was: Option<&PartitionRegistration>, now: &PartitionRegistration) -> Option<String> {
    let who = now.leader.map_or("nobody".into(), |leader| format!("broker {leader}"));
    let (isr, epoch) = (numbers(now.isr.iter().copied()), now.leader_epoch.0);
    let Some(was) = was else {
        return Some(format!("{who} leads in epoch {epoch}, ISR {isr}"));
    };
    if (was.leader, was.leader_epoch) != (now.leader, now.leader_epoch) {
        return Some(format!("{who} leads in epoch {epoch}, ISR {isr}"));
    }
    (was.isr != now.isr).then(|| {
        let before = numbers(was.isr.iter().copied());
        format!("ISR {before} becomes {isr}")
    })
}

/// The brokers that are fenced, or not any more, in the newer image.
fn fences(before: Option<&Image>, after: &Image) -> impl Iterator<Item = (String, i32)> {
    after.brokers().filter_map(move |(id, now)| {
        let was = before.and_then(|before| before.broker(id));
        let turned = was.is_none_or(|was| was.fenced != now.fenced);
        let text = if now.fenced { "is fenced" } else { "is unfenced" };
        turned.then(|| (format!("broker {id} {text}"), id.0))
    })
}
