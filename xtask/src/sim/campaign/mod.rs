//! Many seeds of many scenarios: what failed, which faults never had an effect, and which situations
//! were never reached.

pub mod fleet;
pub mod grouping;
pub mod identity;
pub mod journal;
pub mod ledger;
pub mod options;
pub mod plan;
pub mod shard;
pub mod shrinking;
pub mod situations;
pub mod summary;
pub mod time;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::{Ended, Journal, Written};
use ledger::Ledger;
use plan::Plan;
use shrinking::Shrinking;
use situations::Situations;
use summary::Summary;

use super::explain;
use super::pool;
use super::progress::{Goal, Progress};
use super::worker::{Report, Run, Worker};

/// How many failed seeds of one scenario are printed in full length.
const FAILURES_SHOWN: u64 = 5;

/// What to run, and for how long.
pub struct Campaign {
    /// The runs.
    pub plan: Plan,
    /// Processes at once.
    pub jobs: usize,
    /// No run is begun when the campaign has taken so long, all sittings together.
    pub time: Option<Duration>,
    /// The names of the situations that the simulator knows.
    pub situations: Vec<String>,
    /// Whether each of them must be reached.
    pub all_situations: bool,
    /// How many failures are shrunk at the end, for how long each.
    pub shrinking: Shrinking,
    /// Where every run is written down, and what is there already.
    pub state: Option<(Journal, Written)>,
    /// Set by whoever wants no further run to be begun.
    pub interrupt: Arc<AtomicBool>,
}

impl Campaign {
    /// All runs of a plan, until they are done.
    #[must_use]
    pub fn new(plan: Plan, jobs: usize) -> Self {
        Self {
            plan,
            jobs,
            time: None,
            situations: Vec::new(),
            all_situations: false,
            shrinking: Shrinking::NONE,
            state: None,
            interrupt: Arc::default(),
        }
    }

    /// Runs everything that is not done yet, and prints what happens.
    ///
    /// # Errors
    ///
    /// When there is nothing to run, or the state cannot be written: then no further run is begun.
    pub fn run(self, worker: &Worker) -> anyhow::Result<Summary> {
        anyhow::ensure!(self.plan.runs().next().is_some(), "there is no run in this campaign");
        let (journal, written) = self
            .state
            .map_or((None, Written::default()), |(journal, written)| (Some(journal), written));
        let goal =
            Goal { runs: self.plan.count(), time: self.time, situations: self.situations.len() };
        let mut sitting = Sitting::after(written, journal, goal, self.plan.mutant());
        let limits = Limits {
            time: self.time.map(|time| time.saturating_sub(sitting.elapsed_before)),
            started: sitting.started,
            interrupt: &self.interrupt,
        };
        let ended = sitting.run(worker, &self.plan, self.jobs, &limits)?;
        sitting.shrink(worker, &self.plan, self.jobs, (&self.shrinking, &limits))?;
        sitting.end(ended)?;
        let required = self.all_situations && ended != Ended::Interrupted;
        let reached = std::mem::take(&mut sitting.ledger.situations);
        let situations = Situations::new(&self.situations, reached, required);
        let elapsed = sitting.elapsed();
        let summary = Summary::new(sitting.ledger, ended, elapsed, situations);
        summary.print();
        Ok(summary)
    }
}

/// When no further run is begun.
struct Limits<'a> {
    time: Option<Duration>,
    started: Instant,
    interrupt: &'a AtomicBool,
}

impl Limits<'_> {
    fn was_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn reached(&self) -> Option<Ended> {
        if self.was_interrupted() {
            Some(Ended::Interrupted)
        } else if self.time.is_some_and(|time| self.started.elapsed() >= time) {
            Some(Ended::Time)
        } else {
            None
        }
    }
}

/// The part of a campaign that one process runs.
struct Sitting {
    ledger: Ledger,
    journal: Option<Journal>,
    /// The runs of earlier sittings.
    done: BTreeSet<(String, u64)>,
    elapsed_before: Duration,
    simulated_before: f64,
    started: Instant,
    progress: Progress,
    /// Why the state can no longer be written.
    broken: Option<anyhow::Error>,
}

impl Sitting {
    fn after(written: Written, journal: Option<Journal>, goal: Goal, mutant: Option<&str>) -> Self {
        let mut ledger = Ledger::new(mutant);
        let done = ledger.add_written(&written);
        if !done.is_empty() {
            let elapsed = time::clock(written.elapsed);
            println!("going on after {} runs in {elapsed}", done.len());
        }
        Self {
            simulated_before: ledger.total.simulated_seconds,
            progress: Progress::start(goal).after(done.len() as u64, written.elapsed),
            ledger,
            journal,
            done,
            elapsed_before: written.elapsed,
            started: Instant::now(),
            broken: None,
        }
    }

