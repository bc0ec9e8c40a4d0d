//! DeleteGroups. A group goes with its offsets, in one decision; one that has more offsets than
//! fit into a decision goes piece by piece, its own records with the last piece, and whoever asked
//! is answered then. A group that gets members meanwhile stays, with the offsets it has left.

use super::{Decided, GroupError, GroupId, GroupShard, Record, Response, classic::Step};
use crate::types::RequestId;
use alloc::vec::Vec;

impl GroupShard {
    /// Deletes a group that has no members.
    pub(super) fn delete_group(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        group: &GroupId,
    ) {
        match self.delete_piece(group, &mut step.decision.records) {
            Some(outcome) => step.decision.answer(request, Response::GroupDeleted(outcome)),
            None => self.deleting.entry(group.clone()).or_default().push(request),
        }
    }

    /// Deletes the next piece of a group that is being deleted.
    pub(super) fn go_on_deleting(&mut self, decision: &mut Decided) {
        while decision.records.is_empty()
            && let Some((group, _)) = self.deleting.first_key_value()
        {
            let group = group.clone();
            let Some(outcome) = self.delete_piece(&group, &mut decision.records) else { return };
            for request in self.deleting.remove(&group).unwrap_or_default() {
                decision.answer(request, Response::GroupDeleted(outcome.clone()));
            }
        }
    }

    /// Deletes as much of a group as one decision may; `None` while something is left.
    fn delete_piece(
        &mut self,
        group: &GroupId,
        records: &mut Vec<Record>,
    ) -> Option<Result<(), GroupError>> {
        if !self.contains(group) {
            return Some(Err(GroupError::GroupIdNotFound));
        }
        if !self.classic.is_empty(group) || !self.consumer.is_empty(group) {
            return Some(Err(GroupError::NonEmptyGroup));
        }
        if !self.offsets.delete_group(group, records) {
            return None;
        }
        self.classic.delete(group, records);
        match self.consumer.contains(group) {
            true => Some(self.consumer.delete(group, records)),
            false => Some(Ok(())),
        }
    }
}
