//! G1: one generation of a classic group gives a partition to one member. Where members of both
//! protocols meet, generations are the epochs of members and begin anew with a group that was empty;
//! G7 judges those.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::group::{Ask, Heard};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "G1 exclusive",
    claim: "in one generation no partition is given to two members",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let everything = groups::by_group(index.history);
    for (group, calls) in everything.into_iter().filter(|(_, calls)| groups::is_classic(calls)) {
        // By name, as it was given: a topic that was made anew is another one.
        let mut given: BTreeMap<(i32, &str, i32), &Asked<'_>> = BTreeMap::new();
        for asked in &calls {
            let (Ask::Sync { generation, .. }, Some(Heard::Assigned(partitions))) =
                (&asked.of.ask, asked.heard())
            else {
                continue;
            };
            for partition in partitions {
                let topic = &*index.history.topics[partition.topic].name;
                let before = given.insert((*generation, topic, partition.index), asked);
                if let Some(before) = before.filter(|before| !is_same(before, asked)) {
                    let (one, other) = (&before.of.member, &asked.of.member);
                    let message = format!(
                        "{group}: generation {generation} gives {} to {one} and {other}",
                        index.name(*partition)
                    );
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by([before.call, asked.call])
                        .saw("generation", generation)
                        .saw("partition", index.name(*partition))
                        .saw("given to", one)
                        .saw("and to", other));
                }
            }
        }
    }
    Ok(())
}

/// The same member, or a static one that has come back (KIP-345).
fn is_same(one: &Asked<'_>, other: &Asked<'_>) -> bool {
    one.of.member == other.of.member
        || (one.of.instance.is_some() && one.of.instance == other.of.instance)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::CHECK;
    use crate::history::Partition;

    #[test]
    fn a_partition_that_two_members_of_a_generation_have_is_found() {
        let with = |generation, indexes: &[i32]| {
            let mut example = Example::new();
            example.synced("a", 1, &partitions(&[0, 1]));
            example.synced("b", generation, &partitions(indexes));
            example.holds(&CHECK)
        };
        assert!(with(1, &[2]));
        assert!(with(2, &[1]));
        assert!(!with(1, &[1, 2]));
    }

    #[test]
    fn a_partition_that_two_members_know_as_of_two_topics_of_one_name_is_found() {
        let mut example = Example::new();
        example.history.topics.push(example.history.topics[0].clone());
        example.synced("a", 1, &partitions(&[0]));
        example.synced("b", 1, &[Partition { topic: 1, index: 1 }].into());
        assert!(example.holds(&CHECK));
        example.synced("c", 1, &[Partition { topic: 1, index: 0 }].into());
        assert!(!example.holds(&CHECK));
    }
}
