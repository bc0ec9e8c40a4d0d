//! Classic groups: members join, one of them assigns, all of them sync.
//!
//! A group is in one of these states; Kafka calls a group that does not exist Dead.
//!
//! ```text
//!            first join                    all have joined, or time is up
//!   Empty ──────────────▶ PreparingRebalance ─────────────────────▶ CompletingRebalance
//!     ▲                     │   ▲      ▲                              │    │
//!     └── nobody is left ───┘   │      └── join, leave, silence ──────┘    │ the leader assigns
//!                               │                                         ▼
//!                               └─────── join, leave, silence ───────── Stable
//! ```
//!
//! **Joining.** A member without an id is given one and has to join again with it; until it does,
//! the id is pending, counts as somebody who is waited for, and is forgotten after a session
//! timeout (KIP-394). Joins are parked until the rebalance is over. The first join of an empty
//! group starts a delay for others to come, which goes on while they do, up to the rebalance
//! timeout (KIP-134). Any other rebalance waits until every member has joined again, at most for
//! the longest of their rebalance timeouts; dynamic members that have not are removed. A join that
//! repeats what its member said, because an answer was lost, is answered with the generation as it
//! is; a join that says something new, or of a stable group's leader, begins a rebalance.
//!
//! **A generation** has a number, a protocol and a leader. The protocol is the one that most members
//! prefer among those that all speak; who speaks none of these is refused. The leader stays the
//! leader as long as it joins in time. The number grows with every generation and is a record before
//! any member is told: no coordinator gives it out twice while the group exists. (A removed group
//! begins again at 1; its members' ids are never given out again, so nobody of an earlier life can
//! be mistaken for one of the new.) That record has no leader. A coordinator that finds it last in
//! the log knows the members but nobody's assignment: they are to join again.
//!
//! **Syncing.** The leader, who was told all members and their metadata, sends an assignment for
//! each. They are one record, and when it is durable every parked sync is answered from it, and
//! later ones too. Who has not asked within the rebalance timeout is removed, and a rebalance begins;
//! if that is the leader, the others would wait for ever (KAFKA-9752).
//!
//! **Sessions.** Heartbeats, joins, syncs and commits renew a member's session. Silence for a whole
//! session timeout removes it, and a rebalance begins. Who waits for an answer is not silent, but
//! the first join of a new member is parked for at most five minutes. After the coordinator has
//! moved every session begins anew. A heartbeat is answered REBALANCE_IN_PROGRESS while the group
//! waits for joins.
//!
//! **Static members** (KIP-345) have a name that survives restarts, the `group.instance.id`. One
//! that joins without an id replaces the member of its name and gets a new id; whoever uses the old
//! one is fenced. If the group is stable, and neither the protocol nor the topics change, it goes on
//! without a rebalance; a returning leader is told not to assign anew (KIP-814). Static members are
//! not removed for not joining in time, only for silence.
//!
//! **Leaving** is for several members at once, each with an outcome; static ones may be named by
//! their instance alone. When nobody is left the group is Empty, in one more generation. The group
//! is removed when it has no offsets either, at the next check of retention, or when it is deleted.

mod group;
mod join;
mod member;
mod migration;
mod protocol;
mod rebalance;
mod sync;

pub(super) use group::Step;
pub use join::MAX_PENDING_MEMBERS;
pub(super) use protocol::distinct;

use super::{
    ClassicGroupValue, CommitOffsets, Decided, Described, GroupConfig, GroupError, GroupId,
    GroupState, Identity, Join, Leaver, Listed, MemberId, Record, Response, Sync,
    limits::check_join,
};
use crate::{
    mutant::Mutant,
    sometimes,
    time::{Instant, Now, Timestamp},
    types::RequestId,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use group::{ClassicGroup, State};
use member::{Member, refused};

/// The classic groups of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassicGroups {
    groups: BTreeMap<GroupId, ClassicGroup>,
    /// When each group is to be looked at, at the latest. Invariant: exactly the groups'
    /// `scheduled`.
    deadlines: BTreeSet<(Instant, GroupId)>,
    /// What the last tick looked at.
    ticked: Vec<GroupId>,
    /// The log has been read.
    is_loaded: bool,
}

