//! A consumer group whose last member of the consumer protocol goes becomes a classic group
//! (`group.consumer.migration.policy`).

use super::{
    group::ConsumerGroup,
    member::{Member, without_epochs},
    protocol::{self, CONSUMER},
};
use crate::{
    group::{
        ClassicGroupValue, ClassicMemberValue, GROUP_ASSIGNMENTS_BYTES_MAX,
        GROUP_DECISION_BYTES_MAX, GroupConfig, GroupId, GroupState, MemberId, Record,
        limits::record_size,
    },
    metadata::Image,
    mutant::Mutant,
    time::Timestamp,
};
use alloc::{collections::BTreeMap, string::String, string::ToString, vec::Vec};

/// Whether a group, as it is without those that go, may be a classic group, and those that are left
/// can be told of as such.
pub(super) fn is_possible(group: &ConsumerGroup, config: &GroupConfig, image: &Image) -> bool {
    config.migration_policy.allows_downgrade()
        && !group.members.is_empty()
        && group.is_all_classic()
        && group.members.len() <= config.max_size
        && value(group, image, Timestamp(0), false).is_some_and(|value| is_small(&value))
}

/// Whether its assignments are no more than a leader of a classic group could have made.
fn is_small(value: &ClassicGroupValue) -> bool {
    let assignments = value.members.iter().map(|member| member.assignment.len());
    assignments.sum::<usize>() <= GROUP_ASSIGNMENTS_BYTES_MAX
}

/// Whether that fits into a decision that takes so many bytes already.
pub(super) fn fits(records: &[Record], bytes: usize) -> bool {
    let size: usize = records.iter().map(record_size).sum();
    bytes + size <= GROUP_DECISION_BYTES_MAX || Mutant::DecisionUnbounded.is_planted()
}

/// What makes a consumer group a classic one: of `all` its members, those `left`. `rests` says that
/// nobody needs to join again, since nothing has changed for anybody.
pub(super) fn records(
    id: &GroupId,
    all: &ConsumerGroup,
    left: &ConsumerGroup,
    image: &Image,
    at: Timestamp,
    rests: bool,
) -> Vec<Record> {
    let mut records = all.tombstones(id);
    let value = value(left, image, at, rests && left.state() == GroupState::Stable);
    records.push(Record::Group { group: id.clone(), value });
    records
}

/// The group as a classic one. Without a leader its members are to join again.
fn value(
    group: &ConsumerGroup,
    image: &Image,
    at: Timestamp,
    rests: bool,
) -> Option<ClassicGroupValue> {
    let protocol = common_protocol(group)?;
    let members = group.members.iter();
    let members = members.map(|(id, member)| member_value(id, member, &protocol, image));
    let members: Option<Vec<ClassicMemberValue>> = members.collect();
    Some(ClassicGroupValue {
        protocol_type: CONSUMER.to_string(),
        generation: group.value.epoch,
        protocol: Some(protocol),
        leader: group.members.keys().next().filter(|_| rests).cloned(),
        state_since: Some(at),
        members: members?,
    })
}

/// A member with what it owns. Not with what it is to own: others may not have given that up
/// (KAFKA-20273).
fn member_value(
    id: &MemberId,
    member: &Member,
    protocol: &str,
    image: &Image,
) -> Option<ClassicMemberValue> {
    let about = &member.about;
    let classic = about.classic.as_ref()?;
    let (_, metadata) = classic.protocols.iter().find(|(name, _)| name == protocol)?;
    let version = protocol::subscription(metadata)?.version;
    let assigned = without_epochs(&member.current.assigned);
    Some(ClassicMemberValue {
        member: id.clone(),
        instance: about.instance.clone(),
        client_id: about.client_id.clone(),
        client_host: about.client_host.clone(),
        rebalance_timeout: about.rebalance_timeout,
        session_timeout: classic.session_timeout,
        subscription: metadata.clone(),
        assignment: protocol::encode_assignment(version, &assigned, image),
    })
}

/// The protocol that most members prefer among those that all of them speak; of several the first
/// by name.
fn common_protocol(group: &ConsumerGroup) -> Option<String> {
    let is_common =
        |name: &String| group.census.protocols.get(name).copied() == Some(group.census.classic);
    let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
    for member in group.members.values() {
        let mut names = member.about.classic.as_ref()?.protocols.iter().map(|(name, _)| name);
        *votes.entry(names.find(|name| is_common(name))?).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
}
