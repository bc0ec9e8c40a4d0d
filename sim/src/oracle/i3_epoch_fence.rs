//! I3: once a producer's newer epoch has written, an older one writes nothing.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{Moment, Outcome, Partition};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I3 epoch fence",
    claim: "once a producer's newer epoch has written to a partition, an older one is refused",
    judge,
};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in &index.finals {
        let mut newest: BTreeMap<i64, i16> = BTreeMap::new();
        for batch in &log.batches {
            let Some(producer) = batch.producer else { continue };
            let epoch = newest.entry(producer.id).or_insert(producer.epoch);
            if producer.epoch < *epoch {
                let (name, offset) = (index.name(*partition), batch.base_offset);
                return violated(format!("{name}: {producer:?} at {offset} follows epoch {epoch}"));
            }
            *epoch = producer.epoch;
        }
    }
    refused_afterwards(index)
}

fn refused_afterwards(index: &Index<'_>) -> Verdict {
    // When each epoch of a producer was first acknowledged in a partition.
    let mut first: BTreeMap<(Partition, i64, i16), Moment> = BTreeMap::new();
    for (call, produce, _) in index.history.acknowledged() {
        if let (Some(producer), Some(ended)) = (produce.producer, call.ended) {
            let key = (produce.partition, producer.id, producer.epoch);
            let at = first.entry(key).or_insert(ended);
            *at = ended.min(*at);
        }
    }
    for (call, produce) in index.history.produces() {
        let Some(producer) = produce.producer else { continue };
        let next = (produce.partition, producer.id, producer.epoch.saturating_add(1));
        let last = (produce.partition, producer.id, i16::MAX);
        let fenced = first.range(next..=last).any(|(_, ended)| *ended < call.invoked);
        let Some(told) = told_instead(&call.outcome).filter(|_| fenced) else { continue };
        let name = index.name(produce.partition);
        return violated(format!("{name}: {producer:?} {told} behind a newer epoch"));
    }
    Ok(())
}

/// What somebody with an old epoch was told, if it is not that. Whoever takes his sequence numbers for
/// wrong begins anew, and does not end.
fn told_instead(outcome: &Outcome) -> Option<String> {
    const ABOUT_SEQUENCES: [i16; 3] =
        [OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID];
    match outcome {
        Outcome::Produced { .. } => Some("was acknowledged".into()),
        Outcome::Failed(code) if ABOUT_SEQUENCES.contains(code) => {
            Some(format!("was refused with error {code}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::{CHECK, OUT_OF_ORDER_SEQUENCE_NUMBER};
    use crate::history::Outcome;

    #[test]
    fn an_old_epoch_in_the_log_is_found() {
        let (old, new) = (batch_by(0, 0..2, producer(0, 0)), batch_by(2, 2..4, producer(1, 0)));
        let mut example = Example::new();
        example.finish(vec![old, new.clone()]);
        assert!(example.holds(&CHECK));
        example.history.finals.clear();
        example.finish(vec![new, batch_by(4, 4..5, producer(0, 2))]);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn an_acknowledged_old_epoch_is_found() {
        let mut example = Example::new();
        example.produced_by(0..1, 0, producer(0, 0));
        example.produced_by(1..2, 1, producer(1, 0));
        assert!(example.holds(&CHECK));
        example.produced_by(2..3, 2, producer(0, 1));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn an_old_epoch_is_told_that_it_is_old() {
        const INVALID_PRODUCER_EPOCH: i16 = 47;
        for (code, is_sound) in [(INVALID_PRODUCER_EPOCH, true), (OUT_OF_ORDER_SEQUENCE_NUMBER, false)]
        {
            let mut example = Example::new();
            example.produced_by(1..2, 1, producer(1, 0));
            let zombie = example.produce(2..3, Some(producer(0, 1)));
            example.history.end(zombie, Outcome::Failed(code));
            assert_eq!(example.holds(&CHECK), is_sound, "error {code}");
        }
    }
}
