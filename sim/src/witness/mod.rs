//! Looks, while a run goes on, at whether the brokers in sync have what was promised, and writes into
//! the history what they lack and what their replicas know of themselves. Oracles judge it.
//!
//! What a broker has is what the worst power cut would leave at that very moment ([`crate::kept`]); who
//! is in sync says the newest metadata that anybody has applied. It is looked at when a produce with
//! acks=all is answered, when somebody joins an ISR, when a segment is cut or removed, and, of the
//! leader's high watermark, again and again. Compacted topics are not looked at, and nothing is where
//! the faults may exceed what the cluster promises.

mod replicas;
mod vigil;

use crate::{
    cluster::{Cluster, DATA_DIR},
    history::{
        Absence, History, MarkKind, Moment, Outcome, Partition, ReplicaAt, Request, Required, Topic,
    },
    inspect::{self, Place},
    kept::{KeptLog, replica_dir},
    machine::Machine,
};
use highwater_core::{
    metadata::{Image, PartitionRegistration},
    types::{BrokerId, PartitionIndex, TopicId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError},
};

/// Beside the topics, the file that says whose data a disk holds.
const IDENTITY: &str = "node.properties";
const DIRECTORY_ID: &str = "directory.id=";

/// What was promised and seen until now.
#[derive(Default)]
pub struct Witness {
    /// What was acknowledged with acks=all, by partition and base offset.
    promised: BTreeMap<Partition, BTreeMap<i64, Promised>>,
    /// Up to where each partition's leader was seen to have committed.
    committed: BTreeMap<Partition, i64>,
    /// Who was in sync.
    in_sync: BTreeMap<Partition, Vec<BrokerId>>,
    /// What each replica knew of itself, and in which life of its broker.
    replicas: BTreeMap<(Partition, i32), (u64, ReplicaAt)>,
    /// What was missing, so that it is said once.
    missing: BTreeSet<(Partition, BrokerId, Required)>,
    /// Which leaders were found to count others than the metadata, so that it is said once.
    miscounted: BTreeSet<(Partition, BrokerId, u32)>,
    /// What is waited for.
    vigil: vigil::Vigil,
    /// When replicas were looked at last, in simulated nanoseconds.
    looked_at: Option<u64>,
}

/// A batch that was acknowledged, and that a broker in sync was seen to have.
#[derive(Clone, Copy)]
struct Promised {
    /// When the call was invoked that was answered.
    invoked: Moment,
    /// Offset of its last record.
    last_offset: i64,
    /// Its checksum.
    crc: u32,
}

/// The answer to a produce with acks=all.
struct Answer {
    broker: BrokerId,
    partition: Partition,
    invoked: Moment,
    base_offset: i64,
    numbers: Vec<u64>,
    /// Whether a record counts before it is flushed.
    is_replicated: bool,
}

/// A partition as the newest metadata has it.
struct Sight<'a> {
    image: &'a Image,
    partition: Partition,
    topic: TopicId,
    registration: &'a PartitionRegistration,
}

impl<'a> Sight<'a> {
    fn of(image: &'a Image, partition: Partition, topic: TopicId) -> Option<Self> {
        let index = PartitionIndex(u32::try_from(partition.index).ok()?);
        let registration = image.partition(topic, index)?;
        Some(Self { image, partition, topic, registration })
    }

    /// Where brokers keep it.
    fn dir(&self) -> PathBuf {
        let name = self.image.topic(self.topic).map_or("", |topic| &topic.name);
        replica_dir(DATA_DIR, name, &self.topic.0, self.partition.index)
    }
}

impl Cluster {
    /// Looks at every cut of a segment from now on.
    pub fn watch_cuts(&self) {
        for machine in self.machines.iter() {
            // The machines hold what is called here.
            let (id, machines) = (machine.id, Arc::downgrade(&self.machines));
            let (network, client_links) = (self.network.clone(), self.client_links.clone());
            let (recorder, witness) = (self.recorder.clone(), self.witness.clone());
            machine.disk.on_cut(move |path| {
                let Some(machines) = machines.upgrade() else { return };
                let (network, client_links) = (network.clone(), client_links.clone());
                let (recorder, witness) = (recorder.clone(), witness.clone());
                Cluster { machines, network, client_links, recorder, witness }
                    .look_at_cut(id, path);
            });
        }
    }

