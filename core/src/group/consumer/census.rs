//! What the members of a group have in common, counted as they come and go.

use super::member::Member;
use alloc::{collections::BTreeMap, string::String, sync::Arc};

/// Counts over the members of a group. Invariant: no count is zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Census {
    /// Members that subscribe to each topic by name.
    pub topics: BTreeMap<Arc<str>, usize>,
    /// Members that subscribe with each regular expression.
    pub expressions: BTreeMap<Arc<str>, usize>,
    /// Members that prefer each assignor.
    pub assignors: BTreeMap<String, usize>,
    /// Members that speak the classic protocol.
    pub classic: usize,
    /// How many bytes those take with what they say of themselves, at the most.
    pub classic_bytes: usize,
    /// Of those, how many can be assigned by each protocol.
    pub protocols: BTreeMap<String, usize>,
}

impl Census {
    /// Counts a member.
    pub fn add(&mut self, member: &Member) {
        let about = &member.about;
        for topic in &about.topics {
            *self.topics.entry(topic.clone()).or_default() += 1;
        }
        if let Some(expression) = &about.regular_expression {
            *self.expressions.entry(expression.clone()).or_default() += 1;
        }
        if let Some(assignor) = &about.assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(classic) = &about.classic {
            self.classic += 1;
            self.classic_bytes += member.classic_size();
            for (protocol, _) in &classic.protocols {
                *self.protocols.entry(protocol.clone()).or_default() += 1;
            }
        }
    }

    /// Counts a member no more.
    pub fn remove(&mut self, member: &Member) {
        let about = &member.about;
        for topic in &about.topics {
            decrement(&mut self.topics, topic);
        }
        if let Some(expression) = &about.regular_expression {
            decrement(&mut self.expressions, expression);
        }
        if let Some(assignor) = &about.assignor {
            decrement(&mut self.assignors, assignor);
        }
        if let Some(classic) = &about.classic {
            self.classic -= 1;
            self.classic_bytes -= member.classic_size();
            for (protocol, _) in &classic.protocols {
                decrement(&mut self.protocols, protocol);
            }
        }
    }
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
