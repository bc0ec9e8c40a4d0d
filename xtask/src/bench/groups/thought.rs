//! How long the coordinator itself thinks, without a broker around it: `core`'s own example, built
//! with optimisation.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// One measure of the example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thought {
    /// `rebalance`: everybody is there, and nothing assigned yet. `join`: one more member comes to
    /// a group that has its target. `classic heartbeat`: one heartbeat in a classic group.
    pub measure: String,
    /// Empty for a classic group.
    pub assignor: String,
    /// `homogeneous` where all members subscribe to all topics, `heterogeneous` where each
    /// subscribes to another half of them; empty for a classic group.
    pub subscriptions: String,
    pub median_us: f64,
    pub max_us: f64,
}

/// Builds and runs the example.
pub fn measure(members: usize, partitions: usize) -> Result<Vec<Thought>> {
    let output = workspace::cargo()
        .args(["run", "--release", "--quiet", "-p", "highwater-core", "--example", "group_bench"])
        .args(["--", &members.to_string(), &partitions.to_string()])
        .output()
        .context("cannot start cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "group_bench failed ({}): {errors}", output.status);
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(lines: &str) -> Result<Vec<Thought>> {
    let parse =
        |line| serde_json::from_str(line).with_context(|| format!("group_bench printed {line:?}"));
    lines.lines().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_example_is_a_measure() {
        let line = r#"{"measure":"join","assignor":"range","subscriptions":"homogeneous","median_us":12.500,"max_us":20.000}"#;
        let thoughts = parse(line).unwrap();
        assert_eq!((&*thoughts[0].measure, thoughts[0].median_us), ("join", 12.5));
        assert!(parse("nonsense").is_err());
    }
}
