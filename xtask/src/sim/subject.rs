//! What a command is about that looks at one run: a seed of a scenario, or the script of a failure.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::scenario;
use super::worker::{Run, Worker};
use crate::counts::Usage;
use crate::workspace;

/// One run, as an argument.
#[derive(Args)]
pub struct OneRun {
    /// The scenario, by name or file; or the script of a failure, a file that ends with `.json`.
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    /// The seed; a script has its own.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Plant this bug; a script says itself which.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Follow a script without the bug that it plants.
    #[arg(long, conflicts_with_all = ["seed", "mutant"])]
    without_mutant: bool,
}

/// What is run.
pub enum Subject {
    /// A seed of a scenario.
    Seed(Run),
    /// A script.
    Script {
        /// Its file, an absolute path.
        file: PathBuf,
        /// Whether the bug that it names is left out.
        without_mutant: bool,
    },
}

impl OneRun {
    /// What it is; an error names the scenarios when there is none of that name.
    pub fn subject(&self) -> anyhow::Result<Subject> {
        if self.scenario.ends_with(".json") {
            if self.seed.is_some() || self.mutant.is_some() {
                let message = "a script has its seed and its mutant".to_owned();
                return Err(Usage(message).into());
            }
            let file = std::path::absolute(&self.scenario)?;
            return Ok(Subject::Script { file, without_mutant: self.without_mutant });
        }
        let Some(seed) = self.seed else {
            return Err(Usage("--seed is missing".to_owned()).into());
        };
        let directory = workspace::root().join("scenarios");
        let scenarios = std::slice::from_ref(&self.scenario);
        let scenario = scenario::select(&directory, scenarios)?.remove(0);
        Ok(Subject::Seed(Run { scenario, seed, mutant: self.mutant.clone() }))
    }
}

impl Subject {
    /// The command line of the worker that does something with it.
    #[must_use]
    pub fn command(&self, worker: &Worker, what: &str) -> Command {
        match self {
            Self::Seed(run) => worker.command_for(what, run),
            Self::Script { file, without_mutant } => {
                let mut command = worker.bare_command(what);
                command.arg("--script").arg(file);
                if *without_mutant {
                    command.arg("--without-mutant");
                }
                command
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::fake_worker;

    fn one(scenario: &str, seed: Option<u64>, mutant: Option<&str>) -> OneRun {
        let mutant = mutant.map(str::to_owned);
        OneRun { scenario: scenario.into(), seed, mutant, without_mutant: false }
    }

    #[test]
    fn a_script_brings_its_seed_and_its_bug() {
        let (_scratch, worker) = fake_worker("exit 0");
        let subject = one("/kept/a.json", None, None).subject().unwrap();
        let command = subject.command(&worker, "explain");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["explain", "--script", "/kept/a.json"]);
        let healthy = OneRun { without_mutant: true, ..one("/kept/a.json", None, None) };
        let command = healthy.subject().unwrap().command(&worker, "run");
        assert_eq!(command.get_args().last().unwrap(), "--without-mutant");
        for wrong in [one("a.json", Some(1), None), one("a.json", None, Some("x"))] {
            assert!(wrong.subject().err().unwrap().is::<Usage>());
        }
    }

    #[test]
    fn a_scenario_needs_a_seed() {
        assert!(one("torn-tail", None, None).subject().err().unwrap().is::<Usage>());
        let subject = one("torn-tail", Some(7), Some("early")).subject().unwrap();
        assert!(matches!(subject, Subject::Seed(run) if run.seed == 7));
    }
}
