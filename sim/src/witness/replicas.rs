//! What replicas know of themselves, and whether what leaders have committed is where it has to be.

use super::{Sight, Witness, ends_at, is_watched};
use crate::{
    cluster::Cluster,
    history::{Miscount, Partition, ReplicaAt, ReplicaSeen, Required},
    kept::KeptLog,
    machine::Machine,
    recorder::now_nanos,
};
use highwater_core::types::{BrokerId, Offset, PartitionIndex, TopicId};
use highwater_node::server::{Broker, ReplicaState};
use std::{sync::Arc, time::Duration};

/// How often replicas are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A machine with the broker that runs on it, in its present life.
struct Living<'a> {
    machine: &'a Machine,
    broker: Option<Arc<Broker>>,
    life: u64,
}

impl Cluster {
    /// Looks at all replicas, and at who has joined an ISR, if it is time.
    pub fn look_at_replicas(&self) {
        if !self.is_time_to_look() {
            return;
        }
        let topics: Vec<(usize, TopicId, bool)> = {
            let history = self.recorder.history();
            let plain = history.topics.iter().enumerate().filter(|(_, topic)| !topic.compacted);
            plain.map(|(at, topic)| (at, TopicId(topic.id), topic.replicated)).collect()
        };
        let Some(image) = self.newest_image() else { return };
        let machines: Vec<Living<'_>> = self.machines.iter().map(Living::of).collect();
        self.keep_vigil();
        let mut news = Vec::new();
        for (topic, id, is_replicated) in topics {
            let partitions = image.topic(id).map_or(0, |topic| topic.partitions.len());
            for index in 0..partitions as i32 {
                let partition = Partition { topic, index };
                let Some(sight) = Sight::of(&image, partition, id) else { continue };
                machines.iter().for_each(|living| self.look_at_replica(&sight, living, &mut news));
                if !is_replicated {
                    self.look_at_committed(&sight);
                    self.look_at_joined(&sight);
                }
            }
        }
        let mut history = self.recorder.history();
        let at = history.tick();
        history.replicas.extend(news.into_iter().map(|seen| ReplicaSeen { at, ..seen }));
    }

    fn is_time_to_look(&self) -> bool {
        if !is_watched(&self.recorder.history()) {
            return false;
        }
        let now = now_nanos();
        let mut witness = self.witness();
        let is_time = witness
            .looked_at
            .is_none_or(|last| now.saturating_sub(last) >= LOOK_EVERY.as_nanos() as u64);
        if is_time {
            witness.looked_at = Some(now);
        }
        is_time
    }

    fn look_at_replica(&self, sight: &Sight<'_>, living: &Living<'_>, news: &mut Vec<ReplicaSeen>) {
        let (partition, machine, life) = (sight.partition, living.machine.id.0, living.life);
        let known = living.knows(sight);
        if let Some(known) = &known {
            self.look_at_count(sight, living.machine.id, known);
        }
        let mut witness = self.witness();
        let before = witness.replicas.get(&(partition, machine)).copied();
        let before_in_life = before.filter(|(then, _)| *then == life);
        let replica = known.map(|known| living.replica(sight, &known, before_in_life));
        if before.map(|(then, was)| (then, Some(was))).unwrap_or((life, None)) == (life, replica) {
            return;
        }
        match replica {
            Some(replica) => witness.replicas.insert((partition, machine), (life, replica)),
            None => witness.replicas.remove(&(partition, machine)),
        };
        news.push(ReplicaSeen { at: 0, machine, life, partition, replica });
    }

    /// Looks at whether a leader counts as in sync whom the metadata does, where both go by the same
    /// version of the registration.
    fn look_at_count(&self, sight: &Sight<'_>, leader: BrokerId, known: &ReplicaState) {
        let Some(counted) = &known.isr else { return };
        let registered = sight.registration;
        if known.partition_epoch != Some(registered.partition_epoch) {
            return;
        }
        let numbers = |members: &[BrokerId]| {
            let mut numbers: Vec<i32> = members.iter().map(|member| member.0).collect();
            numbers.sort_unstable();
            numbers
        };
        let (counted, isr) = (numbers(counted), numbers(&registered.isr));
        let (partition, partition_epoch) = (sight.partition, registered.partition_epoch.0);
        let key = (partition, leader, partition_epoch);
        if counted == isr || !self.witness().miscounted.insert(key) {
            return;
        }
        let mut history = self.recorder.history();
        let name = history.name(partition);
        self.recorder.note(format_args!(
            "broker {leader} counts {counted:?} as in sync of {name} at {partition_epoch}, and in \
             sync are {isr:?}"
        ));
        let (at, broker) = (history.tick(), leader.0);
        history.miscounts.push(Miscount { at, partition, broker, partition_epoch, counted, isr });
    }