    fn elapsed(&self) -> Duration {
        self.elapsed_before + self.started.elapsed()
    }

    fn run(
        &mut self,
        worker: &Worker,
        plan: &Plan,
        jobs: usize,
        limits: &Limits,
    ) -> anyhow::Result<Ended> {
        let done = std::mem::take(&mut self.done);
        let mut ended = None;
        let left = plan
            .runs()
            .filter(|run| !done.contains(&(run.scenario.name.clone(), run.seed)))
            .take_while(|_| {
                ended = limits.reached();
                ended.is_none()
            });
        pool::for_each(
            jobs,
            left,
            |run| worker.run(run),
            |_, run, report| {
                if limits.was_interrupted() && report.died() {
                    // Ctrl-C has reached the worker, too: the run is not done.
                    return ControlFlow::Continue(());
                }
                self.take(worker, &run, &report)
            },
        );
        self.progress.clear();
        let ended = ended.unwrap_or(Ended::Complete);
        match self.broken.take() {
            Some(error) => {
                Err(error.context("the campaign was stopped, for its state cannot be kept"))
            }
            None => Ok(ended),
        }
    }

    /// Shrinks some of the failures, so that they are told apart by what they take.
    fn shrink(
        &mut self,
        worker: &Worker,
        plan: &Plan,
        jobs: usize,
        (shrinking, limits): (&Shrinking, &Limits),
    ) -> anyhow::Result<()> {
        for run in shrinking.choose(&self.ledger.failures) {
            if limits.was_interrupted() {
                break;
            }
            let shape = match shrinking.shrink(worker, plan, jobs, &run) {
                Ok(shape) => shape,
                Err(error) => {
                    println!("{} seed {} is not shrunk: {error:#}", run.scenario, run.seed);
                    continue;
                }
            };
            self.ledger.shrunk(&run.scenario, run.seed, &shape);
            let elapsed = self.elapsed();
            if let Some(journal) = &mut self.journal {
                journal.shrunk(elapsed, (&run.scenario, run.seed), &shape)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, ended: Ended) -> anyhow::Result<()> {
        let elapsed = self.elapsed();
        self.journal.as_mut().map_or(Ok(()), |journal| journal.ended(elapsed, ended))
    }

    fn take(&mut self, worker: &Worker, run: &Run, report: &Report) -> ControlFlow<()> {
        let elapsed = self.elapsed();
        let kept = self.journal.as_mut().map_or(Ok(()), |journal| journal.run(elapsed, report));
        if let Err(error) = kept {
            self.broken = Some(error);
            return ControlFlow::Break(());
        }
        let nth = self.ledger.add(report);
        if !report.passed {
            announce(&mut self.progress, worker, (run, report), nth);
        }
        self.progress.advance_with(&self.ledger, self.simulated_before);
        ControlFlow::Continue(())
    }
}

fn announce(progress: &mut Progress, worker: &Worker, (run, report): (&Run, &Report), nth: u64) {
    let failure = report.failure.clone().unwrap_or_default();
    if nth <= FAILURES_SHOWN {
        progress.say(&format!(
            "FAILED {} seed {}: {}: {}\n       {}",
            report.scenario,
            report.seed,
            failure.check,
            failure.message,
            run.replay_command(),
        ));
        // A worker that died has left no script.
        if let Some(script) = worker.script_of(run).filter(|script| script.is_file()) {
            progress.say(&format!("       cargo xtask sim shrink {}", script.display()));
        }
        progress.say(&format!("       {}", picture(worker, run, report)));
    } else if nth == FAILURES_SHOWN + 1 {
        progress.say(&format!("FAILED {}: more seeds fail, not shown", report.scenario));
    }
}

/// Where the page of a failed run is, or why there is none.
fn picture(worker: &Worker, run: &Run, report: &Report) -> String {
    if report.hash.is_empty() {
        return "no picture: the run came to no end".into();
    }
    let page = explain::page_of(worker, run);
    match explain::picture(worker, run, &report.hash, &page) {
        Ok(_) => format!("picture: {}", page.display()),
        Err(error) => format!("no picture: {error:#}"),
    }
}

#[cfg(test)]
mod documents;
#[cfg(test)]
mod tests;
