//! What the cluster may have given up, and when. Two kinds of topics let it:
//!
//! * Where `unclean.leader.election.enable` is true, a replica that is neither in sync nor eligible
//!   may be elected. What it does not have is gone. What was promised while it was in sync it has.
//! * Where `durability` is `replicated`, a crash costs a broker what it had received and not flushed.
//!   Records are gone with the last broker that was in sync, or eligible (KIP-966), and has not
//!   crashed since it came to be so. With `min.insync.replicas` of 1 there may be one such broker
//!   only, and when it is the one that leaves the ISR, and one that has crashed stays, the others do
//!   not help either. What lies on the disk of the one that leads next stays.
//!
//! Such a moment divides the life of a partition into eras. What was told in an era holds in it. In
//! later ones only that of it holds which each loss since has kept. Every check judges every era for
//! itself, and the end of the run with the last.

use crate::history::{Call, History, Moment, Outcome, Partition, Produce, Request};
pub use losses::{GivenUp, Losses, given_up};
use std::collections::BTreeMap;

mod losses;
#[cfg(test)]
mod tests;

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// The history divided into eras: first the last one, with all that happened to partitions that gave
/// nothing up, then the earlier ones without the end of the run. `None` when nothing was given up.
pub(super) fn eras(history: &History) -> Option<Vec<History>> {
    let losses = given_up(history);
    let most = losses.values().map(Vec::len).max()?;
    let eras = Eras { led: leaderships(history), losses };
    let earlier = (0..most).map(|era| eras.earlier(history, era));
    Some([eras.last(history)].into_iter().chain(earlier).collect())
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
    /// What holds in the end: of partitions that gave something up what was told since, and what was
    /// kept of that before.
    fn last(&self, history: &History) -> History {
        let mut last = history.clone();
        for call in &mut last.calls {
            let Some((partition, losses)) = self.losses_of(call) else { continue };
            self.keep_what_holds(history, call, partition, losses.len());
        }
        last
    }

    /// What held in an earlier era of the partitions that have given something up since.
    fn earlier(&self, history: &History, era: usize) -> History {
        let calls = history.calls.iter().filter_map(|call| {
            let (partition, losses) = self.losses_of(call)?;
            let mut call = call.clone();
            match era < losses.len() {
                true => self.keep_what_holds(history, &mut call, partition, era),
                false => forget(&mut call),
            }
            Some(call)
        });
        history.with_calls_only(calls.collect())
    }

    fn losses_of(&self, call: &Call) -> Option<(Partition, &[GivenUp])> {
        let partition = partition_of(&call.request)?;
        Some((partition, self.losses.get(&partition)?))
    }

    /// Leaves of a call what is to be judged with this era.
    fn keep_what_holds(
        &self,
        history: &History,
        call: &mut Call,
        partition: Partition,
        era: usize,
    ) {
        if !self.holds_in(history, call, partition, era) {
            forget(call);
        } else if self.era_of(call, partition) != Some(era) {
            keep_what_was_read(call);
        }
    }

    /// Whether what came of a call is to be judged with this era: it was told in it, or it was
    /// promised before and no loss since has cost it.
    fn holds_in(&self, history: &History, call: &Call, partition: Partition, era: usize) -> bool {
        let Some(told) = self.era_of(call, partition) else { return false };
        if told >= era {
            return told == era && !self.is_refused_for_a_loss(history, call, partition, era);
        }
        let mut since = self.losses[&partition][told..era].iter();
        is_promise(call) && since.all(|loss| loss.kept.holds(call))
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

/// Whether whoever was in sync knows of it: what waited for all of them, or lay below the high
/// watermark.
fn is_promise(call: &Call) -> bool {
    match (&call.request, &call.outcome) {
        (Request::Produce(produce), Outcome::Produced { base_offset, .. }) => {
            produce.acks == -1 && *base_offset >= 0
        }
        (Request::Fetch { .. }, Outcome::Fetched { .. })
        | (Request::DeleteRecords { .. }, Outcome::Deleted { .. }) => true,
        _ => false,
    }
}

/// Of a fetch before a loss the records are kept, and not what was committed behind them.
fn keep_what_was_read(call: &mut Call) {
    if let Outcome::Fetched { high_watermark, batches, .. } = &mut call.outcome
        && let Some(last) = batches.last()
    {
        *high_watermark = (last.last_offset + 1).min(*high_watermark);
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
        | Request::EpochEnd { partition, .. }
        | Request::DeleteRecords { partition, .. } => Some(*partition),
        Request::InitProducer { .. } | Request::Group(_) | Request::Admin(_) => None,
    }
}