impl ClassicGroups {
    /// Decides about a join.
    pub(super) fn join(&mut self, step: &mut Step<'_>, request: RequestId, mut join: Join) {
        let config = step.config;
        let timeouts = config.min_session_timeout..=config.max_session_timeout;
        let refusal = if let Err(error) = check_join(&join) {
            Some(error)
        } else if !timeouts.contains(&join.session_timeout) {
            Some(GroupError::InvalidSessionTimeout)
        } else if !join.member.is_empty() && !self.groups.contains_key(&join.group) {
            Some(GroupError::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refusal {
            step.decision.answer(request, refused(error, join.member));
            return;
        }
        join.protocols = distinct(join.protocols);
        let id = join.group.clone();
        let new = || ClassicGroup::new(id.clone(), step.now);
        let group = self.groups.entry(id.clone()).or_insert_with(new);
        group.join(step, request, join);
        self.settle(&id);
    }

    /// Decides about a sync.
    pub(super) fn sync(&mut self, step: &mut Step<'_>, request: RequestId, sync: Sync) {
        let id = sync.group.clone();
        match self.groups.get_mut(&id) {
            Some(group) => group.sync(step, request, sync),
            None => {
                let answer = Response::Synced(Err(GroupError::UnknownMemberId));
                step.decision.answer(request, answer);
            }
        }
        self.settle(&id);
    }

    /// A member says that it is alive.
    pub(super) fn heartbeat(
        &mut self,
        step: &Step<'_>,
        id: &GroupId,
        identity: &Identity,
    ) -> Result<(), GroupError> {
        let group = self.groups.get_mut(id).ok_or(GroupError::UnknownMemberId)?;
        let outcome = group.heartbeat(step, identity);
        self.settle_session(id, &identity.member);
        outcome
    }

    /// Members leave: an outcome for each.
    pub(super) fn leave(
        &mut self,
        step: &mut Step<'_>,
        id: &GroupId,
        leavers: &[Leaver],
    ) -> Vec<Result<(), GroupError>> {
        let Some(group) = self.groups.get_mut(id) else {
            return leavers.iter().map(|_| Err(GroupError::UnknownMemberId)).collect();
        };
        let outcomes = group.leave(step, leavers);
        self.settle(id);
        outcomes
    }

    /// Whether a commit may be accepted; a member's commit renews its session. Without a group, or
    /// while it has no members, those commit that are no members.
    pub(super) fn check_commit(
        &mut self,
        step: &Step<'_>,
        commit: &CommitOffsets,
    ) -> Result<(), GroupError> {
        let identity = &commit.identity;
        let Some(group) = self.groups.get_mut(&commit.group) else {
            return match identity.generation {
                None => Ok(()),
                Some(_) => Err(GroupError::GroupIdNotFound),
            };
        };
        if identity.generation.is_none() {
            if group.is_empty() {
                return Ok(());
            }
            if identity.member.is_empty() && identity.instance.is_none() {
                return Err(GroupError::UnknownMemberId);
            }
        }
        sometimes!(
            CommitOfOldGeneration,
            group.check_generation(identity) == Err(GroupError::IllegalGeneration)
        );
        match Mutant::OldGenerationCommits.is_planted() {
            true => group.check_member(identity)?,
            false => group.check_generation(identity)?,
        }
        if group.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        group.is_alive(step, &identity.member);
        self.settle_session(&commit.group, &identity.member);
        Ok(())
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        self.ticked.clear();
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= now.monotonic
            && let Some((_, id)) = self.deadlines.pop_first()
        {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.scheduled = None;
            self.ticked.push(id.clone());
            let mut decision = Decided::default();
            group.on_time(&mut Step { now, config: step.config, decision: &mut decision });
            let has_records = !decision.records.is_empty();
            step.decision.records.append(&mut decision.records);
            step.decision.answers.append(&mut decision.answers);
            self.settle(&id);
            if has_records {
                // Whatever else is due is decided by what the record says.
                return;
            }
        }
    }

    /// The log has been read: sessions begin.
    pub(super) fn loaded(&mut self, now: Now, config: &GroupConfig) {
        self.is_loaded = true;
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                sometimes!(MovedBeforeAssignment, group.value().is_some_and(is_unassigned));
                group.loaded(now, config);
            }
            self.settle(&id);
        }
    }

    /// Applies a record of a group; a value of `None` removes it.
    pub(super) fn replay(&mut self, id: &GroupId, value: Option<&ClassicGroupValue>) {
        let Some(value) = value else {
            self.remove(id);
            return;
        };
        if Mutant::GenerationReused.is_planted() && !self.is_loaded && is_unassigned(value) {
            return;
        }
        // The clocks are set when the log has been read; live, a group is known before its record.
        let clocks = Now { monotonic: Instant::default(), wall: Timestamp::default() };
        let new = || ClassicGroup::new(id.clone(), clocks);
        self.groups.entry(id.clone()).or_insert_with(new).replay(value);
    }

    /// When [`ClassicGroups::tick`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Groups that the last [`ClassicGroups::tick`] looked at.
    pub(super) fn ticked(&self) -> &[GroupId] {
        &self.ticked
    }

    /// Takes every request that waits.
    pub(super) fn waiting(&mut self) -> Vec<RequestId> {
        self.groups.values_mut().flat_map(ClassicGroup::waiting).collect()
    }

    /// Members of all groups.
    pub(super) fn members(&self) -> usize {
        self.groups.values().map(|group| group.members.len()).sum()
    }

