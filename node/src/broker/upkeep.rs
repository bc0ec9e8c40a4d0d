//! What a broker does without being asked: it follows the metadata and enforces retention.

use super::Shared;
use highwater_core::partition::Input;
use std::sync::Arc;

/// Keeps the partitions in line with the metadata image.
pub async fn follow_metadata(shared: Arc<Shared>) {
    loop {
        let image = shared.quorum.image();
        let applied = image.applied();
        shared.partitions.follow(&image).await;
        shared.count_partitions();
        shared.followed_to(applied);
        shared.quorum.changed(applied).await;
    }
}

/// Offers every partition's segments to retention and lets deadlines pass, once per
/// `log.retention.check.interval.ms`.
pub async fn enforce_retention(shared: Arc<Shared>) {
    loop {
        let now = shared.doors.clock.now();
        let next = now.monotonic.after(shared.config.retention_check_interval);
        shared.doors.clock.sleep_until(next).await;
        for driver in shared.partitions.open() {
            let log = driver.log();
            let (closed, active) = (log.closed_segments(), log.active_segment());
            driver.tell(Input::Segments { closed, active, total_bytes: log.total_bytes() });
            driver.tell(Input::Tick);
        }
        shared.count_partitions();
    }
}
