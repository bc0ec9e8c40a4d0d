//! L13: a flipped bit is noticed before it reaches a client, and never makes the log shorter.

use super::{Check, Verdict, violated, index::Index};
use crate::history::{MarkKind, Outcome, Partition, Request};
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "L13 corruption detected",
    claim: "a flipped bit never reaches a client, and nothing but a flipped bit takes a log away",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for call in &index.history.calls {
        if let (
            Request::Fetch { partition, offset },
            Outcome::Fetched { bad: Some(found), .. },
        ) = (&call.request, &call.outcome)
        {
            let name = index.name(*partition);
            return violated(format!("{name}: a fetch from {offset} was answered with {found}"));
        }
    }
    let rotten: BTreeSet<Partition> = index
        .history
        .marks
        .iter()
        .filter_map(|mark| match mark.kind {
            MarkKind::Rotten(partition, _) => Some(partition),
            _ => None,
        })
        .collect();
    for (partition, log) in &index.finals {
        match log.error {
            Some(code) if !rotten.contains(partition) => {
                let name = index.name(*partition);
                return violated(format!("{name}: offline with error {code} on a healthy disk"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, WALL, PARTITION};
    use super::CHECK;
    use crate::history::{MarkKind, Outcome, Request};

    #[test]
    fn corrupt_bytes_that_reach_a_client_are_found() {
        let mut example = Example::new();
        example.fetched(0, 0, vec![]);
        assert!(example.holds(&CHECK));
        let call =
            example.history.invoke(1, WALL, Request::Fetch { partition: PARTITION, offset: 3 });
        let bad = Some("a bad checksum".into());
        let answer = Outcome::Fetched { high_watermark: 9, log_start: 0, batches: vec![], bad };
        example.history.end(call, answer);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_log_may_be_offline_only_when_it_is_rotten() {
        let mut example = Example::new();
        example.finish(vec![]).error = Some(56);
        assert!(!example.holds(&CHECK));
        example.history.mark(1, MarkKind::Rotten(PARTITION, 0));
        assert!(example.holds(&CHECK));
    }
}
