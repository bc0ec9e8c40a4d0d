//! C8: replicas compact at different times, and yet have the same newest value of every key.

use super::{Check, Verdict, violated, index::Index};
use crate::{batch::is_deletion, history::LogImage};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "C8 replicas agree",
    claim: "in the end every replica of a compacted topic has the same newest value of each key",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for replicas in &index.history.final_replicas {
        let Some(partition) = replicas.partition else { continue };
        if !index.history.topics[partition.topic].compacted {
            continue;
        }
        let mut logs = replicas.logs.iter();
        let Some((first, log)) = logs.next() else { continue };
        let expected = values(log);
        for (other, log) in logs {
            if values(log) != expected {
                let name = index.name(partition);
                let found = values(log);
                return violated(format!(
                    "{name}: broker {first} has {expected:?} and broker {other} {found:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The newest records that delete nothing.
fn values(log: &LogImage) -> BTreeMap<u64, (i64, u64)> {
    let newest = log.newest.iter().filter(|(_, (_, number))| !is_deletion(*number));
    newest.map(|(key, newest)| (*key, *newest)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;
    use crate::{batch::KEYED, history::LogImage};
    use std::collections::BTreeMap;

    #[test]
    fn replicas_that_have_other_values_are_found() {
        let log = |newest: &[(u64, (i64, u64))]| LogImage {
            newest: BTreeMap::from_iter(newest.iter().copied()),
            ..LogImage::default()
        };
        let (value, deletion) = ((1, (4, KEYED + 1)), (3, (5, KEYED + 3)));
        let with = |third: LogImage| {
            let mut example = Example::compacted();
            example.replicated([log(&[value, deletion]), log(&[value]), third]);
            example.holds(&CHECK)
        };
        assert!(with(log(&[value])));
        assert!(!with(log(&[])));
        assert!(!with(log(&[(1, (2, KEYED + 1 + 61))])));
    }
}
