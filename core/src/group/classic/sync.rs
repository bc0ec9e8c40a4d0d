//! SyncGroup, Heartbeat and LeaveGroup.

use super::group::{ClassicGroup, State, Step};
use crate::{
    group::{
        GroupError, Identity, Leaver, MemberId, Response, Sync, Synced, limits::check_assignments,
    },
    mutant::Mutant,
    types::RequestId,
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use bytes::Bytes;

impl ClassicGroup {
    /// Asks for an assignment; the leader gives them.
    pub(super) fn sync(&mut self, step: &mut Step<'_>, request: RequestId, sync: Sync) {
        let id = sync.identity.member.clone();
        let refusal = self.check_sync(&sync).err().or(match self.state {
            State::Empty => Some(GroupError::UnknownMemberId),
            State::PreparingRebalance(_) => Some(GroupError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => None,
        });
        let now = step.now.monotonic;
        let (None, Some(member)) = (&refusal, self.members.get_mut(&id)) else {
            let error = refusal.unwrap_or(GroupError::UnknownMemberId);
            step.decision.answer(request, Response::Synced(Err(error)));
            return;
        };
        member.renew_session(now);
        if let Some(superseded) = member.syncing.replace(request) {
            let answer = Response::Synced(Err(GroupError::RebalanceInProgress));
            step.decision.answer(superseded, answer);
        }
        self.pending_sync.remove(&id);
        if self.state == State::CompletingRebalance && self.is_leader(&id) {
            self.assign(step, sync.assignments);
        }
        if self.state == State::Stable {
            self.answer_syncs(step);
        }
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_generation(&sync.identity)?;
        let is_other = |named: &Option<String>, known: Option<&str>| {
            named.as_deref().zip(known).is_some_and(|(named, known)| named != known)
        };
        let protocol_type = Some(self.protocol_type.as_str());
        if is_other(&sync.protocol_type, protocol_type) || is_other(&sync.protocol, self.protocol())
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        check_assignments(&sync.assignments)
    }

    /// The leader has assigned. It is a record before any member is told.
    fn assign(&mut self, step: &mut Step<'_>, assignments: Vec<(MemberId, Bytes)>) {
        let mut assignments: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.state = State::Stable;
        if !Mutant::SyncBeforeRecord.is_planted() {
            let protocol = self.protocol().map(String::from);
            let (generation, leader) = (self.generation(), self.leader.clone());
            step.decision.record(self.record(generation, protocol, leader, step.now));
        }
    }

    fn answer_syncs(&mut self, step: &mut Step<'_>) {
        let protocol = String::from(self.protocol().unwrap_or_default());
        for member in self.members.values_mut() {
            let Some(request) = member.syncing.take() else { continue };
            member.renew_session(step.now.monotonic);
            let synced = Synced {
                protocol_type: self.protocol_type.clone(),
                protocol: protocol.clone(),
                assignment: member.assignment.clone(),
            };
            step.decision.answer(request, Response::Synced(Ok(synced)));
        }
    }

    /// A member is alive.
    pub(super) fn heartbeat(
        &mut self,
        step: &Step<'_>,
        identity: &Identity,
    ) -> Result<(), GroupError> {
        self.check_generation(identity)?;
        self.is_alive(step, &identity.member);
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance(_) => Err(GroupError::RebalanceInProgress),
            // Members send heartbeats as soon as they have joined.
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Renews a member's session.
    pub(super) fn is_alive(&mut self, step: &Step<'_>, id: &MemberId) {
        if let Some(member) = self.members.get_mut(id) {
            member.renew_session(step.now.monotonic);
        }
    }

    /// Members leave: an outcome for each.
    pub(super) fn leave(
        &mut self,
        step: &mut Step<'_>,
        leavers: &[Leaver],
    ) -> Vec<Result<(), GroupError>> {
        let members_before = self.members.len();
        let outcomes = leavers.iter().map(|leaver| self.leave_one(step, leaver)).collect();
        if self.members.len() < members_before {
            self.rebalance(step);
        } else {
            // Perhaps one left whose id was pending, and which was waited for.
            self.complete_join_if_all_rejoined(step);
        }
        outcomes
    }

    fn leave_one(&mut self, step: &mut Step<'_>, leaver: &Leaver) -> Result<(), GroupError> {
        let id = if leaver.member.is_empty() {
            // An administrator removes a static member, whose id nobody else knows.
            let named = leaver.instance.as_ref().and_then(|instance| self.instances.get(instance));
            named.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            leaver.member.clone()
        };
        if self.pending.remove(&id).is_some() {
            return Ok(());
        }
        if !leaver.member.is_empty() {
            let instance = leaver.instance.clone();
            self.check_member(&Identity { member: id.clone(), instance, generation: None })?;
        }
        self.remove_and_refuse(&id, step);
        Ok(())
    }
}
