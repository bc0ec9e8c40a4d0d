//! The memory that requests in flight and answers being read may take, counted in bytes.
//!
//! A request is received whole first (its connection's frame limit bounds that), then waits here
//! before it is served: a broker under load stops reading sockets instead of growing.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes (`queued.max.request.bytes`).
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    total: u32,
}

/// Bytes taken from the budget until it is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    permit: OwnedSemaphorePermit,
}

impl MemoryPermit {
    /// Gives back what is over `bytes`; a permit never grows.
    #[must_use]
    pub fn shrunk_to(mut self, bytes: usize) -> Self {
        let over = self.permit.num_permits().saturating_sub(bytes);
        drop(self.permit.split(over));
        self
    }
}

/// Bytes that keep `memory` until the last slice of them is dropped: batches outlive their frame
/// while they wait for the disk.
pub fn holding(bytes: Bytes, memory: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Holding { bytes, _memory: memory })
}

struct Holding<M> {
    bytes: Bytes,
    _memory: M,
}

impl<M> AsRef<[u8]> for Holding<M> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl MemoryBudget {
    /// A budget of `total` bytes, at least one.
    pub fn new(total: usize) -> Self {
        let total = u32::try_from(total.max(1)).unwrap_or(u32::MAX).min(1 << 30);
        Self { free: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits for `bytes`, in the order of the callers. A request larger than the whole budget
    /// waits for all of it and is then alone.
    pub async fn take(&self, bytes: usize) -> MemoryPermit {
        let permit = self.free.clone().acquire_many_owned(self.clamp(bytes)).await;
        MemoryPermit { permit: permit.expect("the budget's semaphore is never closed") }
    }

    /// Takes `bytes` if they are free at once.
    pub fn try_take(&self, bytes: usize) -> Option<MemoryPermit> {
        let permit = self.free.clone().try_acquire_many_owned(self.clamp(bytes)).ok()?;
        Some(MemoryPermit { permit })
    }

    /// The size of the budget in bytes.
    pub fn total(&self) -> usize {
        self.total as usize
    }

    fn clamp(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_returns_its_bytes_when_it_is_dropped() {
        let budget = MemoryBudget::new(10);
        let first = budget.try_take(8).unwrap();
        assert!(budget.try_take(3).is_none());
        drop(first);
        assert!(budget.try_take(3).is_some());
    }

    #[test]
    fn a_permit_gives_back_what_is_not_used() {
        let budget = MemoryBudget::new(10);
        let permit = budget.try_take(8).unwrap().shrunk_to(3);
        assert!(budget.try_take(8).is_none());
        assert!(budget.try_take(7).is_some());
        drop(permit.shrunk_to(5));
        assert!(budget.try_take(10).is_some());
    }

    #[test]
    fn a_request_larger_than_the_budget_takes_all_of_it() {
        let budget = MemoryBudget::new(10);
        let all = budget.try_take(1_000).unwrap();
        assert!(budget.try_take(1).is_none());
        drop(all);
        assert!(budget.try_take(1).is_some());
    }
}
