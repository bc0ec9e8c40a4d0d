//! R1, R4: when a produce with acks=all is answered, and ever after, its records are on the disk of
//! every broker that the newest metadata names in sync, so that a power cut of all of them takes
//! nothing; and on the disks of `min.insync.replicas` brokers, however few are in sync. Of a topic with `durability=replicated`, all of them have received it when it is answered.
//!
//! It is looked at when the answer arrives, when a broker joins, and when a broker in sync cuts or
//! removes a segment. What was deleted, and what a disk lost that was replaced since the broker
//! registered, is no absence.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Absence, Call, History, MarkKind, Moment, Outcome, Request, Required};

pub const CHECK: Check = Check {
    name: "R1 on every disk",
    claim: "an acknowledged record is on the disk of every broker in sync, or of `durability=replicated` received by it",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for absence in &index.history.absences {
        let (Required::Stored(invoked) | Required::Received(invoked) | Required::Copies(invoked)) =
            absence.required
        else {
            continue;
        };
        let Some((call, base_offset)) = promised(index.history, invoked) else { continue };
        let memory = matches!(absence.required, Required::Received(_));
        if memory && has_crashed(index, call, absence) {
            continue;
        }
        let Absence { partition, broker, isr, offset, found, .. } = absence;
        let is_where = match absence.required {
            Required::Copies(_) => format!("it is on {found}"),
            _ if memory => format!("on the log of broker {broker} there is {found}"),
            _ => format!("on the disk of broker {broker} there is {found}"),
        };
        let message = format!(
            "{}: {base_offset} was acknowledged, in sync at {offset} of the metadata log are {isr:?}, \
             and {is_where}",
            index.name(*partition)
        );
        return Err(Violation::new(message)
            .at(*partition, base_offset)
            .on([*broker])
            .shown_by([call])
            .saw("in sync", format!("{isr:?}"))
            .saw(&format!("broker {broker} has"), found));
    }
    Ok(())
}

/// The call invoked at a moment and the offset that it was told, unless that was given up.
fn promised(history: &History, invoked: Moment) -> Option<(&Call, i64)> {
    let at = history.calls.binary_search_by_key(&invoked, |call| call.invoked).ok()?;
    let call = &history.calls[at];
    match call.outcome {
        Outcome::Produced { base_offset, .. } => Some((call, base_offset)),
        _ => None,
    }
}

/// Whether the broker may have had the records and lost its memory: it stopped after they were sent
/// first.
fn has_crashed(index: &Index<'_>, call: &Call, absence: &Absence) -> bool {
    let Request::Produce(produce) = &call.request else { return false };
    let first = produce.records.first().and_then(|record| index.attempts.get(&record.number));
    let sent = first.and_then(|attempts| attempts.first()).map_or(0, |(first, _)| first.invoked);
    index.history.marks.iter().any(|mark| {
        mark.machine == absence.broker
            && mark.kind == MarkKind::Stopped
            && (sent..absence.at).contains(&mark.at)
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::{Absence, MarkKind, Moment, Outcome, Required};

    fn lacks(example: &mut Example, required: impl Fn(Moment) -> Required) {
        let invoked = example.history.calls[0].invoked;
        let at = example.history.tick();
        example.history.absences.push(Absence {
            at,
            partition: PARTITION,
            broker: 2,
            required: required(invoked),
            isr: vec![1, 2, 3],
            offset: 7,
            found: "nothing".into(),
        });
    }

    #[test]
    fn an_acknowledged_record_that_a_broker_in_sync_lacks_is_found() {
        let mut example = Example::in_cluster();
        example.produced(0..2, 0);
        assert!(example.holds(&CHECK));
        lacks(&mut example, Required::Stored);
        let found = example.violation(&CHECK).evidence;
        assert!(found.brokers.contains(&2) && found.offsets.contains(&0));
    }

    #[test]
    fn what_was_given_up_since_is_promised_no_more() {
        let mut example = Example::in_cluster();
        let call = example.produced(0..2, 0);
        lacks(&mut example, Required::Stored);
        example.history.calls[call].outcome = Outcome::Unknown;
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn an_acknowledged_record_on_fewer_disks_than_min_insync_replicas_is_found() {
        let mut example = Example::in_cluster();
        example.produced(0..2, 0);
        lacks(&mut example, Required::Copies);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_crash_excuses_a_memory_and_no_disk() {
        for (crashes, required, holds) in [
            (false, Required::Received as fn(Moment) -> Required, false),
            (true, Required::Received, true),
            (true, Required::Stored, false),
        ] {
            let mut example = Example::in_cluster();
            example.produced(0..2, 0);
            if crashes {
                example.history.mark(2, MarkKind::Stopped);
            }
            lacks(&mut example, required);
            assert_eq!(example.holds(&CHECK), holds);
        }
    }

    #[test]
    fn a_crash_before_the_record_was_sent_excuses_nothing() {
        let mut example = Example::in_cluster();
        example.history.mark(2, MarkKind::Stopped);
        example.produced(0..2, 0);
        lacks(&mut example, Required::Received);
        assert!(!example.holds(&CHECK));
    }
}
