//! JoinGroup.

use super::{
    group::{ClassicGroup, Preparation, State, Step},
    member::{Member, refused},
    protocol,
};
use crate::{
    group::{
        GROUP_METADATA_BYTES_MAX, GroupError, Identity, InstanceId, Join, MemberId, Response,
        limits::member_size,
    },
    mutant::Mutant,
    sometimes,
    types::RequestId,
};
use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

/// The most member ids of one group that are given out and not joined with (KIP-394).
pub const MAX_PENDING_MEMBERS: usize = 10_000;

/// How long the join of a member that is new may be parked. Its session cannot tell whether it is
/// alive: it knows no id to send heartbeats with. When the client is alive it tries again.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_mins(5);

impl ClassicGroup {
    /// Joins. The protocols are distinct, the group id and the session timeout are valid.
    pub(super) fn join(&mut self, step: &mut Step<'_>, request: RequestId, join: Join) {
        let names: Vec<String> = join.protocols.iter().map(|(name, _)| name.clone()).collect();
        if !self.has_room(&join, step.config.max_size) {
            self.refuse_for_size(step, request, &join.member);
        } else if !self.accepts(&join.protocol_type, &names) {
            let answer = refused(GroupError::InconsistentGroupProtocol, join.member);
            step.decision.answer(request, answer);
        } else if join.member.is_empty() {
            self.join_as_new(step, request, join);
        } else if self.pending.contains_key(&join.member) && join.instance.is_none() {
            let id = join.member.clone();
            self.add_and_rebalance(step, request, join, id);
        } else {
            self.join_again(step, request, join);
        }
    }

    /// Whether the group has room for a member. While it rebalances, those count that have joined:
    /// if `group.max.size` was lowered, the last to join again are not let in. A static member
    /// takes the place of its predecessor. What all members say of themselves is bounded, too.
    fn has_room(&self, join: &Join, max_size: usize) -> bool {
        let id = match (&join.instance, join.member.is_empty()) {
            (Some(instance), true) => self.instances.get(instance),
            (Some(_) | None, _) => Some(&join.member),
        };
        let known = id.and_then(|id| self.members.get(id));
        let instance = join.instance.as_deref();
        let size = member_size(&join.client_id, &join.client_host, instance, &join.protocols);
        let others = self.spoken.bytes() - known.map_or(0, Member::size);
        if others + size > GROUP_METADATA_BYTES_MAX {
            return false;
        }
        match self.state {
            State::Empty => true,
            State::PreparingRebalance(_) => {
                known.is_some_and(|member| member.joining.is_some()) || self.joining() < max_size
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.members.len() < max_size
            }
        }
    }

    /// Refuses a join that is too much. While the group rebalances the member is not waited for any
    /// more. In a generation that has begun it stays, which the log says it is one of: if it goes
    /// away for having been refused, it leaves or its silence removes it, and the others hear of it
    /// by a rebalance.
    fn refuse_for_size(&mut self, step: &mut Step<'_>, request: RequestId, id: &MemberId) {
        let is_settled = matches!(self.state, State::CompletingRebalance | State::Stable);
        let stays = is_settled && self.members.contains_key(id);
        if !stays || Mutant::RefusedMemberRemoved.is_planted() {
            self.remove_and_refuse(id, step);
        }
        let answer = refused(GroupError::GroupMaxSizeReached, MemberId::from(""));
        step.decision.answer(request, answer);
        self.complete_join_if_all_rejoined(step);
    }

    fn join_as_new(&mut self, step: &mut Step<'_>, request: RequestId, join: Join) {
        let id = join.fresh_member.clone();
        let old = join.instance.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
        if let (Some(instance), Some(old)) = (join.instance.clone(), old) {
            self.replace_static_member(step, request, join, &instance, &old);
        } else if join.instance.is_some() || !join.must_know_its_id {
            self.add_and_rebalance(step, request, join, id);
        } else if self.pending.len() >= MAX_PENDING_MEMBERS {
            let answer = refused(GroupError::GroupMaxSizeReached, MemberId::from(""));
            step.decision.answer(request, answer);
        } else {
            // The member is added when it is known to have learned its id: a client that loses the
            // answer and tries again leaves no member behind (KIP-394).
            self.pending.insert(id.clone(), step.now.monotonic.after(join.session_timeout));
            step.decision.answer(request, refused(GroupError::MemberIdRequired, id));
        }
    }

    fn add_and_rebalance(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        join: Join,
        id: MemberId,
    ) {
        if let State::PreparingRebalance(Preparation::Initial { member_added, .. }) =
            &mut self.state
        {
            *member_added = true;
        }
        let member = Member {
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout: join.rebalance_timeout,
            session_timeout: join.session_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            is_new: true,
            session_deadline: step.now.monotonic.after(NEW_MEMBER_JOIN_TIMEOUT),
            joining: Some(request),
            syncing: None,
        };
        self.add(id, member, join.protocol_type);
        self.rebalance(step);
    }

