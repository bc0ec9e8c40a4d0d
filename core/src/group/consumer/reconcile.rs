//! A member's next step from what it owns to what it is to own.
//!
//! A member first gives up what it is not to own any more, and stays in its epoch until it has
//! confirmed that ([`MemberState::UnrevokedPartitions`]). Then it moves on to the target's epoch
//! and gets what nobody else holds; while others have yet to give something up, it waits for that
//! ([`MemberState::UnreleasedPartitions`]), otherwise it is [`MemberState::Stable`].

use super::{
    group::ConsumerGroup,
    member::{EpochsByPartition, Member},
};
use crate::{
    group::{CurrentAssignmentValue, GroupError, MemberId, MemberState, TopicPartitions},
    metadata::Image,
    mutant::Mutant,
    sometimes,
    types::TopicId,
};
use alloc::collections::BTreeMap;

/// What a step goes by.
pub(super) struct Reconciliation<'a> {
    /// The group as it will be when the step is taken.
    pub group: &'a ConsumerGroup,
    /// The newest metadata.
    pub image: &'a Image,
    /// The member.
    pub id: &'a MemberId,
    /// The partitions that it says it owns; `None` when it does not say.
    pub owned: Option<&'a TopicPartitions>,
}

impl Reconciliation<'_> {
    /// The member's next state; `None` if it stays where it is.
    pub(super) fn step(
        &self,
        member: &Member,
    ) -> Result<Option<CurrentAssignmentValue>, GroupError> {
        let current = &*member.current;
        let next = match current.state {
            MemberState::Stable if current.epoch != Some(self.group.target_epoch) => {
                self.toward_target(member)
            }
            MemberState::UnrevokedPartitions if !self.still_owns(&current.pending_revocation) => {
                self.toward_target(member)
            }
            MemberState::Stable | MemberState::UnrevokedPartitions => self.shrunk(member),
            MemberState::UnreleasedPartitions => {
                let target = Some(self.group.target_epoch);
                sometimes!(TargetMovesWhileWaiting, current.epoch != target);
                self.toward_target(member)
            }
            MemberState::Unknown if self.owned.is_none_or(|owned| !owned.is_empty()) => {
                return Err(GroupError::FencedMemberEpoch);
            }
            MemberState::Unknown => self.toward_target(member),
        };
        Ok((next != *current).then_some(next))
    }

    /// As far toward the target as the member can go.
    fn toward_target(&self, member: &Member) -> CurrentAssignmentValue {
        let target = self.group.target_of(self.id);
        let target_epoch = self.group.target_epoch;
        let mut assigned = EpochsByPartition::new();
        let mut revoked = EpochsByPartition::new();
        for (topic, of_topic) in &member.current.assigned {
            sometimes!(AssignedTopicDeleted, self.image.topic(*topic).is_none());
            let keeps = target.get(topic).filter(|_| self.is_subscribed(member, *topic));
            for (partition, epoch) in of_topic {
                let kept = keeps.is_some_and(|keeps| keeps.contains(partition));
                let to = if kept { &mut assigned } else { &mut revoked };
                to.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        if self.still_owns(&revoked) {
            let epoch = if Mutant::MemberEpochBumpedUnrevoked.is_planted() {
                target_epoch
            } else {
                member.epoch()
            };
            return CurrentAssignmentValue {
                epoch: Some(epoch),
                previous_epoch: member.epoch(),
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation: revoked,
            };
        }
        let mut unreleased = false;
        for (topic, partitions) in target.iter().filter(|(t, _)| self.is_subscribed(member, **t)) {
            for partition in partitions {
                let owner = self.group.owner(*topic, *partition);
                if owner.is_some_and(|owner| owner != self.id)
                    && !Mutant::GrantedBeforeRevoked.is_planted()
                {
                    sometimes!(WaitsForOthers);
                    unreleased = true;
                } else {
                    let of_topic: &mut BTreeMap<_, _> = assigned.entry(*topic).or_default();
                    of_topic.entry(*partition).or_insert(target_epoch);
                }
            }
        }
        let state =
            if unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        CurrentAssignmentValue {
            epoch: Some(target_epoch),
            previous_epoch: member.epoch(),
            state,
            assigned,
            pending_revocation: EpochsByPartition::new(),
        }
    }

    /// Where the member is, without the topics that it does not subscribe to any more: it cannot
    /// move on, but its subscription may have changed.
    fn shrunk(&self, member: &Member) -> CurrentAssignmentValue {
        let mut next = (*member.current).clone();
        let mut revoked = next.pending_revocation.clone();
        let mut any = false;
        next.assigned.retain(|topic, of_topic| {
            let subscribed = self.is_subscribed(member, *topic);
            if !subscribed {
                any = true;
                revoked.entry(*topic).or_default().extend(of_topic.iter());
            }
            subscribed
        });
        if any {
            next.previous_epoch = member.epoch();
            if self.still_owns(&revoked) {
                next.state = MemberState::UnrevokedPartitions;
                next.pending_revocation = revoked;
            }
        }
        next
    }

    /// Whether the member may still own any of these partitions.
    fn still_owns(&self, partitions: &EpochsByPartition) -> bool {
        let Some(owned) = self.owned else {
            return !partitions.is_empty() && !Mutant::SilenceCountsAsRevoked.is_planted();
        };
        owned.iter().any(|(topic, owned)| {
            let asked = partitions.get(topic);
            asked.is_some_and(|asked| owned.iter().any(|partition| asked.contains_key(partition)))
        })
    }

    /// Whether the member subscribes to a topic, by name or with a regular expression. A deleted
    /// topic is subscribed to by nobody.
    fn is_subscribed(&self, member: &Member, topic: TopicId) -> bool {
        let Some(topic) = self.image.topic(topic) else { return false };
        let about = &member.about;
        let expression = about.regular_expression.as_ref();
        let matched = expression.and_then(|expression| self.group.expressions.get(expression));
        let has = |names: &[alloc::sync::Arc<str>]| {
            names.binary_search_by(|name| (**name).cmp(topic.name.as_str())).is_ok()
        };
        has(&about.topics) || matched.is_some_and(|matched| has(&matched.topics))
    }
}
