//! How long the groups of one coordinator rebalance: from the request with which a group is first
//! seen to be unsettled to the one with which it is settled.

use crate::metrics::GroupMetrics;
use highwater_core::{
    group::{GroupId, GroupShard, GroupState, Request},
    time::Instant,
};
use std::collections::BTreeMap;

/// The groups that rebalance.
#[derive(Default)]
pub struct Rebalances {
    /// Since when. Invariant: groups that were unsettled when last looked at.
    since: BTreeMap<GroupId, Instant>,
}

impl Rebalances {
    /// Which group a request may bring into another state. To know the state of a large group takes
    /// a look at its members, so it is asked for only where it may have changed.
    pub fn concerned(&self, request: &Request) -> Option<Concerned> {
        let group = request.group()?;
        let is_classic = matches!(
            request,
            Request::Join(_) | Request::Sync(_) | Request::Heartbeat { .. } | Request::Leave { .. }
        );
        let is_certain = is_classic || self.since.contains_key(group);
        Some(Concerned { group: group.clone(), is_certain })
    }

    /// Looks at a group behind a request about it.
    pub fn observe(
        &mut self,
        Concerned { group, is_certain }: Concerned,
        (shard, appended): (&GroupShard, bool),
        now: Instant,
        metrics: &GroupMetrics,
    ) {
        if !is_certain && !appended {
            return;
        }
        match shard.state(&group) {
            Some(
                GroupState::PreparingRebalance
                | GroupState::CompletingRebalance
                | GroupState::Assigning
                | GroupState::Reconciling,
            ) => {
                self.since.entry(group).or_insert(now);
            }
            Some(GroupState::Stable) => {
                if let Some(since) = self.since.remove(&group) {
                    metrics.rebalance_latency.observe(now.since(since));
                }
            }
            Some(GroupState::Empty | GroupState::Dead) | None => {
                self.since.remove(&group);
            }
        }
    }

    /// What the coordinator knew is gone: it resigned, or reads its log again.
    pub fn forget(&mut self) {
        self.since.clear();
    }
}

/// A group that a request is about, and whether it has to be looked at in any case.
pub struct Concerned {
    group: GroupId,
    is_certain: bool,
}
