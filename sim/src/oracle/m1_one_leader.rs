//! M1: the metadata quorum has one leader at most in each term, whoever is asked.

use super::{Check, Verdict, violated, index::Index};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "M1 one leader",
    claim: "the metadata quorum has one leader at most in each term",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut leaders: BTreeMap<u64, (i32, i32)> = BTreeMap::new();
    for seen in &index.history.terms {
        let (leader, by) = *leaders.entry(seen.term).or_insert((seen.leader, seen.machine));
        if leader != seen.leader {
            return violated(format!(
                "the leader of term {} is broker {leader} for broker {by} and broker {} for broker {}",
                seen.term, seen.leader, seen.machine
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;
    use crate::history::TermSeen;

    #[test]
    fn a_term_with_two_leaders_is_found() {
        let mut example = Example::in_cluster();
        example.history.terms.push(TermSeen { at: 0, machine: 1, term: 3, leader: 1 });
        example.history.terms.push(TermSeen { at: 0, machine: 2, term: 4, leader: 2 });
        assert!(example.holds(&CHECK));
        example.history.terms.push(TermSeen { at: 0, machine: 3, term: 3, leader: 2 });
        assert!(!example.holds(&CHECK));
    }
}