    /// Looks at whether what the leader has committed is on the disk of everybody in sync.
    fn look_at_committed(&self, sight: &Sight<'_>) {
        let Some(high_watermark) = self.witness().newly_committed(sight) else { return };
        let (dir, mut lacking) = (sight.dir(), Vec::new());
        for member in &sight.registration.isr {
            let Some(machine) = self.machine(*member) else { continue };
            let model = machine.disk.model();
            let log = KeptLog::of(&model, &dir);
            if !log.reaches(high_watermark) {
                lacking.push((machine, ends_at(&log, high_watermark)));
            }
        }
        let leader = sight.registration.leader.map_or(0, |leader| leader.0);
        for (machine, found) in lacking {
            let required = Required::Committed { leader, high_watermark };
            self.note_missing(sight, machine, (required, high_watermark - 1), found);
        }
    }

    /// Looks at whether those who are newly in sync have all that was acknowledged before.
    fn look_at_joined(&self, sight: &Sight<'_>) {
        let isr = &sight.registration.isr;
        let joined: Vec<_> = {
            let mut witness = self.witness();
            let before = witness.in_sync.entry(sight.partition).or_default();
            if before == isr {
                return;
            }
            let before = std::mem::replace(before, isr.clone());
            isr.iter().filter(|member| !before.contains(member)).copied().collect()
        };
        joined.into_iter().for_each(|member| self.look_at_all(sight, member));
    }
}

impl Witness {
    /// The high watermark of the partition's leader, if it has moved since it was looked at.
    fn newly_committed(&mut self, sight: &Sight<'_>) -> Option<i64> {
        let leader = sight.registration.leader?;
        let (_, known) = self.replicas.get(&(sight.partition, leader.0))?;
        let is_leader =
            known.leads && known.leader_epoch == sight.registration.leader_epoch.0 as i32;
        let committed = self.committed.entry(sight.partition).or_default();
        if !is_leader || known.high_watermark <= *committed {
            return None;
        }
        *committed = known.high_watermark;
        Some(known.high_watermark)
    }
}

impl<'a> Living<'a> {
    fn of(machine: &'a Machine) -> Self {
        let life = machine.disk.model().incarnation();
        Self { machine, broker: machine.broker(), life }
    }

    /// What its replica knows of itself.
    fn knows(&self, sight: &Sight<'_>) -> Option<ReplicaState> {
        let index = PartitionIndex(sight.partition.index as u32);
        self.broker.as_ref()?.replica(sight.topic, index)
    }

    /// The same, as the history has it. Whether it has another log than before matters only where
    /// something has gone back: only then is it looked at.
    fn replica(
        &self,
        sight: &Sight<'_>,
        known: &ReplicaState,
        before: Option<(u64, ReplicaAt)>,
    ) -> ReplicaAt {
        let number = |offset: Offset| i64::try_from(offset.0).unwrap_or(i64::MAX);
        let now = ReplicaAt {
            log: 0,
            leads: known.is_leader,
            leader_epoch: known.leader_epoch.0 as i32,
            log_start: number(known.log_start_offset),
            high_watermark: number(known.high_watermark),
            log_end: number(known.log_end_offset),
        };
        let goes_on = |was: &ReplicaAt| {
            now.leader_epoch >= was.leader_epoch && now.high_watermark >= was.high_watermark
        };
        let log = match before.filter(|(_, was)| goes_on(was)) {
            Some((_, was)) => was.log,
            None => self.machine.disk.model().identity(&sight.dir()).unwrap_or(0),
        };
        ReplicaAt { log, ..now }
    }
}
