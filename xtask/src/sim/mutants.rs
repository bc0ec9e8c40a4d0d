//! `cargo xtask sim mutants`: every planted bug must turn a seed red.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::directed::{self, Place};
use super::pool;
use super::scenario::{self, Scenario};
use super::scripts;
use super::seeds::Seeds;
use super::shrink::{self, LimitOptions};
use super::table::{self, Row};
use super::worker::{Report, Run, Worker};
use crate::counts::{Counts, Usage};
use crate::workspace;

#[derive(Args)]
pub struct Options {
    /// The mutants to plant; all when none is given.
    #[arg(value_name = "MUTANT")]
    mutants: Vec<String>,
    /// The seeds to try with each scenario, the end excluded.
    #[arg(long, value_name = "A..B", default_value = "0..200")]
    seeds: Seeds,
    /// These scenarios instead of those that `sim/mutants.toml` names; may be given more than once.
    #[arg(long = "scenario", value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Also shrink the failure of each bug that is found, and put both sizes into the table of
    /// `docs/lab.md`.
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    limits: LimitOptions,
}

/// How one planted bug was found.
struct Found {
    scenario: String,
    oracle: String,
    seed: u64,
    seeds_needed: u64,
    script: Option<PathBuf>,
}

/// Runs the command.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let root = workspace::root();
    let worker = options.program.worker()?;
    let known = worker.mutants()?;
    let places = if options.scenarios.is_empty() {
        directed_places(&known)?
    } else {
        let scenarios = scenario::select(&root.join("scenarios"), &options.scenarios)?;
        known.iter().map(|name| (name.clone(), Place::Scenarios(scenarios.clone()))).collect()
    };
    if options.shrink {
        return shrink_all(&worker, options, &places);
    }
    let jobs = super::jobs(options.limits.jobs);
    hunt_all(&worker, &options.mutants, &places, options.seeds, jobs)
}

/// Hunts the mutants named, or all, and shrinks what they do.
fn shrink_all(
    worker: &Worker,
    options: &Options,
    places: &BTreeMap<String, Place>,
) -> anyhow::Result<Counts> {
    let jobs = super::jobs(options.limits.jobs);
    let known = worker.mutants()?;
    refuse_unknown(&options.mutants, &known)?;
    let mutants = if options.mutants.is_empty() { &known } else { &options.mutants };
    let mut counts = Counts::default();
    for mutant in mutants {
        let Place::Scenarios(scenarios) = &places[mutant] else { continue };
        let row = hunt(worker, mutant, scenarios, options.seeds, jobs)
            .map_err(anyhow::Error::msg)
            .and_then(|found| shrink_found(worker, mutant, &found, &options.limits));
        counts += Counts::one(row.is_ok());
        match row {
            Ok(row) => table::update(&table::file(), &[row])?,
            Err(reason) => println!("FAILED {mutant}: {reason:#}"),
        }
    }
    Ok(counts)
}

fn shrink_found(
    worker: &Worker,
    mutant: &str,
    found: &Found,
    limits: &LimitOptions,
) -> anyhow::Result<Row> {
    let script = found.script.as_ref().context("the worker kept no script")?;
    let shrunk = shrink::shrink_script(worker, &scripts::read(script)?, limits, false)?;
    println!("{mutant}: {}", shrunk.summary());
    let small = script.with_extension("min.json");
    scripts::write(&small, &shrunk.after.to_text())?;
    let of = [&shrunk.before, &shrunk.after].map(|script| &script.decisions);
    Ok(Row {
        mutant: mutant.to_owned(),
        scenario: found.scenario.clone(),
        check: found.oracle.clone(),
        seeds: found.seeds_needed,
        faults: of.map(|decisions| decisions.fault_events()),
        operations: of.map(|decisions| decisions.operations()),
        seconds: shrunk.elapsed.as_secs(),
        runs: shrunk.runs,
    })
}

fn refuse_unknown(wanted: &[String], known: &[String]) -> anyhow::Result<()> {
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        let message = format!("no mutant is called `{name}`; known: {}", known.join(", "));
        return Err(Usage(message).into());
    }
    Ok(())
}

/// Where the repository says that these bugs are to be found: all of them, and no others.
pub fn directed_places(known: &[String]) -> anyhow::Result<BTreeMap<String, Place>> {
    let places = directed::read(&workspace::root())?;
    directed::check(&places, known)?;
    Ok(places)
}

/// Hunts the mutants named, or all, and prints the table. Those that another test finds are only
/// listed.
pub fn hunt_all(
    worker: &Worker,
    wanted: &[String],
    places: &BTreeMap<String, Place>,
    seeds: Seeds,
    jobs: usize,
) -> anyhow::Result<Counts> {
    let known = worker.mutants()?;
    refuse_unknown(wanted, &known)?;
    let mutants = if wanted.is_empty() { &known } else { wanted };
    let width = mutants.iter().map(String::len).max().unwrap_or(0).max("mutant".len());
    println!("| {:width$} | scenario | oracle | seed | seeds needed |", "mutant");
    println!("|-{:-<width$}-|----------|--------|-----:|-------------:|", "");
    let mut counts = Counts::default();
    for mutant in mutants {
        let scenarios = match &places[mutant] {
            Place::Scenarios(scenarios) => scenarios,
            Place::Elsewhere { found_by, because } => {
                println!("| {mutant:width$} | not hunted; found by {found_by}: {because} | | | |");
                continue;
            }
        };
        let found = hunt(worker, mutant, scenarios, seeds, jobs);
        counts += Counts::one(found.is_ok());
        match found {
            Ok(Found { scenario, oracle, seed, seeds_needed, .. }) => {
                println!("| {mutant:width$} | {scenario} | {oracle} | {seed} | {seeds_needed} |");
            }
            Err(reason) => println!("| {mutant:width$} | {reason} | | | |"),
        }
    }
    Ok(counts)
}

