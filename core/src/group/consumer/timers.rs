//! When members have to have done something: soft state, by the monotonic clock.

use crate::{
    group::{GroupId, MemberId},
    time::Instant,
};
use alloc::collections::{BTreeMap, BTreeSet};

/// What a member has to do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// To be heard of.
    Session,
    /// To give partitions up.
    Revoke,
    /// A classic member: to join again after it was told to.
    Join,
    /// A classic member: to fetch its assignment after it has joined.
    Sync,
}

type Key = (GroupId, MemberId, Duty);

/// The deadlines of all members of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    deadlines: BTreeMap<Key, Instant>,
    /// Invariant: exactly the entries of `deadlines`.
    order: BTreeSet<(Instant, Key)>,
}

impl Timers {
    /// Sets a deadline, in place of an earlier one.
    pub(super) fn set(&mut self, group: &GroupId, member: &MemberId, duty: Duty, at: Instant) {
        let key = (group.clone(), member.clone(), duty);
        if let Some(before) = self.deadlines.insert(key.clone(), at) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((at, key));
    }

    /// Sets a deadline if there is none.
    pub(super) fn set_if_absent(
        &mut self,
        group: &GroupId,
        member: &MemberId,
        duty: Duty,
        at: Instant,
    ) {
        if !self.deadlines.contains_key(&(group.clone(), member.clone(), duty)) {
            self.set(group, member, duty, at);
        }
    }

    /// Takes a deadline away.
    pub(super) fn cancel(&mut self, group: &GroupId, member: &MemberId, duty: Duty) {
        let key = (group.clone(), member.clone(), duty);
        if let Some(at) = self.deadlines.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    /// Takes all deadlines of a member away.
    pub(super) fn cancel_all(&mut self, group: &GroupId, member: &MemberId) {
        for duty in [Duty::Session, Duty::Revoke, Duty::Join, Duty::Sync] {
            self.cancel(group, member, duty);
        }
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first deadline that has passed.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = self.order.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        let (group, member, duty) = &key;
        self.cancel(group, member, *duty);
        Some(key)
    }
}
