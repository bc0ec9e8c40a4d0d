//! Members of consumer groups that speak the classic protocol, while a group moves from one to the
//! other.
//!
//! To such a member its epoch is a generation. A heartbeat tells it to join again when the group's
//! epoch is ahead of it, when it has partitions to give up, or when those are free that it waits
//! for; it says with its join what it owns, and takes the same steps as others. There is no leader:
//! everybody syncs for what the coordinator has assigned.

use super::{
    ConsumerGroups, downgrade,
    draft::Draft,
    group::ConsumerGroup,
    heartbeat::{self, refuse_if_full},
    leave::fence_size,
    member::{Member, without_epochs},
    protocol::{self, CONSUMER, Subscription},
    timers::Duty,
};
use crate::{
    group::{
        ClassicMemberMetadata, ConsumerMemberValue, DECISION_BYTES_MAX, GROUP_METADATA_BYTES_MAX,
        GroupConfig, GroupError, GroupId, Identity, Join, JoinRefused, Joined, Leaver, MemberId,
        MemberState, Record, Sync, Synced,
        classic::distinct,
        limits::{check_join, member_size},
    },
    metadata::Image,
    sometimes,
    time::Now,
};
use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};

impl ConsumerGroups {
    /// A classic member joins a group that has members (JoinGroup).
    pub fn join(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        request: &Join,
        records: &mut Vec<Record>,
    ) -> Result<Joined, JoinRefused> {
        let is_new = request.member.is_empty();
        let id = if is_new { request.fresh_member.clone() } else { request.member.clone() };
        let refused = |error, member: &MemberId| JoinRefused { error, member: member.clone() };
        let outcome = self.admit(config, request, &id);
        let subscription = outcome.map_err(|error| refused(error, &request.member))?;
        if request.must_know_its_id && is_new && request.instance.is_none() {
            return Err(refused(GroupError::MemberIdRequired, &id));
        }
        let joined = self.join_admitted(now, image, config, request, &id, &subscription);
        let (decided, joined) = joined.map_err(|error| refused(error, &request.member))?;
        records.extend(decided);
        Ok(joined)
    }

