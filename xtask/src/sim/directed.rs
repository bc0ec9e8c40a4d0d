//! `sim/mutants.toml`: which scenarios are to show each planted bug, and which bugs the simulator is
//! not the one to show, with the reason.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::scenario::{self, Scenario};

/// Where a planted bug is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of these scenarios shows it within the seeds of a hunt.
    Scenarios(Vec<Scenario>),
    /// Another test shows it.
    Elsewhere {
        /// Which one.
        found_by: String,
        /// Why the simulator does not.
        because: String,
    },
}

/// A row of the file, as it is written.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Row {
    Scenarios { scenarios: Vec<String> },
    Elsewhere { found_by: String, because: String },
}

/// Reads the file of the repository at `root`.
pub fn read(root: &Path) -> anyhow::Result<BTreeMap<String, Place>> {
    let file = root.join("sim/mutants.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text, &root.join("scenarios")).with_context(|| format!("in {}", file.display()))
}

fn parse(text: &str, scenarios: &Path) -> anyhow::Result<BTreeMap<String, Place>> {
    let rows: BTreeMap<String, Row> = toml::from_str(text)?;
    let place = |(mutant, row): (String, Row)| {
        let place = match row {
            Row::Scenarios { scenarios: names } => {
                anyhow::ensure!(!names.is_empty(), "{mutant}: no scenario is named");
                let found = scenario::select(scenarios, &names);
                Place::Scenarios(found.with_context(|| mutant.clone())?)
            }
            Row::Elsewhere { found_by, because } => {
                anyhow::ensure!(!because.is_empty(), "{mutant}: no reason is given");
                Place::Elsewhere { found_by, because }
            }
        };
        Ok((mutant, place))
    };
    rows.into_iter().map(place).collect()
}

/// What the file lacks or has too much, when the simulator knows these bugs.
pub fn check(places: &BTreeMap<String, Place>, known: &[String]) -> anyhow::Result<()> {
    if let Some(name) = known.iter().find(|name| !places.contains_key(*name)) {
        anyhow::bail!("sim/mutants.toml does not say where `{name}` is to be found");
    }
    if let Some(name) = places.keys().find(|name| !known.contains(name)) {
        anyhow::bail!("sim/mutants.toml has `{name}`, which no mutant is called");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    #[test]
    fn a_bug_has_its_scenarios_or_the_test_that_finds_it() {
        let scratch = ScratchDirectory::new("directed");
        scratch.write("a.toml", "# First.\n");
        let text = "[early]\nscenarios = [\"a\"]\n[odd]\nfound_by = \"x\"\nbecause = \"y\"\n";
        let places = parse(text, scratch.path()).unwrap();
        assert!(matches!(&places["early"], Place::Scenarios(found) if found[0].name == "a"));
        let elsewhere = Place::Elsewhere { found_by: "x".into(), because: "y".into() };
        assert_eq!(places["odd"], elsewhere);
        check(&places, &["early".into(), "odd".into()]).unwrap();
        assert!(check(&places, &["early".into()]).is_err());
        assert!(check(&places, &["early".into(), "odd".into(), "new".into()]).is_err());
    }

    /// What a scenario without a bug says instead.
    const NONE: &str = "# No planted bug: ";

    /// The text of every scenario of the catalogue, and the bug that it names.
    fn catalogue() -> Vec<(Scenario, String, Option<String>)> {
        let scenarios = scenario::all(&crate::workspace::root().join("scenarios")).unwrap();
        let named = |scenario: Scenario| {
            let text = std::fs::read_to_string(&scenario.file).unwrap();
            let table: toml::Table = text.parse().unwrap();
            let mutant = table.get("checks").and_then(|checks| checks.get("mutant"));
            let mutant = mutant.and_then(|mutant| mutant.as_str()).map(str::to_owned);
            (scenario, text, mutant)
        };
        scenarios.into_iter().map(named).collect()
    }

    #[test]
    fn every_scenario_that_names_a_bug_is_where_that_bug_is_hunted() {
        let places = read(&crate::workspace::root()).unwrap();
        for (scenario, _, mutant) in catalogue() {
            let Some(mutant) = mutant else { continue };
            let is_there = matches!(
                places.get(&mutant),
                Some(Place::Scenarios(hunted)) if hunted.iter().any(|one| one.name == scenario.name)
            );
            assert!(is_there, "sim/mutants.toml does not hunt {mutant} with {}", scenario.name);
        }
    }

    #[test]
    fn no_two_scenarios_name_the_same_bug() {
        let mut named = BTreeMap::new();
        for (scenario, _, mutant) in catalogue() {
            let Some(mutant) = mutant else { continue };
            if let Some(other) = named.insert(mutant.clone(), scenario.name.clone()) {
                panic!("{other} and {} both name {mutant}", scenario.name);
            }
        }
    }

    #[test]
    fn every_scenario_names_a_bug_that_it_shows_or_says_why_it_has_none() {
        for (scenario, text, mutant) in catalogue() {
            let reason = text.lines().find_map(|line| line.strip_prefix(NONE));
            let says_why = reason.is_some_and(|reason| !reason.trim().is_empty());
            let name = scenario.name;
            match mutant {
                Some(_) => assert!(reason.is_none(), "{name} names a bug and says it has none"),
                None => assert!(says_why, "{name} names no bug: say why with `{NONE}...`"),
            }
        }
    }

    #[test]
    fn a_bug_that_is_nowhere_to_be_found_needs_a_reason() {
        let scratch = ScratchDirectory::new("undirected");
        scratch.write("a.toml", "# First.\n");
        for row in ["scenarios = []", "scenarios = [\"b\"]", "found_by = \"x\"", ""] {
            assert!(parse(&format!("[early]\n{row}\n"), scratch.path()).is_err(), "{row}");
        }
    }
}
