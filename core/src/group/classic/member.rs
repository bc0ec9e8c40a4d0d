//! A member of a classic group, as the coordinator works with it.

use crate::{
    group::{
        ClassicMemberValue, GroupError, InstanceId, JoinRefused, MemberId, Response,
        limits::member_size,
    },
    time::Instant,
    types::RequestId,
};
use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

/// A member. What of it is durable is a [`ClassicMemberValue`].
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    /// Its favourite first. Invariant: no name twice.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// What the leader of the group's generation gave it.
    pub(super) assignment: Bytes,
    /// It has not been answered a join yet, so that it cannot send heartbeats: a parked join does
    /// not keep it in the group for ever.
    pub(super) is_new: bool,
    /// When its silence has lasted for too long.
    pub(super) session_deadline: Instant,
    /// Its parked join.
    pub(super) joining: Option<RequestId>,
    /// Its parked sync.
    pub(super) syncing: Option<RequestId>,
}

impl Member {
    /// A member that the log tells of, with a session that begins at `now`.
    pub(super) fn loaded(value: &ClassicMemberValue, protocol: &str, now: Instant) -> Self {
        let mut member = Self {
            instance: value.instance.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            rebalance_timeout: value.rebalance_timeout,
            session_timeout: value.session_timeout,
            protocols: Vec::from([(String::from(protocol), value.subscription.clone())]),
            assignment: value.assignment.clone(),
            is_new: false,
            session_deadline: now,
            joining: None,
            syncing: None,
        };
        member.renew_session(now);
        member
    }

    /// What the log is to say of it when the group's protocol is `protocol`.
    pub(super) fn value(&self, id: &MemberId, protocol: &str) -> ClassicMemberValue {
        ClassicMemberValue {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout,
            session_timeout: self.session_timeout,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// Its metadata for a protocol; empty for one that it does not speak.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|(name, _)| name == protocol);
        known.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// How many bytes it takes with what it says of itself, at the most.
    pub(super) fn size(&self) -> usize {
        let instance = self.instance.as_deref();
        member_size(&self.client_id, &self.client_host, instance, &self.protocols)
    }

    pub(super) fn renew_session(&mut self, now: Instant) {
        self.session_deadline = now.after(self.session_timeout);
    }

    /// When it is to be removed for its silence. One that waits for an answer is not silent.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.session_deadline)
    }

    /// Refuses what it waits for.
    pub(super) fn refuse(
        &mut self,
        join: &MemberId,
        error: &GroupError,
        answers: &mut Vec<(RequestId, Response)>,
    ) {
        if let Some(request) = self.joining.take() {
            answers.push((request, refused(error.clone(), join.clone())));
        }
        if let Some(request) = self.syncing.take() {
            answers.push((request, Response::Synced(Err(error.clone()))));
        }
    }
}

/// A join that is refused.
pub(super) fn refused(error: GroupError, member: MemberId) -> Response {
    Response::Joined(Err(JoinRefused { error, member }))
}
