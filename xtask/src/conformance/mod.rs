//! `cargo xtask conformance`: test suites that other projects wrote for Kafka, unmodified, against
//! real nodes.
//!
//! A suite is installed into `target/conformance` and runs against nodes of its own. The tests that
//! pass are listed in `xtask/conformance/SUITE.passing`, and the list only grows; why the others do
//! not is in `docs/conformance.md`, or the run fails. The last line is `N passed, N failed`: tests
//! that passed, and reasons why the run fails.
#![allow(
    clippy::disallowed_methods,
    reason = "automation works on the real machine; the doors belong to the broker"
)]

mod franz_go;
mod kafka_python;
mod librdkafka;
mod passing;
mod process;
mod rskafka;
mod stage;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use passing::{Explanations, Judgement, Passing};
use stage::Stage;

use crate::counts::Counts;
use crate::interop::{Places, broker};

/// Where it is said why a test does not pass.
const DOCUMENT: &str = "docs/conformance.md";

/// What `cargo xtask conformance` is asked for.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Options {
    /// Run this suite only. May be given more than once.
    #[arg(long, value_name = "SUITE", value_parser = known_suite)]
    pub only: Vec<String>,

    /// Run only tests whose names contain this. May be given more than once.
    #[arg(long, value_name = "TEXT")]
    pub test: Vec<String>,

    /// Start this broker instead of building the release one.
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,

    /// Add the tests that pass and are not listed yet to the lists.
    #[arg(long)]
    pub update: bool,
}

/// A test suite of another project.
trait Suite {
    /// Its name on the command line and of its list.
    fn name(&self) -> &'static str;

    /// Fetches and builds it, unless that is done.
    fn install(&self, places: &Places) -> Result<()>;

    /// Starts nodes, runs every test that was asked for, and tells the stage how each ended.
    fn run(&self, stage: &mut Stage<'_>) -> Result<()>;
}

const SUITES: [&dyn Suite; 6] = [
    &rskafka::Rskafka,
    &kafka_python::KafkaPython,
    &librdkafka::Librdkafka { consumer_protocol: false },
    &librdkafka::Librdkafka { consumer_protocol: true },
    &franz_go::FranzGo,
    &franz_go::KafkaTests,
];

/// How a foreign test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// With the reason that the suite gives.
    Failed(String),
    /// By the suite itself, with its reason.
    Skipped(String),
}

/// One foreign test that ran.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    test: String,
    verdict: Verdict,
    seconds: f64,
}

/// Installs and runs the suites and compares what passed with the lists.
///
/// # Errors
///
/// When no broker could be built or a list cannot be read or written. A suite that cannot be
/// installed or run is counted, not an error.
pub fn run(options: &Options) -> Result<Counts> {
    let places = Places::prepare_below("conformance")?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => broker::build(&places.root)?,
    };
    let mut counts = Counts::default();
    let chosen = |suite: &&&dyn Suite| {
        options.only.is_empty() || options.only.iter().any(|name| name == suite.name())
    };
    for suite in SUITES.iter().filter(chosen) {
        let started = Instant::now();
        println!("{}: installing", suite.name());
        let installed = suite.install(&places);
        println!("{}: running", suite.name());
        let mut stage = Stage::new(&places, &binary, suite.name(), &options.test);
        let ran = installed.and_then(|()| suite.run(&mut stage));
        if let Err(error) = ran {
            println!("FAILED  {}: {error:#}", suite.name());
            counts += Counts::one(false);
        }
        counts += conclude(*suite, &places, options, &stage, started.elapsed())?;
    }
    Ok(counts)
}

fn known_suite(name: &str) -> Result<String, String> {
    let known: Vec<_> = SUITES.iter().map(|suite| suite.name()).collect();
    match known.contains(&name) {
        true => Ok(name.into()),
        false => Err(format!("known are {}", known.join(", "))),
    }
}

/// Compares a suite's outcomes with its list, prints what that means, and keeps the list.
fn conclude(
    suite: &dyn Suite,
    places: &Places,
    options: &Options,
    stage: &Stage<'_>,
    took: Duration,
) -> Result<Counts> {
    let path = places.root.join(format!("xtask/conformance/{}.passing", suite.name()));
    let document = std::fs::read_to_string(places.root.join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    let mut passing = Passing::read(&path)?;
    let explanations = Explanations::of(&document, suite.name());
    let judgement = passing.judge(stage.outcomes(), &explanations, options.test.is_empty());
    print(suite.name(), &judgement, stage.accidents());
    if options.update && !judgement.new.is_empty() {
        passing.add(&judgement.new);
        passing.write(&path)?;
    }
    let failed = judgement.lost.len() + judgement.unexplained.len() + stage.accidents().len();
    let passed = judgement.kept.len() + judgement.new.len();
    println!(
        "{}: {passed} tests passed, {} known not to pass, {} on the list, in {:.0} s",
        suite.name(),
        judgement.explained.len(),
        passing.len(),
        took.as_secs_f64()
    );
    Ok(Counts { passed: passed as u64, failed: failed as u64 })
}

fn print(suite: &str, judgement: &Judgement, accidents: &[String]) {
    for test in &judgement.new {
        println!("NEW     {suite}: {test} passes and is not on the list (--update adds it)");
    }
    for (test, how) in &judgement.lost {
        println!("LOST    {suite}: {test} is on the list and did not pass: {how}");
    }
    for (test, how) in &judgement.unexplained {
        println!("UNKNOWN {suite}: {test}: {how}; {DOCUMENT} does not say why");
    }
    for accident in accidents {
        println!("BROKER  {suite}: {accident}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Passed => formatter.write_str("passed"),
            Verdict::Failed(reason) => write!(formatter, "failed: {reason}"),
            Verdict::Skipped(reason) => write!(formatter, "skipped: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_name_of_its_own_and_a_section_in_the_document() {
        let root = crate::workspace::root();
        let document = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
        let mut names: Vec<_> = SUITES.iter().map(|suite| suite.name()).collect();
        for name in &names {
            let heading = document
                .lines()
                .any(|line| line.starts_with("## ") && line.split('`').nth(1) == Some(*name));
            assert!(heading, "{DOCUMENT} has no section for {name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITES.len());
    }

    /// Who takes a test off a list has to say so in the document, too.
    #[test]
    fn every_list_is_as_long_as_the_document_says() {
        let root = crate::workspace::root();
        let document = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
        for suite in SUITES {
            let name = suite.name();
            let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let passed = row.and_then(|row| row.split('|').nth(4)).map(str::trim);
            let listed = Passing::read(&root.join(format!("xtask/conformance/{name}.passing")));
            assert_eq!(passed, Some(listed.unwrap().len().to_string().as_str()), "{name}");
        }
    }
}
