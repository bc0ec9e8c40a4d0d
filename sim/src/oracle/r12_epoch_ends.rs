//! R12: where a leader epoch ends is told as the committed log has it. A consumer that was cut off
//! truncates what it believes to the end that it is told (KIP-320): too late an end keeps what was never
//! committed, too early a one reads again, or skips.

use super::{
    Check, Verdict, Violation,
    index::Index,
    told::{Ends, start_asked_by},
};
use crate::history::{Call, FinalLog, Outcome, Partition, Request};

pub const CHECK: Check = Check {
    name: "R12 epoch ends",
    claim: "a leader epoch is told to end where the next one that is known begins",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        let mut answers = answers(index, *partition).peekable();
        if log.error.is_some() || answers.peek().is_none() {
            continue;
        }
        let known = Known { index, partition: *partition, log, ends: Ends::of(index, *partition) };
        for answer in answers {
            known.judge(&answer).map_err(|message| {
                let Answer { call, asked, epoch, end } = answer;
                let broker = call.broker;
                let message = format!(
                    "asked where epoch {asked} ends, broker {broker} told epoch {epoch} and {end}: \
                     {message}"
                );
                Violation::new(message)
                    .at(*partition, end)
                    .on([broker])
                    .shown_by([call])
                    .saw("asked for epoch", asked)
                    .saw("told epoch", epoch)
                    .saw("told end", end)
                    .of(index, *partition)
            })?;
        }
    }
    Ok(())
}

/// Where an epoch ends, as somebody was told.
#[derive(Clone, Copy)]
struct Answer<'a> {
    call: &'a Call,
    asked: i32,
    epoch: i32,
    end: i64,
}

fn answers<'a>(index: &Index<'a>, partition: Partition) -> impl Iterator<Item = Answer<'a>> {
    index.history.calls.iter().filter_map(move |call| match (&call.request, &call.outcome) {
        (
            Request::EpochEnd { partition: of, epoch: asked },
            Outcome::EpochEnd { epoch, end },
        ) if *of == partition => Some(Answer { call, asked: *asked, epoch: *epoch, end: *end }),
        _ => None,
    })
}

/// What answers can be measured by.
struct Known<'a> {
    index: &'a Index<'a>,
    partition: Partition,
    log: &'a FinalLog,
    ends: Ends,
}

impl Known<'_> {
    fn judge(&self, answer: &Answer<'_>) -> Result<(), String> {
        let Answer { call, asked, epoch, end } = *answer;
        if epoch > asked {
            return Err("that is a later epoch".into());
        }
        // Nobody knows where retention has moved the log start to.
        if self.index.history.topics[self.partition.topic].has_retention() {
            return Ok(());
        }
        let start = start_asked_by(self.index, self.partition, call);
        if epoch < 0 || end < 0 {
            return match self.records_before(call).find(|(offset, of)| *of >= asked && *offset >= start) {
                Some((offset, of)) => Err(format!("{offset} is of epoch {of}, and was committed")),
                None => Ok(()),
            };
        }
        let next = self.records_before(call).find(|(_, of)| *of > asked);
        if let Some((offset, of)) = next.filter(|(offset, _)| end > start.max(*offset)) {
            return Err(format!("{offset} is of epoch {of}, and was committed"));
        }
        let mut kept = self.records_before(call).filter(|(offset, of)| *offset >= start && *of <= asked);
        match kept.find(|(offset, of)| *offset >= end || *of > epoch) {
            Some((offset, of)) => Err(format!("{offset} is of epoch {of}, and was committed")),
            None => Ok(()),
        }
    }

    /// The records that the leadership which answered knew to be committed: offset and leader epoch.
    fn records_before(&self, call: &Call) -> impl Iterator<Item = (i64, i32)> {
        let end = self.ends.end_before(call).unwrap_or(0);
        let records = self.log.batches.iter().flat_map(|batch| {
            batch.records.iter().map(|record| (record.offset, batch.leader_epoch))
        });
        records.filter(move |(offset, _)| (self.log.log_start..end).contains(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, WALL, batch};
    use super::CHECK;
    use crate::batch::ReadBatch;
    use crate::history::{Outcome, Request};

    /// Two records of epoch 1 and two of epoch 3 are acknowledged, and a leader of epoch 4 is asked;
    /// somebody has asked for deletion.
    fn holds_after(deleted: Option<i64>, asked: i32, (epoch, end): (i32, i64)) -> bool {
        let mut example = Example::in_cluster();
        example.produced(0..2, 0);
        example.produced(2..4, 2);
        if let Some(before) = deleted {
            let request = Request::DeleteRecords { partition: PARTITION, before };
            example.history.invoke(2, WALL, request);
        }
        let request = Request::EpochEnd { partition: PARTITION, epoch: asked };
        let call = example.history.invoke(3, WALL, request);
        example.history.calls[call].knew = Some(4);
        example.history.end(call, Outcome::EpochEnd { epoch, end });
        let of = |epoch, batch| ReadBatch { leader_epoch: epoch, ..batch };
        example.finish(vec![of(1, batch(0, 0..2)), of(3, batch(2, 2..4))]);
        example.holds(&CHECK)
    }

    fn holds(asked: i32, told: (i32, i64)) -> bool {
        holds_after(None, asked, told)
    }

    #[test]
    fn an_epoch_that_ends_where_the_next_one_begins_is_right() {
        assert!(holds(1, (1, 2)));
        assert!(holds(2, (1, 2)), "no record is of epoch 2");
        assert!(holds(0, (0, 0)), "older than all that is known");
        assert!(holds(3, (3, 4)));
        assert!(holds(3, (3, 7)), "what is not committed yet may be of it");
        assert!(holds(5, (-1, -1)));
    }

    #[test]
    fn an_end_behind_the_next_epoch_is_found() {
        assert!(!holds(1, (1, 4)));
        assert!(!holds(2, (1, 3)));
        assert!(!holds(0, (0, 1)));
    }

    #[test]
    fn an_end_before_what_is_committed_is_found() {
        assert!(!holds(1, (1, 1)));
        assert!(!holds(3, (3, 3)));
        assert!(!holds(3, (1, 4)), "epoch 3 has records");
        assert!(!holds(3, (-1, -1)));
        assert!(!holds(1, (2, 2)), "it is later than what was asked for");
    }

    #[test]
    fn epochs_whose_records_were_deleted_may_be_forgotten() {
        assert!(holds_after(Some(2), 1, (1, 2)));
        assert!(holds_after(Some(3), 1, (1, 3)), "the next one that is known begins there");
        assert!(!holds_after(Some(3), 1, (1, 4)));
        assert!(holds_after(Some(4), 3, (-1, -1)));
    }
}
