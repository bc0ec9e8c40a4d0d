//! LV1: where nothing excuses it, silence is a violation. In a calm time every call is answered within
//! what its request allows and what the way there and back takes; a produce that waits for the in-sync
//! replicas is answered when a healthy cluster has stored it, and a fetch that waits for a record when
//! that is committed. Where processes were stopped and nothing else went wrong, the same holds for
//! produces to a leader whose in-sync replicas all run, from the moment at which it knows that they
//! are the ones.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Call, Calm, MarkKind, Outcome, Partition, Produce, Request};
use standing::{Standing, standings};

mod standing;

pub const CHECK: Check = Check {
    name: "LV1 answered in time",
    claim: "calls are answered in time where nothing goes wrong, and parked ones when they can be",
    judge,
};

/// What a call takes that the broker does not wait with: there and back, at most 6 ms each, and disk
/// operations of a few milliseconds.
const ON_THE_WAY_NANOS: u64 = 100_000_000;
/// A produce takes besides: a round of fetching, a flush on either side, and the report of it, of 3 ms
/// each. One that just missed a round waits for it to end.
const STORED_NANOS: u64 = 100_000_000;
/// The same where some messages between brokers take 40 ms: every message of a round that is under way,
/// and of the next one.
const STORED_AT_TIMES_NANOS: u64 = 350_000_000;
/// How long a leader that was told of its in-sync replicas may take to be led by that.
const AGREED_NANOS: u64 = 400_000_000;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

fn judge(index: &Index<'_>) -> Verdict {
    for calm in &index.history.calms {
        answered(index, calm)?;
        served(index, calm)?;
        woken(index, calm)?;
    }
    if index.history.promise.is_brisk && index.history.promise.is_cluster() {
        in_sync_with_the_living(index)?;
    }
    Ok(())
}

/// Until when a call has to be over in such a time.
fn due(call: &Call, calm: &Calm) -> u64 {
    let stored = if calm.is_settled { STORED_NANOS } else { STORED_AT_TIMES_NANOS };
    let allowed = match &call.request {
        Request::Produce(_) | Request::InitProducer { .. } => stored,
        Request::DeleteRecords { .. } | Request::Admin(_) => call.waits + stored,
        _ => call.waits,
    };
    call.began + allowed + ON_THE_WAY_NANOS
}

fn is_over_by(call: &Call, due: u64) -> bool {
    call.outcome != Outcome::Unknown && call.over <= due
}

/// Coordinators park what their members ask for reasons of their own. What wants no answer has none,
/// but the end of its connection where it was refused.
fn is_answered_by_itself(call: &Call) -> bool {
    match &call.request {
        Request::Group(_) => false,
        Request::Produce(produce) => produce.acks != 0,
        _ => true,
    }
}

fn answered(index: &Index<'_>, calm: &Calm) -> Verdict {
    let calls = index.history.calls.iter();
    for call in calls.filter(|call| is_answered_by_itself(call)) {
        let due = due(call, calm);
        if call.began < calm.from || due > calm.until || is_over_by(call, due) {
            continue;
        }
        return Err(late(index, call, "nothing goes wrong", due));
    }
    Ok(())
}

fn late(index: &Index<'_>, call: &Call, when: &str, due: u64) -> Violation {
    let millis = |nanos: u64| nanos.saturating_sub(call.began) / 1_000_000;
    let what = match call.outcome {
        Outcome::Unknown => "was not answered".to_owned(),
        _ => format!("was answered after {} ms", millis(call.over)),
    };
    let within = millis(due);
    let asked = match &call.request {
        Request::Produce(produce) => format!("a produce with acks={}", produce.acks),
        Request::Fetch { offset, .. } => format!("a fetch from {offset}"),
        other => format!("{other:?}"),
    };
    let message = format!(
        "{asked} of client {} to broker {} {what}; {when}, and it is due after {within} ms",
        call.client, call.broker
    );
    let violation = Violation::new(message).on([call.broker]).shown_by([call]);
    let violation = violation.saw("outcome", format!("{:?}", call.outcome)).saw("due after", within);
    match partition_of(call) {
        Some(partition) => violation.of(index, partition),
        None => violation,
    }
}

fn partition_of(call: &Call) -> Option<Partition> {
    match &call.request {
        Request::Produce(Produce { partition, .. })
        | Request::Fetch { partition, .. }
        | Request::ListOffsets { partition, .. }
        | Request::EpochEnd { partition, .. }
        | Request::DeleteRecords { partition, .. } => Some(*partition),
        _ => None,
    }
}

/// Where the cluster has converged, nothing is refused that concerns a partition which lives as long as
/// the run and has no rotten log; but for who goes by another leadership.
fn served(index: &Index<'_>, calm: &Calm) -> Verdict {
    if !calm.is_settled {
        return Ok(());
    }
    let is_rotten = |partition: Partition| {
        let marks = &index.history.marks;
        marks.iter().any(|it| matches!(it.kind, MarkKind::Rotten(of, _) if of == partition))
    };
    let calls = index.history.calls.iter();
    for call in calls.filter(|call| call.began >= calm.from && call.over <= calm.until) {
        let Some(partition) = partition_of(call) else { continue };
        let Outcome::Failed(code) = call.outcome else { continue };
        let is_by_design = [FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH].contains(&code);
        let topic = &index.history.topics[partition.topic];
        let is_retired = code == OFFSET_OUT_OF_RANGE && topic.has_retention();
        let is_gone = topic.deleted || is_retired;
        if !is_by_design && !is_gone && !is_rotten(partition) {
            let message = format!("the cluster has converged, and error {code} is an answer");
            return Err(Violation::new(message).shown_by([call]).of(index, partition));
        }
    }
    Ok(())
}

