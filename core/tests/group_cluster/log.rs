//! The replicated log of one partition of `__consumer_offsets`, as plain as it can be: who leads,
//! who is in sync, what each replica has, and what is committed.

use highwater_core::group::Record;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A record in a log. Compaction takes away what it says, and leaves a hole at its offset.
#[derive(Clone, Debug)]
pub struct Entry {
    pub record: Arc<Record>,
    /// The leader epoch in which it was appended.
    pub epoch: u32,
    /// Behind the last record of its batch.
    pub batch_end: u64,
    /// When it was appended, in nanoseconds of true time.
    pub at: u64,
    pub compacted: bool,
}

/// One broker's copy.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub entries: Vec<Entry>,
    pub high_watermark: u64,
    /// The newest leader epoch that it knows.
    pub epoch: u32,
    pub leads: bool,
    /// Where its log ended when it began to lead.
    epoch_start: u64,
    /// While it leads: up to where each follower has its log.
    acked: BTreeMap<usize, u64>,
    /// While it leads: who has to have a record before it is committed.
    isr: BTreeSet<usize>,
}

impl Replica {
    pub fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What compaction has left, with offsets.
    pub fn readable(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (0..).zip(&self.entries).filter(|(_, entry)| !entry.compacted)
    }
}

/// The partition, as the controller and an observer of all replicas see it.
pub struct Partition {
    pub replicas: Vec<Replica>,
    /// Who leads, by epoch.
    leaders: Vec<usize>,
    isr: BTreeSet<usize>,
    min_insync: usize,
    /// The epochs of all records that were ever below a high watermark. It only grows.
    committed: Vec<u32>,
}

impl Partition {
    pub fn new(replicas: usize, min_insync: usize) -> Self {
        Self {
            replicas: vec![Replica::default(); replicas],
            leaders: vec![0],
            isr: (0..replicas).collect(),
            min_insync,
            committed: Vec::new(),
        }
    }

    pub fn epoch(&self) -> u32 {
        self.leaders.len() as u32 - 1
    }

    pub fn leader(&self) -> usize {
        *self.leaders.last().expect("there was always a leader")
    }

    pub fn leader_of(&self, epoch: u32) -> usize {
        self.leaders[epoch as usize]
    }

    /// Whether a record that was appended in an epoch can never be lost any more.
    pub fn is_durable(&self, position: u64, epoch: u32) -> bool {
        self.committed.get(position as usize) == Some(&epoch)
    }

    /// One of those that have everything that is committed leads.
    pub fn elect(&mut self, random: &mut ChaCha8Rng, may: impl Fn(usize) -> bool) {
        let able: Vec<usize> = self.isr.iter().copied().filter(|who| may(*who)).collect();
        if !able.is_empty() {
            self.leaders.push(able[random.random_range(0..able.len())]);
        }
    }

    /// A replica hears of the newest epoch.
    pub fn learn(&mut self, who: usize) {
        let (epoch, leads) = (self.epoch(), self.leader() == who);
        let isr = self.isr.clone();
        let replica = &mut self.replicas[who];
        if replica.epoch == epoch && (replica.leads || !leads) {
            return;
        }
        (replica.epoch, replica.leads) = (epoch, leads);
        replica.epoch_start = replica.end();
        replica.acked.clear();
        replica.isr = isr;
        if leads {
            let has = |position: &usize| {
                self.replicas[who].entries.get(*position).map(|entry| entry.epoch)
                    == Some(self.committed[*position])
            };
            assert!((0..self.committed.len()).all(|at| has(&at)), "the model lost a record");
            self.advance(who);
        }
    }

    /// Appends as one batch if it leads in that epoch and enough replicas are in sync. Where the
    /// batch begins.
    pub fn append(&mut self, who: usize, epoch: u32, records: &[Record], at: u64) -> Option<u64> {
        let replica = &mut self.replicas[who];
        if !replica.leads || replica.epoch != epoch || replica.isr.len() < self.min_insync {
            return None;
        }
        let base = replica.end();
        let batch_end = base + records.len() as u64;
        replica.entries.extend(records.iter().map(|record| Entry {
            record: Arc::new(record.clone()),
            epoch,
            batch_end,
            at,
            compacted: false,
        }));
        self.advance(who);
        Some(base)
    }

    /// A follower copies batches from the leader that it knows, when that leads.
    pub fn replicate(&mut self, who: usize, records: usize) {
        let epoch = self.replicas[who].epoch;
        let leader = self.leader_of(epoch);
        if leader == who || !self.replicas[leader].leads || self.replicas[leader].epoch != epoch {
            return;
        }
        self.truncate(who, leader);
        let from = self.replicas[who].entries.len();
        let source = &self.replicas[leader];
        let mut to = source.entries.len().min(from + records);
        if let Some(last) = to.checked_sub(1).and_then(|last| source.entries.get(last))
            && to > from
            && last.batch_end as usize <= source.entries.len()
        {
            to = last.batch_end as usize;
        }
        let copied = source.entries[from..to].to_vec();
        let high_watermark = source.high_watermark;
        let follower = &mut self.replicas[who];
        follower.entries.extend(copied);
        let end = follower.end();
        follower.high_watermark = follower.high_watermark.max(high_watermark.min(end));
        self.replicas[leader].acked.insert(who, end);
        let source = &mut self.replicas[leader];
        if epoch + 1 == self.leaders.len() as u32
            && end >= source.high_watermark.max(source.epoch_start)
            && end >= self.committed.len() as u64
        {
            self.isr.insert(who);
            source.isr.insert(who);
        }
        self.advance(leader);
    }

