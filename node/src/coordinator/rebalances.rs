//! Rebalances of the groups of one coordinator: how many were completed, and how long they took.
//!
//! A rebalance begins when a group is first seen to be unsettled, or a new target is assigned, and is
//! completed when the group is seen to be stable. The driver looks at a group when something may have
//! changed it: what is asked of it, time, or a record.

use crate::metrics::GroupMetrics;
use highwater_core::{
    group::{GroupId, GroupState, Record, Request},
    time::Instant,
};
use std::collections::{BTreeMap, BTreeSet};

/// The groups that rebalance.
#[derive(Default)]
pub struct Rebalances {
    /// Since when. Invariant: groups that were unsettled when last looked at, outside of a step.
    since: BTreeMap<GroupId, Instant>,
    /// Groups that may be in another state than when last looked at. To know the state of a large
    /// group takes a look at its members, so only these are looked at.
    changed: BTreeSet<GroupId>,
}

impl Rebalances {
    /// A request is about to be decided: it may bring a classic group into another state without a
    /// record.
    pub fn asked(&mut self, request: &Request) {
        let is_classic = matches!(
            request,
            Request::Join(_) | Request::Sync(_) | Request::Heartbeat { .. } | Request::Leave { .. }
        );
        self.changed.extend(request.group().filter(|_| is_classic).cloned());
    }

    /// Time has done something to these groups.
    pub fn ticked(&mut self, groups: &[GroupId]) {
        self.changed.extend(groups.iter().cloned());
    }

    /// Records were appended. A consumer group with a new target may be stable at once, when its
    /// members have nothing to give up or to get.
    pub fn appended(&mut self, records: &[Record], now: Instant) {
        for record in records {
            if matches!(record, Record::OffsetCommit { .. }) {
                continue;
            }
            self.changed.insert(record.group().clone());
            if matches!(record, Record::TargetAssignmentEpoch { value: Some(_), .. }) {
                self.since.entry(record.group().clone()).or_insert(now);
            }
        }
    }

    /// There is nothing to look at: what was asked was refused, and changed no group.
    pub fn pass_over(&mut self) {
        self.changed.clear();
    }

    /// Looks at the groups that may have changed.
    pub fn look(
        &mut self,
        state: impl Fn(&GroupId) -> Option<GroupState>,
        now: Instant,
        metrics: &GroupMetrics,
    ) {
        while let Some(group) = self.changed.pop_first() {
            match state(&group) {
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
                        metrics.rebalances.increment();
                        metrics.rebalance_latency.observe(now.since(since));
                    }
                }
                Some(GroupState::Empty | GroupState::Dead) | None => {
                    self.since.remove(&group);
                }
            }
        }
    }

    /// What the coordinator knew is gone: it resigned, or reads its log again.
    pub fn forget(&mut self) {
        self.since.clear();
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::group::ClassicGroupValue;

    fn target() -> Record {
        Record::TargetAssignmentEpoch { group: "g".into(), value: Some(2) }
    }

    /// A record of a classic group whose leader has assigned.
    fn assigned() -> Record {
        let value = ClassicGroupValue {
            protocol_type: "consumer".into(),
            generation: 2,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            state_since: None,
            members: Vec::new(),
        };
        Record::Group { group: "g".into(), value: Some(value) }
    }

    /// What is appended or due at each second, the state that the group is then in, and how many
    /// rebalances are completed and seconds taken in the end.
    #[test]
    fn a_rebalance_counts_once_when_its_group_is_stable_again() {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Reconciling, Stable};
        type Step = (Option<fn() -> Record>, Option<GroupState>);
        let table: [(&str, &[Step], u64, u64); 8] = [
            (
                "a classic group that time begins to rebalance and a sync completes",
                &[
                    (None, Some(PreparingRebalance)),
                    (Some(assigned), Some(CompletingRebalance)),
                    (Some(assigned), Some(Stable)),
                ],
                1,
                2,
            ),
            ("a static member that comes back", &[(Some(assigned), Some(Stable))], 0, 0),
            ("a consumer group that is stable at once", &[(Some(target), Some(Stable))], 1, 0),
            (
                "a consumer group that gives up and gets",
                &[(Some(target), Some(Reconciling)), (None, Some(Stable))],
                1,
                1,
            ),
            (
                "another target meanwhile",
                &[
                    (Some(target), Some(Reconciling)),
                    (Some(target), Some(Reconciling)),
                    (None, Some(Stable)),
                ],
                1,
                2,
            ),
            ("a group that all have left", &[(Some(target), Some(Empty))], 0, 0),
            ("a group that is gone", &[(None, Some(PreparingRebalance)), (None, None)], 0, 0),
            ("a heartbeat", &[(None, Some(Stable)), (None, Some(Stable))], 0, 0),
        ];
        for (what, steps, completed, seconds) in table {
            let (mut rebalances, metrics) = (Rebalances::default(), GroupMetrics::default());
            for (second, (record, state)) in (0..).zip(steps) {
                let now = Instant(second * 1_000_000_000);
                match record {
                    Some(record) => rebalances.appended(&[record()], now),
                    None => rebalances.ticked(&["g".into()]),
                }
                rebalances.look(|_| *state, now, &metrics);
            }
            assert_eq!(metrics.rebalances.value(), completed, "{what}");
            assert_eq!(metrics.rebalance_latency.sum().as_secs(), seconds, "{what}");
        }
    }
}
