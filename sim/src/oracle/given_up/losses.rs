//! When partitions may have lost what was acknowledged, and what outlives it all the same.

use crate::history::{
    Call, History, MarkKind, MetadataSeen, Moment, Outcome, Partition, PartitionSeen, Request,
};
use std::collections::{BTreeMap, BTreeSet};

/// A moment at which a partition may have given up what was acknowledged before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// When somebody saw it first.
    pub at: Moment,
    /// Leaders since then have this epoch or a later one.
    pub leader_epoch: i32,
    /// Whether it was an unclean election, or all who were in sync have crashed.
    pub is_election: bool,
    /// What the next leader has of all that was promised before.
    pub kept: Kept,
}

/// What outlives a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// What was promised up to this moment, inclusive: the one elected was in sync until then.
    Until(Moment),
    /// What lay on the disk of the one elected when it was stopped last: the first and the last offset
    /// of each batch, and the number of its first record.
    OnDisk(BTreeSet<(i64, i64, u64)>),
}

impl Kept {
    /// Nobody knows what the next leader has.
    pub const NOTHING: Self = Self::Until(0);

    /// Whether it outlives the loss what came of a call, which was a promise.
    #[must_use]
    pub fn holds(&self, call: &Call) -> bool {
        match self {
            Self::Until(moment) => call.ended.is_some_and(|ended| ended <= *moment),
            Self::OnDisk(batches) => is_on_disk(batches, call),
        }
    }
}

fn is_on_disk(batches: &BTreeSet<(i64, i64, u64)>, call: &Call) -> bool {
    match (&call.request, &call.outcome) {
        (Request::Produce(produce), Outcome::Produced { base_offset, .. }) => {
            let last = base_offset + produce.records.len() as i64 - 1;
            let first = produce.records.first();
            first.is_some_and(|first| batches.contains(&(*base_offset, last, first.number)))
        }
        (Request::Fetch { .. }, Outcome::Fetched { batches: read, .. }) => {
            let number = |batch: &crate::batch::ReadBatch| batch.records.first()?.number;
            let is_there = |batch: &crate::batch::ReadBatch| {
                let number = number(batch);
                let key = number.map(|number| (batch.base_offset, batch.last_offset, number));
                key.is_some_and(|key| batches.contains(&key))
            };
            !read.is_empty() && read.iter().all(is_there)
        }
        _ => false,
    }
}

/// The moments of each partition that had any, in order.
pub type Losses = BTreeMap<Partition, Vec<GivenUp>>;

/// Every moment at which something may have been given up.
#[must_use]
pub fn given_up(history: &History) -> Losses {
    let mut losses = Losses::new();
    let looks = looks(history);
    unclean_elections(history, &looks, &mut losses);
    crashes_of_all_in_sync(history, &looks, &mut losses);
    losses.values_mut().for_each(|of_one| of_one.sort_by_key(|loss| loss.at));
    losses
}

/// The metadata at one offset.
struct Look<'a> {
    seen: &'a MetadataSeen,
    /// When somebody was first seen to have applied it, or what came later.
    at: Moment,
    /// The last moment before that at which nobody had, for certain.
    before: Moment,
}

/// The metadata that anybody had applied when somebody looked, by offset.
fn looks(history: &History) -> Vec<Look<'_>> {
    let mut all: Vec<&MetadataSeen> = history.metadata.iter().collect();
    all.sort_by_key(|seen| (seen.offset, seen.at));
    let (mut at, mut before) = (Moment::MAX, Moment::MAX);
    let mut looks: Vec<Look<'_>> = Vec::new();
    for seen in all.into_iter().rev() {
        (at, before) = (at.min(seen.at), before.min(seen.unknown_at));
        match looks.last_mut().filter(|look| look.seen.offset == seen.offset) {
            Some(look) => (look.at, look.before) = (at, before),
            None => looks.push(Look { seen, at, before }),
        }
    }
    looks.reverse();
    looks
}

