//! A member joins, or tells that it is alive: its subscription may change, then the group's epoch,
//! then the target, and then the member takes a step toward it.

use super::{
    ConsumerGroups,
    draft::Draft,
    expressions::{self, Refresh},
    group::ConsumerGroup,
    member::{Member, without_epochs},
    reconcile::Reconciliation,
    soft::Soft,
    target,
    timers::Duty,
};
use crate::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, ConsumerMemberValue, CurrentAssignmentValue,
        GroupConfig, GroupError, GroupId, InstanceId, MemberEpoch, MemberId, MemberState, Record,
        TopicPartitions,
    },
    metadata::Image,
    mutant::Mutant,
    sometimes,
    time::Now,
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;

/// What a heartbeat comes to.
pub(super) struct Stayed {
    pub records: Vec<Record>,
    pub answer: ConsumerHeartbeatAnswer,
    /// The group's soft state after it.
    pub soft: Soft,
    /// The member's new state, if it took a step, and how long it may take to give partitions up.
    pub step: Option<(MemberState, Duration)>,
}

/// Decides on a heartbeat of a member that joins or stays, in the group as `draft` has it.
pub(super) fn stay(
    now: Now,
    image: &Image,
    config: &GroupConfig,
    request: &ConsumerHeartbeat,
    soft: Soft,
    mut draft: Draft<'_>,
) -> Result<Stayed, GroupError> {
    let id = match &*request.member {
        "" => request.fresh_member.clone(),
        _ => request.member.clone(),
    };
    refuse_if_full(draft.group(), config, &id)?;
    let before = find_or_join(&mut draft, request, &id)?;
    let about = updated(&before.about, request);
    let soft = update_group(&mut draft, now, image, soft, &id, about)?;
    let member = draft.group().member(&id).cloned().unwrap_or_default();
    let next = reconcile(&draft, image, &id, &member, request.owned.as_ref())?;
    let current = next.as_ref().unwrap_or(&member.current);
    let assigned = without_epochs(&current.assigned);
    let is_full = request.rebalance_timeout.is_some()
        && (request.topics.is_some() || request.regular_expression.is_some())
        && request.owned.is_some();
    let is_needed = request.epoch == MemberEpoch::Join
        || is_full
        || assigned != without_epochs(&before.current.assigned);
    let answer = ConsumerHeartbeatAnswer {
        member: id.clone(),
        epoch: MemberEpoch::Stay(current.epoch.unwrap_or_default()),
        heartbeat_interval: config.consumer_heartbeat_interval,
        assignment: is_needed.then_some(assigned),
    };
    let step = next.as_ref().map(|next| (next.state, member.about.rebalance_timeout));
    let group = draft.id.clone();
    let last = next.map(|next| Record::CurrentAssignment { group, member: id, value: Some(next) });
    Ok(Stayed { records: draft.finish(last)?, answer, soft, step })
}

impl ConsumerGroups {
    /// Remembers that a member was heard of: its session begins anew, and it has to give
    /// partitions up within its rebalance timeout.
    pub(super) fn heard_of(
        &mut self,
        now: Now,
        config: &GroupConfig,
        group: &GroupId,
        stayed: &Stayed,
    ) {
        let id = &stayed.answer.member;
        self.soft.insert(group.clone(), stayed.soft);
        let session = now.monotonic.after(config.consumer_session_timeout);
        self.timers.set(group, id, Duty::Session, session);
        match stayed.step {
            Some((MemberState::UnrevokedPartitions, timeout)) => {
                self.timers.set(group, id, Duty::Revoke, now.monotonic.after(timeout));
            }
            Some(_) => self.timers.cancel(group, id, Duty::Revoke),
            None => {}
        }
    }
}

/// A group has at most `group.consumer.max.size` members.
pub(super) fn refuse_if_full(
    group: &ConsumerGroup,
    config: &GroupConfig,
    id: &MemberId,
) -> Result<(), GroupError> {
    let full = group.members.len() >= config.consumer_max_size;
    if full && group.member(id).is_none() {
        return Err(GroupError::GroupMaxSizeReached);
    }
    Ok(())
}