    /// Whether somebody may join; what it subscribes to.
    fn admit(
        &self,
        config: &GroupConfig,
        request: &Join,
        id: &MemberId,
    ) -> Result<Subscription, GroupError> {
        check_join(request)?;
        let timeouts = config.min_session_timeout..=config.max_session_timeout;
        if !timeouts.contains(&request.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let group = self.groups.get(&request.group).ok_or(GroupError::UnknownMemberId)?;
        refuse_if_full(group, config, id)?;
        let instance = request.instance.as_deref();
        let of_instance = instance.and_then(|instance| group.static_member(instance));
        let known = of_instance.map(|(_, member)| member).or_else(|| group.member(id));
        let others = group.census.classic_bytes - known.map_or(0, Member::classic_size);
        let (client, host) = (&request.client_id, &request.client_host);
        if others + member_size(client, host, instance, &request.protocols)
            > GROUP_METADATA_BYTES_MAX
        {
            return Err(GroupError::GroupMaxSizeReached);
        }
        let is_common = |(name, _): &(String, _)| {
            group.census.protocols.get(name).copied().unwrap_or(0) == group.census.classic
        };
        let first = request.protocols.first();
        let supported =
            request.protocol_type == CONSUMER && request.protocols.iter().any(is_common);
        let subscription = first.and_then(|(_, metadata)| protocol::subscription(metadata));
        subscription.filter(|_| supported).ok_or(GroupError::InconsistentGroupProtocol)
    }

    fn join_admitted(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        request: &Join,
        id: &MemberId,
        subscription: &Subscription,
    ) -> Result<(Vec<Record>, Joined), GroupError> {
        let group = self.groups.get(&request.group).ok_or(GroupError::UnknownMemberId)?;
        let mut draft = Draft::new(request.group.clone(), group);
        let before = find_or_join(&mut draft, request, id)?;
        let about = updated(&before, request, subscription);
        let soft = self.soft.get(&request.group).copied().unwrap_or_default();
        let epoch_before = group.value.epoch;
        let soft = heartbeat::update_group(&mut draft, now, image, soft, id, about)?;
        let member = draft.group().member(id).cloned().unwrap_or_default();
        let owned = protocol::by_id(&subscription.owned, image);
        let next = heartbeat::reconcile(&draft, image, id, &member, Some(&owned))?;
        let epoch = next.as_ref().unwrap_or(&member.current).epoch.unwrap_or_default();
        if let Some(value) = next {
            let (group, member) = (draft.id.clone(), id.clone());
            draft.push(Record::CurrentAssignment { group, member, value: Some(value) });
        }
        let is_replacement = request.instance.is_some() && !group.is_all_classic();
        let downgrade = if is_replacement && downgrade::is_possible(draft.group(), config, image) {
            let (all, rests) = (draft.group(), draft.group().value.epoch == epoch_before);
            let records = downgrade::records(&request.group, all, all, image, now.wall, rests);
            downgrade::fits(&records, draft.bytes()).then_some(records)
        } else {
            None
        };
        let becomes_classic = downgrade.is_some();
        for record in downgrade.into_iter().flatten() {
            draft.push(record);
        }
        let records = draft.finish(None)?;
        if becomes_classic {
            for known in group.members.keys() {
                self.timers.cancel_all(&request.group, known);
            }
            sometimes!(DowngradedByReplacement);
            self.downgraded.insert(request.group.clone());
        } else {
            self.soft.insert(request.group.clone(), soft);
            let after = |time| now.monotonic.after(time);
            self.timers.cancel(&request.group, id, Duty::Join);
            self.timers.cancel(&request.group, id, Duty::Revoke);
            self.timers.set(&request.group, id, Duty::Session, after(request.session_timeout));
            self.timers.set(&request.group, id, Duty::Sync, after(request.rebalance_timeout));
        }
        let joined = Joined {
            generation: epoch,
            protocol_type: CONSUMER.to_string(),
            protocol: request.protocols.first().map(|(name, _)| name.clone()).unwrap_or_default(),
            leader: MemberId::from(""),
            member: id.clone(),
            skip_assignment: false,
            members: Vec::new(),
        };
        Ok((records, joined))
    }

    /// A classic member fetches its assignment (SyncGroup).
    pub fn sync(&mut self, now: Now, image: &Image, request: &Sync) -> Result<Synced, GroupError> {
        let group = self.groups.get(&request.group).ok_or(GroupError::UnknownMemberId)?;
        let member = classic_member(group, &request.identity)?;
        let (name, metadata) = first_protocol(member).ok_or(GroupError::UnknownMemberId)?;
        let differs = |claimed: &Option<String>, known: &str| {
            claimed.as_ref().is_some_and(|claimed| claimed != known)
        };
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol, name) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let id = &request.identity.member;
        let after = |time| now.monotonic.after(time);
        if group.value.epoch > member.epoch()
            && member.current.state != MemberState::UnrevokedPartitions
        {
            let due = after(member.about.rebalance_timeout);
            self.timers.set_if_absent(&request.group, id, Duty::Join, due);
            return Err(GroupError::RebalanceInProgress);
        }
        let version = protocol::subscription(metadata).map_or(0, |known| known.version);
        let assigned = without_epochs(&member.current.assigned);
        self.timers.cancel(&request.group, id, Duty::Sync);
        self.timers.set(&request.group, id, Duty::Session, after(session_timeout(member)));
        Ok(Synced {
            protocol_type: CONSUMER.to_string(),
            protocol: name.clone(),
            assignment: protocol::encode_assignment(version, &assigned, image),
        })
    }