    /// Looks at whether what the answer to a call promises is where it has to be. Of a broker that does
    /// not run any more, or is not known to run yet, nobody knows what metadata it went by.
    pub fn look_at_answer(&self, call: usize) {
        let found = answer(&self.recorder.history(), call);
        let Some((answer, topic)) = found else { return };
        if self.machine(answer.broker).is_none_or(|machine| !machine.is_ready()) {
            return;
        }
        let Some(image) = self.newest_image() else { return };
        let Some(sight) = Sight::of(&image, answer.partition, topic) else { return };
        if answer.is_replicated {
            return self.look_into_memories(&sight, &answer);
        }
        let (dir, base_offset) = (sight.dir(), answer.base_offset);
        let last_offset = base_offset + answer.numbers.len() as i64 - 1;
        let (mut crc, mut lacking) = (None, Vec::new());
        for member in &sight.registration.isr {
            let Some(machine) = self.machine(*member) else { continue };
            let model = machine.disk.model();
            let log = KeptLog::of(&model, &dir);
            let batch = log.batch_at(base_offset);
            match batch.filter(|batch| batch.holds(answer.numbers.iter().copied())) {
                Some(batch) => crc = Some(batch.crc),
                None => lacking.push((machine, ends_at(&log, base_offset))),
            }
        }
        self.look_at_copies(&sight, &dir, &answer);
        let Answer { invoked, partition, .. } = answer;
        for (machine, found) in lacking {
            self.note_missing(&sight, machine, (Required::Stored(invoked), last_offset), found);
        }
        if let Some(crc) = crc {
            let promised = Promised { invoked, last_offset, crc };
            self.witness().promised.entry(partition).or_default().insert(base_offset, promised);
        }
    }

    /// Looks at whether enough disks hold what was acknowledged, where fewer brokers than that are in
    /// sync by now. Who has left the ISR since has not lost it.
    fn look_at_copies(&self, sight: &Sight<'_>, dir: &Path, answer: &Answer) {
        let last_offset = answer.base_offset + answer.numbers.len() as i64 - 1;
        let (least, may_be_deleted) = {
            let history = self.recorder.history();
            let is_wiped = history.marks.iter().any(|mark| mark.kind == MarkKind::Wiped);
            let least = if is_wiped { 0 } else { history.promise.min_insync as usize };
            (least, deleted_below(&history, answer.partition) > last_offset)
        };
        if sight.registration.isr.len() >= least {
            return;
        }
        let has = |machine: &&Machine| {
            let model = machine.disk.model();
            let log = KeptLog::of(&model, dir);
            log.batch_at(answer.base_offset)
                .is_some_and(|batch| batch.holds(answer.numbers.iter().copied()))
        };
        let is_deleted =
            |machine: &&Machine| may_be_deleted && stored_log_start(machine, sight) > last_offset;
        let holders = self.machines.iter().filter(|it| is_deleted(it) || has(it));
        let holders: Vec<i32> = holders.map(|machine| machine.id.0).collect();
        let Some(machine) = self.machine(answer.broker).filter(|_| holders.len() < least) else {
            return;
        };
        let found = format!("the disks of {holders:?} alone, and {least} must");
        self.note_missing(sight, machine, (Required::Copies(answer.invoked), last_offset), found);
    }

    fn look_into_memories(&self, sight: &Sight<'_>, answer: &Answer) {
        let last_offset = answer.base_offset + answer.numbers.len() as i64 - 1;
        let index = PartitionIndex(sight.partition.index as u32);
        for member in &sight.registration.isr {
            let Some(machine) = self.machine(*member) else { continue };
            let known = machine.broker().and_then(|broker| broker.replica(sight.topic, index));
            // Who does not run has lost its memory already.
            let Some(known) = known else { continue };
            if known.log_end_offset.0 as i64 <= last_offset {
                let found = format!("a log that ends at {}", known.log_end_offset.0);
                let required = Required::Received(answer.invoked);
                self.note_missing(sight, machine, (required, last_offset), found);
            }
        }
    }

    /// A file of a broker was removed or set to another size.
    fn look_at_cut(&self, broker: BrokerId, path: &Path) {
        let (partition, topic) = {
            let history = self.recorder.history();
            let Place::Segment(partition, _) = inspect::place_of(path, &history.topics) else {
                return;
            };
            let topic = &history.topics[partition.topic];
            if !is_watched(&history) || !is_stored(topic) {
                return;
            }
            (partition, TopicId(topic.id))
        };
        let Some(image) = self.newest_image() else { return };
        let sight = Sight::of(&image, partition, topic);
        if let Some(sight) = sight.filter(|sight| sight.registration.isr.contains(&broker)) {
            self.look_at_all(&sight, broker);
        }
    }

