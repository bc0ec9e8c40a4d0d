//! What the cluster may have given up, and when. Two kinds of topics let it:
//!
//! * Where `unclean.leader.election.enable` is true, a replica that is neither in sync nor eligible
//!   may be elected. What it does not have is gone.
//! * Where `durability` is `replicated`, a crash costs a broker what it had received and not flushed.
//!   Records are gone with the last broker that was in sync, or eligible (KIP-966), and has not
//!   crashed since it came to be so. With `min.insync.replicas` of 1 there may be one such broker
//!   only, and when it is the one that leaves the ISR, and one that has crashed stays, the others do
//!   not help either.
//!
//! Such a moment divides the life of a partition into eras. What was told in an era holds in it, and
//! binds no later one: every check judges every era for itself, and the end of the run with the last.

use crate::history::{
    Call, History, MarkKind, MetadataSeen, Moment, Outcome, Partition, PartitionSeen, Produce,
    Request,
};
use std::collections::BTreeMap;

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// A moment at which a partition may have given up what was acknowledged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// When somebody saw it first.
    pub at: Moment,
    /// Leaders since then have this epoch or a later one.
    pub leader_epoch: i32,
    /// Whether it was an unclean election, or all who were in sync have crashed.
    pub is_election: bool,
}

/// The moments of each partition that had any, in order.
pub type Losses = BTreeMap<Partition, Vec<GivenUp>>;

/// Every moment at which something may have been given up.
#[must_use]
pub fn given_up(history: &History) -> Losses {
    let mut losses = Losses::new();
    unclean_elections(history, &mut losses);
    crashes_of_all_in_sync(history, &mut losses);
    losses.values_mut().for_each(|of_one| of_one.sort_by_key(|loss| loss.at));
    losses
}

/// The history divided into eras: first the last one, with all that happened to partitions that gave
/// nothing up, then the earlier ones without the end of the run. `None` when nothing was given up.
pub(super) fn eras(history: &History) -> Option<Vec<History>> {
    let losses = given_up(history);
    let most = losses.values().map(Vec::len).max()?;
    let eras = Eras { led: leaderships(history), losses };
    let earlier = (0..most).map(|era| eras.earlier(history, era));
    Some([eras.last(history)].into_iter().chain(earlier).collect())
}

/// A leader is elected that was known not to have everything. Two changes of a partition within the
/// millisecond between two looks may pass for one; then this errs on the side of the cluster.
fn unclean_elections(history: &History, losses: &mut Losses) {
    let mut seen: Vec<&MetadataSeen> = history.metadata.iter().collect();
    seen.sort_by_key(|seen| (seen.offset, seen.at));
    let first_seen = |offset: u64| {
        let later = history.metadata.iter().filter(move |seen| seen.offset >= offset);
        later.map(|seen| seen.at).min().expect("it was seen at this offset")
    };
    let mut before: BTreeMap<Partition, &PartitionSeen> = BTreeMap::new();
    for look in seen {
        for (partition, now) in &look.partitions {
            let Some(was) = before.insert(*partition, now) else { continue };
            let Some(leader) = now.leader.filter(|_| now.leader_epoch > was.leader_epoch) else {
                continue;
            };
            let had_everything = was.isr.contains(&leader) || was.elr.contains(&leader);
            if history.topics[partition.topic].unclean && !had_everything {
                losses.entry(*partition).or_default().push(GivenUp {
                    at: first_seen(look.offset),
                    leader_epoch: now.leader_epoch,
                    is_election: true,
                });
            }
        }
    }
}

/// The last broker crashes that had everything in its memory.
fn crashes_of_all_in_sync(history: &History, losses: &mut Losses) {
    let mut sound = Sound::default();
    let mut looks = history.metadata.iter().peekable();
    for (at, machine) in crashes(history) {
        while let Some(look) = looks.next_if(|look| look.at < at) {
            sound.look(history, look, losses);
        }
        sound.crash(history, (at, machine), losses);
    }
    looks.for_each(|look| sound.look(history, look, losses));
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
                let loss = GivenUp { at, leader_epoch, is_election: false };
                losses.entry(*partition).or_default().push(loss);
                *was_lost = true;
            } else if !is_lost {
                *was_lost = false;
            }
        }
    }
}