/// The member that sends a heartbeat, as it is before it; a new one for a member that joins.
fn find_or_join(
    draft: &mut Draft<'_>,
    request: &ConsumerHeartbeat,
    id: &MemberId,
) -> Result<Member, GroupError> {
    let joins = request.epoch == MemberEpoch::Join;
    let Some(instance) = &request.instance else {
        let member = match draft.group().member(id) {
            Some(member) => member.clone(),
            None if joins => Member::default(),
            None => return Err(GroupError::UnknownMemberId),
        };
        check_epoch(&member, request)?;
        return Ok(member);
    };
    match draft.group().static_member(instance) {
        None if joins => Ok(draft.group().member(id).cloned().unwrap_or_default()),
        None => Err(GroupError::UnknownMemberId),
        Some((holder, member)) if joins => {
            // A member that asks again under its own id has missed the answer, or was fenced.
            let is_away = member.current.epoch.is_none();
            if holder == id && !is_away {
                return Ok(member.clone());
            }
            if !is_away && !member.is_classic() {
                sometimes!(InstanceNotReleased);
                return Err(GroupError::UnreleasedInstanceId);
            }
            sometimes!(AwayMemberReplaced, is_away);
            sometimes!(ClassicInstanceReplaced, !is_away);
            let holder = holder.clone();
            Ok(replace(draft, &holder, id))
        }
        Some((holder, _)) if holder != id => Err(GroupError::FencedInstanceId),
        Some((_, member)) => {
            check_epoch(member, request)?;
            Ok(member.clone())
        }
    }
}

/// Refuses heartbeats of another epoch than the member's. One of the epoch before is taken, if it
/// owns nothing that is not assigned to it: it has missed the answer that told it of the new one.
fn check_epoch(member: &Member, request: &ConsumerHeartbeat) -> Result<(), GroupError> {
    let MemberEpoch::Stay(epoch) = request.epoch else {
        if Mutant::FencedMemberCannotRejoin.is_planted() && member.epoch() > 0 {
            return Err(GroupError::FencedMemberEpoch);
        }
        return Ok(());
    };
    let current = &member.current;
    if current.epoch == Some(epoch) || Mutant::StaleMemberEpochAccepted.is_planted() {
        return Ok(());
    }
    let missed = current.epoch.is_some_and(|current| epoch < current)
        && epoch == current.previous_epoch
        && request.owned.as_ref().is_some_and(|owned| is_within(owned, current));
    sometimes!(LostHeartbeatAnswer, missed);
    sometimes!(ConsumerFenced, !missed);
    if missed { Ok(()) } else { Err(GroupError::FencedMemberEpoch) }
}

/// Whether a member owns nothing but what is assigned to it.
fn is_within(owned: &TopicPartitions, current: &CurrentAssignmentValue) -> bool {
    owned.iter().all(|(topic, owned)| {
        let assigned = current.assigned.get(topic);
        assigned.is_some_and(|assigned| owned.iter().all(|one| assigned.contains_key(one)))
    })
}

/// Decides to remove a member, in the order in which Kafka does.
pub(super) fn remove(draft: &mut Draft<'_>, id: &MemberId) {
    let (group, member) = (draft.id.clone(), id.clone());
    draft.push(Record::CurrentAssignment { group, member, value: None });
    let (group, member) = (draft.id.clone(), id.clone());
    draft.push(Record::TargetAssignment { group, member, value: None });
    let (group, member) = (draft.id.clone(), id.clone());
    draft.push(Record::ConsumerMember { group, member, value: None });
}

/// Decides that a static member comes back under another id: it has what it had. Returns it.
pub(super) fn replace(draft: &mut Draft<'_>, from: &MemberId, to: &MemberId) -> Member {
    let member = draft.group().member(from).cloned().unwrap_or_default();
    let target = match Mutant::StaticMemberLosesPartitions.is_planted() {
        true => Arc::default(),
        false => draft.group().target_of(from),
    };
    let mut current = (*member.current).clone();
    current.epoch = Some(0);
    current.previous_epoch = 0;
    remove(draft, from);
    let about = (*member.about).clone();
    let (group, id) = (draft.id.clone(), to.clone());
    draft.push(Record::ConsumerMember { group, member: id, value: Some(about) });
    let (group, id) = (draft.id.clone(), to.clone());
    draft.push(Record::TargetAssignment { group, member: id, value: Some((*target).clone()) });
    let (group, id) = (draft.id.clone(), to.clone());
    draft.push(Record::CurrentAssignment { group, member: id, value: Some(current.clone()) });
    Member { about: member.about, current: Arc::new(current) }
}

