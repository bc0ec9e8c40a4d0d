//! L10: a checkpoint never promises more than the media holds, neither as durable nor as committed, and
//! its producers are those of the log up to its recovery point.

use super::{Check, Verdict, given_up, index::Index, violated};
use crate::history::{CheckpointImage, LogImage};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L10 checkpoints",
    claim: "what a checkpoint takes for durable and committed is there, and its producers are those of the log",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let losses = given_up(index.history);
    for boundary in &index.history.boundaries {
        for (partition, image) in boundary.after.iter().filter(|(_, image)| !image.rotten) {
            let Some(checkpoint) = &image.checkpoint else { continue };
            durable(image, checkpoint).map_err(|found| found.of(index, *partition))?;
            // A log that was cut below what was settled knows of its producers what their windows
            // of batches still tell (core's journal), and it is so only where records are given up.
            if !losses.contains_key(partition) {
                producers(image, checkpoint).map_err(|found| found.of(index, *partition))?;
            }
        }
    }
    Ok(())
}

fn durable(image: &LogImage, checkpoint: &CheckpointImage) -> Verdict {
    let point = checkpoint.recovery_point;
    let end = image.batches.last().map_or(checkpoint.log_start, |batch| batch.last_offset + 1);
    if point > end {
        return violated(format!("the recovery point is {point}, the media ends at {end}"));
    }
    let high_watermark = checkpoint.high_watermark;
    if high_watermark > end {
        return violated(format!(
            "the high watermark in the checkpoint is {high_watermark}, the media ends at {end}"
        ));
    }
    Ok(())
}

fn producers(image: &LogImage, checkpoint: &CheckpointImage) -> Verdict {
    let point = checkpoint.recovery_point;
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
    use super::super::example::{Example, batch_by, image, in_sync, producer};
    use super::CHECK;
    use crate::history::{CheckpointImage, LogImage};

    fn example(recovery_point: i64, producers: Vec<(i64, i16, i32)>) -> Example {
        let log = image(&[batch_by(0, 0..3, producer(1, 0))]);
        let checkpoint = Some(CheckpointImage { recovery_point, producers, ..CheckpointImage::default() });
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
    fn a_high_watermark_ahead_of_the_media_is_found() {
        for (high_watermark, holds) in [(3, true), (4, false)] {
            let mut example = example(3, vec![(7, 1, 2)]);
            for image in example.history.boundaries[0].after.values_mut() {
                image.checkpoint.as_mut().unwrap().high_watermark = high_watermark;
            }
            assert_eq!(example.holds(&CHECK), holds);
        }
    }

    #[test]
    fn producers_may_be_forgotten_where_records_were_given_up_and_nothing_else() {
        for (point, holds) in [(3, true), (4, false)] {
            let mut example = example(point, vec![]);
            example.history.topics[0].unclean = true;
            let mut alone = in_sync(1, 1);
            alone.isr = vec![1];
            example.saw(1, 1, "a", alone);
            assert!(!example.holds(&CHECK));
            example.saw(1, 2, "b", in_sync(2, 2));
            assert_eq!(example.holds(&CHECK), holds);
        }
    }

    #[test]
    fn producers_that_are_not_those_of_the_log_are_found() {
        assert!(!example(3, vec![(7, 1, 5)]).holds(&CHECK));
        assert!(!example(3, vec![]).holds(&CHECK));
    }
}
