//! LV6: a healed group reads everything and commits it.

use super::{Check, Verdict, Violation, index::Index};

pub const CHECK: Check = Check {
    name: "LV6 groups read all",
    claim: "in the end the committed offsets of a group are the ends of its partitions",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    match index.history.final_groups.iter().find(|group| !group.is_read()) {
        Some(group) => {
            let message = format!(
                "{}: it has come to {:?}, its partitions end at {:?}",
                group.name, group.committed, group.ends
            );
            Err(Violation::new(message)
                .in_group(&group.name)
                .saw("committed", format!("{:?}", group.committed))
                .saw("ends", format!("{:?}", group.ends)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;

    #[test]
    fn a_partition_that_is_not_read_to_its_end_is_found() {
        let with = |committed: &[(i32, i64)]| {
            let mut example = Example::new();
            example.final_group(committed, &[(0, 3), (1, 4)]);
            example.holds(&CHECK)
        };
        assert!(with(&[(0, 3), (1, 4)]));
        assert!(!with(&[(0, 3), (1, 2)]));
        assert!(!with(&[(0, 3)]));
    }
}