    /// Drops what the leader does not have; nothing of that is committed.
    fn truncate(&mut self, who: usize, leader: usize) {
        let (source, own) = (&self.replicas[leader], &self.replicas[who]);
        let agrees =
            own.entries.iter().zip(&source.entries).take_while(|(one, two)| one.epoch == two.epoch);
        let agreed = agrees.count();
        assert!(agreed as u64 >= own.high_watermark, "the model lost a committed record");
        self.replicas[who].entries.truncate(agreed);
    }

    /// The leader leaves a follower behind.
    pub fn shrink(&mut self, gone: usize) {
        let (leader, epoch) = (self.leader(), self.epoch());
        let replica = &mut self.replicas[leader];
        if gone != leader && replica.leads && replica.epoch == epoch {
            self.isr.remove(&gone);
            replica.isr.remove(&gone);
            self.advance(leader);
        }
    }

    fn advance(&mut self, leader: usize) {
        let replica = &self.replicas[leader];
        if replica.isr.len() < self.min_insync {
            return;
        }
        let of = |who: &usize| match *who == leader {
            true => replica.end(),
            false => replica.acked.get(who).copied().unwrap_or(0),
        };
        let to = replica.isr.iter().map(of).min().unwrap_or(0);
        let to = to.max(replica.high_watermark);
        for (at, entry) in (0..to).zip(&replica.entries).skip(self.committed.len()) {
            assert_eq!(at, self.committed.len() as u64);
            self.committed.push(entry.epoch);
        }
        self.replicas[leader].high_watermark = to;
    }

    /// Whether every replica has the same record at an offset.
    fn all_have(&self, position: usize, epoch: u32) -> bool {
        let has = |replica: &Replica| {
            replica.entries.get(position).is_some_and(|entry| entry.epoch == epoch)
        };
        self.replicas.iter().all(has)
    }

    /// One replica cleans its log below its high watermark: of each key the last record stays; if
    /// that is a tombstone, it goes as well once nobody needs it to hide an older record. How many
    /// records went.
    pub fn compact(&mut self, who: usize, bound: u64, drops_tombstones: bool) -> u64 {
        let bound = bound.min(self.replicas[who].high_watermark) as usize;
        let mut newest: BTreeMap<String, usize> = BTreeMap::new();
        let entries = &self.replicas[who].entries;
        for (at, entry) in entries[..bound].iter().enumerate() {
            newest.insert(key(&entry.record), at);
        }
        let goes = |at: usize, entry: &Entry| {
            newest[&key(&entry.record)] != at
                || (drops_tombstones
                    && is_tombstone(&entry.record)
                    && self.all_have(at, entry.epoch))
        };
        let gone: Vec<usize> =
            (0..bound).filter(|at| !entries[*at].compacted && goes(*at, &entries[*at])).collect();
        for at in &gone {
            self.replicas[who].entries[*at].compacted = true;
        }
        gone.len() as u64
    }
}

/// What compaction compares records by.
fn key(record: &Record) -> String {
    match record {
        Record::OffsetCommit { group, topic, partition, .. } => {
            format!("1 {group} {topic} {partition}")
        }
        Record::Group { group, .. } => format!("2 {group}"),
        Record::ConsumerGroup { group, .. } => format!("3 {group}"),
        Record::ConsumerMember { group, member, .. } => format!("5 {group} {member}"),
        Record::TargetAssignmentEpoch { group, .. } => format!("6 {group}"),
        Record::TargetAssignment { group, member, .. } => format!("7 {group} {member}"),
        Record::CurrentAssignment { group, member, .. } => format!("8 {group} {member}"),
        Record::RegularExpression { group, expression, .. } => format!("16 {group} {expression}"),
    }
}

pub fn is_tombstone(record: &Record) -> bool {
    match record {
        Record::OffsetCommit { value, .. } => value.is_none(),
        Record::Group { value, .. } => value.is_none(),
        Record::ConsumerGroup { value, .. } => value.is_none(),
        Record::ConsumerMember { value, .. } => value.is_none(),
        Record::TargetAssignmentEpoch { value, .. } => value.is_none(),
        Record::TargetAssignment { value, .. } => value.is_none(),
        Record::CurrentAssignment { value, .. } => value.is_none(),
        Record::RegularExpression { value, .. } => value.is_none(),
    }
}
