//! What the metrics tell of partitions, leaders and the quorum: counted from the image whenever the
//! broker has followed one.

use super::{Lookup, Shared};
use highwater_core::metadata::{Image, PartitionRegistration};
use std::sync::atomic::Ordering;

impl Shared {
    /// Brings the gauges of partitions up to date.
    pub(super) fn count_partitions(&self) {
        let image = self.quorum.image();
        let (here, broken) = self.partitions.counts();
        let mut led = Led::default();
        let own = self.config.node_id;
        for (topic, index, partition) in image.partitions() {
            if partition.leader != Some(own) {
                continue;
            }
            if matches!(self.partitions.get(topic, index), Lookup::Offline) {
                led.broken += 1;
                continue;
            }
            let min_insync = image.min_insync_replicas(topic, index) as usize;
            led.all += 1;
            led.under_replicated += usize::from(is_under_replicated(partition));
            led.under_min_isr += usize::from(partition.isr.len() < min_insync);
            led.at_min_isr += usize::from(partition.isr.len() == min_insync);
        }
        let replicas = &self.metrics.replicas;
        replicas.partitions.set(number(here));
        replicas.leaders.set(number(led.all));
        replicas.offline.set(number(broken));
        replicas.under_replicated.set(number(led.under_replicated));
        replicas.under_min_isr.set(number(led.under_min_isr));
        replicas.at_min_isr.set(number(led.at_min_isr));
        self.count_cluster(&image, led.broken);
    }

    /// The gauges that only the controller shows, as in Kafka: their sum over all brokers is right.
    fn count_cluster(&self, image: &Image, broken: usize) {
        let cluster = &self.metrics.cluster;
        let is_controller = self.gauge_quorum();
        let shown = |count: usize| if is_controller { number(count) } else { 0 };
        let leaderless = image.partitions().filter(|(_, _, one)| one.leader.is_none()).count();
        let fenced = image.brokers().filter(|(_, broker)| broker.fenced).count();
        cluster.offline_partitions.set(shown(leaderless + broken));
        cluster.fenced_brokers.set(shown(fenced));
        cluster.active_brokers.set(shown(image.brokers().count() - fenced));
    }

    /// Brings the gauges of the quorum up to date. Whether this broker is the controller.
    pub(super) fn gauge_quorum(&self) -> bool {
        let leadership = self.quorum.leadership();
        let is_controller = leadership.leader == Some(self.config.node_id);
        let cluster = &self.metrics.cluster;
        cluster.quorum_term.set(i64::try_from(leadership.term).unwrap_or(i64::MAX));
        cluster.quorum_leader.set(leadership.leader.map_or(-1, |leader| i64::from(leader.0)));
        cluster.is_controller.set(i64::from(is_controller));
        cluster.fenced.set(i64::from(self.membership.fenced.load(Ordering::Acquire)));
        is_controller
    }

    /// Counts what has changed between two images in the partitions that this broker holds: new
    /// leader epochs, and changes of the ISR where it leads.
    pub(super) fn count_changes(&self, before: &Image, after: &Image) {
        let own = self.config.node_id;
        let replicas = &self.metrics.replicas;
        for (topic, index, now) in after.partitions() {
            let Some(then) = before.partition(topic, index) else { continue };
            if now.partition_epoch == then.partition_epoch || !now.replicas.contains(&own) {
                continue;
            }
            if now.leader_epoch > then.leader_epoch {
                replicas.leader_elections.increment();
            }
            if now.leader == Some(own) {
                let left = then.isr.iter().any(|member| !now.isr.contains(member));
                let joined = now.isr.iter().any(|member| !then.isr.contains(member));
                replicas.isr_shrinks.add(u64::from(left));
                replicas.isr_expands.add(u64::from(joined));
            }
        }
    }
}

/// Partitions led from here.
#[derive(Default)]
struct Led {
    all: usize,
    /// Of others: led by the image, but their log failed.
    broken: usize,
    under_replicated: usize,
    under_min_isr: usize,
    at_min_isr: usize,
}

/// Replicas that a reassignment adds are not missed before they have caught up.
fn is_under_replicated(partition: &PartitionRegistration) -> bool {
    let is_missing = |replica| !partition.isr.contains(replica);
    let settled = partition.replicas.iter().filter(|replica| !partition.adding.contains(replica));
    settled.filter(|replica| is_missing(replica)).count() > 0
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
