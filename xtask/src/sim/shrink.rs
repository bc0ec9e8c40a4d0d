//! `cargo xtask sim shrink`: the least that still fails the same check.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use highwater_script::shrink::{Laboratory, shrink};
use highwater_script::{Script, render};

use super::scripts::{self, Following, ScriptArgument};
use super::worker::Worker;
use super::{RUN_TIMEOUT, pool};
use crate::counts::Counts;

/// Variants of a candidate that are tried when nobody says how many.
const TRIES: u32 = 16;

/// The longest that one script is shrunk: a day.
const MOST_SECONDS: u64 = 86_400;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    script: ScriptArgument,
    #[command(flatten)]
    limits: LimitOptions,
}

/// How much work shrinking may be.
#[derive(Args)]
pub struct LimitOptions {
    /// Seconds of wall-clock time after which the best script so far is taken.
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: u64,
    /// Variants of a candidate, with other latencies and moments of strikes, that are tried before it
    /// is given up.
    #[arg(long, value_name = "K", default_value_t = TRIES)]
    tries: u32,
    /// Processes at once.
    #[arg(long, value_name = "J")]
    pub jobs: Option<NonZeroUsize>,
}

impl LimitOptions {
    /// So much time and so many processes, and as many variants as usual.
    #[must_use]
    pub fn within(time: Duration, jobs: NonZeroUsize) -> Self {
        Self { seconds: time.as_secs(), tries: TRIES, jobs: Some(jobs) }
    }
}

/// What became of a script.
pub struct Shrunk {
    /// As it was.
    pub before: Script,
    /// As it is.
    pub after: Script,
    /// How long that took.
    pub elapsed: Duration,
    /// How many runs that took.
    pub runs: u64,
}

/// Shrinks a script and writes what is left of it beside it.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let script = options.script.read()?;
    let worker = options.program.worker()?;
    let shrunk = shrink_script(&worker, &script, &options.limits, true)?;
    let written = write_beside(&options.script.script, &shrunk.after)?;
    println!("{}", shrunk.summary());
    for line in render::story(&shrunk.after) {
        println!("  {line}");
    }
    for file in written {
        println!("wrote {}", file.display());
    }
    Ok(Counts::one(true))
}

/// Shrinks a script whose check fails when it is followed.
pub fn shrink_script(
    worker: &Worker,
    script: &Script,
    limits: &LimitOptions,
    is_loud: bool,
) -> anyhow::Result<Shrunk> {
    let started = Instant::now();
    let check = script.check().context("the script does not say which check failed")?;
    let directory = scripts::failures()?.join(format!(".shrink-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let mut workshop = Workshop {
        worker,
        directory,
        jobs: super::jobs(limits.jobs),
        deadline: started + Duration::from_secs(limits.seconds),
        check: check.to_owned(),
        runs: AtomicU64::new(0),
        started,
        is_loud,
    };
    let fresh = workshop.first_red(std::slice::from_ref(script));
    let outcome = match fresh {
        Some(again) => Ok(shrink(&again, &mut workshop, limits.tries)),
        None => Err(anyhow::anyhow!(
            "following the script does not fail {check} here; `cargo xtask sim replay` shows where \
             it parts from what was recorded"
        )),
    };
    let _ = std::fs::remove_dir_all(&workshop.directory);
    let runs = workshop.runs.load(Ordering::Relaxed);
    Ok(Shrunk { before: script.clone(), after: outcome?, elapsed: started.elapsed(), runs })
}

/// Writes what is left of a script beside it: as a script, as a scenario and as a test.
pub fn write_beside(of: &Path, script: &Script) -> anyhow::Result<Vec<PathBuf>> {
    let files = ["min.json", "min.toml", "min.rs"].map(|ending| of.with_extension(ending));
    let name = files[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.trim_end_matches(".min.json").to_owned();
    scripts::write(&files[0], &script.to_text())?;
    scripts::write(&files[1], &render::scenario(script))?;
    scripts::write(&files[2], &render::rust_test(script, &stem, &name))?;
    Ok(files.to_vec())
}

impl Shrunk {
    /// Fault events and client operations before and after.
    #[must_use]
    pub fn summary(&self) -> String {
        let size =
            |script: &Script| (script.decisions.fault_events(), script.decisions.operations());
        let ((faults, operations), (few, fewer)) = (size(&self.before), size(&self.after));
        format!(
            "{}: {faults} fault events and {operations} client operations before, {few} and {fewer} \
             after {} runs in {:.0} s",
            self.after.check().unwrap_or_default(),
            self.runs,
            self.elapsed.as_secs_f64()
        )
    }
}

/// Runs candidates in processes of their own.
struct Workshop<'a> {
    worker: &'a Worker,
    directory: PathBuf,
    jobs: usize,
    deadline: Instant,
    check: String,
    runs: AtomicU64,
    started: Instant,
    is_loud: bool,
}

impl Workshop<'_> {
    /// The script of the candidate's run, if it fails the check, and only with the bug planted.
    fn judge(&self, number: usize, candidate: &Script) -> Option<Script> {
        let files = Files::of(&self.directory, number);
        scripts::write(&files.given, &candidate.to_text()).ok()?;
        let following = Following { script_out: Some(files.taken.clone()), ..Following::default() };
        let report = self.follow(&files.given, &following)?;
        if report.failure.is_none_or(|failure| failure.check != self.check) {
            return None;
        }
        let script = scripts::read(&files.taken).ok()?;
        if candidate.mutant.is_some() {
            let healthy = Following { without_mutant: true, ..Following::default() };
            self.follow(&files.taken, &healthy).filter(|report| report.passed)?;
        }
        Some(script)
    }

    fn follow(&self, script: &Path, how: &Following) -> Option<super::worker::Report> {
        let left = self.deadline.checked_duration_since(Instant::now())?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        Some(scripts::follow(self.worker, script, how, left.min(RUN_TIMEOUT)))
    }
}

/// The files of one candidate.
struct Files {
    given: PathBuf,
    taken: PathBuf,
}

impl Files {
    fn of(directory: &Path, number: usize) -> Self {
        let file = |name: &str| directory.join(format!("{number}-{name}.json"));
        Self { given: file("given"), taken: file("taken") }
    }
}

impl Laboratory for Workshop<'_> {
    fn first_red(&mut self, candidates: &[Script]) -> Option<Script> {
        let mut best: Option<(usize, Script)> = None;
        let this = &*self;
        pool::for_each(
            this.jobs,
            candidates.iter().enumerate(),
            |(number, candidate)| match this.is_over() {
                true => None,
                false => this.judge(*number, candidate),
            },
            |position, _, red| {
                let Some(red) = red else { return ControlFlow::Continue(()) };
                if best.as_ref().is_none_or(|(earliest, _)| position < *earliest) {
                    best = Some((position, red));
                }
                ControlFlow::Break(())
            },
        );
        best.map(|(_, script)| script)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn progress(&mut self, what: &str, best: &Script) {
        if self.is_loud {
            eprintln!(
                "{:5.1} s {:4} runs: {what:10} {} fault events, {} operations",
                self.started.elapsed().as_secs_f64(),
                self.runs.load(Ordering::Relaxed),
                best.decisions.fault_events(),
                best.decisions.operations()
            );
        }
    }
}