    fn join_again(&mut self, step: &mut Step<'_>, request: RequestId, join: Join) {
        let identity = Identity {
            member: join.member.clone(),
            instance: join.instance.clone(),
            generation: None,
        };
        if let Err(error) = self.check_member(&identity) {
            step.decision.answer(request, refused(error, join.member));
            return;
        }
        let Some(member) = self.members.get(&join.member) else {
            step.decision.answer(request, refused(GroupError::UnknownMemberId, join.member));
            return;
        };
        let unchanged = member.protocols == join.protocols;
        let answer_lost = match self.state {
            State::Empty | State::PreparingRebalance(_) => false,
            State::CompletingRebalance => unchanged,
            // A leader that joins again wants a rebalance, for reasons that its metadata does not
            // show, as new partitions.
            State::Stable => unchanged && !self.is_leader(&join.member),
        };
        if answer_lost {
            self.repeat_answer(step, request, &join.member);
        } else {
            let id = join.member.clone();
            self.update(step, request, join, &id);
            self.rebalance(step);
        }
    }

    /// A member that joins as it has joined this generation is told of the generation again.
    fn repeat_answer(&mut self, step: &mut Step<'_>, request: RequestId, id: &MemberId) {
        sometimes!(JoinAnswerLost);
        if let Some(member) = self.members.get_mut(id) {
            member.renew_session(step.now.monotonic);
        }
        let joined = self.joined(id, self.generation(), self.protocol().unwrap_or_default());
        step.decision.answer(request, Response::Joined(Ok(joined)));
    }

    /// Takes over what a member says of itself, and parks its join.
    fn update(&mut self, step: &mut Step<'_>, request: RequestId, join: Join, id: &MemberId) {
        if let Some(member) = self.members.get_mut(id) {
            self.spoken.remove(member);
            member.protocols = join.protocols;
            self.spoken.add(member);
            member.rebalance_timeout = join.rebalance_timeout;
            member.session_timeout = join.session_timeout;
        }
        self.park_join(id, request, step);
    }

    /// A static member has restarted and does not know the id of its predecessor, which it
    /// replaces and fences (KIP-345).
    fn replace_static_member(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        join: Join,
        instance: &InstanceId,
        old: &MemberId,
    ) {
        let id = join.fresh_member.clone();
        let leader_before = self.leader.clone();
        let can_skip = join.can_skip_assignment;
        let topics_before = self.topics_of(old);
        self.rename_member(step, instance, old, &id);
        self.update(step, request, join, &id);
        let is_preparing = matches!(self.state, State::PreparingRebalance(_));
        sometimes!(StaticMemberBackWhileJoining, is_preparing);
        sometimes!(StaticMemberBackWhileAssigning, self.state == State::CompletingRebalance);
        match self.state {
            State::Stable => {
                let selected = protocol::select(&self.members, &self.spoken);
                let same_protocol = selected.as_deref() == self.protocol();
                if same_protocol && self.topics_of(&id) == topics_before {
                    sometimes!(StaticMemberBackStable);
                    self.resume_as(step, &id, leader_before, can_skip);
                } else {
                    self.rebalance(step);
                }
            }
            // The leader may be assigning to the predecessor just now.
            State::CompletingRebalance => self.prepare_rebalance(step),
            State::Empty | State::PreparingRebalance(_) => self.complete_join_if_all_rejoined(step),
        }
    }

    fn topics_of(
        &self,
        id: &MemberId,
    ) -> Option<alloc::collections::BTreeSet<alloc::sync::Arc<str>>> {
        let metadata = self.members.get(id)?.metadata(self.protocol()?);
        self.are_consumers().then(|| protocol::subscribed_topics(&metadata)).flatten()
    }

    fn rename_member(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
        old: &MemberId,
        new: &MemberId,
    ) {
        let mut member = self.members.remove(old).expect("instances name members");
        member.refuse(old, &GroupError::FencedInstanceId, &mut step.decision.answers);
        member.is_new = false;
        member.renew_session(step.now.monotonic);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.instances.insert(instance.clone(), new.clone());
        let before = self.members.insert(new.clone(), member);
        assert!(before.is_none(), "ids of new members are new");
    }

    /// The group goes on in its generation with a static member under its new id, once that is a
    /// record.
    fn resume_as(
        &mut self,
        step: &mut Step<'_>,
        id: &MemberId,
        leader_before: Option<MemberId>,
        can_skip: bool,
    ) {
        let Some(request) = self.members.get_mut(id).and_then(|member| member.joining.take())
        else {
            return;
        };
        let generation = self.generation();
        let protocol = self.protocol().map(String::from);
        let mut joined = self.joined(id, generation, protocol.as_deref().unwrap_or_default());
        if can_skip {
            joined.skip_assignment = self.is_leader(id);
        } else {
            // A client that does not know KIP-814 would assign anew if it were told that it leads.
            joined.leader = leader_before.unwrap_or(joined.leader);
            joined.members.clear();
        }
        let leader = self.leader.clone();
        step.decision.record(self.record(generation, protocol, leader, step.now));
        step.decision.answer(request, Response::Joined(Ok(joined)));
    }
}
