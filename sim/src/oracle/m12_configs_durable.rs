//! M12: the configuration of a topic is in the end what administrators were told: what was written
//! last. Two that write at once may do it in either order, and what nobody answered may have been
//! written at any time since.

use super::{
    Check, Verdict, changes::{Write, changes, may_concern}, index::Index, violated,
};
use crate::history::{Change, FinalTopic, History};
use std::collections::{BTreeMap, BTreeSet};

pub const CHECK: Check = Check {
    name: "M12 configs durable",
    claim: "a configuration of a topic has the value that was written last",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let history = index.history;
    for described in &history.final_topics {
        let number = history.topics.iter().position(|topic| topic.id == described.id);
        let Some((number, configs)) = number.zip(described.configs.as_ref()) else { continue };
        is_as_written(history, number, described, configs)?;
    }
    Ok(())
}

fn is_as_written(
    history: &History,
    number: usize,
    described: &FinalTopic,
    found: &BTreeMap<String, String>,
) -> Verdict {
    let topic = &history.topics[number];
    let mut writes: BTreeMap<&str, Vec<Write<Option<&str>>>> = BTreeMap::new();
    let keys: BTreeSet<&str> = topic.configs.keys().chain(found.keys()).map(String::as_str).collect();
    let initial = |key: &str| {
        let value = topic.configs.get(key).map(String::as_str);
        Write { value, from: 0, until: Some(topic.known_at), is_sure: true }
    };
    for key in keys {
        writes.insert(key, vec![initial(key)]);
    }
    for (call, change) in changes(history) {
        let Change::Configure { topic: named, key, value } = change else { continue };
        if may_concern(history, call, named, number) {
            let of_key = writes.entry(key.as_str()).or_insert_with(|| vec![initial(key)]);
            of_key.push(Write::of(history, call, Some(value.as_str())));
        }
    }
    for (key, writes) in writes {
        let value = found.get(key).map(String::as_str);
        if !Write::may_be_last(&writes, &value) {
            let name = &described.name;
            let written: Vec<_> = writes.iter().map(|write| write.value).collect();
            return violated(format!(
                "topic {name} has {value:?} for {key} in the end; written were, in this order, \
                 {written:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;
    use crate::history::{Change, FinalTopic, Named, Outcome};
    use std::collections::BTreeMap;

    const KEY: &str = "segment.bytes";

    fn set(example: &mut Example, value: &str, outcome: Outcome) {
        let topic = Named { name: "t".into(), topic: 0 };
        let change = Change::Configure { topic, key: KEY.into(), value: value.into() };
        example.changed(change, outcome);
    }

    fn ends_with(example: &mut Example, value: Option<&str>) {
        let configs: BTreeMap<String, String> =
            value.into_iter().map(|value| (KEY.into(), value.into())).collect();
        let described =
            FinalTopic { name: "t".into(), id: [1; 16], partitions: 1, configs: Some(configs) };
        example.history.final_topics = vec![described];
    }

    #[test]
    fn a_configuration_that_is_lost_or_old_is_found() {
        for (second, holds) in [
            (Outcome::Done, [None, Some("3")]),
            (Outcome::Unknown, [Some("2"), Some("3")]),
            (Outcome::Failed(41), [Some("2"), None]),
        ] {
            let mut example = Example::new();
            set(&mut example, "2", Outcome::Done);
            set(&mut example, "3", second.clone());
            for value in [None, Some("2"), Some("3"), Some("4")] {
                ends_with(&mut example, value);
                let expected = value.is_some() && holds.contains(&value);
                assert_eq!(example.holds(&CHECK), expected, "{second:?}: {value:?}");
            }
        }
    }

    #[test]
    fn a_configuration_that_nobody_wrote_is_found() {
        let mut example = Example::new();
        ends_with(&mut example, None);
        assert!(example.holds(&CHECK));
        ends_with(&mut example, Some("2"));
        assert!(!example.holds(&CHECK));
        example.history.topics[0].configs.insert(KEY.into(), "2".into());
        assert!(example.holds(&CHECK));
        ends_with(&mut example, None);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn a_late_change_of_a_predecessor_may_hit_a_topic_of_the_same_name() {
        let mut example = Example::new();
        set(&mut example, "2", Outcome::Unknown);
        let again = crate::history::Topic { id: [2; 16], ..example.history.topics[0].clone() };
        example.history.topics.push(again);
        ends_with(&mut example, Some("2"));
        example.history.final_topics[0].id = [2; 16];
        assert!(example.holds(&CHECK));
        example.history.calls[0].outcome = Outcome::Done;
        assert!(!example.holds(&CHECK));
    }
}
