//! `cargo xtask sim determinism`: the same seed must leave the same trace, in whatever process it
//! runs: in other surroundings, beside more or fewer others, built with or without optimisation.

mod divergence;
mod surroundings;

use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use super::SelectionOptions;
use super::campaign::plan::Plan;
use super::pool;
use super::progress::{Goal, Progress};
use super::scenario::{self, Scenario};
use super::seeds::Seeds;
use super::worker::{Report, Run, Worker};
use crate::counts::Counts;
use crate::workspace;
use surroundings::Surroundings;

/// The seeds of each scenario when none are given.
const DEFAULT_SEEDS: Seeds = Seeds { start: 0, end: 20 };

/// So many divergences of one side are located; each takes two more runs.
const LOCATED: u64 = 3;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    selection: SelectionOptions,
    /// Also build the simulator with every optimisation, which takes minutes, and compare with it.
    #[arg(long)]
    release: bool,
}

/// One way to run a seed.
pub struct Side<'a> {
    /// What it is called in reports.
    name: &'static str,
    worker: &'a Worker,
    surroundings: Surroundings,
    jobs: usize,
}

/// Runs the command. Without a name it takes the corpus: every scenario, and every frozen failure
/// with its own seeds.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let mut scenarios = options.selection.scenarios()?;
    let frozen = workspace::root().join("scenarios/regressions");
    if options.selection.scenarios.is_empty() && frozen.is_dir() {
        scenarios.extend(scenario::all(&frozen)?);
    }
    let jobs = super::jobs(options.selection.jobs);
    let worker = super::build_worker()?;
    let release = options.release.then(super::build_release_worker).transpose()?;
    let seeds = options.selection.seeds().unwrap_or(DEFAULT_SEEDS);
    check(&worker, release.as_ref(), scenarios, seeds, jobs)
}

/// Runs every seed of every scenario on all sides and compares each with the first; one count for
/// each seed.
pub fn check(
    worker: &Worker,
    release: Option<&Worker>,
    scenarios: Vec<Scenario>,
    seeds: Seeds,
    jobs: usize,
) -> anyhow::Result<Counts> {
    let (usual, foreign) = (Surroundings::Usual, Surroundings::Foreign);
    let first = Side { name: "first", worker, surroundings: usual, jobs };
    // Another number at once, and more than there are processors, so that they interrupt each other.
    let mut others = vec![Side { name: "second", worker, surroundings: foreign, jobs: 2 * jobs }];
    others.extend(release.map(|worker| Side {
        name: "release",
        worker,
        surroundings: usual,
        jobs,
    }));
    let runs: Vec<Run> = Plan::new(scenarios, seeds).runs().collect();
    anyhow::ensure!(!runs.is_empty(), "there is no scenario to run");
    let total = runs.len() as u64 * (1 + others.len() as u64);
    let mut progress = Progress::start(Goal { runs: Some(total), ..Goal::default() });
    let mut expected = vec![Report::default(); runs.len()];
    first.each(&runs, |position, report| {
        progress.advance(true);
        expected[position] = report;
    });
    let mut same = vec![true; runs.len()];
    for other in &others {
        let mut differing = 0;
        other.each(&runs, |position, report| {
            let outcome = compare(&expected[position], &report);
            progress.advance(outcome.is_ok());
            let Err(reason) = outcome else { return };
            same[position] = false;
            differing += 1;
            let place = (differing <= LOCATED && !report.hash.is_empty())
                .then(|| divergence::locate([&first, other], &runs[position]));
            progress.say(&failure(&runs[position], other, &reason, place.as_deref()));
        });
    }
    progress.clear();
    let mut counts = Counts::default();
    same.into_iter().for_each(|same| counts += Counts::one(same));
    Ok(counts)
}

impl Side<'_> {
    /// Does every run; results come in any order, with their positions.
    fn each(&self, runs: &[Run], mut on_report: impl FnMut(usize, Report)) {
        pool::for_each(
            self.jobs,
            runs.iter(),
            |run| self.run(run),
            |position, _, report| {
                on_report(position, report);
                ControlFlow::Continue(())
            },
        );
    }

    fn run(&self, run: &Run) -> Report {
        self.worker.finish(&mut self.command(run), self.timeout())
    }

    /// Where twice as many processes run at once, each takes twice as long.
    fn timeout(&self) -> Duration {
        self.worker.timeout * 2
    }

    fn command(&self, run: &Run) -> Command {
        // Its scenario must be found from anywhere.
        let mut run = run.clone();
        run.scenario.file = self.worker.directory.join(&run.scenario.file);
        let mut command = self.worker.command(&run);
        self.surroundings.surround(&mut command, &self.worker.directory);
        command
    }
}