/// When a broker knew of leading a partition, and in which epoch.
type Leaderships = BTreeMap<(Partition, i32), Vec<(Moment, i32)>>;

fn leaderships(history: &History) -> Leaderships {
    let mut led = Leaderships::new();
    for look in &history.metadata {
        for (partition, seen) in &look.partitions {
            if seen.leader == Some(look.machine) {
                let of_one = led.entry((*partition, look.machine)).or_default();
                of_one.push((look.at, seen.leader_epoch));
            }
        }
    }
    led
}

struct Eras {
    losses: Losses,
    led: Leaderships,
}

impl Eras {
    /// What holds in the end: of partitions that gave something up only what was told since.
    fn last(&self, history: &History) -> History {
        let mut last = history.clone();
        for call in &mut last.calls {
            let Some((partition, losses)) = self.losses_of(call) else { continue };
            if !self.is_told_in(history, call, partition, losses.len()) {
                forget(call);
            }
        }
        last
    }

    /// What was told in an earlier era of the partitions that have given something up since.
    fn earlier(&self, history: &History, era: usize) -> History {
        let calls = history.calls.iter().filter_map(|call| {
            let (partition, losses) = self.losses_of(call)?;
            let mut call = call.clone();
            if era >= losses.len() || !self.is_told_in(history, &call, partition, era) {
                forget(&mut call);
            }
            Some(call)
        });
        history.with_calls_only(calls.collect())
    }

    fn losses_of(&self, call: &Call) -> Option<(Partition, &[GivenUp])> {
        let partition = partition_of(&call.request)?;
        Some((partition, self.losses.get(&partition)?))
    }

    /// Whether what came of a call is to be judged with this era.
    fn is_told_in(&self, history: &History, call: &Call, partition: Partition, era: usize) -> bool {
        self.era_of(call, partition) == Some(era)
            && !self.is_refused_for_a_loss(history, call, partition, era)
    }

    /// Whether a sequence number was refused to a producer that has sent others in another era: what
    /// it goes on from, or repeats, may be gone.
    fn is_refused_for_a_loss(
        &self,
        history: &History,
        call: &Call,
        partition: Partition,
        era: usize,
    ) -> bool {
        let identity = |call: &Call| match &call.request {
            Request::Produce(produce) if produce.partition == partition => {
                produce.producer.map(|producer| (producer.id, producer.epoch))
            }
            _ => None,
        };
        let refused = [
            Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER),
            Outcome::Failed(DUPLICATE_SEQUENCE_NUMBER),
        ];
        let Some(producer) = identity(call).filter(|_| refused.contains(&call.outcome)) else {
            return false;
        };
        let mut before = history.calls.iter().take_while(|other| other.invoked < call.invoked);
        before.any(|other| {
            identity(other) == Some(producer) && self.era_of(other, partition) != Some(era)
        })
    }

    /// In which era a call was served, if that is certain.
    fn era_of(&self, call: &Call, partition: Partition) -> Option<usize> {
        let losses = &self.losses[&partition];
        let before = losses.iter().take_while(|loss| self.is_behind(call, partition, loss)).count();
        let is_before = |loss: &GivenUp| call.ended.is_some_and(|ended| ended < loss.at);
        losses[before..].iter().all(is_before).then_some(before)
    }

    /// Whether a call was certainly served behind a loss: it began later, and its broker knew then of
    /// leading in a later epoch. A leader that does not know that it was replaced is none.
    fn is_behind(&self, call: &Call, partition: Partition, loss: &GivenUp) -> bool {
        let led = self.led.get(&(partition, call.broker)).map_or(&[][..], Vec::as_slice);
        let known = |(at, epoch): &(Moment, i32)| {
            *epoch >= loss.leader_epoch && call.ended.is_none_or(|ended| *at < ended)
        };
        call.invoked > loss.at && led.iter().any(known)
    }
}

/// Nobody heard what came of it.
fn forget(call: &mut Call) {
    call.outcome = Outcome::Unknown;
    call.ended = None;
}

