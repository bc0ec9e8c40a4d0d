//! The list of the tests of a suite that pass, and what a run means by it.
//!
//! The list only grows: a test on it that does not pass is a failure, one that passes and is not on
//! it is to be added. Whatever else does not pass needs a reason in `docs/conformance.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Outcome, Verdict};

/// The tests of a suite that passed once and must go on doing so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    tests: BTreeSet<String>,
}

/// What the outcomes of a run mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Listed and passed.
    pub kept: Vec<String>,
    /// Passed, and not on the list yet.
    pub new: Vec<String>,
    /// Listed and not passed, with what happened instead.
    pub lost: BTreeMap<String, String>,
    /// Neither listed nor passed, but explained.
    pub explained: Vec<String>,
    /// Neither listed nor passed, and nobody says why.
    pub unexplained: BTreeMap<String, String>,
}

impl Passing {
    /// Reads a list: one test in each line. No file is an empty list.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            tests: text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect(),
        })
    }

    /// Writes the list.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text: String = self.tests.iter().map(|test| format!("{test}\n")).collect();
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds tests.
    pub fn add(&mut self, tests: &[String]) {
        self.tests.extend(tests.iter().cloned());
    }

    /// How many tests are on it.
    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// What `outcomes` mean; `complete` says that every test of the suite was to run, so that one
    /// that is missing has not passed.
    pub fn judge(
        &self,
        outcomes: &[Outcome],
        explanations: &Explanations,
        complete: bool,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        for outcome in outcomes {
            let test = outcome.test.clone();
            let listed = self.tests.contains(&test);
            match (&outcome.verdict, listed) {
                (Verdict::Passed, true) => judgement.kept.push(test),
                (Verdict::Passed, false) => judgement.new.push(test),
                (other, true) => {
                    judgement.lost.insert(test, other.to_string());
                }
                (_, false) if explanations.has(&test) => judgement.explained.push(test),
                (other, false) => {
                    judgement.unexplained.insert(test, other.to_string());
                }
            }
        }
        if complete {
            let seen: BTreeSet<&str> = outcomes.iter().map(|o| o.test.as_str()).collect();
            let missing = self.tests.iter().filter(|test| !seen.contains(test.as_str()));
            judgement.lost.extend(missing.map(|test| (test.clone(), "did not run".to_owned())));
        }
        judgement
    }
}

/// The tests that a document names in code, with `*` at the end of a name for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanations {
    names: BTreeSet<String>,
    beginnings: BTreeSet<String>,
}

impl Explanations {
    /// What stands between backquotes in the section of `suite`, which its heading names.
    pub fn of(document: &str, suite: &str) -> Self {
        let mut explanations = Self::default();
        let mut inside = false;
        for line in document.lines() {
            if line.starts_with("## ") {
                inside = line.split('`').nth(1) == Some(suite);
            }
            if !inside {
                continue;
            }
            for name in line.split('`').skip(1).step_by(2) {
                match name.strip_suffix('*') {
                    Some(beginning) => explanations.beginnings.insert(beginning.to_owned()),
                    None => explanations.names.insert(name.to_owned()),
                };
            }
        }
        explanations
    }

    fn has(&self, test: &str) -> bool {
        let begins = |beginning: &String| test.starts_with(beginning.as_str());
        self.names.contains(test) || self.beginnings.iter().any(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    fn outcome(test: &str, verdict: Verdict) -> Outcome {
        Outcome { test: test.to_owned(), verdict, seconds: 0.0 }
    }

    fn list(tests: &[&str]) -> Passing {
        Passing { tests: tests.iter().map(|&test| test.to_owned()).collect() }
    }

    #[test]
    fn a_listed_test_that_fails_is_skipped_or_is_missing_is_lost() {
        let failed = Verdict::Failed("too late".to_owned());
        let skipped = Verdict::Skipped("no broker".to_owned());
        let outcomes = [outcome("a", Verdict::Passed), outcome("b", failed), outcome("c", skipped)];
        let listed = list(&["a", "b", "c", "d"]);
        let judgement = listed.judge(&outcomes, &Explanations::default(), true);
        assert_eq!(judgement.kept, ["a"]);
        let lost: Vec<_> = judgement.lost.keys().collect();
        assert_eq!(lost, ["b", "c", "d"]);
        assert_eq!(judgement.lost["b"], "failed: too late");
        let partial = listed.judge(&outcomes, &Explanations::default(), false);
        assert!(!partial.lost.contains_key("d"), "it was not asked for");
    }

    #[test]
    fn an_unlisted_test_is_new_or_explained_or_neither() {
        let failed = || Verdict::Failed("no".to_owned());
        let outcomes = [
            outcome("passes", Verdict::Passed),
            outcome("share/one", failed()),
            outcome("known", failed()),
            outcome("surprise", failed()),
        ];
        let document =
            "## Suite `s`\n`share/*` and `known` are not served.\n## Suite `t`\n`surprise`";
        let explanations = Explanations::of(document, "s");
        let judgement = list(&[]).judge(&outcomes, &explanations, true);
        assert_eq!(judgement.new, ["passes"]);
        assert_eq!(judgement.explained, ["share/one", "known"]);
        assert_eq!(judgement.unexplained.keys().collect::<Vec<_>>(), ["surprise"]);
    }

    #[test]
    fn a_list_grows_and_is_read_back_in_order() {
        let directory = ScratchDirectory::new("passing");
        let path = directory.path().join("suite.passing");
        assert_eq!(Passing::read(&path).unwrap().len(), 0);
        let mut passing = list(&["b"]);
        passing.add(&["a".to_owned()]);
        passing.write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
        assert_eq!(Passing::read(&path).unwrap(), passing);
    }
}
