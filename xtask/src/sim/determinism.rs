//! `cargo xtask sim determinism`: the same seed twice, in two processes, must leave the same trace.

use std::ops::ControlFlow;

use super::pool;
use super::progress::Progress;
use super::scenario::Scenario;
use super::seeds::Seeds;
use super::worker::{Report, Run, Worker};
use crate::counts::Counts;

/// Runs every seed of every scenario twice and compares the hashes.
pub fn run(
    worker: &Worker,
    scenarios: &[Scenario],
    seeds: Seeds,
    jobs: usize,
) -> anyhow::Result<Counts> {
    anyhow::ensure!(!scenarios.is_empty(), "there is no scenario to run");
    let mut progress = Progress::start(seeds.count() * scenarios.len() as u64);
    let mut counts = Counts::default();
    let runs = scenarios.iter().flat_map(|scenario| {
        seeds.iter().map(|seed| Run { scenario: scenario.clone(), seed, mutant: None })
    });
    pool::for_each(
        jobs,
        runs,
        |run| compare(&worker.run(run), &worker.run(run)),
        |_, run, outcome| {
            if let Err(reason) = &outcome {
                progress.say(&format!(
                    "FAILED {} seed {}: {reason}\n       {}",
                    run.scenario.name,
                    run.seed,
                    run.replay_command(),
                ));
            }
            counts += Counts::one(outcome.is_ok());
            progress.advance(outcome.is_ok());
            ControlFlow::Continue(())
        },
    );
    progress.clear();
    Ok(counts)
}

/// Whether two runs of one seed did the same.
fn compare(first: &Report, second: &Report) -> Result<(), String> {
    for report in [first, second] {
        if report.hash.is_empty() {
            let failure = report.failure.clone().unwrap_or_default();
            return Err(format!("no trace hash: {}: {}", failure.check, failure.message));
        }
    }
    if first.hash != second.hash {
        return Err(format!("two runs, two traces: {} and {}", first.hash, second.hash));
    }
    if first.passed != second.passed {
        return Err("the traces agree but one run passed and the other failed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::{fake_worker, run as a_run};

    fn outcome(script: &str) -> Counts {
        let (_scratch, worker) = fake_worker(script);
        run(&worker, &[a_run("a", 0).scenario], "0..3".parse().unwrap(), 2).unwrap()
    }

    #[test]
    fn the_same_trace_twice_passes() {
        let counts = outcome(r#"echo '{"passed":true,"hash":"'$seed'"}'"#);
        assert_eq!(counts, Counts { passed: 3, failed: 0 });
    }

    #[test]
    fn a_trace_that_depends_on_the_process_fails() {
        let counts = outcome(r#"echo '{"passed":true,"hash":"'$$'"}'"#);
        assert_eq!(counts, Counts { passed: 0, failed: 3 });
    }

    #[test]
    fn a_red_run_may_still_be_deterministic() {
        let script = r#"echo '{"passed":false,"hash":"7","failure":{"check":"L1","message":"x"}}'
                        exit 1"#;
        assert_eq!(outcome(script), Counts { passed: 3, failed: 0 });
    }

    #[test]
    fn a_worker_without_a_result_fails() {
        assert_eq!(outcome("exit 3"), Counts { passed: 0, failed: 3 });
    }
}
