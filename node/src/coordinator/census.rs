//! What the metrics tell of the groups of one coordinator: its part of the broker's gauges.

use crate::metrics::GroupMetrics;
use highwater_core::{
    coordinator::Coordinator,
    group::{GroupCensus, GroupShard},
    time::Instant,
};
use std::time::Duration;

/// The least time between two counts: one takes as long as there are groups.
const EVERY: Duration = Duration::from_secs(1);

/// What one coordinator has added to the gauges.
#[derive(Default)]
pub struct Census {
    /// When the groups are to be counted.
    pub due: Option<Instant>,
    counted: GroupCensus,
    deferred: usize,
    loading: bool,
}

impl Census {
    /// Something may have changed: counts soon.
    pub fn want(&mut self, now: Instant) {
        self.due.get_or_insert(now.after(EVERY));
    }

    /// Counts groups and members.
    pub fn take(&mut self, machine: &Coordinator<GroupShard>, metrics: &GroupMetrics) {
        self.due = None;
        self.show(machine.shard().map(GroupShard::census).unwrap_or_default(), metrics);
    }

    /// So many answers wait for the high watermark.
    pub fn defer(&mut self, answers: usize, metrics: &GroupMetrics) {
        metrics.deferred_answers.add(change(self.deferred, answers));
        self.deferred = answers;
    }

    /// Whether the coordinator leads its partition and does not know yet what the log says.
    pub fn load(&mut self, loading: bool, metrics: &GroupMetrics) {
        metrics.loading.add(i64::from(loading) - i64::from(self.loading));
        self.loading = loading;
    }

    /// The coordinator is none any more.
    pub fn end(&mut self, metrics: &GroupMetrics) {
        self.show(GroupCensus::default(), metrics);
        self.defer(0, metrics);
        self.load(false, metrics);
    }

    fn show(&mut self, now: GroupCensus, metrics: &GroupMetrics) {
        let before = std::mem::replace(&mut self.counted, now);
        let now = &self.counted;
        for (gauge, (before, now)) in
            metrics.groups.iter().zip(before.groups.iter().zip(now.groups))
        {
            gauge.add(change(*before, now));
        }
        metrics.members.add(change(before.members, now.members));
    }
}

fn change(before: usize, now: usize) -> i64 {
    let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
    number(now) - number(before)
}
