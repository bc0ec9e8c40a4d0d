//! One classic group: what the log says of it, and what the coordinator works with.

use super::{
    member::Member,
    protocol::{self, CONSUMER, Spoken},
};
use crate::{
    group::{
        ClassicGroupValue, Decided, Described, DescribedMember, GroupConfig, GroupError, GroupId,
        GroupState, GroupType, Identity, InstanceId, Listed, MemberId, Record,
    },
    mutant::Mutant,
    sometimes,
    time::{Instant, Now},
    types::RequestId,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use bytes::Bytes;
use core::time::Duration;

/// What every decision is made with.
pub(in crate::group) struct Step<'a> {
    pub(in crate::group) now: Now,
    pub(in crate::group) config: &'a GroupConfig,
    pub(in crate::group) decision: &'a mut Decided,
}

/// Where a group with members is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no members.
    Empty,
    /// Its members are to join (again).
    PreparingRebalance(Preparation),
    /// Its leader is to assign.
    CompletingRebalance,
    /// Its members have their assignments.
    Stable,
}

/// How long a group waits for joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preparation {
    /// It was empty: more members are likely to come, and nobody knows how many.
    Initial {
        /// When this part of the delay is over.
        until: Instant,
        /// How long this part is.
        delay: Duration,
        /// How much of the rebalance timeout is left behind it.
        remaining: Duration,
        /// Whether a member has joined meanwhile, which prolongs the delay.
        member_added: bool,
    },
    /// It waits for its members to join again, until then.
    Rejoin {
        /// When those that have not joined are left behind; `None` until that is decided.
        until: Option<Instant>,
    },
}

/// A classic group.
#[derive(Clone, Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: GroupId,
    /// What the log says. Invariant: written by nothing but [`ClassicGroup::replay`]; `None` while
    /// the log does not know the group, which has then not come to a generation.
    value: Option<ClassicGroupValue>,
    /// The topics of `value`.
    subscription: Option<BTreeSet<Arc<str>>>,
    pub(super) state: State,
    /// Who is in the group now, and who joins for the next generation. Invariant: while Stable,
    /// exactly what `value` says; while Empty, nobody; all speak at least one common protocol.
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Invariant: counts exactly `members`.
    pub(super) spoken: Spoken,
    /// Invariant: exactly the instances of `members`.
    pub(super) instances: BTreeMap<InstanceId, MemberId>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and have not been joined with (KIP-394),
    /// and when they are forgotten. Invariant: none is in `members`.
    pub(super) pending: BTreeMap<MemberId, Instant>,
    /// Invariant: a member; somebody whenever there are members.
    pub(super) leader: Option<MemberId>,
    /// What the members are; empty before the first has joined.
    pub(super) protocol_type: String,
    /// Members that have not asked for their assignment in this generation.
    pub(super) pending_sync: BTreeSet<MemberId>,
    /// When those are removed. Invariant: `None` unless the group is completing its rebalance, or
    /// is stable and some have not asked.
    pub(super) sync_deadline: Option<Instant>,
    /// Since when this coordinator has seen it without members, by its clocks.
    pub(super) empty_since: Now,
    /// A record of it has been decided and not replayed.
    recording: bool,
    /// When it is next to be looked at, as the index of deadlines knows it. Invariant: not after
    /// [`ClassicGroup::deadline`].
    pub(super) scheduled: Option<Instant>,
}

