//! L10: a checkpoint never promises more than the media holds, and its producers are those of the
//! log up to its recovery point.

use super::{Check, Verdict, violated, index::Index};
use crate::history::LogImage;
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L10 checkpoints",
    claim: "a checkpoint's recovery point is durable, and its producers are those of the log",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for boundary in &index.history.boundaries {
        for (partition, image) in boundary.after.iter().filter(|(_, image)| !image.rotten) {
            checkpoint(image).map_err(|found| found.of(index, *partition))?;
        }
    }
    Ok(())
}

fn checkpoint(image: &LogImage) -> Verdict {
    let Some(checkpoint) = &image.checkpoint else { return Ok(()) };
    let point = checkpoint.recovery_point;
    let end = image.batches.last().map_or(checkpoint.log_start, |batch| batch.last_offset + 1);
    if point > end {
        return violated(format!("the recovery point is {point}, the media ends at {end}"));
    }
    let mut last: BTreeMap<i64, (i16, i32)> = BTreeMap::new();
    for batch in image.batches.iter().filter(|batch| batch.last_offset < point) {
        if let Some(producer) = batch.producer {
            let count = batch.last_offset - batch.base_offset;
            let sequence = (i64::from(producer.base_sequence) + count) & i64::from(i32::MAX);
            last.insert(producer.id, (producer.epoch, sequence as i32));
        }
    }
    for (id, (epoch, sequence)) in last {
        if !checkpoint.producers.contains(&(id, epoch, sequence)) {
            let stored = checkpoint.producers.iter().find(|producer| producer.0 == id);
            return violated(format!(
                "producer {id} is at epoch {epoch}, sequence {sequence} at {point}, and the \
                 checkpoint has {stored:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch_by, image, producer};
    use super::CHECK;
    use crate::history::{CheckpointImage, LogImage};

    fn example(recovery_point: i64, producers: Vec<(i64, i16, i32)>) -> Example {
        let log = image(&[batch_by(0, 0..3, producer(1, 0))]);
        let checkpoint = Some(CheckpointImage { recovery_point, log_start: 0, is_emptying: false, producers });
        let after = LogImage { checkpoint, ..log.clone() };
        let mut example = Example::new();
        example.boundary(log.clone(), after, log);
        example
    }

    #[test]
    fn a_recovery_point_ahead_of_the_media_is_found() {
        assert!(example(3, vec![(7, 1, 2)]).holds(&CHECK));
        assert!(!example(4, vec![(7, 1, 2)]).holds(&CHECK));
    }

    #[test]
    fn producers_that_are_not_those_of_the_log_are_found() {
        assert!(!example(3, vec![(7, 1, 5)]).holds(&CHECK));
        assert!(!example(3, vec![]).holds(&CHECK));
    }
}
