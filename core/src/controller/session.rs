//! The session of one broker with the leader of the quorum.

use super::PROPOSAL_RETRY;
use crate::{
    metadata::{BrokerRegistration, Command},
    sometimes,
    time::Instant,
    types::{BrokerEpoch, BrokerId, MetadataOffset},
};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// What the leader knows of one registration of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    epoch: BrokerEpoch,
    /// As the image has it.
    is_fenced: bool,
    /// As the image has it.
    is_shutting_down: bool,
    /// Its process was found not to be running after it was last heard.
    is_gone: bool,
    /// The last sign of life, or when the session began.
    heard: Instant,
    /// How much of the metadata log the broker had taken into account when it was last heard.
    applied: MetadataOffset,
    wants_shutdown: bool,
    /// Where the metadata log was when the broker, shutting down, was first seen to lead nothing.
    handed_over: Option<MetadataOffset>,
    /// What was proposed and shows no effect yet, and when.
    proposed: BTreeMap<Proposal, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proposal {
    Fence,
    Unfence,
    Shutdown,
}

impl Session {
    pub fn new(now: Instant, registration: &BrokerRegistration) -> Self {
        Self {
            epoch: registration.epoch,
            is_fenced: registration.fenced,
            is_shutting_down: registration.in_controlled_shutdown,
            is_gone: false,
            heard: now,
            applied: MetadataOffset(0),
            wants_shutdown: false,
            handed_over: None,
            proposed: BTreeMap::new(),
        }
    }

    pub fn epoch(&self) -> BrokerEpoch {
        self.epoch
    }

    pub fn applied(&self) -> MetadataOffset {
        self.applied
    }

    pub fn wants_shutdown(&self) -> bool {
        self.wants_shutdown
    }

    /// Whether the broker knows its own registration. Its epoch is the offset behind it.
    pub fn is_caught_up(&self) -> bool {
        self.applied.0 >= self.epoch.0
    }

    /// Takes the registration as the image has it.
    pub fn follow(&mut self, registration: &BrokerRegistration) {
        self.is_fenced = registration.fenced;
        self.is_shutting_down = registration.in_controlled_shutdown;
        let (is_fenced, is_shutting_down) = (self.is_fenced, self.is_shutting_down);
        self.proposed.retain(|proposal, _| match proposal {
            Proposal::Fence => !is_fenced,
            Proposal::Unfence => is_fenced,
            Proposal::Shutdown => !is_shutting_down,
        });
    }

    /// Takes a sign of life. A shutdown, once wanted, is wanted for good.
    pub fn hear(&mut self, now: Instant, applied: MetadataOffset, wants_shutdown: bool) {
        self.heard = now;
        self.is_gone = false;
        self.applied = self.applied.max(applied);
        self.wants_shutdown |= wants_shutdown;
    }

    /// The broker's process is not running any more: the session need not run out.
    pub fn end(&mut self) {
        self.is_gone = true;
    }

    /// The offset from which on the log says that this broker leads nothing.
    pub fn hand_over(&mut self, applied: MetadataOffset) -> MetadataOffset {
        *self.handed_over.get_or_insert(applied)
    }

    /// The command that this broker's state calls for, unless it was proposed just now.
    pub fn propose(
        &mut self,
        now: Instant,
        timeout: Duration,
        broker: BrokerId,
    ) -> Option<Command> {
        let is_overdue = |at: &Instant| now >= at.after(PROPOSAL_RETRY);
        sometimes!(ProposalWithoutEffect, self.proposed.values().any(is_overdue));
        self.proposed.retain(|_, at| !is_overdue(at));
        let wanted = self.wanted(self.is_gone || now >= self.heard.after(timeout))?;
        if self.proposed.contains_key(&wanted) {
            return None;
        }
        self.proposed.insert(wanted, now);
        let epoch = self.epoch;
        Some(match wanted {
            Proposal::Fence => Command::FenceBroker { broker, epoch },
            Proposal::Unfence => Command::UnfenceBroker { broker, epoch },
            Proposal::Shutdown => Command::BeginControlledShutdown { broker, epoch },
        })
    }

    fn wanted(&self, has_expired: bool) -> Option<Proposal> {
        if has_expired {
            sometimes!(SessionRunsOut, !self.is_gone && !self.is_fenced);
            return (!self.is_fenced).then_some(Proposal::Fence);
        }
        if self.wants_shutdown || self.is_shutting_down {
            let is_due = !self.is_fenced && !self.is_shutting_down;
            return is_due.then_some(Proposal::Shutdown);
        }
        (self.is_fenced && self.is_caught_up()).then_some(Proposal::Unfence)
    }

    /// When there may be something to propose, if nothing else happens.
    pub fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let retry = self.proposed.values().map(|at| at.after(PROPOSAL_RETRY)).min();
        let expiry = Some(self.heard.after(timeout)).filter(|_| !self.is_fenced);
        // An expired session waits for its proposal only.
        let expiry = expiry.filter(|_| !self.proposed.contains_key(&Proposal::Fence));
        retry.into_iter().chain(expiry).min()
    }
}
