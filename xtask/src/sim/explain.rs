//! `cargo xtask sim explain`: what led to the failure of one run, as text and as a page.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::scripts::{self, Following};
use super::subject::{OneRun, Subject};
use super::worker::{Run, Worker};
use crate::counts::Counts;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    one: OneRun,
    /// Write the page to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What a run that was explained said.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Whether every check held.
    pub passed: bool,
    /// The chain behind the failure, for people.
    pub text: String,
}

/// Runs the seed or the script, explains it, and prints the chain and where the page is.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let subject = options.one.subject()?;
    let worker = options.program.worker()?;
    let page = match &options.html {
        Some(file) => std::path::absolute(file)?,
        None => page_for(&worker, &subject),
    };
    let explained = explain(&worker, &subject, &page)?;
    print!("{}", explained.text);
    println!("the page is {}", page.display());
    Ok(Counts::one(explained.passed))
}

/// Where the page goes when nobody says.
fn page_for(worker: &Worker, subject: &Subject) -> PathBuf {
    match subject {
        Subject::Seed(run) => page_of(worker, run),
        Subject::Script { file, .. } => {
            let name = file.with_extension("html");
            worker.directory.join(scripts::FAILURES).join(name.file_name().unwrap_or_default())
        }
    }
}

/// Where the page of a run goes when nobody says.
#[must_use]
pub fn page_of(worker: &Worker, run: &Run) -> PathBuf {
    let name = run.scenario.name.replace('/', "-");
    worker.directory.join(scripts::FAILURES).join(format!("{name}-{}.html", run.seed))
}

/// Runs it as it is, then again with its events kept: both runs must have the same hash. Writes the
/// page.
pub fn explain(worker: &Worker, subject: &Subject, page: &Path) -> anyhow::Result<Explained> {
    let report = match subject {
        Subject::Seed(run) => worker.run(run),
        Subject::Script { file, without_mutant } => {
            let how = Following { without_mutant: *without_mutant, ..Following::default() };
            scripts::follow(worker, file, &how, super::RUN_TIMEOUT)
        }
    };
    if report.hash.is_empty() {
        let failure = report.failure.unwrap_or_default();
        bail!("the run has no end to explain: {}: {}", failure.check, failure.message);
    }
    if let Some(divergence) = report.divergence {
        println!("it parts from what was recorded: {}\n  {}", divergence.reason, divergence.line);
    }
    draw(subject.command(worker, "explain"), &report.hash, page)
}

/// Runs a seed whose hash is known again, with its events kept, and writes the page.
pub fn picture(worker: &Worker, run: &Run, hash: &str, page: &Path) -> anyhow::Result<Explained> {
    draw(worker.command_for("explain", run), hash, page)
}

/// Lets a worker explain a run whose hash is known.
fn draw(mut command: Command, hash: &str, page: &Path) -> anyhow::Result<Explained> {
    let directory = page.parent().context("the page has no directory")?;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let output = command
        .args(["--expect-hash", hash])
        .arg("--html")
        .arg(page)
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let explained = matches!(output.status.code(), Some(0 | 1));
    ensure!(explained && page.is_file(), "not explained ({}): {}", output.status, errors.trim());
    Ok(Explained {
        passed: output.status.success(),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::{fake_worker, run};

    const ENDS: &str = r#"if [ $1 = explain ]; then
             while [ $# -gt 0 ]; do [ $1 = --html ] && page=$2; [ $1 = --expect-hash ] && hash=$2; shift; done
             [ $hash = ab ] || { echo 'another hash' >&2; exit 2; }
             echo drawn > $page; echo 'FAILED L3'; exit 1
           fi"#;

    fn script(file: &str) -> Subject {
        Subject::Script { file: file.into(), without_mutant: false }
    }

    #[test]
    fn a_failed_run_is_run_again_with_its_hash_and_leaves_a_page() {
        let (scratch, worker) = fake_worker(&format!(
            "{ENDS}\necho '{{\"passed\":false,\"hash\":\"ab\",\"failure\":{{\"check\":\"L3\"}}}}'; exit 1"
        ));
        let page = scratch.path().join("pages/a.html");
        let explained = explain(&worker, &Subject::Seed(run("power-cut", 1)), &page).unwrap();
        assert!(!explained.passed && explained.text.contains("FAILED L3"));
        assert!(page.is_file());
    }

    #[test]
    fn a_run_that_differs_with_its_events_kept_is_an_error() {
        let (scratch, worker) =
            fake_worker(&format!("{ENDS}\necho '{{\"passed\":true,\"hash\":\"cd\"}}'"));
        let page = scratch.path().join("a.html");
        let error = explain(&worker, &Subject::Seed(run("power-cut", 1)), &page).unwrap_err();
        assert!(error.to_string().contains("another hash"), "{error}");
    }

    #[test]
    fn a_script_is_followed_and_leaves_a_page() {
        let (scratch, worker) = fake_worker(&format!(
            "case \"$*\" in *'--script /kept/a.json'*) ;; *) exit 9;; esac\n\
             {ENDS}\necho '{{\"passed\":false,\"hash\":\"ab\",\"failure\":{{\"check\":\"L3\"}}}}'; exit 1"
        ));
        let page = scratch.path().join("a.html");
        let explained = explain(&worker, &script("/kept/a.json"), &page).unwrap();
        assert!(!explained.passed && page.is_file());
    }

    #[test]
    fn a_page_is_named_by_scenario_and_seed() {
        let (_scratch, worker) = fake_worker("exit 0");
        let page = page_of(&worker, &run("regressions/torn-index", 7));
        assert!(page.ends_with("target/sim-failures/regressions-torn-index-7.html"));
        let frozen = script("/x/scenarios/regressions/lost-tail.json");
        let page = page_for(&worker, &frozen);
        assert_eq!(page, worker.directory.join("target/sim-failures/lost-tail.html"));
    }
}
