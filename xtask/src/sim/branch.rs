//! `cargo xtask sim branch`: how likely the failure was at each point of a run. From each of fifty
//! points the run goes on with other choices, a few times over.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;

use anyhow::Context as _;
use clap::Args;
use highwater_script::{Script, edit};
use serde::Serialize;

use super::progress::{Goal, Progress};
use super::scripts::{self, Following, ScriptArgument};
use super::{RUN_TIMEOUT, pool};
use crate::counts::Counts;

/// How many points of a run are looked at.
const POINTS: u64 = 50;
/// How wide the bar of a certain failure is.
const BAR: usize = 40;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    script: ScriptArgument,
    /// How often the run goes on from each point.
    #[arg(long, value_name = "K", default_value = "4")]
    tries: NonZeroU64,
    /// Processes at once.
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
}

/// How often the same check failed when the run went another way from some point on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Simulated milliseconds since the start of the run.
    pub millis: u64,
    /// How often it failed.
    pub failed: u64,
    /// Of how many runs.
    pub runs: u64,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Branches<'a> {
    check: &'a str,
    became_likely_at_millis: Option<u64>,
    points: &'a [Point],
}

/// Runs the command.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let script = options.script.read()?;
    let check = script.check().context("the script does not say which check failed")?.to_owned();
    let worker = options.program.worker()?;
    let last = last_millis(&script);
    let mut points: Vec<Point> = (0..POINTS)
        .map(|point| Point { millis: point * last / (POINTS - 1), failed: 0, runs: 0 })
        .collect();
    let tries = options.tries.get();
    let goal = Goal { runs: Some(POINTS * tries), ..Goal::default() };
    let mut progress = Progress::start(goal);
    let branches = (0..POINTS as usize).flat_map(|at| (1..=tries).map(move |seed| (at, seed)));
    let moments: Vec<u64> = points.iter().map(|point| point.millis).collect();
    let file = std::path::absolute(&options.script.script)?;
    let mut broken = None;
    pool::for_each(
        super::jobs(options.jobs),
        branches,
        |(at, seed)| {
            let leave = Some((moments[*at], *seed));
            let following = Following { leave, ..Following::default() };
            scripts::follow(&worker, &file, &following, RUN_TIMEOUT)
        },
        |_, (at, _), report| {
            if report.died() {
                broken = report.failure;
                return ControlFlow::Break(());
            }
            let failed = report.failure.is_some_and(|failure| failure.check == check);
            points[at].runs += 1;
            points[at].failed += u64::from(failed);
            progress.advance(!failed);
            ControlFlow::Continue(())
        },
    );
    progress.clear();
    if let Some(failure) = broken {
        anyhow::bail!("a run came to no end, so nothing is known: {}", failure.message);
    }
    print!("{}", chart(&points));
    let likely = became_likely(&points);
    match likely {
        Some(millis) => println!("{check} became likely at {millis} ms"),
        None => println!("{check} is likely at no point: it needs the choices up to the very end"),
    }
    let file = options.script.beside("branch.json");
    let branches = Branches { check: &check, became_likely_at_millis: likely, points: &points };
    scripts::write(&file, &(serde_json::to_string_pretty(&branches)? + "\n"))?;
    println!("wrote {}", file.display());
    Ok(Counts::one(true))
}

/// When the last strike or operation of a script begins, or the time under faults is over; behind it,
/// in simulated milliseconds.
fn last_millis(script: &Script) -> u64 {
    let decisions = &script.decisions;
    let strikes = decisions.strikes.values().filter_map(|strike| strike.number("at"));
    let operations = edit::operations(script).into_iter().map(|(at, ..)| at / 1_000_000);
    let over = decisions.run.number("millis").unwrap_or(0);
    strikes.chain(operations).max().map_or(0, |last| last + 1).max(over).max(0) as u64
}

/// One line for each point.
fn chart(points: &[Point]) -> String {
    let line = |point: &Point| {
        let width = BAR * point.failed as usize / point.runs.max(1) as usize;
        let bar = "#".repeat(width);
        format!("{:7} ms  {bar:BAR$}  {} of {}\n", point.millis, point.failed, point.runs)
    };
    points.iter().map(line).collect()
}

/// The first point from which on the run fails in half of the branches or more, taken together with
/// those of its neighbours, so that one lucky branch changes nothing.
fn became_likely(points: &[Point]) -> Option<u64> {
    let is_likely = |at: usize| {
        let around = &points[at.saturating_sub(1)..(at + 2).min(points.len())];
        let (failed, runs) =
            around.iter().fold((0, 0), |(f, r), point| (f + point.failed, r + point.runs));
        2 * failed >= runs && runs > 0 && 2 * points[at].failed >= points[at].runs
    };
    let unlikely = (0..points.len()).rev().find(|at| !is_likely(*at));
    let first = unlikely.map_or(0, |at| at + 1);
    points.get(first).map(|point| point.millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(failed: &[u64]) -> Vec<Point> {
        let point =
            |(at, failed): (usize, &u64)| Point { millis: at as u64, failed: *failed, runs: 4 };
        failed.iter().enumerate().map(point).collect()
    }

    #[test]
    fn the_moment_is_where_the_failure_stays_likely() {
        assert_eq!(became_likely(&points(&[0, 0, 1, 3, 4, 4, 4])), Some(3));
        assert_eq!(became_likely(&points(&[0, 4, 0, 0, 4, 4, 4])), Some(4));
        assert_eq!(became_likely(&points(&[4, 4, 4])), Some(0));
        assert_eq!(became_likely(&points(&[0, 0, 1, 1])), None);
    }

    #[test]
    fn the_last_point_lies_behind_the_last_strike() {
        let text = r##"{"format":1,"simulator":"0.1.0","scenario":{"name":"a","text":""},"seed":7,
            "network_seed":7,"decisions":{"run":{"millis":500},"strikes":{"power-cut#0":{"at":518}},
            "clients":{"producer 2":{"drawn":{},"operations":{"4":{"at":499000000}}}}}}"##;
        let mut script = Script::parse(text).unwrap();
        assert_eq!(last_millis(&script), 519);
        script.decisions.strikes.clear();
        assert_eq!(last_millis(&script), 500);
    }

    #[test]
    fn a_point_has_a_bar() {
        let text = chart(&points(&[0, 2]));
        let bars: Vec<usize> = text.lines().map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [0, BAR / 2]);
        assert!(text.ends_with("2 of 4\n"));
    }
}