impl ClassicGroup {
    /// A group that nobody has heard of.
    pub(super) fn new(id: GroupId, now: Now) -> Self {
        Self {
            id,
            value: None,
            subscription: None,
            state: State::Empty,
            members: BTreeMap::new(),
            spoken: Spoken::default(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            leader: None,
            protocol_type: String::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline: None,
            empty_since: now,
            recording: false,
            scheduled: None,
        }
    }

    /// Applies a record.
    pub(super) fn replay(&mut self, value: &ClassicGroupValue) {
        self.subscription = protocol::subscription(value);
        self.value = Some(value.clone());
        self.recording = false;
    }

    /// Everything was replayed: members that the log knows begin a session.
    pub(super) fn loaded(&mut self, now: Now, config: &GroupConfig) {
        let Some(value) = &self.value else { return };
        self.empty_since = now;
        let now = now.monotonic;
        self.protocol_type.clone_from(&value.protocol_type);
        let protocol = value.protocol.as_deref().unwrap_or_default();
        for known in &value.members {
            let member = Member::loaded(known, protocol, now);
            if let Some(instance) = &member.instance {
                self.instances.insert(instance.clone(), known.member.clone());
            }
            self.members.insert(known.member.clone(), member);
        }
        self.spoken = Spoken::default();
        self.members.values().for_each(|member| self.spoken.add(member));
        let first = self.members.keys().next().cloned();
        let known = value.leader.clone().filter(|leader| self.members.contains_key(leader));
        self.leader = known.or(first);
        if self.members.is_empty() {
            return;
        }
        self.state = State::Stable;
        if value.leader.is_none() || self.members.len() > config.max_size {
            let until = Some(now.after(self.rebalance_timeout()));
            self.state = State::PreparingRebalance(Preparation::Rejoin { until });
        }
    }

    /// What the log says of it.
    pub(super) fn value(&self) -> Option<&ClassicGroupValue> {
        self.value.as_ref()
    }

    /// The generation, as the log has it; zero before the first.
    pub(super) fn generation(&self) -> u32 {
        self.value.as_ref().map_or(0, |value| value.generation)
    }

    /// The protocol of the generation.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.value.as_ref()?.protocol.as_deref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether there is nothing about it that has to be remembered.
    pub(super) fn is_vain(&self) -> bool {
        self.value.is_none() && !self.recording && self.is_empty() && self.pending.is_empty()
    }

    pub(super) fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// Whether the members are consumers, whose metadata tells topics.
    pub(super) fn are_consumers(&self) -> bool {
        self.protocol_type == CONSUMER
    }

    /// Whether a member subscribes to a topic. Where that cannot be told, consumers do.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscription {
            Some(topics) => topics.contains(topic),
            None => self.are_consumers(),
        }
    }

    /// Whether its topics are known, and its members hold to them.
    pub(super) fn knows_its_topics(&self) -> bool {
        self.state == State::Stable && self.subscription.is_some()
    }

    /// The longest that any member wants a rebalance to take.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// How many members have joined for the next generation.
    pub(super) fn joining(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Whether nobody has to be waited for.
    pub(super) fn all_have_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// Whether a member of this type that speaks these may be one of the group.
    pub(super) fn accepts(&self, protocol_type: &str, names: &[String]) -> bool {
        if self.members.is_empty() && self.is_empty() {
            return !protocol_type.is_empty() && !names.is_empty();
        }
        let common = |name: &String| self.spoken.count(name) == self.members.len();
        self.protocol_type == protocol_type && names.iter().any(common)
    }

    /// Checks that this is a member, and the newest of its instance (KIP-345).
    pub(super) fn check_member(&self, identity: &Identity) -> Result<(), GroupError> {
        if let Some(instance) = &identity.instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(newest) if *newest != identity.member => {
                    sometimes!(OldStaticMemberFenced);
                    if !Mutant::StaticMemberNotFenced.is_planted() {
                        return Err(GroupError::FencedInstanceId);
                    }
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        match self.members.contains_key(&identity.member) {
            true => Ok(()),
            false => Err(GroupError::UnknownMemberId),
        }
    }

    /// Checks that this is a member, of this generation.
    pub(super) fn check_generation(&self, identity: &Identity) -> Result<(), GroupError> {
        self.check_member(identity)?;
        match identity.generation == Some(self.generation()) {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration),
        }
    }

    /// Adds a member; the first makes the group what it is.
    pub(super) fn add(&mut self, id: MemberId, member: Member, protocol_type: String) {
        if self.members.is_empty() {
            self.protocol_type = protocol_type;
        }
        if let Some(instance) = &member.instance {
            let before = self.instances.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "a static member is replaced, not added");
        }
        if !Mutant::PendingMemberTimerStays.is_planted() {
            self.pending.remove(&id);
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.spoken.add(&member);
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "ids of new members are new");
    }

    /// Removes a member, answering nothing that it waits for.
    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        self.pending.remove(id);
        self.pending_sync.remove(id);
        let removed = self.members.remove(id)?;
        self.spoken.remove(&removed);
        if let Some(instance) = &removed.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(removed)
    }

    /// What the log is to say in this generation with the members as they are now. `leader` is
    /// `None` until they have their assignments.
    pub(super) fn record(
        &mut self,
        generation: u32,
        protocol: Option<String>,
        leader: Option<MemberId>,
        now: Now,
    ) -> Record {
        self.recording = true;
        let name = protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| member.value(id, name)).collect();
        let value = ClassicGroupValue {
            protocol_type: self.protocol_type.clone(),
            generation,
            protocol,
            leader,
            state_since: Some(now.wall),
            members,
        };
        Record::Group { group: self.id.clone(), value: Some(value) }
    }

    /// When it has to be looked at again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let sessions = self.members.values().filter_map(Member::expires_at);
        let pending = self.pending.values().copied();
        let joins = match self.state {
            State::PreparingRebalance(Preparation::Initial { until, .. }) => Some(until),
            State::PreparingRebalance(Preparation::Rejoin { until }) => until,
            State::Empty | State::CompletingRebalance | State::Stable => None,
        };
        sessions.chain(pending).chain(joins).chain(self.sync_deadline).min()
    }

    /// Takes every request that waits.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = RequestId> + '_ {
        self.members
            .values_mut()
            .flat_map(|member| [member.joining.take(), member.syncing.take()])
            .flatten()
    }

    pub(super) fn public_state(&self) -> GroupState {
        match self.state {
            State::Empty => GroupState::Empty,
            State::PreparingRebalance(_) => GroupState::PreparingRebalance,
            State::CompletingRebalance => GroupState::CompletingRebalance,
            State::Stable => GroupState::Stable,
        }
    }

    /// Describes it; what members say and were assigned, only while that is settled.
    pub(super) fn describe(&self) -> Described {
        let stable = self.state == State::Stable;
        let protocol = self.protocol().filter(|_| stable).unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(protocol) } else { Bytes::new() },
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        Described {
            state: self.public_state(),
            protocol_type: self.protocol_type.clone(),
            protocol: String::from(protocol),
            members: members.collect::<Vec<_>>(),
        }
    }

    pub(super) fn list(&self) -> Listed {
        Listed {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone(),
            state: self.public_state(),
            kind: GroupType::Classic,
        }
    }
}
