//! The front door for those who bring their own: an application that runs against the simulated
//! cluster as a [`Workload`], and a property of it as a [`Check`], both under the faults of any
//! scenario.
//!
//! A [`Lab`] holds them. [`Lab::run`] runs one seed in this process; [`fn@main`] gives a program of
//! yours the command line of `highwater-sim`, so that `cargo xtask sim --worker PROGRAM` runs
//! campaigns with it. What an application does must be decided by its [`Process`] alone: its dice,
//! its clock, its connections. Whatever comes from elsewhere (the system's clock, entropy, threads,
//! the order of a hash map) makes two runs of one seed differ.
//!
//! What applications observe is written down with [`Process::observe`] and judged after the run
//! from the [`History`], where it stands beside the calls, faults and logs of the run. The checks
//! of Highwater itself are judged first.

mod client;
mod command;
mod process;

pub use client::{CallError, Client, Message};
pub use command::main;
pub use process::Process;

use crate::{
    history::History,
    oracle::{Verdict, Violation},
    report::Report,
    run::{Course, follow},
    scenario::Scenario,
    workload::Clients,
};
use highwater_node::env::BoxFuture;
use madsim::{runtime::NodeHandle, task::JoinHandle, time};
use std::{fmt, sync::Arc, time::Duration};

/// How long an application has for its end, in simulated time.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

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
    pub const fn new() -> Self {
        Self { workloads: Vec::new(), checks: Vec::new() }
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
        let course = Course { lab: self.clone(), ..Course::of_seed(seed) };
        follow(scenario, course, false).report
    }

    /// Starts every process of every application on the clients' machine.
    pub(crate) fn spawn(
        &self,
        node: &NodeHandle,
        clients: &Clients,
        seed: u64,
    ) -> Vec<JoinHandle<()>> {
        let processes = self
            .workloads
            .iter()
            .flat_map(|workload| (0..workload.processes()).map(move |number| (workload, number)));
        let started = processes.map(|(workload, number)| {
            let process = Process::new(clients.clone(), seed, workload.name(), number);
            node.spawn(workload.run(process))
        });
        started.collect()
    }

    /// Lets every application come to its end; the error says which one could not.
    pub(crate) async fn finish(&self, clients: &Clients, seed: u64) -> Result<(), String> {
        for workload in &self.workloads {
            let name = workload.name();
            let process = Process::new(clients.clone(), seed, name, workload.processes());
            match time::timeout(FINISH_WITHIN, workload.finish(process)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(format!("{name} did not finish: {error}")),
                Err(_) => return Err(format!("{name} did not finish within {FINISH_WITHIN:?}")),
            }
        }
        Ok(())
    }

    /// The first of the checks that does not hold, with what it found.
    pub(crate) fn first_violation(&self, history: &History) -> Option<(&dyn Check, Violation)> {
        let checks = self.checks.iter().map(Arc::as_ref);
        checks.into_iter().find_map(|check| Some((check, check.judge(history).err()?)))
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workloads = self.workloads.iter().map(|workload| workload.name());
        let checks = self.checks.iter().map(|check| check.name());
        formatter.debug_list().entries(workloads).entries(checks).finish()
    }
}