fn failure(run: &Run, other: &Side, reason: &str, place: Option<&str>) -> String {
    let mut text =
        format!("FAILED {} seed {}, {} run: {reason}", run.scenario.name, run.seed, other.name);
    for line in place.into_iter().chain([run.replay_command().as_str()]) {
        text.push_str("\n       ");
        text.push_str(line);
    }
    text
}

/// Whether two runs of one seed did the same.
fn compare(first: &Report, other: &Report) -> Result<(), String> {
    for report in [first, other] {
        if report.hash.is_empty() {
            let failure = report.failure.clone().unwrap_or_default();
            return Err(format!("no trace hash: {}: {}", failure.check, failure.message));
        }
    }
    if first.hash != other.hash {
        return Err(format!("two runs, two traces: {} and {}", first.hash, other.hash));
    }
    if first.passed != other.passed {
        return Err("the traces agree but one run passed and the other failed".to_owned());
    }
    let check = |report: &Report| report.failure.as_ref().map(|failure| failure.check.clone());
    let same = [
        ("calls", first.ops == other.ops),
        ("effects", first.effects == other.effects),
        ("situations", first.situations == other.situations),
        ("failed checks", check(first) == check(other)),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(format!("the traces agree but not the {what}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::Failure;
    use crate::sim::worker::tests::{fake_worker, run as a_run};

    fn outcome(script: &str) -> Counts {
        let (_scratch, worker) = fake_worker(script);
        let scenarios = vec![a_run("a", 0).scenario];
        check(&worker, None, scenarios, "0..3".parse().unwrap(), 2).unwrap()
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
    fn a_trace_that_depends_on_what_is_around_the_process_fails() {
        for variable in ["$TZ", "$HOME", "$LANG", "$PWD", "$CARGO_MANIFEST_DIR"] {
            let counts = outcome(&format!(r#"echo '{{"passed":true,"hash":"x'{variable}'"}}'"#));
            assert_eq!(counts, Counts { passed: 0, failed: 3 }, "{variable}");
        }
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

    #[test]
    fn another_build_must_leave_the_same_trace() {
        let (_scratch, debug) = fake_worker(r#"echo '{"passed":true,"hash":"'$seed'"}'"#);
        let (_other, release) =
            fake_worker(r#"[ $seed = 1 ] && seed=x; echo '{"passed":true,"hash":"'$seed'"}'"#);
        let scenarios = vec![a_run("a", 0).scenario];
        let seeds = "0..3".parse().unwrap();
        let counts = check(&debug, Some(&release), scenarios, seeds, 2).unwrap();
        assert_eq!(counts, Counts { passed: 2, failed: 1 });
    }

    #[test]
    fn a_divergence_is_located_at_the_first_event_that_differs() {
        // run --scenario FILE --seed N --trace FILE --json
        let (_scratch, worker) = fake_worker(
            r#"[ "$6" = --trace ] && printf 'start\nzone %s\nend\n' $TZ > $7
               echo '{"passed":true,"hash":"'$TZ'"}'"#,
        );
        let side = |name, surroundings| Side { name, worker: &worker, surroundings, jobs: 1 };
        let first = side("first", Surroundings::Usual);
        let second = side("second", Surroundings::Foreign);
        let text = divergence::locate([&first, &second], &a_run("a", 3));
        assert_eq!(
            text,
            "the traces part at event 2:
         both          1  start
       > first         2  zone UTC
         first         3  end
       > second        2  zone Pacific/Chatham
         second        3  end"
        );
        let again = divergence::locate([&first, &first], &a_run("a", 3));
        assert!(again.contains("differs now and then"), "{again}");
        let (_silent_scratch, silent) = fake_worker("exit 1");
        let silent = Side { worker: &silent, ..side("silent", Surroundings::Usual) };
        let none = divergence::locate([&first, &silent], &a_run("a", 3));
        assert!(none.starts_with("no traces to compare: silent left none"), "{none}");
    }

    #[test]
    fn reports_must_agree_even_where_the_traces_do() {
        let report = Report { hash: "1".into(), passed: true, ..Report::default() };
        compare(&report, &Report { wall_ms: 9, ..report.clone() }).unwrap();
        let differing = [
            Report { passed: false, ..report.clone() },
            Report {
                ops: crate::sim::worker::Operations { ok: 1, ..report.ops },
                ..report.clone()
            },
            Report { effects: [("torn".to_owned(), 1)].into(), ..report.clone() },
            Report { situations: [("odd".to_owned(), 1)].into(), ..report.clone() },
            Report { failure: Some(Failure::default()), ..report.clone() },
        ];
        for other in differing {
            assert!(compare(&report, &other).unwrap_err().starts_with("the traces agree but"));
        }
    }
}
