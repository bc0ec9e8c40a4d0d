//! The assignor that leaders of classic groups use: of each topic every member gets a range of
//! partitions, the first ones one more when they do not come out even.

use crate::{group::Partitions, history::Partition};
use std::collections::BTreeMap;

/// Shares out the partitions of topics, given by number, among the members that subscribe to them.
#[must_use]
pub fn assign(
    members: &BTreeMap<String, Vec<usize>>,
    counts: &BTreeMap<usize, i32>,
) -> BTreeMap<String, Partitions> {
    let nothing = members.keys().map(|member| (member.clone(), Partitions::new()));
    let mut assigned: BTreeMap<String, Partitions> = nothing.collect();
    for (topic, count) in counts {
        let subscribed = members.iter().filter(|(_, topics)| topics.contains(topic));
        let subscribed: Vec<&String> = subscribed.map(|(member, _)| member).collect();
        for index in 0..*count {
            let Some(owner) = owner_of(index, *count, subscribed.len()) else { continue };
            let partitions = assigned.entry(subscribed[owner].clone()).or_default();
            partitions.insert(Partition { topic: *topic, index });
        }
    }
    assigned
}

/// Which of the members has a partition.
fn owner_of(index: i32, count: i32, members: usize) -> Option<usize> {
    let members = i32::try_from(members).ok().filter(|members| *members > 0)?;
    let (each, more) = (count / members, count % members);
    let owner = match index < more * (each + 1) {
        true => index / (each + 1),
        false => more + (index - more * (each + 1)) / each,
    };
    usize::try_from(owner).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_the_first_members_have_more() {
        let members = ["a", "b", "c"].map(|name| (name.to_owned(), vec![0]));
        let assigned = assign(&members.into(), &[(0, 5)].into());
        let sizes: Vec<_> = assigned.values().map(Partitions::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let owned: Vec<i32> = assigned.values().flatten().map(|of| of.index).collect();
        assert_eq!(owned, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn only_who_subscribes_to_a_topic_gets_of_it() {
        let members = [("a".to_owned(), vec![0, 1]), ("b".to_owned(), vec![1])];
        let assigned = assign(&members.into(), &[(0, 2), (1, 1)].into());
        assert_eq!(assigned["a"].len(), 3);
        assert!(assigned["b"].is_empty());
    }
}
