//! M2: an acknowledged creation, deletion or growth of a topic holds to the end. A change whose
//! outcome is not known may have happened or not. Topics are told apart by their ids, so that one that
//! was created again is another one.

use super::{
    Check, Verdict, changes::{changes, is_done, may_concern}, index::Index, violated,
};
use crate::history::{Change, FinalTopic, History, MetadataSeen, Topic};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "M2 metadata durable",
    claim: "a topic that was created is there, with its partitions, until somebody deletes it, and \
            does not come back",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let history = index.history;
    let finals: BTreeMap<[u8; 16], &FinalTopic> =
        history.final_topics.iter().map(|known| (known.id, known)).collect();
    for (number, topic) in history.topics.iter().enumerate() {
        let known = finals.get(&topic.id).copied();
        is_as_told(history, number, topic, known)?;
    }
    none_comes_back(history)
}

/// Whether a topic is there in the end, or not, as administrators were told.
fn is_as_told(
    history: &History,
    number: usize,
    topic: &Topic,
    known: Option<&FinalTopic>,
) -> Verdict {
    let name = &topic.name;
    let is_deletion = |change: &Change| {
        matches!(change, Change::DeleteTopic(named) if named.topic == number)
    };
    let mut deletions = changes(history).filter(|(_, change)| is_deletion(change)).peekable();
    let may_be_gone = deletions.peek().is_some();
    let is_gone = deletions.any(|(call, _)| is_done(call));
    match known {
        None if may_be_gone => Ok(()),
        None => violated(format!("topic {name} was created and is gone")),
        Some(_) if is_gone => violated(format!("topic {name} was deleted and is there")),
        Some(known) if known.name != *name => {
            violated(format!("topic {name} is now called {}", known.name))
        }
        Some(known) => has_its_partitions(history, number, topic, known.partitions),
    }
}

fn has_its_partitions(
    history: &History,
    number: usize,
    topic: &Topic,
    found: usize,
) -> Verdict {
    if topic.partitions == 0 {
        return Ok(());
    }
    let (mut least, mut possible) = (topic.partitions, BTreeSet::from([topic.partitions]));
    for (call, change) in changes(history) {
        let Change::Grow { topic: named, partitions } = change else { continue };
        if may_concern(history, call, named, number) {
            possible.insert(*partitions);
            // Partitions are only added.
            least = if is_done(call) { least.max(*partitions) } else { least };
        }
    }
    if found < least || !possible.contains(&found) {
        let name = &topic.name;
        return violated(format!(
            "topic {name} has {found} partitions; it must have {least}, and may have {possible:?}"
        ));
    }
    Ok(())
}

/// Whether a topic that is gone from the metadata stays away from all that follows.
fn none_comes_back(history: &History) -> Verdict {
    let mut seen: Vec<&MetadataSeen> = history.metadata.iter().collect();
    seen.sort_by_key(|seen| seen.offset);
    let mut gone: BTreeMap<[u8; 16], u64> = BTreeMap::new();
    for pair in seen.windows(2) {
        let (was, now) = (pair[0], pair[1]);
        gone.extend(was.topics.difference(&now.topics).map(|id| (*id, now.offset)));
        if let Some((id, since)) = now.topics.iter().find_map(|id| gone.get_key_value(id)) {
            let named = history.topics.iter().find(|topic| topic.id == *id);
            let name = named.map_or("that nobody knows", |topic| topic.name.as_str());
            return violated(format!(
                "topic {name} was gone at {since} of the metadata log and is there at {}",
                now.offset
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;
    use crate::history::{Change, FinalTopic, Named, Outcome};

    fn named() -> Named {
        Named { name: "t".into(), topic: 0 }
    }

    /// The topic `t` of one partition is described with so many in the end.
    fn ends_with(example: &mut Example, partitions: usize) {
        example.history.topics[0].partitions = 1;
        let described = FinalTopic { name: "t".into(), id: [1; 16], partitions, configs: None };
        example.history.final_topics = vec![described];
    }

    #[test]
    fn a_topic_that_is_gone_is_found() {
        let mut example = Example::new();
        assert!(!example.holds(&CHECK), "nothing is described");
        ends_with(&mut example, 1);
        assert!(example.holds(&CHECK));
        example.history.final_topics[0].id = [2; 16];
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_topic_is_deleted_when_that_was_answered_and_perhaps_when_it_was_not() {
        const NOT_CONTROLLER: i16 = 41;
        for (outcome, there, gone) in [
            (Outcome::Done, false, true),
            (Outcome::Unknown, true, true),
            (Outcome::Failed(7), true, true),
            (Outcome::Failed(NOT_CONTROLLER), true, false),
        ] {
            let mut example = Example::new();
            example.changed(Change::DeleteTopic(named()), outcome.clone());
            assert_eq!(example.holds(&CHECK), gone, "{outcome:?}");
            ends_with(&mut example, 1);
            assert_eq!(example.holds(&CHECK), there, "{outcome:?}");
        }
    }

    #[test]
    fn partitions_that_were_added_are_there() {
        for (outcome, holds) in [
            (Outcome::Done, [false, false, true, false]),
            (Outcome::Unknown, [false, true, true, false]),
            (Outcome::Failed(37), [false, true, false, false]),
        ] {
            for (partitions, holds) in holds.into_iter().enumerate() {
                let mut example = Example::new();
                ends_with(&mut example, partitions);
                let grow = Change::Grow { topic: named(), partitions: 2 };
                example.changed(grow, outcome.clone());
                assert_eq!(example.holds(&CHECK), holds, "{outcome:?}: {partitions}");
            }
        }
    }

    #[test]
    fn what_refuses_the_second_copy_of_a_request_says_nothing_of_the_first() {
        for (code, refused) in [(37, true), (41, true), (39, false)] {
            let mut example = Example::new();
            example.history.promise.repeats_messages = true;
            ends_with(&mut example, 2);
            let grow = Change::Grow { topic: named(), partitions: 2 };
            example.changed(grow, Outcome::Failed(code));
            assert_eq!(example.holds(&CHECK), refused, "{code}");
        }
    }

    #[test]
    fn a_topic_that_comes_back_is_found() {
        let mut example = Example::in_cluster();
        ends_with(&mut example, 1);
        for offset in 1..=3 {
            example.saw(1, offset, "a", in_sync(1, 1));
        }
        assert!(example.holds(&CHECK));
        example.history.metadata[1].topics.clear();
        assert!(!example.holds(&CHECK));
    }
}
