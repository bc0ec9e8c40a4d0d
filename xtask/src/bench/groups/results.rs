//! The results of the benchmark of groups, as a table with the aims beside them and as JSON.

use serde::Serialize;

use super::thought::Thought;
use crate::bench::results::{Row, ms, print_table};

/// The longest that the coordinator may think about an assignment, in milliseconds, exclusive.
const ASSIGNMENT_AIM_MS: f64 = 200.0;

/// What was measured of some groups on one broker.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Side {
    /// From the first join until every member has its assignment.
    pub converge_ms: f64,
    /// Heartbeats that each member has sent by then; zero for a classic group.
    pub rounds: usize,
    /// Heartbeats answered each second, in a closed loop.
    pub heartbeats_per_second: f64,
    /// The broker's processor time for each, in microseconds.
    pub cpu_us_per_heartbeat: f64,
    /// The memory resident before the first join.
    pub memory_before_mebibytes: f64,
    /// The most memory that was ever resident.
    pub peak_memory_mebibytes: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// As in the other benchmarks.
    pub processors: usize,
    pub load_average: f64,
    /// Members of a large group.
    pub members: usize,
    /// Partitions that a large group consumes.
    pub partitions: usize,
    /// Groups of one member each.
    pub groups: usize,
    /// Connections for heartbeats, and how many are in flight on each.
    pub connections: usize,
    pub in_flight: usize,
    /// One large classic group.
    pub classic: Side,
    /// From when its leader joins again until all have their assignments again.
    pub classic_rebalance_ms: f64,
    /// One large consumer group (KIP-848).
    pub consumer: Side,
    /// Many small consumer groups.
    pub small: Side,
    /// Partitions of the assignments that were measured by themselves.
    pub assigned_partitions: usize,
    /// The coordinator by itself.
    pub thoughts: Vec<Thought>,
}

impl Results {
    /// Prints the table.
    pub fn print(&self) {
        println!(
            "{} processors, {} partitions for the large groups, heartbeats over {} connections \
             with {} in flight on each, one coordinator",
            self.processors, self.partitions, self.connections, self.in_flight,
        );
        if self.load_average > 0.5 {
            println!(
                "this machine is busy with something else (load {:.1}): do not trust the numbers",
                self.load_average
            );
        }
        print_table(&self.rows());
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        // The classic group's time has in it how long an empty group waits for more members.
        let large = |kind: &str| format!("{kind} group of {}", self.members);
        rows.extend(self.classic.rows(&large("classic")));
        let rebalance = ms(self.classic_rebalance_ms);
        rows.push(Row::plain(format!("{}, rebalance", large("classic")), rebalance));
        rows.extend(self.consumer.rows(&large("KIP-848")));
        rows.extend(self.small.rows(&format!("{} groups of 1", self.groups)));
        rows.extend(self.thoughts.iter().map(thought_row));
        rows
    }
}

impl Side {
    fn rows(&self, name: &str) -> [Row; 5] {
        let mebibytes = |value: f64| format!("{value:.1} MiB");
        [
            Row::plain(format!("{name}, all assigned"), ms(self.converge_ms)),
            Row::plain(
                format!("{name}, heartbeats"),
                format!("{:.0} /s", self.heartbeats_per_second),
            ),
            Row::plain(
                format!("{name}, CPU of one"),
                format!("{:.1} us", self.cpu_us_per_heartbeat),
            ),
            Row::plain(format!("{name}, memory before"), mebibytes(self.memory_before_mebibytes)),
            Row::plain(format!("{name}, peak memory"), mebibytes(self.peak_memory_mebibytes)),
        ]
    }
}

/// The coordinator by itself. Assignments have an aim.
fn thought_row(thought: &Thought) -> Row {
    let Thought { measure, assignor, subscriptions, median_us, .. } = thought;
    if assignor.is_empty() {
        return Row::plain(format!("{measure}, core alone"), format!("{median_us:.2} us"));
    }
    let median_ms = median_us / 1e3;
    Row::aimed(
        format!("{measure}, {assignor}, {subscriptions}"),
        ms(median_ms),
        "under 200 ms",
        median_ms < ASSIGNMENT_AIM_MS,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thought(measure: &str, assignor: &str, median_us: f64) -> Thought {
        Thought {
            measure: measure.to_owned(),
            assignor: assignor.to_owned(),
            subscriptions: "homogeneous".to_owned(),
            median_us,
            max_us: median_us,
        }
    }

    #[test]
    fn assignments_have_an_aim_and_heartbeats_have_none() {
        let results = Results {
            members: 1000,
            groups: 10_000,
            thoughts: vec![
                thought("rebalance", "uniform", 199_000.0),
                thought("join", "range", 200_000.0),
                thought("classic heartbeat", "", 1.5),
            ],
            ..Results::default()
        };
        let rows = results.rows();
        let find = |measure: &str| rows.iter().find(|row| row.measure.contains(measure)).unwrap();
        assert_eq!(find("rebalance, uniform").met(), Some(true));
        assert_eq!(find("join, range").met(), Some(false));
        assert_eq!(find("classic heartbeat").met(), None);
        assert_eq!(find("classic heartbeat").value, "1.50 us");
        assert_eq!(find("10000 groups of 1, heartbeats").met(), None);
    }

    #[test]
    fn the_columns_of_the_table_are_wide_enough() {
        let results = Results { members: 1000, groups: 10_000, ..Results::default() };
        assert!(results.rows().iter().all(|row| row.measure.len() <= 38));
        let widest = thought("rebalance", "uniform", 1.0);
        let widest = Thought { subscriptions: "heterogeneous".to_owned(), ..widest };
        assert!(thought_row(&widest).measure.len() <= 38);
    }
}
