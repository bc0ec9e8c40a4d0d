//! The front door for those who bring their own: an application that runs against the simulated
//! cluster as a [`Workload`], and a property of it as a [`Check`], both under the faults of any
//! scenario.
//!
//! A [`Lab`] holds them. [`Lab::run`] runs one seed in this process; [`main`] gives a program of
//! yours the command line of `highwater-sim`, so that `cargo xtask sim --worker PROGRAM` runs
//! campaigns with it. What an application does must be decided by its [`Process`] alone: its dice,
//! its clock, its connections. Whatever comes from elsewhere (the system's clock, entropy, threads,
//! the order of a hash map) makes two runs of one seed differ.
//!
//! What applications observe is written down with [`Process::observe`] and judged after the run
//! from the [`History`], where it stands beside the calls, faults and logs of the run. The checks
//! of Highwater itself are judged first.

mod client;
mod process;

pub use client::{CallError, Client, Message};
pub use process::Process;

use crate::{
    history::History,
    oracle::Verdict,
    report::Report,
    run::{self, RunOptions},
    scenario::Scenario,
    trace::Trace,
};
use highwater_node::env::BoxFuture;
use std::sync::Arc;

/// An application under test.
pub trait Workload: Send + Sync {
    /// What it is called in traces and errors.
    fn name(&self) -> &str;

    /// How many processes of it run at the same time. Each is a client of its own.
    fn processes(&self) -> u32 {
        1
    }

    /// The life of one process, while faults strike. It comes to an end when it has done its work,
    /// or soon after [`Process::is_stopping`].
    fn run(&self, process: Process) -> BoxFuture<'static, ()>;

    /// What is done once, when every fault is healed and the cluster has settled: the place to read
    /// what there is to be read in the end.
    ///
    /// # Errors
    /// What could not be done although nothing stands in the way any more. The run has failed.
    fn finish(&self, process: Process) -> BoxFuture<'static, Result<(), CallError>> {
        let _ = process;
        Box::pin(async { Ok(()) })
    }
}

/// A property that a run must have, judged after it.
pub trait Check: Send + Sync {
    /// Its name in reports. It need not be among Highwater's own.
    fn name(&self) -> &str;

    /// What must hold, in one sentence.
    fn claim(&self) -> &str;

    /// Judges the history.
    ///
    /// # Errors
    /// What was found that must not be, see [`crate::oracle::Violation`].
    fn judge(&self, history: &History) -> Verdict;
}

/// Applications and checks that are run together. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lab {
    workloads: Vec<Arc<dyn Workload>>,
    checks: Vec<Arc<dyn Check>>,
}

impl Lab {
    /// Highwater alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this application, too.
    #[must_use]
    pub fn workload(mut self, workload: impl Workload + 'static) -> Self {
        self.workloads.push(Arc::new(workload));
        self
    }

    /// Judged by this check, too.
    #[must_use]
    pub fn check(mut self, check: impl Check + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Runs one seed of a scenario in this process. The same seed gives the same report, wall time
    /// apart.
    #[must_use]
    pub fn run(&self, scenario: &Scenario, seed: u64) -> Report {
        let options = RunOptions { seed, keep_trace: false };
        run::run_in(scenario, &options, &Trace::new(false), self).0
    }

    /// The applications.
    pub(crate) fn workloads(&self) -> &[Arc<dyn Workload>] {
        &self.workloads
    }

    /// The checks.
    pub(crate) fn checks(&self) -> &[Arc<dyn Check>] {
        &self.checks
    }
}
