//! The scenario files, as far as the runner needs to know them: names, faults, frozen seeds.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::counts::Usage;

/// One scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The path below `scenarios/` without the extension, for example `regressions/torn-index`.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The seeds that this file wants to be run with, when it is a frozen failure.
    pub frozen_seeds: Vec<u64>,
    /// How many seeds of it are run.
    pub budget: Budget,
}

/// How many seeds of a scenario are run, unless it is a frozen failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// By every change.
    pub smoke: u64,
    /// In a night.
    pub nightly: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { smoke: 10, nightly: 200 }
    }
}

impl Scenario {
    /// Reads the scenario at `file`, which lies below `directory`.
    pub fn read(directory: &Path, file: &Path) -> anyhow::Result<Self> {
        let name = file.strip_prefix(directory).unwrap_or(file).with_extension("");
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read scenario {}", file.display()))?;
        // The simulator says what is wrong with a file that is not as it should be, and where.
        let table: toml::Table = text.parse().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            file: file.to_path_buf(),
            frozen_seeds: frozen_seeds(&table),
            budget: budget(&table),
        })
    }

    /// The scenario with the seeds that its budget allows, if none are frozen in it.
    #[must_use]
    pub fn within(mut self, seeds_of: impl Fn(Budget) -> u64) -> Self {
        if self.frozen_seeds.is_empty() {
            self.frozen_seeds = (0..seeds_of(self.budget)).collect();
        }
        self
    }
}

/// The scenarios named, or all that lie directly in `directory` when none is.
pub fn select(directory: &Path, names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    if names.is_empty() {
        return all(directory);
    }
    names.iter().map(|name| find(directory, name)).collect()
}

/// Every scenario that lies directly in `directory`, by name.
pub fn all(directory: &Path) -> anyhow::Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list scenarios in {}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // A frozen script is replayed as it is; the scenario beside it is for people.
        let is_of_script = path.with_extension("json").is_file();
        if path.extension().is_some_and(|extension| extension == "toml") && !is_of_script {
            files.push(path);
        }
    }
    files.sort();
    let base = directory.parent().map_or(directory, |parent| {
        // A frozen failure is called `regressions/NAME`, wherever the list starts.
        if directory.ends_with("regressions") { parent } else { directory }
    });
    files.iter().map(|file| Scenario::read(base, file)).collect()
}

fn find(directory: &Path, name: &str) -> anyhow::Result<Scenario> {
    let candidates =
        [directory.join(format!("{name}.toml")), directory.join(name), PathBuf::from(name)];
    if let Some(file) = candidates.iter().find(|file| file.is_file()) {
        let file = file.canonicalize().unwrap_or_else(|_| file.clone());
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
        return Scenario::read(&directory, &file);
    }
    let known: Vec<String> =
        all(directory)?.into_iter().map(|scenario| scenario.name).collect::<Vec<_>>();
    Err(Usage(format!("no scenario is called `{name}`; known: {}", known.join(", "))).into())
}

/// `seeds_smoke` and `seeds_nightly` in `[budget]`.
fn budget(table: &toml::Table) -> Budget {
    let seeds = |key: &str| {
        let budget = table.get("budget").and_then(toml::Value::as_table)?;
        u64::try_from(budget.get(key)?.as_integer()?).ok()
    };
    let Budget { smoke, nightly } = Budget::default();
    Budget {
        smoke: seeds("seeds_smoke").unwrap_or(smoke),
        nightly: seeds("seeds_nightly").unwrap_or(nightly),
    }
}

/// `seed = N` or `seeds = [N, ...]` at the top level of the file.
fn frozen_seeds(table: &toml::Table) -> Vec<u64> {
    let number = |value: &toml::Value| value.as_integer().and_then(|seed| u64::try_from(seed).ok());
    let list = table.get("seeds").and_then(toml::Value::as_array);
    table.get("seed").into_iter().chain(list.into_iter().flatten()).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    fn scratch() -> ScratchDirectory {
        let scratch = ScratchDirectory::new("scenarios");
        scratch.write("b.toml", "# Second.\n");
        scratch.write("a.toml", "# First.\n");
        scratch.write("README.md", "no scenario");
        scratch.write("regressions/old.toml", "seed = 7\nseeds = [9, 11]\n");
        scratch.write("regressions/script.toml", "# Of a script.\n");
        scratch.write("regressions/script.json", "{}");
        scratch
    }

    #[test]
    fn without_a_name_every_file_of_the_directory_is_taken_in_order() {
        let scratch = scratch();
        let names: Vec<String> =
            select(scratch.path(), &[]).unwrap().into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn frozen_failures_carry_their_seeds() {
        let scratch = scratch();
        let by_name = select(scratch.path(), &["regressions/old".to_owned()]).unwrap();
        let listed = all(&scratch.path().join("regressions")).unwrap();
        assert_eq!(listed.len(), 1, "a frozen script is no scenario");
        for found in [&by_name[0], &listed[0]] {
            assert_eq!(found.name, "regressions/old");
            assert_eq!(found.frozen_seeds, [7, 9, 11]);
        }
    }

    #[test]
    fn a_scenario_is_run_as_often_as_its_budget_says() {
        let scratch = scratch();
        scratch.write("c.toml", "[budget]\nseeds_smoke = 2\n");
        let of = |name: &str| select(scratch.path(), &[name.to_owned()]).unwrap().remove(0);
        assert_eq!(of("c").within(|budget| budget.smoke).frozen_seeds, [0, 1]);
        assert_eq!(of("c").within(|budget| budget.nightly).frozen_seeds.len(), 200);
        assert_eq!(of("a").within(|budget| budget.smoke).frozen_seeds.len(), 10);
        let frozen = of("regressions/old").within(|budget| budget.smoke);
        assert_eq!(frozen.frozen_seeds, [7, 9, 11]);
    }

    #[test]
    fn an_unknown_name_is_bad_usage_and_lists_the_known_ones() {
        let scratch = scratch();
        let error = select(scratch.path(), &["c".to_owned()]).unwrap_err();
        assert!(error.is::<Usage>());
        assert_eq!(error.to_string(), "no scenario is called `c`; known: a, b");
    }

    #[test]
    fn a_broken_file_is_left_to_the_simulator() {
        let scratch = ScratchDirectory::new("broken-scenario");
        scratch.write("bad.toml", "= nothing\n");
        let found = select(scratch.path(), &[]).unwrap();
        assert_eq!((found.len(), found[0].frozen_seeds.len()), (1, 0));
    }
}
