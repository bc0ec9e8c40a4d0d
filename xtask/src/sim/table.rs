//! The table of planted bugs in `docs/lab.md`: how soon each was found, and how small its failure
//! became. It is kept between two markers; rows that were not made anew stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::workspace;

const BEGIN: &str = "<!-- mutants: begin -->";
const END: &str = "<!-- mutants: end -->";
const HEADER: &str = "| mutant | scenario | check | seeds to find | fault events | client operations \
                      | seconds | runs |\n|---|---|---|---:|---:|---:|---:|---:|\n";

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The bug.
    pub mutant: String,
    /// Where it was found.
    pub scenario: String,
    /// By which check.
    pub check: String,
    /// How many seeds that took.
    pub seeds: u64,
    /// Fault events before and after.
    pub faults: [usize; 2],
    /// Client operations before and after.
    pub operations: [usize; 2],
    /// Wall-clock seconds that shrinking took.
    pub seconds: u64,
    /// Runs that it took.
    pub runs: u64,
}

/// The file with the table.
#[must_use]
pub fn file() -> PathBuf {
    workspace::root().join("docs/lab.md")
}

/// Puts rows into the table of a file, in the place of those of the same bugs.
pub fn update(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let updated = updated(&text, rows).with_context(|| format!("in {}", file.display()))?;
    std::fs::write(file, updated).with_context(|| format!("cannot write {}", file.display()))
}

fn updated(text: &str, rows: &[Row]) -> anyhow::Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("there is no {BEGIN}"))?;
    let (table, after) = rest.split_once(END).with_context(|| format!("there is no {END}"))?;
    let mut all: BTreeMap<String, Row> = table
        .lines()
        .filter_map(Row::parse)
        .chain(rows.iter().cloned())
        .map(|row| (row.mutant.clone(), row))
        .collect();
    all.retain(|mutant, _| !mutant.is_empty());
    let lines: String = all.values().map(Row::line).collect();
    let summary = summary(&all.into_values().collect::<Vec<_>>());
    Ok(format!("{before}{BEGIN}\n\n{HEADER}{lines}\n{summary}\n\n{END}{after}"))
}

/// The medians of all rows.
fn summary(rows: &[Row]) -> String {
    let median = |value: fn(&Row) -> u64| {
        let mut values: Vec<u64> = rows.iter().map(value).collect();
        values.sort_unstable();
        values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    };
    format!(
        "Medians of {} bugs: {} for fault events, {} for client operations, {} for seconds.",
        rows.len(),
        median(|row| row.faults[1] as u64),
        median(|row| row.operations[1] as u64),
        median(|row| row.seconds)
    )
}

impl Row {
    fn line(&self) -> String {
        let Self { mutant, scenario, check, seeds, faults, operations, seconds, runs } = self;
        format!(
            "| `{mutant}` | {scenario} | {check} | {seeds} | {} → {} | {} → {} | {seconds} | {runs} |\n",
            faults[0], faults[1], operations[0], operations[1]
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [mutant, scenario, check, seeds, faults, operations, seconds, runs] = cells[..] else {
            return None;
        };
        let pair = |cell: &str| {
            let (before, after) = cell.split_once('→')?;
            Some([before.trim().parse().ok()?, after.trim().parse().ok()?])
        };
        Some(Self {
            mutant: mutant.strip_prefix('`')?.strip_suffix('`')?.to_owned(),
            scenario: scenario.to_owned(),
            check: check.to_owned(),
            seeds: seeds.parse().ok()?,
            faults: pair(faults)?,
            operations: pair(operations)?,
            seconds: seconds.parse().ok()?,
            runs: runs.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::directed::{self, Place};

    fn row(mutant: &str, faults: usize, operations: usize) -> Row {
        Row {
            mutant: mutant.into(),
            scenario: "power-cut".into(),
            check: "L3 immutable".into(),
            seeds: 2,
            faults: [9, faults],
            operations: [300, operations],
            seconds: 40,
            runs: 120,
        }
    }

    #[test]
    fn rows_are_replaced_and_the_others_stay() {
        let empty = format!("# Lab\n{BEGIN}\n{END}\nrest\n");
        let text = updated(&empty, &[row("b", 2, 9), row("a", 1, 30)]).unwrap();
        assert!(text.starts_with("# Lab\n") && text.ends_with("\nrest\n"));
        assert!(
            text.contains("| `b` | power-cut | L3 immutable | 2 | 9 → 2 | 300 → 9 | 40 | 120 |")
        );
        let again = updated(&text, &[row("a", 1, 3), row("c", 4, 11)]).unwrap();
        assert!(again.contains("| 300 → 3 |") && !again.contains("| 300 → 30 |"));
        assert!(again.contains("`b`") && again.contains("`c`"));
        assert!(again.contains(
            "Medians of 3 bugs: 2 for fault events, 9 for client operations, 40 for seconds."
        ));
        assert_eq!(updated(&again, &[]).unwrap(), again);
    }

    #[test]
    fn every_bug_that_is_hunted_has_its_row_in_the_documentation() {
        let text = std::fs::read_to_string(file()).unwrap();
        let told: Vec<String> = text.lines().filter_map(Row::parse).map(|row| row.mutant).collect();
        let places = directed::read(&workspace::root()).unwrap();
        let hunted = places.iter().filter(|(_, place)| matches!(place, Place::Scenarios(_)));
        let hunted: Vec<&String> = hunted.map(|(mutant, _)| mutant).collect();
        assert!(told.iter().eq(hunted), "run `cargo xtask sim mutants --shrink` for those missing");
    }

    #[test]
    fn a_file_without_markers_is_left_alone() {
        assert!(updated("# Lab\n", &[]).is_err());
        assert!(updated(&format!("{END}\n{BEGIN}\n"), &[]).is_err());
    }
}