    /// Whether there is such a group.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.groups.contains_key(id)
    }

    /// Whether a group has no members; so has one that does not exist.
    pub(super) fn is_empty(&self, id: &str) -> bool {
        self.groups.get(id).is_none_or(ClassicGroup::is_empty)
    }

    /// Whether offsets of a topic are in use: by a member that subscribes to it, or that may.
    pub(super) fn is_subscribed(&self, id: &str, topic: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.is_subscribed(topic))
    }

    /// Whether offsets of a group may be deleted one by one: it has no members, or its members are
    /// consumers, of which topics are known.
    pub(super) fn check_delete_offsets(&self, id: &str) -> Result<(), GroupError> {
        match self.groups.get(id) {
            Some(group) if !group.is_empty() && !group.are_consumers() => {
                Err(GroupError::NonEmptyGroup)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Deletes a group, which must be empty.
    pub(super) fn delete(&mut self, id: &GroupId, records: &mut Vec<Record>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        assert!(group.is_empty(), "a group with members is not deleted");
        group.pending.clear();
        if group.value().is_some() {
            records.push(Record::Group { group: id.clone(), value: None });
        }
        self.settle(id);
    }

    /// How the offsets of a group may expire.
    pub(super) fn expiry(&self, id: &str) -> Expiry {
        let Some(group) = self.groups.get(id) else { return Expiry::Simple };
        if group.is_empty() {
            if group.protocol_type.is_empty() {
                return Expiry::Simple;
            }
            let since_wall = group.value().and_then(|value| value.state_since);
            return Expiry::Empty { since: group.empty_since, since_wall };
        }
        if Mutant::LiveGroupsOffsetsExpire.is_planted() {
            return Expiry::Simple;
        }
        match group.are_consumers() && group.knows_its_topics() {
            true => Expiry::Unsubscribed,
            false => Expiry::Never,
        }
    }

    /// Groups that exist in the log alone: they have neither members nor ids that are pending.
    pub(super) fn idle(&self) -> impl Iterator<Item = &GroupId> {
        let idle = |group: &&ClassicGroup| group.is_empty() && group.pending.is_empty();
        self.groups.values().filter(idle).map(|group| &group.id)
    }

    /// What the log says of every group that it knows.
    pub(super) fn values(&self) -> impl Iterator<Item = (&GroupId, &ClassicGroupValue)> {
        self.groups.iter().filter_map(|(id, group)| Some((id, group.value()?)))
    }

    /// Describes a group.
    pub(super) fn describe(&self, id: &str) -> Option<Described> {
        self.groups.get(id).map(ClassicGroup::describe)
    }

    /// The state of a group.
    pub(super) fn state(&self, id: &str) -> Option<GroupState> {
        Some(self.groups.get(id)?.public_state())
    }

    /// Every group, by id.
    pub(super) fn list(&self) -> impl Iterator<Item = Listed> {
        self.groups.values().map(ClassicGroup::list)
    }

    fn remove(&mut self, id: &GroupId) {
        if let Some(removed) = self.groups.remove(id)
            && let Some(deadline) = removed.scheduled
        {
            self.deadlines.remove(&(deadline, id.clone()));
        }
    }

    /// A member's session was renewed, and nothing else has changed. That only puts deadlines off, so
    /// the group may be looked at too early, once, instead of going through all of its members at
    /// each heartbeat.
    fn settle_session(&mut self, id: &GroupId, member: &MemberId) {
        let Some(group) = self.groups.get(id) else { return };
        let deadline = group.members.get(member).and_then(Member::expires_at);
        if deadline.is_some_and(|deadline| group.scheduled.is_none_or(|at| at > deadline)) {
            self.settle(id);
        }
    }

    /// Forgets a group that came to nothing, or notes when it is next to be looked at.
    fn settle(&mut self, id: &GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if group.is_vain() {
            self.remove(id);
            return;
        }
        let deadline = group.deadline();
        if group.scheduled != deadline {
            if let Some(before) = core::mem::replace(&mut group.scheduled, deadline) {
                self.deadlines.remove(&(before, id.clone()));
            }
            if let Some(deadline) = deadline {
                self.deadlines.insert((deadline, id.clone()));
            }
        }
    }
}

/// Whether a generation was begun that was not assigned.
fn is_unassigned(value: &ClassicGroupValue) -> bool {
    value.leader.is_none() && !value.members.is_empty()
}

/// How the offsets of a group may expire (KIP-211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Each on its own: nobody was ever a member.
    Simple,
    /// All together: it has no members any more.
    Empty {
        /// Since when this coordinator has seen that.
        since: Now,
        /// Since when it is so, by the wall clock of the coordinator of that time.
        since_wall: Option<Timestamp>,
    },
    /// Those of topics that no member subscribes to.
    Unsubscribed,
    /// None: it has members, and what they use is not known.
    Never,
}
