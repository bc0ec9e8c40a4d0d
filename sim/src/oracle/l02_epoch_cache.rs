//! L2 of the epoch cache: the leader epochs in a checkpoint are those of the batches below its
//! recovery point, each with the first offset of its first batch, and no others (KAFKA-7415,
//! KAFKA-10706). A leader answers with them where logs part.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Boundary, CheckpointImage, LogImage, Partition};

pub const CHECK: Check = Check {
    name: "L2-cache leader epochs",
    claim: "the leader epochs in a checkpoint are those of the batches below its recovery point",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for boundary in &index.history.boundaries {
        for (partition, image) in images(boundary) {
            let Some(checkpoint) = image.checkpoint.as_ref().filter(|_| !image.rotten) else {
                continue;
            };
            let (stored, written) = (stored(checkpoint), written(image, checkpoint));
            if let Some(offset) = first_difference(&stored, &written) {
                let message = format!(
                    "the checkpoint of broker {} has the leader epochs {stored:?}, and the batches up \
                     to {} have {written:?}",
                    boundary.machine, checkpoint.recovery_point
                );
                return Err(Violation::new(message)
                    .of(index, *partition)
                    .at(*partition, offset)
                    .on([boundary.machine])
                    .saw("in the checkpoint", format!("{stored:?}"))
                    .saw("in the batches", format!("{written:?}")));
            }
        }
    }
    Ok(())
}

/// What the disk held when a life ended.
fn images(boundary: &Boundary) -> impl Iterator<Item = (&Partition, &LogImage)> {
    if boundary.power { boundary.after.iter() } else { boundary.before.iter() }
}

/// The first offset at which an epoch begins in one of them only.
fn first_difference(one: &[(i32, i64)], other: &[(i32, i64)]) -> Option<i64> {
    let lacks = |of: &[(i32, i64)], entry: &&(i32, i64)| !of.contains(entry);
    let only_one = one.iter().filter(|entry| lacks(other, entry));
    only_one.chain(other.iter().filter(|entry| lacks(one, entry))).map(|(_, at)| *at).min()
}

/// The epochs in a checkpoint as its log start leaves them: it may have been written before they were
/// cut there.
fn stored(checkpoint: &CheckpointImage) -> Vec<(i32, i64)> {
    let (start, end) = (checkpoint.log_start, checkpoint.recovery_point);
    let reaches_across = |(_, begins): &&(i32, i64)| *begins <= start;
    let across = checkpoint.epochs.iter().rev().find(reaches_across).filter(|_| start < end);
    let behind = checkpoint.epochs.iter().filter(|entry| !reaches_across(entry));
    across.map(|(epoch, _)| (*epoch, start)).into_iter().chain(behind.copied()).collect()
}

/// The same from the batches themselves.
fn written(image: &LogImage, checkpoint: &CheckpointImage) -> Vec<(i32, i64)> {
    let (start, end) = (checkpoint.log_start, checkpoint.recovery_point);
    let mut epochs: Vec<(i32, i64)> = Vec::new();
    let settled = |last_offset: i64| (start..end).contains(&last_offset);
    for batch in image.batches.iter().filter(|batch| settled(batch.last_offset)) {
        if epochs.last().is_none_or(|(epoch, _)| *epoch != batch.leader_epoch) {
            epochs.push((batch.leader_epoch, batch.base_offset.max(start)));
        }
    }
    epochs
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;
    use crate::{
        batch::ReadBatch,
        history::{CheckpointImage, LogImage},
    };

    /// Epoch 1 from 0, epoch 2 from 2, epoch 4 from 6.
    fn batches() -> Vec<ReadBatch> {
        let of = |base_offset: i64, leader_epoch| {
            let first = base_offset as u64;
            ReadBatch { leader_epoch, ..batch(base_offset, first..first + 2) }
        };
        vec![of(0, 1), of(2, 2), of(4, 2), of(6, 4)]
    }

    fn holds(recovery_point: i64, log_start: i64, epochs: &[(i32, i64)]) -> bool {
        let checkpoint = CheckpointImage {
            recovery_point,
            log_start,
            epochs: epochs.to_vec(),
            ..CheckpointImage::default()
        };
        let log = LogImage { checkpoint: Some(checkpoint), ..image(&batches()) };
        let mut example = Example::new();
        example.boundary(log.clone(), log.clone(), log);
        example.holds(&CHECK)
    }

    #[test]
    fn the_epochs_of_the_batches_hold() {
        assert!(holds(8, 0, &[(1, 0), (2, 2), (4, 6)]));
        assert!(holds(6, 0, &[(1, 0), (2, 2)]));
        assert!(holds(0, 0, &[]));
    }

    #[test]
    fn an_epoch_may_begin_where_the_log_does_now_or_did_before() {
        assert!(holds(6, 3, &[(2, 3)]));
        assert!(holds(6, 3, &[(1, 0), (2, 2)]));
        assert!(!holds(6, 3, &[(1, 0), (2, 4)]));
        assert!(holds(6, 6, &[(1, 0), (2, 2)]));
        assert!(!holds(6, 6, &[(1, 0), (2, 2), (4, 8)]));
    }

    #[test]
    fn an_epoch_that_was_cut_is_found() {
        assert!(!holds(6, 0, &[(1, 0), (2, 2), (3, 6)]));
        assert!(!holds(8, 0, &[(1, 0), (2, 2), (3, 5), (4, 6)]));
    }

    #[test]
    fn an_epoch_that_is_missing_or_begins_elsewhere_is_found() {
        assert!(!holds(8, 0, &[(1, 0), (4, 6)]));
        assert!(!holds(8, 0, &[(1, 0), (2, 1), (4, 6)]));
        assert!(!holds(8, 0, &[(1, 0), (2, 2), (5, 6)]));
        assert!(!holds(8, 0, &[]));
    }
}
