//! Throttling of replication (KIP-73): which replicas it concerns, and when their rate is exceeded.
//!
//! A replica is held up only while it is out of sync: one that is in sync must not leave the ISR
//! for a quota. What in-sync replicas take counts all the same.

use crate::{
    time::Instant,
    types::{BrokerId, PartitionIndex},
};
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

/// How long one sample of the rate takes, as Kafka's `replication.quota.window.size.seconds`.
pub const SAMPLE: Duration = Duration::from_secs(1);
/// How many samples the rate is the mean of, as Kafka's `replication.quota.window.num`.
pub const SAMPLES: usize = 11;

/// Bytes per second of all throttled replicas of one broker, in one direction.
#[derive(Clone, Debug, Default)]
pub struct ReplicationQuota {
    /// Bytes per second; `None` is unlimited.
    limit: Option<u64>,
    /// When each sample began, and its bytes. Invariant: ascending, at most [`SAMPLES`].
    samples: VecDeque<(Instant, u64)>,
}

impl ReplicationQuota {
    /// No more than so many bytes per second from now on; `None` lifts the limit.
    pub fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// Counts bytes that a throttled replica has taken, whether it had to wait for them or not.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        self.forget(now);
        match self.samples.back_mut() {
            Some((began, sum)) if now.since(*began) < SAMPLE => *sum = sum.saturating_add(bytes),
            _ => self.samples.push_back((now, bytes)),
        }
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Whether the limit is exceeded at this moment: then when to look again, at the latest a
    /// sample later.
    #[must_use]
    pub fn exceeded_until(&mut self, now: Instant) -> Option<Instant> {
        self.forget(now);
        let limit = self.limit?;
        let (oldest, _) = *self.samples.front()?;
        let total: u128 = self.samples.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
        let elapsed = now.since(oldest).max(SAMPLE);
        if total * NANOS <= u128::from(limit) * elapsed.as_nanos() {
            return None;
        }
        // The mean falls with time until it is allowed again.
        let allowed = (total * NANOS).div_ceil(u128::from(limit.max(1)));
        let allowed =
            oldest.after(Duration::from_nanos(u64::try_from(allowed).unwrap_or(u64::MAX)));
        Some(allowed.min(now.after(SAMPLE)))
    }

    /// Drops the samples that are too old to count.
    fn forget(&mut self, now: Instant) {
        let window = SAMPLE * u32::try_from(SAMPLES).unwrap_or(u32::MAX);
        while self.samples.front().is_some_and(|(began, _)| now.since(*began) >= window) {
            self.samples.pop_front();
        }
    }
}

const NANOS: u128 = 1_000_000_000;

/// The partitions of one topic that a broker throttles in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledPartitions {
    /// All (`*`).
    All,
    /// These.
    Only(BTreeSet<PartitionIndex>),
}

impl ThrottledPartitions {
    /// Reads `leader.replication.throttled.replicas` or that of followers: `*`, or pairs
    /// `partition:broker`, of which those of this broker count. What is no pair is passed over.
    #[must_use]
    pub fn parse(list: &str, broker: BrokerId) -> Self {
        let mut partitions = BTreeSet::new();
        for item in list.split(',').map(str::trim) {
            if item == "*" {
                return Self::All;
            }
            let Some((partition, of)) = item.split_once(':') else { continue };
            if let (Ok(partition), Ok(of)) = (partition.parse(), of.parse())
                && BrokerId(of) == broker
            {
                partitions.insert(PartitionIndex(partition));
            }
        }
        Self::Only(partitions)
    }

    /// Whether a partition is one of them.
    #[must_use]
    pub fn contains(&self, partition: PartitionIndex) -> bool {
        match self {
            Self::All => true,
            Self::Only(partitions) => partitions.contains(&partition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> Instant {
        Instant(millis * MILLI)
    }

    fn limited(limit: u64, records: &[(u64, u64)]) -> ReplicationQuota {
        let mut quota = ReplicationQuota::default();
        quota.set_limit(Some(limit));
        records.iter().for_each(|(millis, bytes)| quota.record(at(*millis), *bytes));
        quota
    }

    #[test]
    fn a_rate_is_exceeded_by_more_than_the_limit_of_a_second() {
        for (records, now, until) in [
            (&[][..], 0, None),
            (&[(0, 1_000)], 0, None),
            (&[(0, 1_001)], 0, Some(1_000)),
            (&[(0, 1_001)], 1_001, None),
            (&[(0, 3_000)], 500, Some(1_500)),
            (&[(0, 3_000)], 2_500, Some(3_000)),
            (&[(0, 3_000)], 3_000, None),
            (&[(0, 900), (500, 900)], 600, Some(1_600)),
            (&[(0, 900), (500, 900)], 1_800, None),
            (&[(0, 1_000), (1_000, 1_000), (2_000, 1_500)], 2_000, Some(3_000)),
            (&[(0, 1_000), (1_000, 1_000), (2_000, 1_500)], 3_000, Some(3_500)),
        ] {
            let found = limited(1_000, records).exceeded_until(at(now));
            assert_eq!(found, until.map(at), "{records:?} at {now}");
        }
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut quota = limited(1, &[(0, 1_000_000)]);
        assert_eq!(quota.exceeded_until(at(10_999)), Some(at(11_999)));
        assert_eq!(quota.exceeded_until(at(11_000)), None);
        for second in 11..100 {
            quota.record(at(second * 1_000), 1);
        }
        assert_eq!(quota.samples.len(), SAMPLES, "memory is bounded");
        assert_eq!(quota.exceeded_until(at(99_000)), Some(at(100_000)));
        assert_eq!(quota.exceeded_until(at(100_000)), None);
    }

    #[test]
    fn without_a_limit_nothing_is_exceeded_and_a_limit_counts_what_was_before() {
        let mut quota = ReplicationQuota::default();
        quota.record(at(0), 5_000);
        assert_eq!(quota.exceeded_until(at(0)), None);
        quota.set_limit(Some(1_000));
        assert_eq!(quota.exceeded_until(at(0)), Some(at(1_000)));
        quota.set_limit(None);
        assert_eq!(quota.exceeded_until(at(0)), None);
    }

    #[test]
    fn the_lists_of_kafka_are_read() {
        let parse = |list| ThrottledPartitions::parse(list, BrokerId(2));
        let only = |partitions: &[u32]| {
            ThrottledPartitions::Only(partitions.iter().copied().map(PartitionIndex).collect())
        };
        assert_eq!(parse("*"), ThrottledPartitions::All);
        assert_eq!(parse(""), only(&[]));
        assert_eq!(parse("0:2, 1:3,4:2"), only(&[0, 4]));
        assert_eq!(parse("0:102,nonsense,2"), only(&[]));
        assert!(parse("*").contains(PartitionIndex(7)));
        assert!(
            parse("7:2").contains(PartitionIndex(7)) && !parse("7:2").contains(PartitionIndex(2))
        );
    }
}