    /// A classic member tells that it is alive (Heartbeat).
    pub fn classic_heartbeat(
        &mut self,
        now: Now,
        group: &GroupId,
        identity: &Identity,
    ) -> Result<(), GroupError> {
        let known = self.groups.get(group).ok_or(GroupError::UnknownMemberId)?;
        let member = classic_member(known, identity)?;
        let id = &identity.member;
        let session = now.monotonic.after(session_timeout(member));
        self.timers.set(group, id, Duty::Session, session);
        let is_behind = member.epoch() < known.value.epoch;
        let is_to_join = match member.current.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits(known, id, member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        if !is_behind && !is_to_join {
            return Ok(());
        }
        sometimes!(ClassicMemberToldToJoin);
        let due = now.monotonic.after(member.about.rebalance_timeout);
        self.timers.set_if_absent(group, id, Duty::Join, due);
        Err(GroupError::RebalanceInProgress)
    }

    /// Classic members leave (LeaveGroup): an outcome for each. As many as one decision may be about.
    pub fn leave_classic(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        group: &GroupId,
        leavers: &[Leaver],
        records: &mut Vec<Record>,
    ) -> Vec<Result<(), GroupError>> {
        let (mut gone, mut bytes) = (BTreeSet::new(), 0);
        let outcomes = leavers.iter().map(|leaver| {
            let known = self.groups.get(group).ok_or(GroupError::UnknownMemberId)?;
            let id = leaving(known, leaver)?;
            let member = known.member(&id).ok_or(GroupError::UnknownMemberId)?;
            bytes += fence_size(group, &id, member);
            if bytes > DECISION_BYTES_MAX {
                let reason = "too many members: remove fewer at once".to_string();
                return Err(GroupError::InvalidRequest(reason));
            }
            // Who leaves twice has left already.
            if gone.insert(id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
        });
        let outcomes = outcomes.collect();
        records.extend(self.fence(now, image, config, (group, &gone), 0));
        outcomes
    }
}

/// The member that joins, as it is before; a new one if it is not known. One that names an instance
/// and no id takes the place of whoever has the instance.
fn find_or_join(
    draft: &mut Draft<'_>,
    request: &Join,
    id: &MemberId,
) -> Result<Member, GroupError> {
    let member = draft.group().member(id).cloned();
    let Some(instance) = &request.instance else { return Ok(member.unwrap_or_default()) };
    match draft.group().static_member(instance) {
        None if request.member.is_empty() => Ok(member.unwrap_or_default()),
        None => Err(GroupError::UnknownMemberId),
        Some((holder, _)) if request.member.is_empty() => {
            let holder = holder.clone();
            Ok(heartbeat::replace(draft, &holder, id))
        }
        Some((holder, _)) if holder != id => Err(GroupError::FencedInstanceId),
        Some((_, member)) => Ok(member.clone()),
    }
}

/// What a classic member says of itself with a join.
fn updated(before: &Member, request: &Join, subscription: &Subscription) -> ConsumerMemberValue {
    let before = &before.about;
    ConsumerMemberValue {
        instance: request.instance.clone().or_else(|| before.instance.clone()),
        rack: subscription.rack.clone().or_else(|| before.rack.clone()),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topics: heartbeat::sorted(&subscription.topics),
        regular_expression: None,
        rebalance_timeout: request.rebalance_timeout,
        assignor: before.assignor.clone(),
        classic: Some(ClassicMemberMetadata {
            session_timeout: request.session_timeout,
            protocols: distinct(request.protocols.clone()),
        }),
    }
}

/// The classic member of that identity, in that generation.
fn classic_member<'a>(
    group: &'a ConsumerGroup,
    identity: &Identity,
) -> Result<&'a Member, GroupError> {
    let member = match &identity.instance {
        None => group.member(&identity.member).ok_or(GroupError::UnknownMemberId)?,
        Some(instance) => match group.static_member(instance) {
            None => return Err(GroupError::UnknownMemberId),
            Some((holder, _)) if *holder != identity.member => {
                return Err(GroupError::FencedInstanceId);
            }
            Some((_, member)) => member,
        },
    };
    if !member.is_classic() {
        return Err(GroupError::UnknownMemberId);
    }
    let is_current = identity.generation.is_some() && identity.generation == member.current.epoch;
    if is_current { Ok(member) } else { Err(GroupError::IllegalGeneration) }
}

/// The member that leaves.
fn leaving(group: &ConsumerGroup, leaver: &Leaver) -> Result<MemberId, GroupError> {
    let (id, member) = match &leaver.instance {
        None => {
            let known = group.members.get_key_value(&leaver.member);
            known.ok_or(GroupError::UnknownMemberId)?
        }
        Some(instance) => match group.static_member(instance) {
            None => return Err(GroupError::UnknownMemberId),
            Some((holder, _)) if !leaver.member.is_empty() && *holder != leaver.member => {
                return Err(GroupError::FencedInstanceId);
            }
            Some(known) => known,
        },
    };
    if member.is_classic() { Ok(id.clone()) } else { Err(GroupError::UnknownMemberId) }
}

/// Whether others hold what a member is to get.
fn waits(group: &ConsumerGroup, id: &MemberId, member: &Member) -> bool {
    group.target_of(id).iter().any(|(topic, partitions)| {
        let assigned = member.current.assigned.get(topic);
        partitions.iter().any(|partition| {
            !assigned.is_some_and(|assigned| assigned.contains_key(partition))
                && group.owner(*topic, *partition).is_some()
        })
    })
}

fn first_protocol(member: &Member) -> Option<&(String, bytes::Bytes)> {
    member.about.classic.as_ref()?.protocols.first()
}

fn session_timeout(member: &Member) -> core::time::Duration {
    let classic = member.about.classic.as_ref();
    classic.map(|classic| classic.session_timeout).unwrap_or_default()
}
