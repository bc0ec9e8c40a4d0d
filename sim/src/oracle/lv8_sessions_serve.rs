//! LV8: a fetch session serves every partition that it has (KIP-227). What it leaves out counts as
//! unchanged: a session that forgets a partition keeps its consumer waiting for ever, and says nothing.
//!
//! Each fetch serves the first partition in turn that has records, and puts it behind the others. So
//! none waits for longer than a fetch for each of the others.

use super::{Check, Verdict, Violation, index::Index, told::end_told};
use crate::history::{Call, InSession, Moment, Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "LV8 sessions serve",
    claim: "a fetch session serves each of its partitions that has records, in turn",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let in_sessions = || index.history.calls.iter().filter(|call| call.session.is_some());
    if in_sessions().next().is_none() {
        return Ok(());
    }
    let known = known_ends(index);
    let mut waiting: BTreeMap<(u32, Partition), Waiting> = BTreeMap::new();
    for call in in_sessions() {
        let (Request::Fetch { partition, offset }, Some(session)) = (&call.request, call.session)
        else {
            continue;
        };
        let found = |message: String| {
            Violation::new(message)
                .at(*partition, *offset)
                .on([call.broker])
                .shown_by([call])
                .of(index, *partition)
        };
        if let Outcome::Fetched { high_watermark: ..0, .. } = call.outcome {
            let message = "a fetch session left it out, and had told nothing of it before";
            return Err(found(message.into()));
        }
        let waiting = waiting.entry((call.client, *partition)).or_default();
        waiting.go_on(call, session);
        let ends = known.get(&(*partition, call.broker, call.knew)).map_or(&[][..], Vec::as_slice);
        let end = ends.iter().filter(|told| told.is_known(waiting.since, call)).map(|told| told.end);
        let end = end.max().filter(|end| end > offset);
        waiting.count(call, end.is_some());
        if let Some(end) = end.filter(|_| waiting.fetches > waiting.others) {
            let (client, fetches) = (call.client, waiting.fetches);
            return Err(found(format!(
                "{fetches} fetches in a session of client {client} with broker {} brought nothing \
                 from {offset} on, and there were records up to {end}",
                call.broker
            ))
            .saw("asked from", offset)
            .saw("records up to", end)
            .saw("fetches in vain", fetches));
        }
    }
    Ok(())
}

/// How long a partition has been waiting in its session.
#[derive(Default)]
struct Waiting {
    session: Option<InSession>,
    /// When the session began.
    since: Moment,
    /// Fetches without records one after the other, although there were some.
    fetches: usize,
    /// The most partitions that these were about.
    others: usize,
}

impl Waiting {
    /// Whoever leaves the session, or misses a turn of it, stands behind all others again.
    fn go_on(&mut self, call: &Call, session: InSession) {
        let before = self.session.replace(session);
        if before.is_none_or(|before| before.number != session.number) {
            self.since = call.invoked;
        }
        let follows = |before: InSession| {
            before.number == session.number && before.turn + 1 == session.turn
        };
        if !before.is_some_and(follows) {
            (self.fetches, self.others) = (0, 0);
        }
        self.others = self.others.max(session.partitions);
    }

    fn count(&mut self, call: &Call, is_due: bool) {
        match &call.outcome {
            Outcome::Fetched { batches, .. } if batches.is_empty() && is_due => self.fetches += 1,
            _ => (self.fetches, self.others) = (0, 0),
        }
    }
}

/// An end that a leadership knew of.
struct KnownEnd {
    invoked: Moment,
    ended: Moment,
    end: i64,
}

impl KnownEnd {
    /// Whether it was known before a call, to the life of the broker in which a session began.
    fn is_known(&self, since: Moment, call: &Call) -> bool {
        since < self.invoked && self.ended < call.invoked
    }
}

