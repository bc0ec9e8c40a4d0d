//! O3: what was told of a committed offset is not taken back.

use super::{
    Check, Verdict, Violation,
    groups::{self, Commit},
    index::Index,
};

pub const CHECK: Check = Check {
    name: "O3 no regress",
    claim: "an offset that is told after another one was not committed wholly before that one",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let commits = groups::commits(&calls);
        let mut readings = groups::readings(index.history, &calls);
        readings.sort_by_key(|reading| reading.partition);
        for pair in readings.windows(2).filter(|pair| pair[0].partition == pair[1].partition) {
            let [before, after] = pair else { continue };
            if !before.asked.is_before(&after.asked) {
                continue;
            }
            let of_partition = commits.get(&after.partition).map(Vec::as_slice).unwrap_or_default();
            let (old, new) =
                (before.may_have_seen(of_partition), after.may_have_seen(of_partition));
            let is_older = |new: &&Commit<'_>| {
                let wholly = |old: &&Commit<'_>| {
                    new.acknowledged && new.asked.is_before(&old.asked)
                };
                old.iter().all(wholly)
            };
            let vanished = after.offset.is_none() && before.offset.is_some();
            let regressed = !old.is_empty() && !new.is_empty() && new.iter().all(is_older);
            if vanished || regressed {
                let message = format!(
                    "{group}: {} was told to be at {:?}, then at {:?}",
                    index.name(after.partition),
                    before.offset,
                    after.offset
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([before.asked.call, after.asked.call])
                    .saw("partition", index.name(after.partition))
                    .saw("told first", format!("{:?}", before.offset))
                    .saw("told then", format!("{:?}", after.offset)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;

    #[test]
    fn a_commit_of_unknown_fate_that_was_told_and_is_gone_is_found() {
        let with = |last| {
            let mut example = Example::new();
            example.committed("a", 1, 0, 5);
            example.unknown_commit("a", 1, 0, 7);
            example.read_offset(0, Some(7));
            example.read_offset(0, last);
            example.holds(&CHECK)
        };
        assert!(with(Some(7)));
        assert!(!with(Some(5)));
        assert!(!with(None));
    }
}