/// A leader is elected that was known not to have everything. Where changes are hidden between two
/// looks, such an election may be one of them, and whoever was seen in the ISR may have left it:
/// then an election counts as unclean, which errs on the side of the cluster.
fn unclean_elections(history: &History, looks: &[Look<'_>], losses: &mut Losses) {
    let wipes = wipes(history);
    let mut before: BTreeMap<Partition, (&MetadataSeen, &PartitionSeen)> = BTreeMap::new();
    // Until when a replica was in sync, and by which registration.
    let mut in_sync: BTreeMap<(Partition, i32), (Moment, u64)> = BTreeMap::new();
    for look in looks {
        for (partition, now) in &look.seen.partitions {
            let topic = &history.topics[partition.topic];
            if !topic.unclean {
                continue;
            }
            let Some((then, was)) = before.insert(*partition, (look.seen, now)) else { continue };
            for member in &was.isr {
                let registered = then.brokers.get(member).copied().unwrap_or(0);
                in_sync.insert((*partition, *member), (look.before, registered));
            }
            if !may_be_unclean(was, now) {
                continue;
            }
            let is_sound = |leader: i32, registered: u64| {
                let mut lost = wipes.iter().filter(|wipe| wipe.machine == leader);
                lost.all(|wipe| wipe.at > look.at || wipe.registered < registered)
            };
            // Of a topic whose records count before they are flushed, a crash may have cost them.
            let elected = now.leader.filter(|_| is_one_election(was, now) && !topic.replicated);
            let kept = elected.and_then(|leader| {
                let (until, registered) = in_sync.get(&(*partition, leader))?;
                is_sound(leader, *registered).then_some(Kept::Until(*until))
            });
            losses.entry(*partition).or_default().push(GivenUp {
                at: look.at,
                leader_epoch: now.leader_epoch,
                is_election: true,
                kept: kept.unwrap_or(Kept::NOTHING),
            });
        }
    }
}

fn may_be_unclean(was: &PartitionSeen, now: &PartitionSeen) -> bool {
    let has_everything = |leader: &i32| was.isr.contains(leader) || was.elr.contains(leader);
    let is_elected = now.leader.is_some_and(|leader| !has_everything(&leader));
    now.leader_epoch > was.leader_epoch && (is_elected || hides_changes(was, now))
}

/// Whether there was another change between two looks at a partition: each counts once.
const fn hides_changes(was: &PartitionSeen, now: &PartitionSeen) -> bool {
    now.partition_epoch > was.partition_epoch + 1
}

/// Whether nobody else can have led between two looks.
const fn is_one_election(was: &PartitionSeen, now: &PartitionSeen) -> bool {
    !hides_changes(was, now) || now.leader_epoch == was.leader_epoch + 1
}

/// A machine lost its disk.
struct Wipe {
    at: Moment,
    machine: i32,
    /// The registration that it had then.
    registered: u64,
}

fn wipes(history: &History) -> Vec<Wipe> {
    let wiped = history.marks.iter().filter(|mark| mark.kind == MarkKind::Wiped);
    let wipe = |mark: &crate::history::Mark| {
        let known = history.metadata.iter().filter(|look| look.at < mark.at);
        let newest = known.max_by_key(|look| look.offset);
        let registered = newest.and_then(|look| look.brokers.get(&mark.machine));
        let registered = registered.copied().unwrap_or(0);
        Wipe { at: mark.at, machine: mark.machine, registered }
    };
    wiped.map(wipe).collect()
}

/// The last brokers crash that had everything in their memory.
fn crashes_of_all_in_sync(history: &History, looks: &[Look<'_>], losses: &mut Losses) {
    let mut crashed = Losses::new();
    let mut sound = Sound::default();
    let mut seen = history.metadata.iter().peekable();
    for (at, machine) in crashes(history) {
        while let Some(look) = seen.next_if(|look| look.at < at) {
            sound.look(history, look, &mut crashed);
        }
        sound.crash(history, (at, machine), &mut crashed);
    }
    seen.for_each(|look| sound.look(history, look, &mut crashed));
    for (partition, mut of_one) in crashed {
        for loss in &mut of_one {
            loss.kept = kept_on_disk(history, looks, partition, loss.leader_epoch);
        }
        losses.entry(partition).or_default().extend(of_one);
    }
}

/// Every end of a process that was not shut down before.
fn crashes(history: &History) -> Vec<(Moment, i32)> {
    let mut shut_down: BTreeMap<i32, bool> = BTreeMap::new();
    let mut crashes = Vec::new();
    for mark in &history.marks {
        let before = match mark.kind {
            MarkKind::ShutDown => shut_down.insert(mark.machine, true),
            MarkKind::Stopped | MarkKind::Ready => shut_down.insert(mark.machine, false),
            _ => continue,
        };
        if mark.kind == MarkKind::Stopped && before != Some(true) {
            crashes.push((mark.at, mark.machine));
        }
    }
    crashes
}

/// What the first leader from this epoch on had on its disk: whoever leads has that, and its
/// followers cut what it does not have. Nothing where another may have led before it, unseen.
fn kept_on_disk(
    history: &History,
    looks: &[Look<'_>],
    partition: Partition,
    leader_epoch: i32,
) -> Kept {
    let mut before: Option<&PartitionSeen> = None;
    for look in looks {
        let Some(now) = look.seen.partitions.get(&partition) else { continue };
        let was = before.replace(now);
        if now.leader_epoch < leader_epoch {
            continue;
        }
        if was.is_none_or(|was| hides_changes(was, now)) {
            return Kept::NOTHING;
        }
        if let Some(leader) = now.leader {
            return on_disk(history, (partition, leader), look.at);
        }
    }
    Kept::NOTHING
}

/// What a broker's disk held when the broker was stopped last before this moment. A machine that
/// kept its power kept what was written and not flushed.
fn on_disk(history: &History, (partition, broker): (Partition, i32), by: Moment) -> Kept {
    let mut ends = history.boundaries.iter().rev();
    let end = ends.find(|boundary| boundary.machine == broker && boundary.stopped < by);
    let Some(end) = end else { return Kept::NOTHING };
    let since = end.stopped..by;
    let is_wiped = history.marks.iter().any(|mark| {
        mark.machine == broker && mark.kind == MarkKind::Wiped && since.contains(&mark.at)
    });
    let logs = if end.power { &end.after } else { &end.before };
    match logs.get(&partition).filter(|log| !is_wiped && !log.rotten) {
        None => Kept::NOTHING,
        Some(log) => Kept::OnDisk(
            log.batches
                .iter()
                .filter_map(|it| Some((it.base_offset, it.last_offset, it.first_number?)))
                .collect(),
        ),
    }
}

/// Who has everything in a memory that was not lost.
#[derive(Default)]
struct Sound<'a> {
    newest: Option<&'a MetadataSeen>,
    /// The registration that a broker had when it crashed last.
    crashed: BTreeMap<i32, u64>,
    /// The partitions that nobody has.
    lost: BTreeMap<Partition, bool>,
}

impl<'a> Sound<'a> {
    fn look(&mut self, history: &History, look: &'a MetadataSeen, losses: &mut Losses) {
        if self.newest.is_some_and(|newest| newest.offset >= look.offset) {
            return;
        }
        self.newest = Some(look);
        self.note(history, look.at, |seen| seen.min_insync <= 1, losses);
    }

    fn crash(&mut self, history: &History, (at, machine): (Moment, i32), losses: &mut Losses) {
        let registered = self.newest.and_then(|newest| newest.brokers.get(&machine));
        self.crashed.insert(machine, registered.copied().unwrap_or(0));
        self.note(history, at, |seen| seen.replicas.contains(&machine), losses);
    }

    /// Notes which partitions nobody has any more, where this is their end.
    fn note(
        &mut self,
        history: &History,
        at: Moment,
        is_the_end: impl Fn(&PartitionSeen) -> bool,
        losses: &mut Losses,
    ) {
        let Some(newest) = self.newest else { return };
        let is_sound = |broker: &i32| {
            let registered = newest.brokers.get(broker).copied().unwrap_or(0);
            self.crashed.get(broker).is_none_or(|crashed| registered > *crashed)
        };
        for (partition, seen) in &newest.partitions {
            if !history.topics[partition.topic].replicated {
                continue;
            }
            let is_lost = !seen.isr.iter().chain(&seen.elr).any(is_sound);
            let was_lost = self.lost.entry(*partition).or_default();
            if is_lost && !*was_lost && is_the_end(seen) {
                let leader_epoch = seen.leader_epoch + 1;
                let kept = Kept::NOTHING;
                let loss = GivenUp { at, leader_epoch, is_election: false, kept };
                losses.entry(*partition).or_default().push(loss);
                *was_lost = true;
            } else if !is_lost {
                *was_lost = false;
            }
        }
    }
}
