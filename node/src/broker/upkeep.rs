//! What a broker does without being asked: it follows the metadata, looks after its followers and
//! enforces retention.

use super::{Shared, membership};
use crate::env;
use highwater_core::{mutant::Mutant, partition::Input};
use std::{sync::Arc, time::Duration};

/// The longest pause between two looks at lagging followers and unanswered proposals.
const LAG_CHECK_MAX: Duration = Duration::from_millis(500);

/// Keeps the partitions in line with the metadata image.
pub async fn follow_metadata(shared: Arc<Shared>) {
    let mut followed = shared.quorum.image();
    loop {
        let image = shared.quorum.image();
        let applied = image.applied();
        for (broker, registration) in image.brokers() {
            shared.doors.transport.learn(broker, registration.peer_endpoint.clone());
        }
        let static_configs = &shared.static_configs;
        shared.throttles.follow(&image, shared.config.node_id, static_configs);
        // A disk that was a broker's once may still hold partitions of this node's id.
        if shared.broker_epoch.is_some() {
            let changes = shared.partitions.tell(&image);
            membership::knows(&shared, applied);
            shared.partitions.carry_out(changes).await;
            shared.replication.follow(&shared.partitions.open());
            shared.coordinators.follow(&image, &shared.partitions);
        }
        shared.count_partitions();
        shared.count_changes(&followed, &image);
        followed = image;
        shared.followed_to(applied);
        let known = match Mutant::ImageMissed.is_planted() {
            true => shared.quorum.image().applied(),
            false => applied,
        };
        shared.quorum.changed(known).await;
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

/// Lets the leaders look at their followers, often enough for `replica.lag.time.max.ms`.
pub async fn check_replicas(shared: Arc<Shared>) {
    let interval = (shared.config.replica_lag_time_max / 2).min(LAG_CHECK_MAX);
    let lag_clock = env::timers(shared.doors.clock.clone(), Mutant::IsrLagByWallClock);
    loop {
        let next = shared.doors.clock.now().monotonic.after(interval);
        shared.doors.clock.sleep_until(next).await;
        shared.gauge_quorum();
        let now = shared.doors.clock.now().monotonic;
        shared.replica_sessions().expire(now);
        let now = lag_clock.now().monotonic;
        for driver in shared.partitions.open() {
            if driver.inspect(|machine| machine.next_deadline().is_some_and(|due| due <= now)) {
                driver.tell(Input::Tick);
            }
        }
    }
}
