//! L11: after a failed sync of a log nothing more is acknowledged in it until it was recovered.

use super::{Check, Verdict, violated, index::Index};
use crate::history::MarkKind;

pub const CHECK: Check = Check {
    name: "L11 fsync failure",
    claim: "a log whose sync failed acknowledges nothing more in this life of the broker",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let marks = &index.history.marks;
    for mark in marks {
        let MarkKind::SyncFailed(partition) = mark.kind else { continue };
        let stops = marks.iter().find(|m| {
            m.at > mark.at && m.machine == mark.machine && m.kind == MarkKind::Stopped
        });
        let life = mark.at..stops.map_or(u64::MAX, |stop| stop.at);
        let acknowledged = index.history.acknowledged().find(|(call, produce, _)| {
            produce.partition == partition
                && call.broker == mark.machine
                && life.contains(&call.invoked)
                && call.ended.is_some_and(|ended| life.contains(&ended))
                && !is_repeated(index, produce.records[0].number, mark.at)
        });
        if let Some((_, _, offset)) = acknowledged {
            let name = index.name(partition);
            return violated(format!("{name}: {offset} was acknowledged after the log's sync failed"));
        }
    }
    Ok(())
}

/// A repeated batch may be answered from memory when it was durable before.
fn is_repeated(index: &Index<'_>, number: u64, before: u64) -> bool {
    index.attempts[&number].iter().any(|(call, _)| call.invoked < before)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::MarkKind;

    #[test]
    fn an_acknowledgement_after_a_failed_sync_is_found() {
        let mut example = Example::new();
        example.produced(0..1, 0);
        example.history.mark(1, MarkKind::SyncFailed(PARTITION));
        let mut wrong = example.clone();
        example.history.mark(1, MarkKind::Stopped);
        example.history.mark(1, MarkKind::Ready);
        example.produced(1..2, 1);
        assert!(example.holds(&CHECK));
        wrong.produced(1..2, 1);
        assert!(!wrong.holds(&CHECK));
    }
}
