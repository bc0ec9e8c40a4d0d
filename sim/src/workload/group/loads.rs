//! Whether a broker's coordinators knew their groups when they answered. No answer says so.

use crate::cluster::Cluster;
use highwater_node::metrics::Metrics;
use std::sync::Arc;

/// What was seen of the loads of a broker's coordinators at one moment.
pub struct Loads {
    /// `None` while the broker does not run. Each of its lives has its own.
    metrics: Option<Arc<Metrics>>,
    begun: u64,
    loading: i64,
}

impl Loads {
    /// Looks at a broker.
    pub fn of(cluster: &Cluster, broker: i32) -> Self {
        let machine = cluster.machines.iter().find(|machine| machine.id.0 == broker);
        let metrics = machine.and_then(|machine| Some(machine.broker()?.metrics()));
        let groups = metrics.as_ref().map(|metrics| &metrics.groups);
        let begun = groups.map_or(0, |groups| groups.loads.value());
        let loading = groups.map_or(0, |groups| groups.loading.value());
        Self { metrics, begun, loading }
    }

    /// Whether no coordinator was loading at this moment, nor at any other up to a later one.
    pub fn were_none_until(&self, later: &Self) -> bool {
        let same_life = match (&self.metrics, &later.metrics) {
            (Some(metrics), Some(later)) => Arc::ptr_eq(metrics, later),
            _ => false,
        };
        same_life && self.loading == 0 && later.loading == 0 && self.begun == later.begun
    }
}
