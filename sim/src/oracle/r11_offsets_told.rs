//! R11: offsets that are looked up while the run goes on are those of a log that is committed. What a
//! leader tells as the end is committed, and a new one does not tell it before it knows what was told
//! and acknowledged before (KIP-207). A lookup by timestamp finds the first record there is.

use super::{
    Check, Verdict, Violation,
    index::Index,
    told::{Ends, start_asked_by},
};
use crate::history::{Call, FinalLog, Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "R11 offsets told",
    claim: "a looked-up offset is committed, none that was told or acknowledged before is missing",
    judge,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        if log.error.is_some() {
            continue;
        }
        let known = Known::of(index, *partition, log);
        for answer in answers(index, *partition) {
            known.judge(&answer).map_err(|message| {
                let what = match answer.asked {
                    LATEST => "the end".to_owned(),
                    EARLIEST => "the beginning".to_owned(),
                    NEWEST => "the newest timestamp".to_owned(),
                    at => format!("timestamp {at}"),
                };
                let (offset, broker) = (answer.offset, answer.call.broker);
                let message = format!("asked for {what}, broker {broker} told {offset}: {message}");
                Violation::new(message)
                    .at(*partition, offset)
                    .on([broker])
                    .shown_by([answer.call])
                    .saw("told", offset)
                    .of(index, *partition)
            })?;
        }
    }
    Ok(())
}

/// An offset that was looked up.
struct Answer<'a> {
    call: &'a Call,
    asked: i64,
    /// -1 when there is none.
    offset: i64,
    timestamp: i64,
}

fn answers<'a>(index: &Index<'a>, partition: Partition) -> impl Iterator<Item = Answer<'a>> {
    index.history.calls.iter().filter_map(move |call| match (&call.request, &call.outcome) {
        (Request::ListOffsets { partition: of, timestamp: asked }, Outcome::Offset { .. })
            if *of == partition =>
        {
            let Outcome::Offset { offset, timestamp, .. } = call.outcome else { return None };
            Some(Answer { call, asked: *asked, offset, timestamp })
        }
        _ => None,
    })
}

/// A record as the log of the end has it.
struct Kept {
    timestamp: i64,
    leader_epoch: i32,
    number: Option<u64>,
}

/// What is known of a partition that answers can be measured by.
struct Known<'a> {
    index: &'a Index<'a>,
    partition: Partition,
    log: &'a FinalLog,
    records: BTreeMap<i64, Kept>,
    ends: Ends,
    /// Whether a log start was made durable somewhere that no other leader needs to know of.
    start_may_return: bool,
}

impl<'a> Known<'a> {
    fn of(index: &'a Index<'a>, partition: Partition, log: &'a FinalLog) -> Self {
        let batches = log.batches.iter();
        let records: BTreeMap<i64, Kept> = batches
            .flat_map(|batch| batch.records.iter().map(move |record| (batch.leader_epoch, record)))
            .filter(|(_, record)| record.offset >= log.log_start)
            .map(|(leader_epoch, record)| {
                let (timestamp, number) = (record.timestamp, record.number);
                (record.offset, Kept { timestamp, leader_epoch, number })
            })
            .collect();
        let ends = Ends::of(index, partition);
        let topic = &index.history.topics[partition.topic];
        let is_doubtful = |call: &Call| {
            matches!(call.request, Request::DeleteRecords { partition: of, .. } if of == partition)
                && !matches!(call.outcome, Outcome::Deleted { .. })
        };
        let start_may_return =
            topic.has_retention() || index.history.calls.iter().any(is_doubtful);
        Self { index, partition, log, records, ends, start_may_return }
    }

    fn judge(&self, answer: &Answer<'_>) -> Result<(), String> {
        match answer.asked {
            LATEST => {
                self.is_committed(answer, answer.offset - 1)?;
                self.misses_nothing(answer)
            }
            EARLIEST => self.was_deleted(answer),
            _ if answer.offset < 0 => self.is_there_none(answer),
            _ => {
                self.is_committed(answer, answer.offset)?;
                self.is_the_record(answer)
            }
        }
    }

    /// A record that was committed when it was told stays, and was not appended by a later leadership.
    fn is_committed(&self, answer: &Answer<'_>, offset: i64) -> Result<(), String> {
        if offset >= self.log.end {
            return Err(format!("the log ends at {} now", self.log.end));
        }
        let Some(record) = self.records.get(&offset) else { return Ok(()) };
        if let Some(known) = answer.call.knew.filter(|known| *known < record.leader_epoch) {
            return Err(format!(
                "in epoch {known}, and {offset} was appended in epoch {}",
                record.leader_epoch
            ));
        }
        let attempts = record.number.and_then(|number| self.index.attempts.get(&number));
        let first = attempts.and_then(|all| all.first()).map(|(call, _)| call.invoked);
        match (first, answer.call.ended) {
            (Some(sent), Some(ended)) if sent > ended => {
                Err(format!("{offset} was sent after that"))
            }
            _ => Ok(()),
        }
    }

    fn misses_nothing(&self, answer: &Answer<'_>) -> Result<(), String> {
        let most = self.ends.end_before(answer.call);
        match most.filter(|most| *most > answer.offset) {
            Some(most) => Err(format!("{most} was told or acknowledged before")),
            None => Ok(()),
        }
    }

    /// Log starts move because somebody asked for it.
    fn was_deleted(&self, answer: &Answer<'_>) -> Result<(), String> {
        if self.index.history.topics[self.partition.topic].has_retention() {
            return Ok(());
        }
        let most = start_asked_by(self.index, self.partition, answer.call);
        if answer.offset > most {
            return Err(format!("deletion was asked to {most}"));
        }
        Ok(())
    }