/// What waits for a record has it when the record was acknowledged: whoever was acknowledged first
/// heard of it behind the high watermark's move.
fn woken(index: &Index<'_>, calm: &Calm) -> Verdict {
    let is_within = |call: &&Call| call.began >= calm.from && call.over <= calm.until;
    let acknowledged: Vec<_> = index
        .history
        .acknowledged()
        .filter(|(call, produce, _)| is_within(call) && produce.acks == -1)
        .collect();
    for call in index.history.calls.iter().filter(is_within) {
        let (Request::Fetch { partition, offset }, Outcome::Fetched { .. }) =
            (&call.request, &call.outcome)
        else {
            continue;
        };
        let there = acknowledged.iter().filter(|(ack, produce, base)| {
            let end = base + produce.records.len() as i64;
            produce.partition == *partition && ack.broker == call.broker && *offset < end
        });
        let Some((ack, ..)) = there.min_by_key(|(ack, ..)| ack.over) else { continue };
        let due = ack.over.max(call.began) + ON_THE_WAY_NANOS;
        if call.over > due {
            let violation = late(index, call, "what it waits for was acknowledged", due);
            return Err(violation.shown_by([*ack]));
        }
    }
    Ok(())
}

/// A produce that waits while the in-sync replicas change is answered soon after they have, and none
/// that comes later waits for those who are gone.
fn in_sync_with_the_living(index: &Index<'_>) -> Verdict {
    let standings = standings(index.history);
    for (call, produce) in index.history.produces().filter(|(_, produce)| produce.acks == -1) {
        let of_call =
            |it: &&Standing<'_>| (it.partition, it.leader) == (produce.partition, call.broker);
        for standing in standings.iter().filter(of_call) {
            let due = call.began.max(standing.from) + AGREED_NANOS + ON_THE_WAY_NANOS;
            if due <= standing.until && is_waiting_at(call, due) {
                let when = format!("its in-sync replicas {:?} all run", standing.isr);
                return Err(late(index, call, &when, due));
            }
        }
    }
    Ok(())
}

/// Whether a call was under way then, and its client had not given it up.
fn is_waiting_at(call: &Call, nanos: u64) -> bool {
    (call.began..call.over).contains(&nanos)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, batch, in_sync};
    use super::CHECK;
    use crate::history::{Calm, Outcome, PartitionSeen, Request};

    const NOT_LEADER_OR_FOLLOWER: i16 = 6;

    /// Nothing goes wrong from the beginning until an hour later.
    fn calm(is_settled: bool) -> Example {
        let mut example = Example::in_cluster();
        let calm = Calm { from: 0, until: 3_600_000_000_000, is_settled };
        example.history.calms.push(calm);
        example
    }

    fn produced_after(mut example: Example, millis: u64) -> bool {
        let call = example.produce(0..1, None);
        example.passes(millis);
        example.acknowledge(call, 0);
        example.holds(&CHECK)
    }

    #[test]
    fn a_produce_that_is_answered_late_is_found() {
        assert!(produced_after(calm(true), 150));
        assert!(!produced_after(calm(true), 250));
        assert!(produced_after(calm(false), 250));
        assert!(!produced_after(calm(false), 500));
    }

    #[test]
    fn silence_is_found_and_excused_when_the_calm_ends() {
        let mut example = calm(false);
        let call = example.produce(0..1, None);
        assert!(!example.holds(&CHECK), "a call that hangs");
        let mut given_up = example.clone();
        given_up.passes(1_500);
        given_up.history.end(call, Outcome::Unknown);
        assert!(!given_up.holds(&CHECK));
        example.history.calms[0].until = 400_000_000;
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn a_fetch_that_sleeps_through_the_record_it_waits_for_is_found() {
        let with = |millis: u64| {
            let mut example = calm(true);
            let request = Request::Fetch { partition: PARTITION, offset: 0 };
            let fetch = example.history.invoke(1, 0, request);
            example.history.calls[fetch].waits = 1_000_000_000;
            example.passes(20);
            example.produced(0..1, 0);
            example.passes(millis);
            let (batches, bad) = (vec![batch(0, 0..1)], None);
            let answer = Outcome::Fetched { high_watermark: 1, log_start: 0, batches, bad };
            example.history.end(fetch, answer);
            example.holds(&CHECK)
        };
        assert!(with(50));
        assert!(!with(150), "it had the time that it asked for, and the record was there before");
    }

    #[test]
    fn an_error_is_found_where_everything_has_converged() {
        for (is_settled, holds) in [(true, false), (false, true)] {
            let mut example = calm(is_settled);
            let call = example.produce(0..1, None);
            example.history.end(call, Outcome::Failed(NOT_LEADER_OR_FOLLOWER));
            assert_eq!(example.holds(&CHECK), holds);
        }
    }

    /// Broker 1 leads alone; the others are stopped. A produce is answered so much later than that.
    fn alone(fenced: Vec<i32>, answered_after: u64) -> bool {
        let mut example = Example::in_cluster();
        for machine in 1..=3 {
            example.ready(machine);
        }
        let call = example.produce(0..1, None);
        example.passes(100);
        for machine in 2..=3 {
            example.stopped(machine);
        }
        example.passes(1_000);
        example.saw(1, 7, "a", PartitionSeen { isr: vec![1], ..in_sync(1, 1) });
        example.history.metadata[0].fenced = fenced;
        example.passes(answered_after);
        example.acknowledge(call, 0);
        example.passes(2_000);
        example.stopped(1);
        example.holds(&CHECK)
    }

    #[test]
    fn a_produce_that_waits_for_those_who_are_gone_is_found() {
        assert!(alone(vec![2, 3], 200));
        assert!(!alone(vec![2, 3], 900));
        assert!(alone(vec![2], 900), "broker 3 may yet join");
    }
}
