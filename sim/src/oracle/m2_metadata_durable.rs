//! M2: an acknowledged creation or deletion of a topic is there at the end.

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "M2 metadata durable",
    claim: "a topic whose creation was acknowledged is there until somebody deletes it",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    if index.history.final_topics.is_empty() {
        // The run ended before anything could be described.
        return Ok(());
    }
    for topic in index.history.topics.iter().filter(|topic| !topic.deleted) {
        let there = index.history.final_topics.iter().find(|known| known.id == topic.id);
        match there {
            Some(known) if known.name == topic.name => {}
            Some(known) => {
                return violated(format!("topic {} is now called {}", topic.name, known.name));
            }
            None => return violated(format!("topic {} was created and is gone", topic.name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::CHECK;
    use crate::history::FinalTopic;

    #[test]
    fn a_topic_that_is_gone_is_found() {
        let mut example = Example::new();
        let described =
            |id| FinalTopic { name: "t".to_owned(), id: [id; 16], partitions: 1 };
        example.history.final_topics.push(described(1));
        assert!(example.holds(&CHECK));
        example.history.final_topics = vec![described(2)];
        assert!(!example.holds(&CHECK));
        example.history.topics[0].deleted = true;
        assert!(example.holds(&CHECK));
    }
}