    /// Nothing that was acknowledged is as new as what was asked for.
    fn is_there_none(&self, answer: &Answer<'_>) -> Result<(), String> {
        let asked = if answer.asked == NEWEST { i64::MIN } else { answer.asked };
        let newest = self.ends.known_before(answer.call).filter_map(|told| told.newest).max();
        match newest.filter(|newest| *newest >= asked) {
            Some(newest) => Err(format!("a record of {newest} was acknowledged before")),
            None => Ok(()),
        }
    }

    fn is_the_record(&self, answer: &Answer<'_>) -> Result<(), String> {
        let (offset, timestamp) = (answer.offset, answer.timestamp);
        if let Some(record) = self.records.get(&offset).filter(|it| it.timestamp != timestamp) {
            return Err(format!("with timestamp {timestamp}, and it has {}", record.timestamp));
        }
        if answer.asked == NEWEST {
            let newest = self.ends.known_before(answer.call).filter_map(|told| told.newest).max();
            return match newest.filter(|newest| *newest > timestamp) {
                Some(newest) => Err(format!("a record of {newest} was acknowledged before")),
                None => Ok(()),
            };
        }
        if timestamp < answer.asked {
            return Err(format!("its timestamp {timestamp} is older"));
        }
        let mut before = self.records.range(..offset);
        let first = before.find(|(_, record)| record.timestamp >= answer.asked);
        match first.filter(|_| !self.start_may_return) {
            Some((first, _)) => Err(format!("{first} is as new, and comes before")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, WALL, batch, in_sync};
    use super::{CHECK, EARLIEST, LATEST, NEWEST};
    use crate::batch::ReadBatch;
    use crate::history::{Outcome, Request};

    /// Somebody who knows this epoch looks an offset up.
    fn looked_up(example: &mut Example, asked: i64, epoch: i32, told: (i64, i64)) {
        let request = Request::ListOffsets { partition: PARTITION, timestamp: asked };
        let call = example.history.invoke(3, WALL, request);
        example.history.calls[call].knew = Some(epoch);
        let (offset, timestamp) = told;
        example.history.end(call, Outcome::Offset { offset, timestamp, leader_epoch: None });
    }

    /// Two records of epoch 0 were acknowledged, then somebody asks, then two of epoch 2 are.
    fn holds(asked: i64, epoch: i32, told: (i64, i64)) -> bool {
        let mut example = Example::in_cluster();
        example.produced(0..2, 0);
        looked_up(&mut example, asked, epoch, told);
        example.produced(2..4, 2);
        let later = ReadBatch { leader_epoch: 2, ..batch(2, 2..4) };
        example.finish(vec![batch(0, 0..2), later]);
        example.holds(&CHECK)
    }

    #[test]
    fn an_end_that_is_not_committed_is_found() {
        assert!(holds(LATEST, 1, (2, -1)));
        assert!(!holds(LATEST, 1, (3, -1)), "offset 2 was appended by a later leadership");
        assert!(!holds(LATEST, 2, (3, -1)), "it was sent later");
        assert!(!holds(LATEST, 2, (5, -1)), "the log ends before");
    }

    #[test]
    fn an_end_below_what_was_acknowledged_is_found() {
        assert!(!holds(LATEST, 1, (1, -1)));
        assert!(!holds(LATEST, 0, (1, -1)));
        for (broker, is_sound) in [(1, false), (2, true)] {
            let mut example = Example::in_cluster();
            example.saw(1, 7, "a", in_sync(1, 1));
            example.produced(0..2, 0);
            looked_up(&mut example, LATEST, 0, (0, -1));
            example.history.calls[1].broker = broker;
            example.finish(vec![batch(0, 0..2)]);
            assert_eq!(example.holds(&CHECK), is_sound, "who was replaced cannot know");
        }
    }

    #[test]
    fn an_end_that_goes_back_is_found() {
        for (second, is_sound) in [((1, 5), true), ((1, 4), false), ((0, 4), true)] {
            let (epoch, end) = second;
            let mut example = Example::in_cluster();
            example.produce(0..9, None);
            looked_up(&mut example, LATEST, 1, (5, -1));
            looked_up(&mut example, LATEST, epoch, (end, -1));
            example.finish(vec![batch(0, 0..9)]);
            assert_eq!(example.holds(&CHECK), is_sound, "{second:?}");
        }
    }

    #[test]
    fn a_beginning_that_nobody_asked_for_is_found() {
        assert!(holds(EARLIEST, 1, (0, -1)));
        assert!(!holds(EARLIEST, 1, (1, -1)));
    }

    #[test]
    fn a_lookup_that_misses_the_record_is_found() {
        // Record number n has the timestamp 1000 + n.
        assert!(holds(1_001, 1, (1, 1_001)));
        assert!(!holds(1_000, 1, (1, 1_001)), "the one before is as new");
        assert!(!holds(1_001, 1, (0, 1_000)), "it is older");
        assert!(!holds(1_001, 1, (-1, -1)), "it was acknowledged");
        assert!(holds(1_002, 1, (-1, -1)));
        assert!(!holds(1_001, 1, (1, 1_005)), "it has another timestamp");
        assert!(holds(NEWEST, 1, (1, 1_001)));
        assert!(!holds(NEWEST, 1, (0, 1_000)));
        assert!(!holds(NEWEST, 1, (-1, -1)));
    }
}
