//! R6: two replicas have the same batches at all offsets below the high watermark that both have.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{BatchImage, LogImage};

pub const CHECK: Check = Check {
    name: "R6 log matching",
    claim: "two replicas have the same batches below the high watermark",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for replicas in &index.history.final_replicas {
        let Some(partition) = replicas.partition else { continue };
        // Nobody heard of a high watermark: then nothing is known to be committed.
        let bound = index.online(partition).map_or(0, |log| log.end);
        let logs: Vec<(&i32, &LogImage)> =
            replicas.logs.iter().filter(|(_, log)| !log.rotten).collect();
        for (at, (one, first)) in logs.iter().enumerate() {
            for (other, second) in &logs[at + 1..] {
                if let Some(offset) = differs(first, second, bound) {
                    let name = index.name(partition);
                    let message = format!(
                        "{name}: brokers {one} and {other} differ at {offset}, below the high \
                         watermark {bound}"
                    );
                    return Err(Violation::new(message)
                        .at(partition, offset)
                        .on([**one, **other])
                        .saw("high watermark", bound)
                        .saw(&format!("broker {one} has"), held(first, offset))
                        .saw(&format!("broker {other} has"), held(second, offset)));
                }
            }
        }
    }
    Ok(())
}

/// The first offset that both logs have, below the bound, with another batch.
fn differs(one: &LogImage, other: &LogImage, bound: i64) -> Option<i64> {
    let start = one.start().max(other.start());
    let within = |batch: &&BatchImage| batch.last_offset >= start && batch.base_offset < bound;
    let pairs = one.batches.iter().filter(within).zip(other.batches.iter().filter(within));
    pairs.into_iter().find(|(one, other)| one != other).map(|(one, _)| one.base_offset)
}

fn held(log: &LogImage, offset: i64) -> String {
    let covers = |batch: &&BatchImage| (batch.base_offset..=batch.last_offset).contains(&offset);
    log.batches.iter().find(covers).map_or("nothing".into(), |batch| {
        let number = batch.first_number.map_or("no record of ours".into(), |n| format!("record {n}"));
        format!("{number}, epoch {}", batch.leader_epoch)
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;
    use crate::history::CheckpointImage;

    #[test]
    fn replicas_that_differ_below_the_high_watermark_are_found() {
        let (shared, one, other) = (batch(0, 0..2), batch(2, 2..4), batch(2, 8..10));
        let with = |end: Vec<_>| {
            let mut example = Example::in_cluster();
            example.finish(end);
            let log = image(&[shared.clone(), one.clone()]);
            example.replicated([log.clone(), log, image(&[shared.clone(), other.clone()])]);
            example.holds(&CHECK)
        };
        assert!(with(vec![shared.clone()]));
        assert!(!with(vec![shared.clone(), one.clone()]));
    }

    #[test]
    fn what_lies_below_a_log_start_is_no_part_of_a_log() {
        let (one, other) = ([batch(0, 0..2), batch(2, 2..4)], [batch(0, 8..10), batch(2, 2..4)]);
        let with = |log_start| {
            let mut example = Example::in_cluster();
            example.finish(one.to_vec());
            let log = image(&one);
            let mut third = image(&other);
            third.checkpoint = Some(CheckpointImage { log_start, ..CheckpointImage::default() });
            example.replicated([log.clone(), log, third]);
            example.holds(&CHECK)
        };
        assert!(with(2));
        assert!(!with(1), "the batch reaches across the start");
        assert!(!with(0));
    }

    #[test]
    fn another_epoch_is_another_batch() {
        let mut newer = batch(0, 0..2);
        newer.leader_epoch = 4;
        let mut example = Example::in_cluster();
        example.finish(vec![batch(0, 0..2)]);
        let log = image(&[batch(0, 0..2)]);
        example.replicated([log.clone(), log, image(&[newer])]);
        assert!(!example.holds(&CHECK));
    }
}
