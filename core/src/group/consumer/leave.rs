//! A member goes: it says so, or it was not heard of for too long.

use super::{
    ConsumerGroups, downgrade,
    draft::Draft,
    expressions, heartbeat,
    member::{EpochsByPartition, Member},
    timers::Duty,
};
use crate::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, CurrentAssignmentValue, DECISION_BYTES_MAX,
        GroupConfig, GroupError, GroupId, MemberEpoch, MemberId, MemberState, Record,
        limits::RECORD_OVERHEAD,
    },
    metadata::Image,
    mutant::Mutant,
    sometimes,
    time::Now,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

/// The most members that are fenced by one decision.
pub(super) const FENCED_AT_ONCE_MAX: usize = 500;

/// How many bytes it takes to remove a member, at the most: its three tombstones, that of its regular
/// expression, and the group's next epoch.
pub(super) fn fence_size(group: &GroupId, id: &MemberId, member: &Member) -> usize {
    let expression = member.about.regular_expression.as_ref().map_or(0, |it| it.len());
    5 * (RECORD_OVERHEAD + group.len()) + 3 * id.len() + expression
}

impl ConsumerGroups {
    /// A heartbeat of a member that leaves.
    pub(super) fn leave(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        request: &ConsumerHeartbeat,
    ) -> Result<(Vec<Record>, ConsumerHeartbeatAnswer), GroupError> {
        let group = self.groups.get(&request.group).ok_or(GroupError::GroupIdNotFound)?;
        let id = match &request.instance {
            None if group.member(&request.member).is_none() => {
                return Err(GroupError::UnknownMemberId);
            }
            None => request.member.clone(),
            Some(instance) => match group.static_member(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some((holder, _)) if *holder != request.member => {
                    return Err(GroupError::FencedInstanceId);
                }
                Some((holder, _)) => holder.clone(),
            },
        };
        let answer = ConsumerHeartbeatAnswer {
            member: request.member.clone(),
            epoch: request.epoch,
            heartbeat_interval: Duration::ZERO,
            assignment: None,
        };
        if request.epoch == MemberEpoch::LeaveForNow {
            return Ok((self.step_out(&request.group, &id).into_iter().collect(), answer));
        }
        let leavers = BTreeSet::from([id]);
        let records = self.fence(now, image, config, (&request.group, &leavers), 0);
        Ok((records, answer))
    }

    /// A static member leaves and will be back within its session: it keeps what it owns, and
    /// nobody else gets it. What it was asked to give up, it has given up by leaving. When each
    /// partition was assigned to it does not count any more: who comes back is another consumer.
    fn step_out(&self, group: &GroupId, id: &MemberId) -> Option<Record> {
        let current = &self.groups.get(group)?.member(id)?.current;
        sometimes!(LeavesWhileRevoking, current.state == MemberState::UnrevokedPartitions);
        let mut assigned = current.assigned.clone();
        assigned.values_mut().flat_map(BTreeMap::values_mut).for_each(|epoch| *epoch = 0);
        let value = CurrentAssignmentValue {
            epoch: None,
            previous_epoch: current.previous_epoch,
            state: current.state,
            assigned,
            pending_revocation: EpochsByPartition::new(),
        };
        let (group, member) = (group.clone(), id.clone());
        Some(Record::CurrentAssignment { group, member, value: Some(value) })
    }

    /// Removes members: a new epoch begins without them, and its target is computed by the next
    /// heartbeat; or the group becomes a classic one, if all others speak the classic protocol and
    /// that may be, and fits into a decision that takes `bytes` already. Decides nothing if none of
    /// them is a member.
    pub(super) fn fence(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        (group, members): (&GroupId, &BTreeSet<MemberId>),
        bytes: usize,
    ) -> Vec<Record> {
        let Some(known) = self.groups.get(group) else { return Vec::new() };
        let mut draft = Draft::new(group.clone(), known);
        for id in members.iter().filter(|id| known.member(id).is_some()) {
            heartbeat::remove(&mut draft, id);
            self.timers.cancel_all(group, id);
        }
        if draft.group().members.len() == known.members.len() {
            return Vec::new();
        }
        let left = draft.group();
        if !known.is_all_classic() && downgrade::is_possible(left, config, image) {
            let records = downgrade::records(group, known, left, image, now.wall, false);
            if downgrade::fits(&records, bytes) {
                for id in left.members.keys() {
                    self.timers.cancel_all(group, id);
                }
                self.downgraded.insert(group.clone());
                sometimes!(DowngradedByLeave);
                return records;
            }
        }
        expressions::forget_unused(&mut draft);
        let hash = draft.metadata_hash(image);
        draft.bump(hash);
        draft.into_records()
    }

    /// Fences the members that have not done in time what they have to. As many as one decision may
    /// be about; the others stay due.
    pub(super) fn fence_late(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        records: &mut Vec<Record>,
    ) {
        let mut late: BTreeMap<GroupId, BTreeSet<MemberId>> = BTreeMap::new();
        let (mut count, mut bytes) = (0, 0);
        while count < FENCED_AT_ONCE_MAX
            && bytes < DECISION_BYTES_MAX
            && let Some((group, member, duty)) = self.timers.pop_due(now.monotonic)
        {
            let is_owed = self.is_owed(&group, &member, duty);
            sometimes!(TimerOutlivesDuty, !is_owed);
            sometimes!(RevocationTooSlow, is_owed && duty == Duty::Revoke);
            let known = self.groups.get(&group).and_then(|group| group.member(&member));
            if is_owed && let Some(known) = known {
                count += 1;
                bytes += fence_size(&group, &member, known);
                late.entry(group).or_default().insert(member);
            }
        }
        let mut late = late.into_iter();
        for (group, members) in late.by_ref() {
            records.extend(self.fence(now, image, config, (&group, &members), bytes));
            if self.downgraded.contains(&group) {
                // Its record has all the members that are left, and is enough for one decision.
                break;
            }
        }
        for (group, members) in late {
            for member in members {
                self.timers.set(&group, &member, Duty::Session, now.monotonic);
            }
        }
    }

    /// Whether a member still has to do what it had to. A timer outlives what it was set for when
    /// a static member leaves while it has partitions to give up.
    fn is_owed(&self, group: &GroupId, id: &MemberId, duty: Duty) -> bool {
        let member = self.groups.get(group).and_then(|group| group.member(id));
        member.is_some_and(|member| match duty {
            Duty::Revoke => {
                !Mutant::LateMemberKeepsPartitions.is_planted()
                    && member.current.epoch.is_some()
                    && member.current.state == MemberState::UnrevokedPartitions
            }
            Duty::Join | Duty::Sync => member.is_classic(),
            Duty::Session => true,
        })
    }
}
