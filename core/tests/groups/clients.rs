//! Clients: faithful ones, which do everything in time, and others.

use bytes::Bytes;
use core::time::Duration;
use highwater_core::{
    group::{
        GroupError, GroupId, Identity, InstanceId, Join, Joined, JoinedMember, MemberId, Request,
        Sync,
    },
    time::Instant,
    types::RequestId,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Outside,
    Joined,
    Member,
}

/// A client of one group.
#[derive(Clone, Debug)]
pub struct Client {
    pub group: GroupId,
    pub instance: Option<InstanceId>,
    pub member: MemberId,
    pub generation: u32,
    pub phase: Phase,
    /// What it waits for.
    pub pending: Option<RequestId>,
    /// When it does the next thing.
    pub next: Instant,
    /// It does everything in time: nobody has a reason to remove it.
    pub is_faithful: bool,
    /// The coordinator has a reason to have forgotten it.
    pub is_excused: bool,
    pub protocol_type: &'static str,
    pub protocols: Vec<(String, Bytes)>,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub must_know_its_id: bool,
    /// What it was told to assign to.
    pub to_assign: Vec<JoinedMember>,
    /// The next thing it does is a heartbeat.
    pub owes_heartbeat: bool,
}

impl Client {
    pub fn identity(&self) -> Identity {
        Identity {
            member: self.member.clone(),
            instance: self.instance.clone(),
            generation: Some(self.generation),
        }
    }

    pub fn join(&self, fresh_member: MemberId) -> Request {
        Request::Join(Join {
            group: self.group.clone(),
            member: self.member.clone(),
            fresh_member,
            instance: self.instance.clone(),
            client_id: "client".into(),
            client_host: "/10.0.0.1".into(),
            session_timeout: self.session_timeout,
            rebalance_timeout: self.rebalance_timeout,
            protocol_type: self.protocol_type.into(),
            protocols: self.protocols.clone(),
            must_know_its_id: self.must_know_its_id,
            can_skip_assignment: true,
            reason: None,
        })
    }

    /// The leader deals eight parts to the members.
    pub fn sync(&self) -> Request {
        let count = self.to_assign.len();
        let parts = |at: usize| (0..8_u8).filter(move |part| usize::from(*part) % count == at);
        let assignments = self.to_assign.iter().enumerate();
        let assignments =
            assignments.map(|(at, member)| (member.member.clone(), parts(at).collect()));
        Request::Sync(Sync {
            group: self.group.clone(),
            identity: self.identity(),
            protocol_type: Some(self.protocol_type.into()),
            protocol: None,
            assignments: assignments.collect(),
        })
    }

    pub fn on_joined(&mut self, joined: Joined) {
        self.phase = Phase::Joined;
        self.member = joined.member;
        self.generation = joined.generation;
        self.to_assign = if joined.skip_assignment { Vec::new() } else { joined.members };
    }

    /// Panics if a faithful member is refused for what it did not do.
    pub fn on_refused(&mut self, error: &GroupError, now: Instant) {
        let is_own_fault = matches!(
            error,
            GroupError::UnknownMemberId
                | GroupError::IllegalGeneration
                | GroupError::FencedInstanceId
        );
        if is_own_fault {
            let is_known = !self.member.is_empty() && !self.is_excused;
            assert!(
                !(self.is_faithful && is_known),
                "a faithful member gets {error} at {now:?}: {self:?}"
            );
        }
        match error {
            GroupError::UnknownMemberId | GroupError::FencedInstanceId => self.member = "".into(),
            GroupError::RebalanceInProgress
            | GroupError::IllegalGeneration
            | GroupError::GroupMaxSizeReached
            | GroupError::InconsistentGroupProtocol => {}
            other => panic!("unexpected {other:?}"),
        }
        self.phase = Phase::Outside;
    }
}