/// What brokers told of the end, or acknowledged below it, by partition, broker and leader epoch: a
/// leader of another epoch may have to learn again what is committed.
fn known_ends(index: &Index<'_>) -> BTreeMap<(Partition, i32, Option<i32>), Vec<KnownEnd>> {
    let mut known: BTreeMap<_, Vec<KnownEnd>> = BTreeMap::new();
    let in_cluster = index.history.promise.is_cluster();
    for call in index.history.calls.iter().filter(|call| call.knew.is_some() || !in_cluster) {
        let (Some((partition, end)), Some(ended)) = (end_told(call), call.ended) else { continue };
        let key = (partition, call.broker, call.knew);
        known.entry(key).or_default().push(KnownEnd { invoked: call.invoked, ended, end });
    }
    let epochs = appended_in(index);
    for (call, produce, base) in index.history.acknowledged() {
        let of = epochs.get(&(produce.partition, base));
        let (Some(epoch), Some(ended)) = (of, call.ended) else { continue };
        let key = (produce.partition, call.broker, in_cluster.then_some(*epoch));
        let end = base + produce.records.len() as i64;
        known.entry(key).or_default().push(KnownEnd { invoked: call.invoked, ended, end });
    }
    known
}

/// The leader epoch of each batch that is there in the end, by partition and first offset.
fn appended_in(index: &Index<'_>) -> BTreeMap<(Partition, i64), i32> {
    let logs = index.finals.iter();
    let batches = logs.flat_map(|(partition, log)| {
        log.batches.iter().map(move |batch| ((*partition, batch.base_offset), batch.leader_epoch))
    });
    batches.collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, WALL, batch};
    use super::CHECK;
    use crate::batch::ReadBatch;
    use crate::history::{InSession, Outcome, Request};

    /// The next fetch of a session of two partitions, which both stand at offset 1.
    fn fetched(example: &mut Example, turn: u32, high_watermark: i64, batches: Vec<ReadBatch>) {
        let request = Request::Fetch { partition: PARTITION, offset: 1 };
        let call = example.history.invoke(1, WALL, request);
        let session = InSession { number: 1, turn, partitions: 2 };
        example.history.calls[call].session = Some(session);
        example.history.calls[call].knew = Some(3);
        example.history.end(
            call,
            Outcome::Fetched { high_watermark, log_start: 0, batches, bad: None },
        );
    }

    /// A session begins; somebody is told the end by this broker in this epoch; so many fetches of the
    /// session bring nothing.
    fn waits(end: i64, (broker, epoch): (i32, i32), fetches: u32) -> Example {
        let mut example = Example::in_cluster();
        fetched(&mut example, 0, 1, Vec::new());
        example.fetched(0, end, Vec::new());
        example.history.calls[1].broker = broker;
        example.history.calls[1].knew = Some(epoch);
        for turn in 1..=fetches {
            fetched(&mut example, turn, 1, Vec::new());
        }
        example
    }

    #[test]
    fn a_partition_that_is_never_served_is_found() {
        assert!(waits(2, (1, 3), 2).holds(&CHECK));
        assert!(!waits(2, (1, 3), 3).holds(&CHECK));
    }

    #[test]
    fn whoever_is_served_in_turn_waits_no_longer() {
        let mut example = waits(2, (1, 3), 2);
        fetched(&mut example, 3, 2, vec![batch(1, 1..2)]);
        fetched(&mut example, 4, 2, Vec::new());
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn whoever_has_nothing_to_read_waits() {
        assert!(waits(1, (1, 3), 9).holds(&CHECK), "nothing is there");
        assert!(waits(2, (2, 3), 9).holds(&CHECK), "another broker told it");
        assert!(waits(2, (1, 4), 9).holds(&CHECK), "it was told in another epoch");
    }

    #[test]
    fn a_turn_that_was_missed_puts_behind_the_others() {
        let mut example = waits(2, (1, 3), 2);
        fetched(&mut example, 4, 1, Vec::new());
        fetched(&mut example, 5, 1, Vec::new());
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn an_acknowledged_record_must_be_served() {
        for (epoch, is_sound) in [(3, false), (2, true)] {
            let mut example = Example::in_cluster();
            fetched(&mut example, 0, 1, Vec::new());
            example.produced(1..2, 1);
            (1..=3).for_each(|turn| fetched(&mut example, turn, 1, Vec::new()));
            let of = |epoch, batch| ReadBatch { leader_epoch: epoch, ..batch };
            example.finish(vec![of(1, batch(0, 0..1)), of(epoch, batch(1, 1..2))]);
            assert_eq!(example.holds(&CHECK), is_sound, "appended in epoch {epoch}");
        }
    }

    #[test]
    fn what_was_left_out_before_anything_was_told_is_found() {
        let mut example = Example::in_cluster();
        fetched(&mut example, 0, -1, Vec::new());
        assert!(!example.holds(&CHECK));
    }
}
