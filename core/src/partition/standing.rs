//! Whether a leader may be believed: another may have been elected without its knowing.
//!
//! A broker that has not heard of the controller for a session may have been replaced. It still
//! stands where every other member of the maximal ISR has followed it, in its epoch, within little
//! more than that time: the next leader would be one of them, and would fetch from it no more. So
//! producers go on while the controllers are down, and one that is cut off from everybody stops
//! deciding. Under `min.insync.replicas` none of that proves anything: a replica that has left the ISR
//! may have everything that is committed, and be elected while the whole ISR is cut off together.
//!
//! That is a matter of time, and a leadership can be moved within less. So two answers wait for proof:
//! that a sequence number is out of order, which clients take as final, and where the log starts after
//! a deletion, which must not go back from what the next leader has said. A follower tells with each
//! fetch which answer of this leader it knew, and that answer is younger than the request.

use super::{Effect, Effects, Partition, PartitionError, Response, leader::Leading, role::Role};
use crate::{
    mutant::Mutant,
    producers::SequenceError,
    sometimes,
    time::{Instant, Now},
    types::{BrokerId, Offset, RequestId},
};
use core::time::Duration;

/// What a leader goes by that does not hear the controller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// For how long a follower's fetch vouches for it.
    vouches_for: Duration,
    /// Up to when, inclusive, nothing that followers heard counts.
    resumed: Instant,
}

impl Doubt {
    pub(super) fn resumed(self) -> Instant {
        self.resumed
    }
}

impl Leading {
    /// Up to when this leadership is known to have been the newest, exclusive: until then every
    /// other member of the maximal ISR has followed it. `None` when one of them was not heard yet, or
    /// when a replica outside of the ISR may be eligible to lead (KIP-966).
    fn proven_until(&self) -> Option<Instant> {
        if self.is_under_min_insync() {
            sometimes!(NobodyProvesUnderMinInsync);
            return None;
        }
        let members = self.isr.maximal();
        let others = members.iter().filter(|member| **member != self.broker);
        others
            .map(|other| self.followers.get(other).and_then(|progress| progress.heard()))
            .try_fold(Instant(u64::MAX), |least, heard| Some(least.min(heard?)))
    }

    /// Whether this leadership is the newest, as far as can be known by `now`.
    pub(super) fn stands(&self, now: Instant) -> bool {
        let Some(Doubt { vouches_for, resumed }) = self.out_of_touch else { return true };
        let vouched = self.proven_until().filter(|until| now <= until.after(vouches_for));
        let stands = vouched.is_some_and(|until| until > resumed);
        sometimes!(VouchedBeforeItStoodStill, vouched.is_some() && !stands);
        sometimes!(OutOfTouchButFollowed, stands);
        stands
    }
}

impl Partition {
    /// Refuses when another broker may lead by now. The client is told to ask who does.
    pub(super) fn check_stands(&self, now: Now) -> Result<(), PartitionError> {
        match &self.role {
            Role::Leader(leading) if !leading.stands(now.monotonic) => {
                sometimes!(LeaderDoubtsItself);
                if Mutant::StaleLeaderDecides.is_planted() {
                    return Ok(());
                }
                Err(PartitionError::NotLeader { leader: None, leader_epoch: self.leader_epoch })
            }
            _ => Ok(()),
        }
    }

    /// Fails what has waited for replicas for too long. Its records stay in the log and may be
    /// committed. Readers who wait for news ask again, and followers are asked to vouch.
    pub(super) fn on_out_of_touch(
        &mut self,
        now: Now,
        patience: Duration,
        (vouches_for, resumed): (Duration, Instant),
        effects: &mut Effects,
    ) {
        let Role::Leader(leading) = &mut self.role else { return };
        leading.out_of_touch = Some(Doubt { vouches_for, resumed });
        let Err(error) = self.check_stands(now) else { return };
        let by = Instant(now.monotonic.0.saturating_sub(patience.as_nanos() as u64));
        for parked in [&mut self.awaiting_high_watermark, &mut self.awaiting_proof] {
            while let Some((request, _)) = parked.take_parked_by(by) {
                effects.push(Effect::respond(request, Response::Error(error.clone())));
            }
        }
        self.fail_deletions_if(&error, |_, since| since <= by, effects);
        self.wake_fetches(effects);
        if self.resumed_in_doubt().is_some() {
            self.wake_replica_fetches(effects);
        }
    }

    pub(super) fn on_in_touch(&mut self) {
        if let Role::Leader(leading) = &mut self.role {
            sometimes!(BackInTouchUnreplaced, leading.out_of_touch.is_some());
            leading.out_of_touch = None;
        }
    }

    /// Answers a produce with an error; with one that only the newest leader can know when it is
    /// proven that this one is.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        request: RequestId,
        deadline: Instant,
        error: PartitionError,
        effects: &mut Effects,
    ) {
        let is_final = matches!(error, PartitionError::Sequence(SequenceError::OutOfOrder { .. }));
        if !is_final || Mutant::RefusalUnproven.is_planted() {
            return effects.push(Effect::respond(request, Response::Error(error)));
        }
        if let Err(error) = self.check_enough_replicas() {
            // Nobody proves anything now, and this may be tried again.
            return effects.push(Effect::respond(request, Response::Error(error)));
        }
        let response = Response::Error(error);
        // No high watermark answers it.
        let end = Offset(u64::MAX);
        self.awaiting_proof.park(request, end, (now.monotonic, deadline), response);
        self.answer_doubts(effects);
        if self.awaiting_proof.newest().is_some() {
            sometimes!(RefusalAwaitsProof);
            self.wake_replica_fetches(effects);
        }
    }

    /// Utters the refusals that are proven by now.
    pub(super) fn answer_doubts(&mut self, effects: &mut Effects) {
        let Role::Leader(leading) = &self.role else { return };
        if self.awaiting_proof.newest().is_none() {
            return;
        }
        let proven = leading.proven_until().and_then(|until| until.0.checked_sub(1));
        let Some(before) = proven.map(Instant) else { return };
        while let Some((request, refusal)) = self.awaiting_proof.take_parked_by(before) {
            sometimes!(RefusalProven);
            effects.push(Effect::respond(request, refusal));
        }
    }

    /// From when on, inclusive, it is not proven that this leadership was the newest; `None` for a
    /// leader that nobody could replace without its knowing.
    pub(super) fn unproven_since(&self) -> Option<Instant> {
        let Role::Leader(leading) = &self.role else { return None };
        Some(leading.proven_until().unwrap_or(Instant(0)))
            .filter(|until| *until < Instant(u64::MAX))
    }

    /// When the newest answer was asked for that waits for proof, or may have to; or when the process went
    /// on, if that is what this leader has to be vouched for since.
    fn newest_doubt(&self) -> Option<Instant> {
        let deletion = self.parked_deletions.values().map(|parked| parked.since).max();
        self.awaiting_proof.newest().max(deletion).max(self.resumed_in_doubt())
    }

    fn resumed_in_doubt(&self) -> Option<Instant> {
        let Role::Leader(leading) = &self.role else { return None };
        leading.out_of_touch.map(Doubt::resumed).filter(|resumed| *resumed > Instant(0))
    }

    /// Whether a follower's next fetch would prove what its fetches so far do not.
    pub(super) fn wants_to_hear(&self, follower: BrokerId) -> bool {
        let (Role::Leader(leading), Some(newest)) = (&self.role, self.newest_doubt()) else {
            return false;
        };
        let heard = leading.followers.get(&follower).and_then(|progress| progress.heard());
        leading.isr.maximal().contains(&follower) && heard.is_none_or(|heard| heard <= newest)
    }
}