/// Tries each seed with every scenario before the next seed, until the first red run. A seed that
/// is red without the bug as well shows nothing and is passed over.
fn hunt(
    worker: &Worker,
    mutant: &str,
    scenarios: &[Scenario],
    seeds: Seeds,
    jobs: usize,
) -> Result<Found, String> {
    let runs = seeds.iter().flat_map(|seed| {
        scenarios.iter().map(move |scenario| Run {
            scenario: scenario.clone(),
            seed,
            mutant: Some(mutant.to_owned()),
        })
    });
    let mut first: Option<(usize, Run, Report)> = None;
    let mut red_anyway = 0_u64;
    pool::for_each(
        jobs,
        runs,
        |run| {
            let planted = worker.run(run);
            let clean_is_red =
                !planted.passed && !worker.run(&Run { mutant: None, ..run.clone() }).passed;
            (planted, clean_is_red)
        },
        |position, run, (report, clean_is_red)| {
            red_anyway += u64::from(clean_is_red);
            if report.passed || clean_is_red {
                return ControlFlow::Continue(());
            }
            if first.as_ref().is_none_or(|(earliest, ..)| position < *earliest) {
                first = Some((position, run, report));
            }
            ControlFlow::Break(())
        },
    );
    let Some((_, run, report)) = first else {
        let tried = seeds.count();
        return Err(format!("NOT FOUND in {tried} seeds ({red_anyway} runs are red without it)"));
    };
    let script = worker.script_of(&run);
    Ok(Found {
        script,
        scenario: run.scenario.name,
        oracle: report.failure.unwrap_or_default().check,
        seed: run.seed,
        seeds_needed: run.seed - seeds.start + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::{fake_worker, run as a_run};

    /// `early` turns b red from seed 2 on, `never` does nothing, and the scenario `broken` is red
    /// whatever is planted.
    const SCRIPT: &str = r#"
        if [ "$1" = mutants ]; then echo "early  acks too early"; echo never; exit 0; fi
        red=no
        [ $mutant = early ] && [ $scenario = b ] && [ $seed -ge 2 ] && red=yes
        [ $scenario = broken ] && red=yes
        if [ $red = yes ]; then
          echo '{"passed":false,"hash":"1","failure":{"check":"L7","message":"lost"}}'; exit 1
        fi
        echo '{"passed":true,"hash":"1"}'"#;

    fn scenarios(names: &[&str]) -> Vec<Scenario> {
        names.iter().map(|name| a_run(name, 0).scenario).collect()
    }

    fn everywhere(names: &[&str]) -> BTreeMap<String, Place> {
        let place = Place::Scenarios(scenarios(names));
        ["early", "never"].map(|mutant| (mutant.to_owned(), place.clone())).into()
    }

    #[test]
    fn the_first_red_seed_is_found_with_its_oracle() {
        let (_scratch, worker) = fake_worker(SCRIPT);
        let found =
            hunt(&worker, "early", &scenarios(&["a", "b"]), "0..9".parse().unwrap(), 4).unwrap();
        assert_eq!((found.scenario.as_str(), found.oracle.as_str()), ("b", "L7"));
        assert_eq!((found.seed, found.seeds_needed), (2, 3));
    }

    #[test]
    fn a_mutant_that_is_not_found_fails() {
        let (_scratch, worker) = fake_worker(SCRIPT);
        let counts =
            hunt_all(&worker, &[], &everywhere(&["a", "b"]), "0..4".parse().unwrap(), 2).unwrap();
        assert_eq!(counts, Counts { passed: 1, failed: 1 });
    }

    #[test]
    fn a_mutant_that_another_test_finds_counts_for_nothing_here() {
        let (_scratch, worker) = fake_worker(SCRIPT);
        let mut places = everywhere(&["b"]);
        let elsewhere = Place::Elsewhere { found_by: "x".into(), because: "y".into() };
        places.insert("never".into(), elsewhere);
        let counts = hunt_all(&worker, &[], &places, "0..4".parse().unwrap(), 2).unwrap();
        assert_eq!(counts, Counts { passed: 1, failed: 0 });
    }

    #[test]
    fn a_seed_that_is_red_anyway_proves_nothing() {
        let (_scratch, worker) = fake_worker(SCRIPT);
        let found = hunt(&worker, "early", &scenarios(&["broken"]), Seeds::single(0), 1);
        assert!(found.err().unwrap().contains("1 runs are red without it"));
        let both = hunt(&worker, "early", &scenarios(&["broken", "b"]), "0..5".parse().unwrap(), 1);
        assert_eq!(both.unwrap().scenario, "b");
    }

    #[test]
    fn an_unknown_mutant_is_bad_usage() {
        let (_scratch, worker) = fake_worker(SCRIPT);
        let wanted = ["typo".to_owned()];
        let error =
            hunt_all(&worker, &wanted, &everywhere(&["a"]), Seeds::single(0), 1).unwrap_err();
        assert!(error.is::<Usage>());
    }
}
