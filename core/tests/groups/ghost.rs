//! What the log means, told without the coordinator's help, and what it may never say.

use bytes::Bytes;
use core::time::Duration;
use highwater_core::{
    group::{ClassicGroupValue, CommittedOffset, GroupId, Identity, Record},
    metadata::Image,
    time::Instant,
    types::{Offset, PartitionIndex, TopicId},
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];

pub type Key = (GroupId, Arc<str>, PartitionIndex);

/// A record, and when it was appended in true time.
#[derive(Clone, Debug)]
pub struct Entry {
    pub record: Record,
    pub at: Instant,
}

#[derive(Clone, Debug, Default)]
pub struct Ghost {
    pub groups: BTreeMap<GroupId, GhostGroup>,
    pub offsets: BTreeMap<Key, (CommittedOffset, Instant)>,
}

#[derive(Clone, Debug)]
pub struct GhostGroup {
    pub value: ClassicGroupValue,
    /// When `value` was written.
    since: Instant,
    /// When each topic was last subscribed to, as far as generations before this one go.
    used: BTreeMap<String, Instant>,
}

impl Ghost {
    pub fn of(log: &[Entry]) -> Self {
        let mut ghost = Self::default();
        for entry in log {
            ghost.apply(entry);
        }
        ghost
    }

    /// Takes the next record of the log. Panics if no coordinator may write it.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.record {
            Record::OffsetCommit { group, topic, partition, value } => {
                let key = (group.clone(), topic.clone(), *partition);
                match value {
                    Some(value) => self.offsets.insert(key, (value.clone(), entry.at)),
                    None => self.offsets.remove(&key),
                };
            }
            Record::Group { group, value: None } => {
                let before = self.groups.remove(group).expect("only known groups are removed");
                assert!(before.value.members.is_empty(), "{group} has members and is removed");
            }
            Record::Group { group, value: Some(value) } => {
                let before = self.groups.get(group);
                if let Some(before) = before {
                    check_succession(&before.value, value);
                } else {
                    assert_eq!(value.generation, 1, "a new group begins at 1");
                }
                check_members(value);
                let mut used = before.map(|group| group.used.clone()).unwrap_or_default();
                if let Some(before) = before.filter(|group| !group.value.members.is_empty()) {
                    used.extend(before.topics_in_use().into_iter().map(|topic| (topic, entry.at)));
                }
                let next = GhostGroup { value: value.clone(), since: entry.at, used };
                self.groups.insert(group.clone(), next);
            }
            other => panic!("not a record of a classic group: {other:?}"),
        }
    }

    /// Whether this is a member of the group's present generation, as the log has it.
    pub fn is_member(&self, group: &GroupId, identity: &Identity) -> bool {
        let Some(GhostGroup { value, .. }) = self.groups.get(group) else { return false };
        identity.generation == Some(value.generation)
            && value.members.iter().any(|member| {
                let is_it = member.member == identity.member;
                is_it && (identity.instance.is_none() || identity.instance == member.instance)
            })
    }

    pub fn has_members(&self, group: &GroupId) -> bool {
        self.groups.get(group).is_some_and(|group| !group.value.members.is_empty())
    }

    /// Panics if an offset may not be dropped by time or by a change of the metadata.
    pub fn check_expiry(&self, now: Instant, image: &Image, key: &Key, retention: Duration) {
        let (committed, at) = &self.offsets[key];
        let topic = image.topic_named(&key.1).map(|topic| topic.id);
        if topic != committed.topic_id {
            return;
        }
        assert!(now.since(*at) >= retention, "{key:?} was committed just now");
        let Some(group) = self.groups.get(&key.0) else { return };
        if group.value.members.is_empty() {
            assert!(now.since(group.since) >= retention, "{key:?}: the group was in use just now");
            return;
        }
        assert!(group.value.leader.is_some(), "{key:?} expires in the middle of a rebalance");
        assert!(!group.topics_in_use().contains(&*key.1), "{key:?} expires while it is in use");
        let used = group.used.get(&*key.1);
        assert!(
            used.is_none_or(|used| now.since(*used) >= retention),
            "{key:?}: the topic was in use just now"
        );
    }

    /// What a fetch has to answer.
    pub fn committed(&self, image: &Image, key: &Key) -> Option<Offset> {
        let (committed, _) = self.offsets.get(key)?;
        let topic: Option<TopicId> = image.topic_named(&key.1).map(|topic| topic.id);
        (topic.is_none() || topic == committed.topic_id).then_some(committed.offset)
    }
}

impl GhostGroup {
    fn topics_in_use(&self) -> BTreeSet<String> {
        let mut topics = BTreeSet::new();
        for member in &self.value.members {
            match parse(&member.subscription) {
                Some(subscribed) if self.value.protocol_type == "consumer" => {
                    topics.extend(subscribed);
                }
                _ => topics.extend(TOPICS.map(String::from)),
            }
        }
        topics
    }
}

/// Within a life, generations are numbered one by one; one begins without assignments, is assigned
/// once, and nothing about it changes but the ids of static members that restart.
fn check_succession(before: &ClassicGroupValue, after: &ClassicGroupValue) {
    if after.generation != before.generation {
        assert_eq!(after.generation, before.generation + 1, "{before:?} then {after:?}");
        assert_eq!(after.leader, None, "a generation begins without assignments");
        assert!(after.members.iter().all(|member| member.assignment.is_empty()));
        return;
    }
    assert!(after.leader.is_some(), "a generation begins once: {before:?} then {after:?}");
    assert_eq!(before.protocol, after.protocol);
    assert_eq!(before.members.len(), after.members.len());
    for member in &after.members {
        let known = before.members.iter().find(|known| {
            known.member == member.member
                || (known.instance.is_some() && known.instance == member.instance)
        });
        let known = known.unwrap_or_else(|| panic!("{member:?} was not in {before:?}"));
        if before.leader.is_some() {
            assert_eq!(known.assignment, member.assignment, "a generation is assigned once");
        }
    }
}

fn check_members(value: &ClassicGroupValue) {
    let ids: BTreeSet<_> = value.members.iter().map(|member| &member.member).collect();
    assert_eq!(ids.len(), value.members.len(), "{value:?}");
    let named = value.members.iter().filter_map(|member| member.instance.as_ref());
    let instances: BTreeSet<_> = named.clone().collect();
    assert_eq!(instances.len(), named.count(), "an instance has one member: {value:?}");
    if let Some(leader) = &value.leader {
        assert!(ids.contains(leader), "{value:?}");
        let mut assigned = BTreeSet::new();
        for part in value.members.iter().flat_map(|member| member.assignment.iter()) {
            assert!(assigned.insert(part), "one part has two owners: {value:?}");
        }
    }
}

/// The topics of what [`subscription`] makes.
fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let text = bytes.strip_prefix(&[0, 3])?;
    let (count, mut rest) = text.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        topics.push(String::from_utf8(rest[2..4].to_vec()).ok()?);
        rest = &rest[4..];
    }
    Some(topics)
}

/// A consumer's metadata; for no topics, something that nobody can read.
pub fn subscription(topics: &[&str]) -> Bytes {
    if topics.is_empty() {
        return Bytes::from_static(b"?");
    }
    let mut bytes = vec![0, 3];
    bytes.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        assert_eq!(topic.len(), 2);
        bytes.extend([0, 2]);
        bytes.extend(topic.as_bytes());
    }
    bytes.into()
}
