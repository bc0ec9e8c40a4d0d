//! Records of leaders that lie in memory until the disk has taken them, counted in bytes.
//!
//! A follower may receive faster than its disk writes, most of all while it catches up: the leader
//! reads from its page cache. Then it has to fetch more slowly, or its memory is the queue.

use super::holding;
use bytes::Bytes;
use highwater_core::sometimes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// Records that are less than this part of their answer are few.
const FEW: usize = 64;

/// The backlog of one broker, over all of its leaders. It goes beyond its bound by the answers that
/// are under way when it is reached: at most one for each leader.
#[derive(Debug)]
pub struct Backlog {
    bytes: AtomicUsize,
    bytes_max: usize,
    has_room: Notify,
}

/// The memory of one answer, which its records share: it counts until the last of them is dropped.
#[derive(Debug)]
pub struct AnswerMemory {
    bytes: usize,
    backlog: Arc<Backlog>,
}

impl Drop for AnswerMemory {
    fn drop(&mut self) {
        let Backlog { bytes, bytes_max, has_room } = &*self.backlog;
        let before = bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if before >= *bytes_max && before - self.bytes < *bytes_max {
            has_room.notify_waiters();
        }
    }
}

impl AnswerMemory {
    /// Records of this answer. Few among many are copied: a log that is slow to take them must not
    /// keep all the others in memory.
    pub fn hold(self: &Arc<Self>, records: Bytes) -> Bytes {
        if records.is_empty() {
            return records;
        }
        if records.len() < self.bytes / FEW {
            let memory = self.backlog.answer(records.len());
            return holding(Bytes::copy_from_slice(&records), memory);
        }
        holding(records, self.clone())
    }
}

impl Backlog {
    /// An empty one. Who would fetch waits while it holds `bytes_max` bytes or more.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (bytes, has_room) = (AtomicUsize::new(0), Notify::new());
        Arc::new(Self { bytes, bytes_max: bytes_max.max(1), has_room })
    }

    /// The memory of an answer with so many bytes of records.
    pub fn answer(self: &Arc<Self>, bytes: usize) -> Arc<AnswerMemory> {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Arc::new(AnswerMemory { bytes, backlog: self.clone() })
    }

    /// Whether nobody may fetch now.
    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) >= self.bytes_max
    }

    /// Waits until more may be fetched.
    pub async fn has_room(&self) {
        loop {
            // In this order: what is dropped meanwhile is heard of.
            let has_room = self.has_room.notified();
            if !self.is_full() {
                return;
            }
            sometimes!(FollowerWaitsForItsDisk);
            has_room.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::Pin,
        task::{Context, Waker},
    };

    fn is_ready(future: Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn an_answer_counts_until_the_last_slice_of_it_is_dropped() {
        let backlog = Backlog::new(10);
        let answer = backlog.answer(12);
        let first = answer.hold(Bytes::from_static(b"0123456789"));
        let slice = answer.hold(Bytes::from_static(b"ab")).slice(1..);
        drop((answer, first));
        assert!(backlog.is_full());
        drop(slice);
        assert_eq!(backlog.bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn few_records_among_many_do_not_keep_the_answer() {
        let backlog = Backlog::new(1_000);
        let answer = backlog.answer(1_000);
        let few = answer.hold(Bytes::from_static(b"ab"));
        drop(answer);
        assert_eq!(backlog.bytes.load(Ordering::Acquire), 2);
        drop(few);
        assert_eq!(backlog.bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn who_waits_goes_on_when_there_is_room_again() {
        let backlog = Backlog::new(10);
        assert!(is_ready(Box::pin(backlog.has_room()).as_mut()));
        let first = backlog.answer(8);
        let second = backlog.answer(8);
        let mut waits = Box::pin(backlog.has_room());
        assert!(!is_ready(waits.as_mut()));
        drop(first);
        assert!(is_ready(waits.as_mut()));
        drop(second);
    }
}
