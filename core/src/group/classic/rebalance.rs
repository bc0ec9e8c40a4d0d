//! How a group comes from one generation to the next, and what time does to it.

use super::{
    group::{ClassicGroup, Preparation, State, Step},
    member::refused,
    protocol,
};
use crate::{
    group::{GroupError, Joined, JoinedMember, MemberId, Response},
    mutant::Mutant,
    sometimes,
    types::RequestId,
};
use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

impl ClassicGroup {
    /// Something has changed that wants a new generation: begins a rebalance, or, in one, looks
    /// whether that was all it waited for.
    pub(super) fn rebalance(&mut self, step: &mut Step<'_>) {
        match self.state {
            State::PreparingRebalance(_) => self.complete_join_if_all_rejoined(step),
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(step);
            }
        }
    }

    /// Begins a rebalance: the members are to join again.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == State::CompletingRebalance {
            sometimes!(JoinInterruptsAssignment);
            self.refuse_syncs(step);
        }
        self.pending_sync.clear();
        if !Mutant::SyncTimerStays.is_planted() {
            self.sync_deadline = None;
        }
        if self.is_empty() {
            let delay = step.config.initial_rebalance_delay;
            self.state = State::PreparingRebalance(Preparation::Initial {
                until: step.now.monotonic.after(delay),
                delay,
                remaining: self.rebalance_timeout().saturating_sub(delay),
                member_added: false,
            });
            return;
        }
        self.wait_for_rejoin(step);
        self.complete_join_if_all_rejoined(step);
    }

    fn wait_for_rejoin(&mut self, step: &Step<'_>) {
        let until = Some(step.now.monotonic.after(self.rebalance_timeout()));
        self.state = State::PreparingRebalance(Preparation::Rejoin { until });
    }

    fn refuse_syncs(&mut self, step: &mut Step<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(request) = member.syncing.take() {
                let answer = Response::Synced(Err(GroupError::RebalanceInProgress));
                step.decision.answer(request, answer);
                member.renew_session(step.now.monotonic);
            }
        }
    }

    /// Completes a rebalance that waits for nobody. An initial one waits for members that nobody
    /// knows yet.
    pub(super) fn complete_join_if_all_rejoined(&mut self, step: &mut Step<'_>) {
        let rejoining = matches!(self.state, State::PreparingRebalance(Preparation::Rejoin { .. }));
        if rejoining && self.all_have_joined() {
            self.complete_join(step);
        }
    }

    /// Ends the wait for joins: those that have not joined are left behind, except static members,
    /// which may be restarting (KIP-345). The others form the next generation.
    fn complete_join(&mut self, step: &mut Step<'_>) {
        let late = |id: &MemberId| {
            let member = &self.members[id];
            member.joining.is_none() && member.instance.is_none()
        };
        let late: Vec<MemberId> = self.members.keys().filter(|id| late(id)).cloned().collect();
        sometimes!(MemberMissesRebalance, !late.is_empty());
        for id in &late {
            self.remove(id);
        }
        if self.members.is_empty() {
            self.become_empty(step);
        } else if self.elect_joined_leader() {
            self.begin_generation(step);
        } else {
            // Only static members are left, and none has joined: their sessions decide.
            sometimes!(OnlyStaticMembersLeft);
            self.wait_for_rejoin(step);
        }
    }

    /// Makes sure that the leader is a member that has joined; the present one stays if it has.
    /// Whether there is any.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &MemberId| self.members[id].joining.is_some();
        if !self.leader.as_ref().is_some_and(joined) {
            let Some(first) = self.members.keys().find(|id| joined(id)) else { return false };
            sometimes!(LeaderMissesRebalance);
            self.leader = Some(first.clone());
        }
        true
    }

    fn next_generation(&self) -> u32 {
        // Generations are signed on the wire.
        self.generation().saturating_add(1).min(i32::MAX as u32)
    }

    /// The last member has gone.
    fn become_empty(&mut self, step: &mut Step<'_>) {
        self.state = State::Empty;
        self.empty_since = step.now;
        self.pending_sync.clear();
        self.sync_deadline = None;
        let generation = self.next_generation();
        step.decision.record(self.record(generation, None, None, step.now));
    }

    /// The members that have joined form a generation. It is a record before anybody is told, so
    /// that no coordinator gives out the number again.
    fn begin_generation(&mut self, step: &mut Step<'_>) {
        let generation = self.next_generation();
        let protocol = protocol::select(&self.members, &self.spoken);
        let protocol = protocol.expect("members that have nothing in common are not let in");
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            member.is_new = false;
            member.renew_session(step.now.monotonic);
        }
        step.decision.record(self.record(generation, Some(protocol.clone()), None, step.now));
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            let request = self.members.get_mut(id).and_then(|member| member.joining.take());
            if let Some(request) = request {
                let joined = self.joined(id, generation, &protocol);
                step.decision.answer(request, Response::Joined(Ok(joined)));
            }
        }
        self.pending_sync = ids.into_iter().collect();
        let sync_deadline = step.now.monotonic.after(self.rebalance_timeout());
        self.sync_deadline = match self.sync_deadline {
            Some(stale) if Mutant::SyncTimerStays.is_planted() => Some(stale),
            _ => Some(sync_deadline),
        };
        self.state = State::CompletingRebalance;
    }

    /// What a member of a generation is told; its leader is told who the others are.
    pub(super) fn joined(&self, member: &MemberId, generation: u32, protocol: &str) -> Joined {
        let members = if self.is_leader(member) {
            self.members
                .iter()
                .map(|(id, member)| JoinedMember {
                    member: id.clone(),
                    instance: member.instance.clone(),
                    metadata: member.metadata(protocol),
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation,
            protocol_type: self.protocol_type.clone(),
            protocol: String::from(protocol),
            leader: self.leader.clone().expect("a group with members has a leader"),
            member: member.clone(),
            skip_assignment: false,
            members,
        }
    }

    /// Does what is due. At most one record, so that the next is decided by what it says.
    pub(super) fn on_time(&mut self, step: &mut Step<'_>) {
        let now = step.now.monotonic;
        self.remove_silent_members(step);
        if !step.decision.records.is_empty() {
            return;
        }
        match self.state {
            State::PreparingRebalance(Preparation::Initial { until, .. }) if until <= now => {
                self.end_or_prolong_delay(step);
            }
            State::PreparingRebalance(Preparation::Rejoin { until: Some(until) })
                if until <= now =>
            {
                self.complete_join(step);
            }
            State::Empty
            | State::PreparingRebalance(_)
            | State::CompletingRebalance
            | State::Stable => {
                if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
                    self.remove_members_without_sync(step);
                }
            }
        }
    }

    fn remove_silent_members(&mut self, step: &mut Step<'_>) {
        let now = step.now.monotonic;
        let due = self.pending.iter().filter(|(_, deadline)| **deadline <= now);
        let forgotten: Vec<MemberId> = due.map(|(id, _)| id.clone()).collect();
        let silent = self.members.iter().filter(|(_, member)| {
            let deadline = match Mutant::ParkedJoinExpires.is_planted() {
                true => Some(member.session_deadline),
                false => member.expires_at(),
            };
            deadline.is_some_and(|deadline| deadline <= now)
        });
        let silent: Vec<MemberId> = silent.map(|(id, _)| id.clone()).collect();
        let (any_forgotten, any_silent) = (!forgotten.is_empty(), !silent.is_empty());
        let is_preparing = matches!(self.state, State::PreparingRebalance(_));
        sometimes!(PendingMemberForgotten, any_forgotten);
        sometimes!(MemberSilentDuringRebalance, any_silent && is_preparing);
        for id in forgotten.iter().chain(&silent) {
            self.remove_and_refuse(id, step);
        }
        match self.state {
            State::CompletingRebalance | State::Stable if any_silent => {
                self.prepare_rebalance(step);
            }
            // This ends the delay of an initial rebalance as well.
            State::PreparingRebalance(_)
                if (any_forgotten || any_silent) && self.all_have_joined() =>
            {
                self.complete_join(step);
            }
            State::Empty
            | State::PreparingRebalance(_)
            | State::CompletingRebalance
            | State::Stable => {}
        }
    }

    /// Removes a member. One that waits for its join to be answered joins anew.
    pub(super) fn remove_and_refuse(&mut self, id: &MemberId, step: &mut Step<'_>) {
        if let Some(mut removed) = self.remove(id) {
            let answers = &mut step.decision.answers;
            removed.refuse(&MemberId::from(""), &GroupError::UnknownMemberId, answers);
        }
    }

    /// The delay of an initial rebalance goes on while members keep coming, up to the rebalance
    /// timeout of the first (KIP-134).
    fn end_or_prolong_delay(&mut self, step: &mut Step<'_>) {
        let State::PreparingRebalance(Preparation::Initial {
            delay, remaining, member_added, ..
        }) = self.state
        else {
            return;
        };
        if !member_added || remaining == Duration::ZERO {
            self.complete_join(step);
            return;
        }
        sometimes!(InitialDelayProlonged);
        let next = step.config.initial_rebalance_delay.min(remaining);
        self.state = State::PreparingRebalance(Preparation::Initial {
            until: step.now.monotonic.after(next),
            delay: next,
            remaining: remaining.saturating_sub(delay),
            member_added: false,
        });
    }

    /// Members that joined and never asked for their assignment have gone; if the leader is one of
    /// them, nobody else ever gets one (KAFKA-9752).
    fn remove_members_without_sync(&mut self, step: &mut Step<'_>) {
        self.sync_deadline = None;
        if self.pending_sync.is_empty() {
            return;
        }
        let assigns = |leader| self.pending_sync.contains(leader);
        sometimes!(GroupLeaderNeverAssigns, self.leader.as_ref().is_some_and(assigns));
        for id in core::mem::take(&mut self.pending_sync) {
            self.remove_and_refuse(&id, step);
        }
        self.prepare_rebalance(step);
    }

    /// Parks a join until the next generation; one that was parked before it is superseded.
    pub(super) fn park_join(&mut self, id: &MemberId, request: RequestId, step: &mut Step<'_>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(superseded) = member.joining.replace(request) {
            sometimes!(JoinSuperseded);
            let answer = refused(GroupError::RebalanceInProgress, id.clone());
            step.decision.answer(superseded, answer);
        }
    }
}