    /// Looks at whether a broker has everything on its disk that was acknowledged until now.
    fn look_at_all(&self, sight: &Sight<'_>, member: BrokerId) {
        let Some(machine) = self.machine(member) else { return };
        let (lacking, found) = {
            let witness = self.witness();
            let Some(promised) = witness.promised.get(&sight.partition) else { return };
            let first = promised.keys().next().copied().unwrap_or(0);
            // A power cut brings some of the segments below the log's start back, and not others.
            let first = first.max(stored_log_start(machine, sight));
            let model = machine.disk.model();
            let log = KeptLog::of(&model, &sight.dir());
            let held: BTreeMap<i64, u32> =
                log.batches_from(first).map(|batch| (batch.base_offset, batch.crc)).collect();
            let lacks =
                |(base, promised): &(&i64, &Promised)| held.get(base) != Some(&promised.crc);
            let lacking: Vec<Promised> =
                promised.iter().filter(lacks).map(|(_, promised)| *promised).collect();
            (lacking, ends_at(&log, first))
        };
        for Promised { invoked, last_offset, .. } in lacking {
            let required = (Required::Stored(invoked), last_offset);
            self.note_missing(sight, machine, required, found.clone());
        }
    }

    /// Notes that a broker lacks records up to an offset, unless they were deleted or went with its
    /// disk.
    fn note_missing(
        &self,
        sight: &Sight<'_>,
        machine: &Machine,
        (required, last_offset): (Required, i64),
        found: String,
    ) {
        let partition = sight.partition;
        if has_other_disk(sight.image, machine) {
            return;
        }
        let mut history = self.recorder.history();
        if deleted_below(&history, partition) > last_offset
            && stored_log_start(machine, sight) > last_offset
        {
            return;
        }
        if self.witness().missing.insert((partition, machine.id, required)) {
            let (name, id) = (history.name(partition), machine.id);
            self.recorder.note(format_args!("broker {id} lacks {required:?} of {name}: {found}"));
            let isr = sight.registration.isr.iter().map(|member| member.0).collect();
            let (at, offset) = (history.tick(), sight.image.applied().0);
            let broker = machine.id.0;
            history.absences.push(Absence { at, partition, broker, required, isr, offset, found });
        }
    }

    fn machine(&self, id: BrokerId) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id == id)
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_watched(history: &History) -> bool {
    history.promise.is_cluster() && !history.promise.unlimited
}

/// Whether what counts in a topic is on disks, in segments that nobody writes anew.
fn is_stored(topic: &Topic) -> bool {
    !topic.compacted && !topic.replicated
}

/// What a call promises, and the id of the topic; `None` when it promises nothing that is looked at.
fn answer(history: &History, call: usize) -> Option<(Answer, TopicId)> {
    let call = &history.calls[call];
    let (Request::Produce(produce), Outcome::Produced { base_offset, .. }) =
        (&call.request, &call.outcome)
    else {
        return None;
    };
    let topic = &history.topics[produce.partition.topic];
    if !is_watched(history) || topic.compacted || produce.acks != -1 || *base_offset < 0 {
        return None;
    }
    let answer = Answer {
        broker: BrokerId(call.broker),
        partition: produce.partition,
        invoked: call.invoked,
        base_offset: *base_offset,
        numbers: produce.records.iter().map(|record| record.number).collect(),
        is_replicated: topic.replicated,
    };
    Some((answer, TopicId(topic.id)))
}

/// Where a log ends that was read from an offset on, for people.
fn ends_at(log: &KeptLog<'_>, offset: i64) -> String {
    let last = log.batches_from(offset).last();
    last.map_or("no batch".into(), |batch| format!("a log that ends at {}", batch.last_offset + 1))
}

/// Whether a machine's disk is not the one that the metadata knows: it was replaced since the broker
/// registered.
fn has_other_disk(image: &Image, machine: &Machine) -> bool {
    let Some(registered) = image.broker(machine.id) else { return true };
    let model = machine.disk.model();
    let stored = model.stored_file(&Path::new(DATA_DIR).join(IDENTITY)).unwrap_or_default();
    let text = String::from_utf8_lossy(stored);
    let id = text.lines().find_map(|line| line.strip_prefix(DIRECTORY_ID));
    id != Some(format!("{:032x}", registered.directory.0).as_str())
}

/// Below which offset records may have been deleted: on request, for their age, or for the size of their
/// log.
fn deleted_below(history: &History, partition: Partition) -> i64 {
    let topic = &history.topics[partition.topic];
    if topic.retention_millis.is_some() || topic.retention_bytes.is_some() {
        return i64::MAX;
    }
    let asked = history.calls.iter().filter_map(|call| match call.request {
        Request::DeleteRecords { partition: of, before } if of == partition => Some(before),
        _ => None,
    });
    // -1 is the high watermark, whatever it was.
    asked.map(|before| if before < 0 { i64::MAX } else { before }).max().unwrap_or(0)
}

/// Where a replica's log starts, as the checkpoint says that a power cut leaves.
fn stored_log_start(machine: &Machine, sight: &Sight<'_>) -> i64 {
    let model = machine.disk.model();
    let stored = model.stored_file(&sight.dir().join("checkpoint"));
    stored.and_then(inspect::log_start).unwrap_or(0)
}
