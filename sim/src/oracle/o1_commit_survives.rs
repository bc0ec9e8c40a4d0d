//! O1: an acknowledged commit does not vanish.

use super::{Check, Verdict, Violation, groups, index::Index};

pub const CHECK: Check = Check {
    name: "O1 commit survives",
    claim: "a partition whose offset was committed has an offset from then on",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let commits = groups::commits(&calls);
        for reading in groups::readings(index.history, &calls) {
            let of_partition = commits.get(&reading.partition);
            let before = of_partition.into_iter().flatten().find(|commit| {
                commit.acknowledged && commit.asked.is_before(&reading.asked)
            });
            if let Some(before) = before.filter(|_| reading.offset.is_none()) {
                let message = format!(
                    "{group}: {} has no offset although {} was committed",
                    index.name(reading.partition),
                    before.offset
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([before.asked.call, reading.asked.call])
                    .saw("partition", index.name(reading.partition))
                    .saw("committed", before.offset)
                    .saw("told", "none"));
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
    fn a_commit_that_vanishes_is_found() {
        let mut example = Example::new();
        example.read_offset(0, None);
        example.committed("a", 1, 0, 5);
        example.read_offset(0, Some(5));
        assert!(example.holds(&CHECK));
        example.read_offset(0, None);
        assert!(!example.holds(&CHECK));
    }
}