fn partition_of(request: &Request) -> Option<Partition> {
    match request {
        Request::Produce(Produce { partition, .. })
        | Request::Fetch { partition, .. }
        | Request::ListOffsets { partition, .. }
        | Request::DeleteRecords { partition, .. } => Some(*partition),
        Request::InitProducer { .. } | Request::Group(_) | Request::Admin(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        example::{Example, PARTITION, batch, batch_by, in_sync, producer},
        first_violation,
    };
    use super::*;
    use crate::history::FinalTopic;

    /// A cluster that broker 1 leads at first, with everybody in sync.
    fn example() -> Example {
        let mut example = Example::in_cluster();
        let final_topic = FinalTopic { name: "t".into(), id: [1; 16], partitions: 1 };
        example.history.final_topics.push(final_topic);
        sees(&mut example, 1, (Some(1), 1), &[1, 2, 3]);
        example
    }

    fn unclean() -> Example {
        let mut example = example();
        example.history.topics[0].unclean = true;
        example
    }

    fn replicated() -> Example {
        let mut example = example();
        example.history.topics[0].replicated = true;
        example
    }

    /// All machines see this leader with its epoch, and this ISR.
    fn sees(example: &mut Example, at: u64, leader: (Option<i32>, i32), isr: &[i32]) {
        for machine in [1, 2, 3] {
            let mut seen = in_sync(1, leader.1);
            (seen.leader, seen.isr, seen.partition_epoch) = (leader.0, isr.to_vec(), at as i32);
            example.saw(machine, at, "", seen);
            let look = example.history.metadata.last_mut().expect("just pushed");
            (look.digest, look.brokers) = (at.to_string(), [(1, 1), (2, 1), (3, 1)].into());
        }
    }

    /// Everybody has registered again in the newest look.
    fn registered_again(example: &mut Example) {
        for look in example.history.metadata.iter_mut().rev().take(3) {
            look.brokers = [(1, 9), (2, 9), (3, 9)].into();
        }
    }

    fn acknowledged_by(example: &mut Example, broker: i32, number: u64, offset: i64) {
        let call = example.produced(number..number + 1, offset);
        example.history.calls[call].broker = broker;
    }

    fn broken(example: &Example) -> Option<&'static str> {
        first_violation(&example.history).map(|(check, _)| check.name)
    }

    #[test]
    fn an_unclean_election_gives_up_what_was_acknowledged_before_and_nothing_since() {
        for (kept, is_unclean, expected) in [
            (true, true, None),
            (true, false, Some("L3 immutable")),
            (false, true, Some("L7 crash prefix")),
        ] {
            let mut example = unclean();
            example.history.topics[0].unclean = is_unclean;
            sees(&mut example, 2, (Some(1), 1), &[1]);
            acknowledged_by(&mut example, 1, 5, 0);
            sees(&mut example, 3, (Some(2), 2), &[2]);
            acknowledged_by(&mut example, 2, 7, 0);
            example.finish(if kept { vec![batch(0, 7..8)] } else { vec![] });
            assert_eq!(broken(&example), expected);
        }
    }

    #[test]
    fn the_election_of_a_replica_in_sync_or_eligible_gives_nothing_up() {
        for (isr, elr, gives_up) in
            [(&[1, 2][..], &[][..], false), (&[1], &[2], false), (&[1], &[3], true)]
        {
            let mut example = unclean();
            sees(&mut example, 2, (Some(1), 1), isr);
            for look in example.history.metadata.iter_mut().rev().take(3) {
                look.partitions.get_mut(&PARTITION).expect("seen").elr = elr.to_vec();
            }
            sees(&mut example, 3, (Some(2), 2), &[2]);
            assert_eq!(given_up(&example.history).contains_key(&PARTITION), gives_up);
        }
    }

    #[test]
    fn a_leader_that_was_replaced_without_knowing_it_binds_nobody() {
        for (broker, expected) in [(1, None), (2, Some("L7 crash prefix"))] {
            let mut example = unclean();
            sees(&mut example, 2, (Some(1), 1), &[1]);
            sees(&mut example, 3, (Some(2), 2), &[2]);
            acknowledged_by(&mut example, broker, 5, 0);
            example.finish(vec![]);
            assert_eq!(broken(&example), expected);
        }
    }

    #[test]
    fn a_producer_is_refused_what_it_goes_on_with_when_that_is_gone_and_not_otherwise() {
        for (began_before, expected) in [(true, None), (false, Some("I8 honest refusals"))] {
            let mut example = unclean();
            let produced = |example: &mut Example, broker, number: u64, base_sequence: i32| {
                let numbers = number..number + 1;
                let call = example.produce(numbers, Some(producer(0, base_sequence)));
                example.acknowledge(call, 0);
                example.history.calls[call].broker = broker;
            };
            if began_before {
                produced(&mut example, 1, 6, 0);
            }
            sees(&mut example, 2, (Some(1), 1), &[1]);
            sees(&mut example, 3, (Some(2), 2), &[2]);
            produced(&mut example, 2, 7, 5);
            let call = example.produce(8..9, Some(producer(0, 0)));
            example.history.end(call, Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER));
            example.history.calls[call].broker = 2;
            let kept = batch_by(0, 7..8, producer(0, 5));
            example.finish(vec![kept]).producers = vec![(7, 0, 5)];
            assert_eq!(broken(&example), expected);
        }
    }

    #[test]
    fn what_was_told_before_a_loss_is_judged_by_itself() {
        let mut example = unclean();
        acknowledged_by(&mut example, 1, 5, 0);
        acknowledged_by(&mut example, 1, 6, 0);
        sees(&mut example, 2, (Some(1), 1), &[1]);
        sees(&mut example, 3, (Some(2), 2), &[2]);
        example.finish(vec![]);
        assert_eq!(broken(&example), Some("L3 immutable"));
    }

    #[test]
    fn replicated_records_are_lost_with_the_last_of_those_in_sync_and_not_before() {
        for crashes in 1..=3 {
            let mut example = replicated();
            acknowledged_by(&mut example, 1, 5, 0);
            for machine in 1..=crashes {
                example.history.mark(machine, MarkKind::Stopped);
            }
            example.finish(vec![]);
            let expected = (crashes < 3).then_some("L7 crash prefix");
            assert_eq!(broken(&example), expected, "{crashes}");
        }
    }

    #[test]
    fn who_has_registered_again_and_is_in_sync_has_every_record_again() {
        for is_in_sync in [true, false] {
            let mut example = replicated();
            example.history.mark(1, MarkKind::Stopped);
            let isr: &[i32] = if is_in_sync { &[1, 2, 3] } else { &[2, 3] };
            sees(&mut example, 2, (Some(2), 2), isr);
            registered_again(&mut example);
            example.history.mark(2, MarkKind::Stopped);
            example.history.mark(3, MarkKind::Stopped);
            assert_eq!(given_up(&example.history).is_empty(), is_in_sync);
        }
    }

    #[test]
    fn a_clean_shutdown_is_no_crash() {
        let mut example = replicated();
        for machine in 1..=3 {
            example.history.mark(machine, MarkKind::ShutDown);
            example.history.mark(machine, MarkKind::Stopped);
        }
        assert!(given_up(&example.history).is_empty());
        example.history.mark(1, MarkKind::Ready);
        for machine in 1..=3 {
            example.history.mark(machine, MarkKind::Stopped);
        }
        assert_eq!(given_up(&example.history)[&PARTITION].len(), 1);
    }

    #[test]
    fn a_member_that_crashed_and_stays_alone_in_the_isr_is_the_end_where_one_is_enough() {
        for min_insync in [1, 2] {
            let mut example = replicated();
            example.history.mark(2, MarkKind::Stopped);
            sees(&mut example, 2, (None, 2), &[2]);
            for look in example.history.metadata.iter_mut().rev().take(3) {
                look.partitions.get_mut(&PARTITION).expect("seen").min_insync = min_insync;
            }
            assert_eq!(given_up(&example.history).contains_key(&PARTITION), min_insync == 1);
        }
    }
}
