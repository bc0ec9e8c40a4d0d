//! I4: the producers that the broker describes are those of its log.

use super::{Check, Verdict, violated, index::Index};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "I4 state follows log",
    claim: "the producers that the broker describes are those of its log",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (partition, log) in index.finals.iter().filter(|(_, log)| log.error.is_none()) {
        let mut replayed: BTreeMap<i64, (i32, i32)> = BTreeMap::new();
        for batch in &log.batches {
            let Some(producer) = batch.producer else { continue };
            let count = batch.last_offset - batch.base_offset;
            let last = (i64::from(producer.base_sequence) + count) & i64::from(i32::MAX);
            replayed.insert(producer.id, (i32::from(producer.epoch), last as i32));
        }
        for (id, (epoch, sequence)) in replayed {
            let described = log.producers.iter().find(|producer| producer.0 == id);
            if described != Some(&(id, epoch, sequence)) {
                let name = index.name(*partition);
                return violated(format!(
                    "{name}: producer {id} is at epoch {epoch}, sequence {sequence} by the log \
                     and described as {described:?}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, producer};
    use super::CHECK;

    #[test]
    fn a_state_that_is_not_the_logs_is_found() {
        let described = |producers: Vec<(i64, i32, i32)>| {
            let mut example = Example::new();
            let batches = vec![batch_by(0, 0..2, producer(0, 0)), batch_by(2, 2..4, producer(1, 0))];
            example.finish(batches).producers = producers;
            example.holds(&CHECK)
        };
        assert!(described(vec![(7, 1, 1)]));
        assert!(!described(vec![(7, 1, 3)]));
        assert!(!described(vec![]));
    }
}
