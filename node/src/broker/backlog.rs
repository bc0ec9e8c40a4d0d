//! Records of leaders that lie in memory until the disk has taken them, counted in bytes.
//!
//! A follower may receive faster than its disk writes, most of all while it catches up: the leader
//! reads from its page cache. Then it has to fetch more slowly, or its memory is the queue.

use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// The backlog of one broker, over all of its leaders. It goes beyond its bound by the answers that
/// are under way when it is reached: at most one for each leader.
#[derive(Debug)]
pub struct Backlog {
    bytes: AtomicUsize,
    bytes_max: usize,
    has_room: Notify,
}

/// Records that count until the last slice of them is dropped.
struct Counted {
    records: Bytes,
    backlog: Arc<Backlog>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Backlog { bytes, bytes_max, has_room } = &*self.backlog;
        let before = bytes.fetch_sub(self.records.len(), Ordering::AcqRel);
        if before >= *bytes_max && before - self.records.len() < *bytes_max {
            has_room.notify_waiters();
        }
    }
}

impl Backlog {
    /// An empty one. Who would fetch waits while it holds `bytes_max` bytes or more.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (bytes, has_room) = (AtomicUsize::new(0), Notify::new());
        Arc::new(Self { bytes, bytes_max: bytes_max.max(1), has_room })
    }

    /// Counts these records until the last slice of them is dropped.
    pub fn count(self: &Arc<Self>, records: Bytes) -> Bytes {
        if records.is_empty() {
            return records;
        }
        self.bytes.fetch_add(records.len(), Ordering::AcqRel);
        Bytes::from_owner(Counted { records, backlog: self.clone() })
    }

    /// Whether nobody may fetch now.
    pub fn is_full(&self) -> bool {
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
    fn records_count_until_their_last_slice_is_dropped() {
        let backlog = Backlog::new(10);
        let records = backlog.count(Bytes::from_static(b"0123456789ab"));
        let slice = records.slice(2..4);
        drop(records);
        assert!(backlog.is_full());
        drop(slice);
        assert!(!backlog.is_full());
        assert_eq!(backlog.bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn who_waits_goes_on_when_there_is_room_again() {
        let backlog = Backlog::new(10);
        assert!(is_ready(Box::pin(backlog.has_room()).as_mut()));
        let first = backlog.count(Bytes::from_static(b"01234567"));
        let second = backlog.count(Bytes::from_static(b"01234567"));
        let mut waits = Box::pin(backlog.has_room());
        assert!(!is_ready(waits.as_mut()));
        drop(first);
        assert!(is_ready(waits.as_mut()));
        drop(second);
    }
}