/// What a member says of itself after a heartbeat.
fn updated(before: &ConsumerMemberValue, request: &ConsumerHeartbeat) -> ConsumerMemberValue {
    let expression = match &request.regular_expression {
        None => before.regular_expression.clone(),
        Some(expression) if expression.is_empty() => None,
        Some(expression) => Some(expression.clone()),
    };
    let or = |new: &Option<String>, old: &Option<String>| new.as_ref().or(old.as_ref()).cloned();
    let instance: Option<&InstanceId> = request.instance.as_ref().or(before.instance.as_ref());
    ConsumerMemberValue {
        instance: instance.cloned(),
        rack: or(&request.rack, &before.rack),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topics: request
            .topics
            .as_ref()
            .map_or_else(|| before.topics.clone(), |names| sorted(names)),
        regular_expression: expression,
        rebalance_timeout: request.rebalance_timeout.unwrap_or(before.rebalance_timeout),
        assignor: or(&request.assignor, &before.assignor),
        classic: None,
    }
}

/// Names in order, none twice.
pub(super) fn sorted(names: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// Decides what follows from what a member says of itself: its own record, the regular
/// expressions, a new group epoch and its target. Returns the group's soft state after it.
pub(super) fn update_group(
    draft: &mut Draft<'_>,
    now: Now,
    image: &Image,
    mut soft: Soft,
    id: &MemberId,
    about: ConsumerMemberValue,
) -> Result<Soft, GroupError> {
    let known = draft.group().member(id);
    let (is_new, before) = (known.is_none(), known.cloned().unwrap_or_default().about);
    let expression_changed = about.regular_expression != before.regular_expression;
    let mut bump =
        draft.group().value.epoch == 0 || about.topics != before.topics || expression_changed;
    // Unlike Kafka's, the assignors look at it.
    bump |= !is_new && about.rack != before.rack;
    if let Some(expression) = &about.regular_expression
        && !draft.group().census.expressions.contains_key(expression)
    {
        let of_all = &draft.group().census.expressions;
        // The one that only this member has goes with the change.
        let goes = |old: &Arc<str>| of_all.get(old) == Some(&1);
        let goes = usize::from(before.regular_expression.as_ref().is_some_and(goes));
        expressions::refuse_if_too_many(of_all.len() - goes)?;
        expressions::compile(expression)?;
    }
    if is_new || about != *before {
        let (group, member) = (draft.id.clone(), id.clone());
        draft.push(Record::ConsumerMember { group, member, value: Some(about) });
    }
    if expression_changed {
        expressions::forget_unused(draft);
    }
    let refresh = soft.refresh(now.monotonic, image.applied());
    let resolved = expressions::resolve(draft, image, now.wall, refresh);
    if resolved.is_cut_short && refresh == Refresh::All {
        soft.refresh_again();
    }
    bump |= resolved.any_changed;
    let metadata_may_differ = soft.metadata != Some(image.applied());
    if bump || metadata_may_differ {
        let hash = draft.metadata_hash(image);
        if bump || hash != draft.group().value.metadata_hash {
            sometimes!(EpochBumpedByMetadata, !bump);
            draft.bump(hash);
        }
        soft.metadata = Some(image.applied());
    }
    if draft.group().value.epoch > draft.group().target_epoch {
        target::compute(draft, image);
    }
    Ok(soft)
}

/// The member's next step, if there is any to take.
pub(super) fn reconcile(
    draft: &Draft<'_>,
    image: &Image,
    id: &MemberId,
    member: &Member,
    owned: Option<&TopicPartitions>,
) -> Result<Option<CurrentAssignmentValue>, GroupError> {
    let group = draft.group();
    if member.is_reconciled_to(group.target_epoch) {
        return Ok(None);
    }
    Reconciliation { group, image, id, owned }.step(member)
}
