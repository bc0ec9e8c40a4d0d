//! A classic group becomes a consumer group, or was one.

use super::{
    ClassicGroups,
    group::{ClassicGroup, Step},
    member::Member,
};
use crate::{
    group::{
        GroupConfig, GroupError, GroupId, MemberId,
        consumer::{ClassicSnapshot, ClassicSnapshotMember},
    },
    sometimes,
    time::Now,
};
impl ClassicGroups {
    /// A group as it is now, if there is such a group.
    pub(in crate::group) fn snapshot(&self, id: &str) -> Option<ClassicSnapshot> {
        self.groups.get(id).map(ClassicGroup::snapshot)
    }

    /// A group is about to become a consumer group: nobody waits for its rebalance any more. A
    /// group that the log does not know is gone with that.
    pub(in crate::group) fn release(&mut self, step: &mut Step<'_>, id: &GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let answers = &mut step.decision.answers;
        for (member_id, member) in &mut group.members {
            let waits = member.joining.is_some() || member.syncing.is_some();
            sometimes!(UpgradeDuringRebalance, waits);
            member.refuse(member_id, &GroupError::RebalanceInProgress, answers);
        }
        if group.value().is_none() {
            self.remove(id);
        }
    }

    /// A group was a consumer group until now, and its record has been replayed: its members begin
    /// their sessions, and join again unless it has a leader.
    pub(in crate::group) fn adopt(&mut self, now: Now, config: &GroupConfig, id: &GroupId) {
        if let Some(group) = self.groups.get_mut(id) {
            group.loaded(now, config);
        }
        self.settle(id);
    }
}

impl ClassicGroup {
    fn snapshot(&self) -> ClassicSnapshot {
        let member = |(id, member): (&MemberId, &Member)| ClassicSnapshotMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        };
        ClassicSnapshot {
            is_recorded: self.value().is_some(),
            protocol_type: self.protocol_type.clone(),
            generation: self.generation(),
            members: self.members.iter().map(member).collect(),
        }
    }
}
