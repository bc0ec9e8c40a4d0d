//! Which protocol a group's members agree on, and which topics they subscribe to by it.

use super::member::Member;
use crate::{
    encoding::Decoder,
    group::{ClassicGroupValue, MemberId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use bytes::Bytes;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// What the members of a group speak, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken {
    /// Members that speak each protocol. Invariant: no count is zero.
    counts: BTreeMap<String, usize>,
    /// How much the members take (see [`Member::size`]).
    bytes: usize,
}

impl Spoken {
    /// Counts a member.
    pub(super) fn add(&mut self, member: &Member) {
        self.bytes += member.size();
        for (name, _) in &member.protocols {
            *self.counts.entry(name.clone()).or_default() += 1;
        }
    }

    /// Counts a member no more.
    pub(super) fn remove(&mut self, member: &Member) {
        self.bytes -= member.size();
        for (name, _) in &member.protocols {
            let Some(count) = self.counts.get_mut(name) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(name);
            }
        }
    }

    /// How many members speak a protocol.
    pub(super) fn count(&self, name: &str) -> usize {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// How much the members take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The protocol that most members prefer among those that all of them speak. Of those with equally
/// many votes, the first by name. `None` when they have nothing in common.
pub(super) fn select(members: &BTreeMap<MemberId, Member>, spoken: &Spoken) -> Option<String> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members.values() {
        let mut preferred = member.protocols.iter().map(|(name, _)| name.as_str());
        let vote = preferred.find(|name| spoken.count(name) == members.len())?;
        *votes.entry(vote).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.into())
}

/// Protocols without those whose name came before.
pub(in crate::group) fn distinct(protocols: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let mut names = BTreeSet::new();
    protocols.into_iter().filter(|(name, _)| names.insert(name.clone())).collect()
}

/// The topics that the members of a generation subscribe to; `None` when that cannot be told from
/// their metadata, which is theirs and may be anything.
pub(super) fn subscription(group: &ClassicGroupValue) -> Option<BTreeSet<Arc<str>>> {
    if group.protocol_type != CONSUMER {
        return None;
    }
    let mut topics = BTreeSet::new();
    for member in &group.members {
        topics.extend(subscribed_topics(&member.subscription)?);
    }
    Some(topics)
}

/// The topics of a ConsumerProtocolSubscription: a version, then the names. Every version begins
/// as version 0 does, so that more behind them is passed over.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let mut decoder = Decoder::new(metadata);
    if decoder.i16().ok()? < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..decoder.count(size_of::<u16>()).ok()? {
        let length = decoder.u16().ok()?;
        let name = decoder.slice(usize::from(length)).ok()?;
        topics.insert(Arc::from(core::str::from_utf8(name).ok()?));
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use alloc::format;
    use core::time::Duration;

    fn member(protocols: &str) -> Member {
        let protocols = protocols.split_whitespace().map(|name| (name.into(), Bytes::new()));
        Member {
            instance: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout: Duration::ZERO,
            session_timeout: Duration::ZERO,
            protocols: protocols.collect(),
            assignment: Bytes::new(),
            is_new: false,
            session_deadline: Instant(0),
            joining: None,
            syncing: None,
        }
    }

    #[test]
    fn the_protocol_is_what_most_prefer_of_what_all_speak() {
        let table: [(&[&str], Option<&str>); 11] = [
            (&["a"], Some("a")),
            (&["b a"], Some("b")),
            (&["a b", "a b"], Some("a")),
            (&["a b", "b a"], Some("a")),
            (&["a b", "b a", "b a"], Some("b")),
            (&["a b", "b"], Some("b")),
            (&["x a b", "y b a", "z b a"], Some("b")),
            (&["a b c", "c b", "c b"], Some("c")),
            (&["a", "b"], None),
            (&["a", ""], None),
            (&[], None),
        ];
        for (members, expected) in table {
            let members = members.iter().enumerate();
            let members: BTreeMap<MemberId, Member> = members
                .map(|(index, protocols)| (format!("{index}").as_str().into(), member(protocols)))
                .collect();
            let mut spoken = Spoken::default();
            members.values().for_each(|member| spoken.add(member));
            assert_eq!(select(&members, &spoken).as_deref(), expected, "{members:?}");
        }
    }

    #[test]
    fn a_subscription_is_read_as_far_as_every_version_has_it() {
        let table: [(&[u8], Option<&[&str]>); 12] = [
            (b"", None),
            (b"\0", None),
            (b"\0\0", None),
            (b"\0\0\0\0\0\0", Some(&[])),
            (b"\0\0\0\0\0\x01", None),
            (b"\0\0\0\0\0\x01\0\x02ab", Some(&["ab"])),
            (b"\0\x03\0\0\0\x02\0\x01b\0\x01amore", Some(&["a", "b"])),
            (b"\x7f\xff\0\0\0\x01\0\x01b", Some(&["b"])),
            (b"\xff\xff\0\0\0\x01\0\x01b", None),
            (b"\0\0\0\0\0\x01\0\x03ab", None),
            (b"\0\0\0\0\0\x01\0\x01\xff", None),
            (b"\0\0\xff\xff\xff\xff", None),
        ];
        for (metadata, expected) in table {
            let topics = subscribed_topics(metadata);
            let topics = topics.as_ref().map(|topics| topics.iter().map(|name| &**name));
            let topics: Option<Vec<&str>> = topics.map(Iterator::collect);
            assert_eq!(topics.as_deref(), expected, "{metadata:?}");
        }
    }
}
