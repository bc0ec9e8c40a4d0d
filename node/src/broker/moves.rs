//! What happened to the partitions that are followed of one leader since their fetcher and their
//! reporter looked last: neither has to look at all of them for each record.

use super::{
    TopicPartition,
    replica_sessions::{Key, key_of},
};
use highwater_core::{
    mutant::Mutant,
    partition::{Partition, ReplicaPosition},
    types::BrokerId,
};
use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Partitions tell it under their lock, so it takes no other.
#[derive(Default)]
pub struct Moves {
    state: Mutex<State>,
    has_flushed: Notify,
    has_resumed: Notify,
}

/// From where a replica is to be fetched.
#[derive(PartialEq)]
pub struct Place {
    position: Option<(BrokerId, ReplicaPosition)>,
    is_in_sync: bool,
    is_starting_over: bool,
}

impl Place {
    pub fn of(machine: &Partition) -> Self {
        Self {
            position: machine.fetch_position(),
            is_in_sync: machine.is_in_sync(),
            is_starting_over: machine.is_starting_over(),
        }
    }

    /// Tells what has changed since it was so.
    pub fn tell_moves(self, machine: &Partition, (moves, id): (&Moves, &TopicPartition)) {
        let now = Self::of(machine);
        if now == self {
            return;
        }
        moves.moved(id);
        if self.is_starting_over && !now.is_starting_over && !Mutant::StartOverRests.is_planted() {
            moves.has_resumed.notify_one();
        }
    }
}

#[derive(Default)]
struct State {
    moved: Moved,
    flushed: BTreeSet<Key>,
}

/// What the fetcher has to look at.
#[derive(Default)]
pub struct Moved {
    /// Other partitions are followed: everything.
    pub all: bool,
    /// Partitions that have to be fetched from elsewhere, or not any more.
    pub partitions: BTreeSet<Key>,
    /// Partitions that know nothing of what their leader has told before.
    pub opened: BTreeSet<Key>,
}

impl Moves {
    /// The partition is to be fetched from elsewhere than before, or not.
    pub fn moved(&self, partition: &TopicPartition) {
        self.lock().moved.partitions.insert(key_of(partition));
    }

    /// Waits until a partition has started over, and may be fetched again: nothing else says that.
    pub async fn resumed(&self) {
        self.has_resumed.notified().await;
    }

    /// The partition has flushed more.
    pub fn flushed(&self, partition: &TopicPartition) {
        self.lock().flushed.insert(key_of(partition));
        self.has_flushed.notify_one();
    }

    /// Other partitions are followed; these were opened since.
    pub fn followed(&self, opened: impl Iterator<Item = Key>) {
        let mut state = self.lock();
        state.moved.all = true;
        state.moved.opened.extend(opened);
    }

    /// What has moved since this was called last.
    pub fn take(&self) -> Moved {
        mem::take(&mut self.lock().moved)
    }

    /// Waits until something is flushed that this has not returned yet.
    pub async fn take_flushed(&self) -> BTreeSet<Key> {
        self.has_flushed.notified().await;
        mem::take(&mut self.lock().flushed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
