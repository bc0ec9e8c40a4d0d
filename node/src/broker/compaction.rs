//! Compaction in the background: the dirtiest partition that is due, one at a time.

use super::{PartitionDriver, Shared};
use crate::{
    env::{BoxFuture, Clock},
    log::{CompactionPolicy, CompactionReport, CompactionTask, Dirtiness, LogError, Pace},
    metrics::CompactionMetrics,
};
use highwater_core::{
    config::TopicConfig,
    time::{Instant, Now},
    types::{PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a partition is left alone after its compaction has failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(600);

/// Between two looks at all partitions, whatever `log.cleaner.backoff.ms` says.
const LEAST_REST: Duration = Duration::from_millis(1);

/// Compacts what is due, and then rests for `log.cleaner.backoff.ms`.
pub async fn compact_logs(shared: Arc<Shared>) {
    if !shared.config.cleaner_enabled {
        return;
    }
    let entropy = [shared.doors.entropy.next_u64(), shared.doors.entropy.next_u64()];
    let mut cleaner = Cleaner {
        hash_key: (u128::from(entropy[0]) << 64 | u128::from(entropy[1])).to_le_bytes(),
        paused: BTreeMap::new(),
        shared,
    };
    loop {
        if !cleaner.compact_one().await {
            cleaner.rest().await;
        }
    }
}

struct Cleaner {
    shared: Arc<Shared>,
    hash_key: [u8; 16],
    /// Partitions whose compaction has failed, and until when they are left alone.
    paused: BTreeMap<(TopicId, PartitionIndex), Instant>,
}

impl Cleaner {
    async fn rest(&self) {
        let clock = &self.shared.doors.clock;
        let until = clock.now().monotonic.after(self.shared.config.cleaner_backoff.max(LEAST_REST));
        clock.sleep_until(until).await;
    }

    /// Compacts the dirtiest partition that is due. Whether there was one.
    async fn compact_one(&mut self) -> bool {
        let now = self.shared.doors.clock.now();
        let Some(driver) = self.dirtiest(now).await else { return false };
        match self.compact(&driver, now).await {
            Ok(Some(report)) if report.passes > 0 => {
                self.done(&driver, &report);
                true
            }
            // Nothing could be done yet: what is dirty is not behind a checkpoint, or was cut.
            Ok(_) | Err(LogError::Closed { .. }) => false,
            Err(error) => {
                self.failed(&driver, now, &error);
                true
            }
        }
    }

    async fn dirtiest(&mut self, now: Now) -> Option<Arc<PartitionDriver>> {
        self.paused.retain(|_, until| now.monotonic < *until);
        let mut dirtiest: Option<(u32, Arc<PartitionDriver>)> = None;
        let mut highest = 0;
        for driver in self.shared.partitions.open() {
            if self.paused.contains_key(&key_of(&driver)) {
                continue;
            }
            let Some((dirtiness, policy)) = self.look_at(&driver, now).await else { continue };
            let ratio = dirtiness.ratio_millionths();
            highest = highest.max(ratio);
            if dirtiness.is_due(&policy) && dirtiest.as_ref().is_none_or(|(most, _)| ratio > *most)
            {
                dirtiest = Some((ratio, driver));
            }
        }
        let metrics = self.metrics();
        metrics.max_dirty_percent.set(i64::from(highest / 10_000));
        metrics.paused_partitions.set(i64::try_from(self.paused.len()).unwrap_or(i64::MAX));
        dirtiest.map(|(_, driver)| driver)
    }

    /// How dirty a partition is; `None` when it is not compacted.
    async fn look_at(
        &mut self,
        driver: &PartitionDriver,
        now: Now,
    ) -> Option<(Dirtiness, CompactionPolicy)> {
        let (end, policy) = driver.inspect(|machine| {
            machine.cleanable_end().map(|end| (end, policy_of(machine.config())))
        })?;
        match driver.log().dirtiness(now.wall, end, &policy).await {
            Ok(dirtiness) => Some((dirtiness, policy)),
            Err(error) => {
                self.failed(driver, now, &error);
                None
            }
        }
    }

    async fn compact(
        &self,
        driver: &PartitionDriver,
        now: Now,
    ) -> Result<Option<CompactionReport>, LogError> {
        let task = driver.inspect(|machine| {
            machine.compaction_bounds().map(|bounds| (bounds, policy_of(machine.config())))
        });
        let Some((bounds, policy)) = task else { return Ok(None) };
        let config = &self.shared.config;
        let pace = Throttle {
            clock: self.shared.doors.clock.clone(),
            began: now.monotonic,
            bytes_per_second: config.cleaner_bytes_per_second,
            moved: AtomicU64::new(0),
        };
        let task = CompactionTask {
            now: now.wall,
            bounds,
            policy,
            map_bytes: config.cleaner_map_bytes,
            hash_key: self.hash_key,
            pace: &pace,
        };
        driver.log().compact(&task).await.map(Some)
    }

    fn done(&self, driver: &PartitionDriver, report: &CompactionReport) {
        let metrics = self.metrics();
        metrics.runs.increment();
        metrics.bytes_read.add(report.bytes_read);
        metrics.bytes_written.add(report.bytes_written);
        metrics.records_removed.add(report.records_removed);
        tracing::info!(partition = %driver.id, ?report, "compacted");
        if report.unreadable_batches > 0 {
            tracing::warn!(
                partition = %driver.id, batches = report.unreadable_batches,
                "compaction keeps batches whose records cannot be read, whole"
            );
        }
    }

    fn failed(&mut self, driver: &PartitionDriver, now: Now, error: &LogError) {
        self.metrics().failures.increment();
        tracing::error!(
            partition = %driver.id, %error,
            "the partition was not compacted and goes on as it was; free or repair the disk, it is \
             tried again in ten minutes"
        );
        self.paused.insert(key_of(driver), now.monotonic.after(PAUSE_AFTER_FAILURE));
    }

    fn metrics(&self) -> &CompactionMetrics {
        &self.shared.metrics.compaction
    }
}

fn key_of(driver: &PartitionDriver) -> (TopicId, PartitionIndex) {
    (driver.id.topic_id, driver.id.index)
}

fn policy_of(config: &TopicConfig) -> CompactionPolicy {
    CompactionPolicy {
        min_dirty_ratio_millionths: config.min_cleanable_dirty_ratio_millionths,
        min_lag: config.min_compaction_lag,
        max_lag: config.max_compaction_lag,
        delete_retention: config.delete_retention,
        segment_bytes: config.segment_bytes.into(),
        segment_index_bytes: config.segment_index_bytes.into(),
        index_interval_bytes: config.index_interval_bytes.into(),
    }
}

/// Holds compaction to `log.cleaner.io.max.bytes.per.second`, on average since it began.
struct Throttle {
    clock: Arc<dyn Clock>,
    began: Instant,
    bytes_per_second: u64,
    moved: AtomicU64,
}

impl Pace for Throttle {
    fn moved(&self, bytes: u64) -> BoxFuture<'static, ()> {
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let nanos = u128::from(moved) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.clock.sleep_until(self.began.after(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_topic_s_configuration() {
        let policy = policy_of(&TopicConfig::default());
        assert_eq!(policy.min_dirty_ratio_millionths, 500_000);
        assert_eq!((policy.min_lag, policy.max_lag), (Duration::ZERO, None));
        assert_eq!(policy.delete_retention, Duration::from_secs(24 * 3600));
    }
}
