//! Faults that befall single messages: which message, and what becomes of it. Pure.

use super::{Contents, MessageKind};
use highwater_core::types::{BrokerId, PartitionIndex, TopicId};
use std::collections::BTreeSet;
use tokio::sync::watch;

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub kind: MessageKind,
    /// Who may have sent it; anybody when absent.
    pub from: Option<BTreeSet<BrokerId>>,
    /// Who may be to receive it; anybody when absent.
    pub to: Option<BTreeSet<BrokerId>>,
    /// The command of the metadata that it carries.
    pub command: Option<&'static str>,
    /// A partition that it is about.
    pub partition: Option<(TopicId, PartitionIndex)>,
    /// Which of these messages, from one.
    pub nth: u64,
    /// How many of them, at least one.
    pub count: u64,
}

/// What becomes of a message that is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catch {
    /// It waits until it is released.
    Hold,
    /// It is lost.
    Drop,
    /// It arrives, and again so many milliseconds later.
    Duplicate(u64),
    /// It arrives so many milliseconds later.
    Delay(u64),
}

/// A message that leaves its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// Who sends it.
    pub from: BrokerId,
    /// Who is to receive it.
    pub to: BrokerId,
    /// What it is.
    pub kind: MessageKind,
    /// What it says.
    pub contents: Contents,
}

impl Wanted {
    fn wants(&self, passing: &Passing) -> bool {
        let is_one_of = |of: &Option<BTreeSet<BrokerId>>, broker| {
            of.as_ref().is_none_or(|of| of.contains(&broker))
        };
        self.kind == passing.kind
            && is_one_of(&self.from, passing.from)
            && is_one_of(&self.to, passing.to)
            && self.command.is_none_or(|command| passing.contents.command == Some(command))
            && self.partition.is_none_or(|of| passing.contents.partitions.contains(&of))
    }
}

/// Waits for messages.
#[derive(Debug)]
pub struct Trap {
    wanted: Wanted,
    catch: Catch,
    seen: u64,
    /// How many were caught.
    caught: watch::Sender<u64>,
    /// Whether what is held may go on.
    released: watch::Receiver<bool>,
}

/// A trap that was set, for the one who did. Without it nothing more is caught, and what is held
/// goes on.
#[derive(Debug)]
pub struct Trapped {
    caught: watch::Receiver<u64>,
    release: watch::Sender<bool>,
}

/// Where a held message waits.
pub type Gate = watch::Receiver<bool>;

impl Trap {
    /// A trap, and what its owner keeps.
    #[must_use]
    pub fn set(wanted: Wanted, catch: Catch) -> (Self, Trapped) {
        let (caught, was_caught) = watch::channel(0);
        let (release, released) = watch::channel(false);
        let trap = Self { wanted, catch, seen: 0, caught, released };
        (trap, Trapped { caught: was_caught, release })
    }

    /// Whether it has caught all that it should, or nobody waits for it any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self.caught.borrow() >= self.wanted.count
            || *self.released.borrow()
            || self.caught.is_closed()
    }

    /// What becomes of a message, if it is caught.
    pub fn offer(&mut self, passing: &Passing) -> Option<(Catch, Gate)> {
        if self.is_done() || !self.wanted.wants(passing) {
            return None;
        }
        self.seen += 1;
        if self.seen < self.wanted.nth {
            return None;
        }
        self.caught.send_modify(|count| *count += 1);
        Some((self.catch, self.released.clone()))
    }
}

impl Trapped {
    /// Waits until something was caught.
    pub async fn caught(&mut self) {
        // A trap that is gone has caught what it could, or the network was healed.
        let _ = self.caught.wait_for(|count| *count > 0).await;
    }

    /// Waits until everything was caught that should be.
    pub async fn caught_all(&mut self, count: u64) {
        let _ = self.caught.wait_for(|caught| *caught >= count).await;
    }

    /// What was caught goes on now, and nothing is caught any more.
    pub fn release(self) {
        self.release.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(kind: &str, from: i32, command: Option<&'static str>) -> Passing {
        let kind = MessageKind::named(kind).unwrap();
        let contents =
            Contents { command, partitions: vec![(TopicId([1; 16]), PartitionIndex(0))] };
        Passing { from: BrokerId(from), to: BrokerId(9), kind, contents }
    }

    fn wanted(kind: &str) -> Wanted {
        let kind = MessageKind::named(kind).unwrap();
        Wanted { kind, from: None, to: None, command: None, partition: None, nth: 1, count: 1 }
    }

    #[test]
    fn a_message_is_chosen_by_kind_sender_command_and_partition() {
        let strict = Wanted {
            from: Some([BrokerId(1)].into()),
            command: Some("alter-partition"),
            partition: Some((TopicId([1; 16]), PartitionIndex(0))),
            ..wanted("propose")
        };
        let (mut trap, _trapped) = Trap::set(strict, Catch::Drop);
        let command = Some("alter-partition");
        assert!(trap.offer(&passing("fetch", 1, None)).is_none());
        assert!(trap.offer(&passing("propose", 2, command)).is_none());
        assert!(trap.offer(&passing("propose", 1, Some("fence-broker"))).is_none());
        let mut elsewhere = passing("propose", 1, command);
        elsewhere.contents.partitions[0].1 = PartitionIndex(1);
        assert!(trap.offer(&elsewhere).is_none());
        assert!(trap.offer(&passing("propose", 1, command)).is_some());
        assert!(trap.offer(&passing("propose", 1, command)).is_none(), "only one was wanted");
    }

    #[test]
    fn the_nth_and_so_many_behind_it_are_caught() {
        let (mut trap, trapped) =
            Trap::set(Wanted { nth: 3, count: 2, ..wanted("fetch") }, Catch::Drop);
        let mut caught = || trap.offer(&passing("fetch", 1, None)).is_some();
        let found: Vec<bool> = (0..6).map(|_| caught()).collect();
        assert_eq!(found, [false, false, true, true, false, false]);
        drop(trapped);
    }

    #[test]
    fn a_trap_that_nobody_waits_for_catches_nothing() {
        let (mut trap, trapped) = Trap::set(wanted("fetch"), Catch::Hold);
        assert!(!trap.is_done());
        trapped.release();
        assert!(trap.offer(&passing("fetch", 1, None)).is_none());
    }
}
