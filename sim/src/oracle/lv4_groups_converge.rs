//! LV4: a healed group shares everything out.

use super::{Check, Verdict, Violation, index::Index};

pub const CHECK: Check = Check {
    name: "LV4 groups converge",
    claim: "in the end every partition of a group has exactly one reader",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    match index.history.final_groups.iter().find(|group| !group.is_shared_out()) {
        Some(group) => {
            let message = format!("{}: its members have {:?}", group.name, group.members);
            Err(Violation::new(message).in_group(&group.name))
        },
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::CHECK;

    #[test]
    fn a_partition_without_a_reader_or_with_two_is_found() {
        let with = |one: &[i32], other: &[i32]| {
            let mut example = Example::new();
            let group = example.final_group(&[(0, 3), (1, 4)], &[(0, 3), (1, 4)]);
            group.members.insert("a".into(), partitions(one));
            group.members.insert("b".into(), partitions(other));
            example.holds(&CHECK)
        };
        assert!(with(&[0], &[1]));
        assert!(!with(&[0], &[]));
        assert!(!with(&[0, 1], &[1]));
    }
}
