//! Which kind of group a member's request is for, and how a group becomes one of the other kind.
//!
//! A name belongs to a classic group or to a consumer group, never to both, except inside of the
//! decision that turns one into the other.

use super::{
    ConsumerHeartbeat, ConsumerHeartbeatAnswer, Decided, GroupError, GroupId, GroupShard, Identity,
    Join, Leaver, Response, Sync, classic::Step,
};
use crate::{metadata::Image, types::RequestId};
use alloc::vec::Vec;

impl GroupShard {
    /// A member of the classic protocol joins: a consumer group that has members, or a classic
    /// group. A consumer group without members makes room for a classic one.
    pub(super) fn join(
        &mut self,
        step: &mut Step<'_>,
        image: &Image,
        request: RequestId,
        join: Join,
    ) {
        let group = join.group.clone();
        if !self.consumer.is_empty(&group) {
            let records = &mut step.decision.records;
            let joined = self.consumer.join(step.now, image, step.config, &join, records);
            step.decision.answer(request, Response::Joined(joined));
            return;
        }
        let mut joining = Decided::default();
        let Step { now, config, .. } = *step;
        self.classic.join(&mut Step { now, config, decision: &mut joining }, request, join);
        if self.consumer.contains(&group) && self.classic.contains(&group) {
            let deleted = self.consumer.delete(&group, &mut step.decision.records);
            assert_eq!(deleted, Ok(()), "a group without members may be deleted");
        }
        step.decision.records.append(&mut joining.records);
        step.decision.answers.append(&mut joining.answers);
    }

    /// A member of the classic protocol asks for its assignment.
    pub(super) fn sync(
        &mut self,
        step: &mut Step<'_>,
        image: &Image,
        request: RequestId,
        sync: Sync,
    ) {
        if self.consumer.contains(&sync.group) {
            let synced = self.consumer.sync(step.now, image, &sync);
            step.decision.answer(request, Response::Synced(synced));
        } else {
            self.classic.sync(step, request, sync);
        }
    }

    /// A member of the classic protocol is alive.
    pub(super) fn heartbeat(
        &mut self,
        step: &Step<'_>,
        group: &GroupId,
        identity: &Identity,
    ) -> Result<(), GroupError> {
        if self.consumer.contains(group) {
            self.consumer.classic_heartbeat(step.now, group, identity)
        } else {
            self.classic.heartbeat(step, group, identity)
        }
    }

    /// Members of the classic protocol leave.
    pub(super) fn leave(
        &mut self,
        step: &mut Step<'_>,
        image: &Image,
        group: &GroupId,
        leavers: &[Leaver],
    ) -> Vec<Result<(), GroupError>> {
        if self.consumer.contains(group) {
            let records = &mut step.decision.records;
            self.consumer.leave_classic(step.now, image, step.config, group, leavers, records)
        } else {
            self.classic.leave(step, group, leavers)
        }
    }

    /// A member of the consumer protocol joins, stays or leaves. It turns a classic group into a
    /// consumer group by joining.
    pub(super) fn consumer_heartbeat(
        &mut self,
        step: &mut Step<'_>,
        image: &Image,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        let (now, config) = (step.now, step.config);
        let Some(classic) = self.classic.snapshot(&request.group) else {
            let records = &mut step.decision.records;
            return self.consumer.heartbeat(now, image, config, request, records);
        };
        let records = &mut step.decision.records;
        let answer =
            self.consumer.heartbeat_of_upgrade(now, image, config, request, &classic, records)?;
        self.classic.release(step, &request.group);
        Ok(answer)
    }
}
