//! O2 and O4: who asks for a committed offset is told the last one, and never one that was refused.

use super::{Check, Verdict, Violation, groups, index::Index};

pub const CHECK: Check = Check {
    name: "O2 last commit",
    claim: "an offset that is told was committed, and no later one was acknowledged before",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let commits = groups::commits(&calls);
        for reading in groups::readings(index.history, &calls) {
            let Some(offset) = reading.offset else { continue };
            let of_partition = commits.get(&reading.partition).map(Vec::as_slice).unwrap_or_default();
            if reading.may_have_seen(of_partition).is_empty() {
                let message = format!(
                    "{group}: {} is told to be at {offset}, which nobody may have committed last",
                    index.name(reading.partition)
                );
                let last = of_partition.iter().rfind(|commit| {
                    commit.acknowledged && commit.asked.is_before(&reading.asked)
                });
                let told = last.map_or("none".into(), |commit| commit.offset.to_string());
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by(last.map(|commit| commit.asked.call))
                    .shown_by([reading.asked.call])
                    .saw("partition", index.name(reading.partition))
                    .saw("last committed", told)
                    .saw("told", offset));
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
    fn an_older_commit_that_is_told_is_found() {
        let mut example = Example::new();
        example.committed("a", 1, 0, 5);
        example.committed("a", 1, 0, 7);
        example.read_offset(0, Some(7));
        assert!(example.holds(&CHECK));
        example.read_offset(0, Some(5));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_refused_commit_that_is_told_is_found() {
        const ILLEGAL_GENERATION: i16 = 22;
        const NOT_COORDINATOR: i16 = 16;
        let with = |code| {
            let mut example = Example::new();
            example.committed("a", 1, 0, 5);
            example.refused_commit("a", 1, 0, 9, code);
            example.read_offset(0, Some(9));
            example.holds(&CHECK)
        };
        assert!(with(NOT_COORDINATOR));
        assert!(!with(ILLEGAL_GENERATION));
    }
}
