//! `cargo xtask soak`: a cluster of real nodes, broken again and again under real clients.
//!
//! Several idempotent producers of librdkafka write to all partitions, a consumer reads along, and
//! a seed decides who is killed, stopped or cut off and for how long. At the end, with everything
//! healed, each acknowledged record must be at its offset, in order and once.
//!
//! Every node has a network namespace of its own where this machine allows it. Elsewhere all are
//! on the loopback interface, and nothing can be cut.
#![allow(
    clippy::disallowed_methods,
    reason = "automation works on the real machine; the doors belong to the broker"
)]

mod clients;
mod faults;
mod outage;
mod run;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::bench::broker;
use crate::cluster::{Guard, Network, Place};
use crate::counts::Counts;
use crate::counts::Usage;
use crate::interop::Places;
use crate::interop::clients::{Client, install};
use crate::workspace;

pub use faults::{Fault, Kind, Victim};
use outage::{Gap, distribution, longest};
use run::Event;
pub use run::{Load, Run, TOPIC};

/// A leader that stayed away longer than the session of its broker (0.5 s), an election of the
/// quorum and the steps after both was replaced, and did not only come back.
const REPLACED_AFTER: Duration = Duration::from_secs(2);

const LOAD: Load = Load { partitions: 6, producers: 4, rate: 200 };

/// What `cargo xtask soak` is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How long faults go on, in minutes; the judgement at the end comes on top.
    #[arg(long, default_value_t = 15.0)]
    minutes: f64,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// The seed of the faults; a new one when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Stay on the loopback interface: nothing is cut.
    #[arg(long)]
    no_netns: bool,
    /// Keep logs and data even when everything passed.
    #[arg(long)]
    keep: bool,
    /// Run this executable instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Breaks a cluster for a while and judges what is left of it.
///
/// # Errors
///
/// When the cluster or its clients do not come up, or stop answering.
pub fn run(options: &Options) -> Result<Counts> {
    if !(1..=9).contains(&options.nodes) || options.minutes.is_nan() || options.minutes < 0.0 {
        return Err(Usage("1 to 9 nodes, for a time that is not negative".into()).into());
    }
    let places = Places::prepare()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => broker::build()?,
    };
    install(Client::ConfluentKafka, &places)?;
    let name = format!("target/soak/run-{}", std::process::id());
    let directory = workspace::root().join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let outcome = soak(options, &places, &binary, &directory);
    let clean = outcome.as_ref().is_ok_and(|counts| counts.is_success());
    if clean && !options.keep {
        std::fs::remove_dir_all(&directory).ok();
    } else {
        println!("logs and data are left in {}", directory.display());
    }
    outcome
}

fn soak(options: &Options, places: &Places, binary: &Path, directory: &Path) -> Result<Counts> {
    let seed = options.seed.unwrap_or_else(new_seed);
    let mut guard = Guard::start()?;
    let network = network(options, &mut guard)?;
    println!("seed {seed}: {} nodes, faults for {} min", options.nodes, options.minutes);
    let mut run = start(places, binary, directory, (network, guard), options.nodes, LOAD)?;
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    run.suffer_until(end, seed)?;
    println!("healed; judging");
    let (events, gaps, checks) = run.finish()?;
    summarize(&events, &gaps);
    let mut counts = Counts::default();
    for check in checks {
        let word = if check.passed { "ok" } else { "FAILED" };
        println!("{word:<8}{:<32}{}", check.name, check.note);
        counts += Counts::one(check.passed);
    }
    if !counts.is_success() {
        println!("again with: cargo xtask soak --seed {seed} --nodes {}", options.nodes);
    }
    Ok(counts)
}

/// A cluster in this network with the clients' program beside it.
pub fn start(
    places: &Places,
    binary: &Path,
    directory: &Path,
    network: (Network, Guard),
    nodes: usize,
    load: Load,
) -> Result<Run> {
    Run::start(binary, directory, network, nodes, load, |network| {
        let python = places.work.join("python/bin/python");
        let mut command = network.command(Place::Clients, &python);
        command
            .arg(places.root.join("xtask/interop/python/soak_client.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
        command
    })
}

/// Namespaces where this machine allows it.
fn network(options: &Options, guard: &mut Guard) -> Result<Network> {
    if options.no_netns {
        println!("on the loopback interface, as asked: nothing is cut");
        return Network::loopback(options.nodes);
    }
    match Network::namespaces(options.nodes, guard) {
        Ok(network) => {
            println!("every node in a network namespace of its own");
            Ok(network)
        }
        Err(error) => {
            println!("no network namespaces ({error:#}): on loopback, and nothing is cut");
            Network::loopback(options.nodes)
        }
    }
}

/// What producers saw, by kind of fault, and of the deaths of leaders.
fn summarize(events: &[Event], gaps: &[Gap]) {
    println!("{} faults; time without acks of the partitions concerned:", events.len());
    let mut kinds: Vec<String> = events.iter().map(|event| event.fault.kind.to_string()).collect();
    kinds.sort();
    kinds.dedup();
    // A fault that met a cluster not yet healed measures two faults.
    let settled: Vec<&Event> = events.iter().filter(|event| event.settled).collect();
    let seen = |event: &&&Event| -> Vec<Duration> {
        event.led.iter().map(|partition| longest(gaps, *partition, event.span)).collect()
    };
    for kind in kinds {
        let of_kind = settled.iter().filter(|event| event.fault.kind.to_string() == kind);
        println!("  {kind:<26}{}", distribution(of_kind.flat_map(|e| seen(&e)).collect()));
    }
    let deaths = || settled.iter().filter(|event| event.fault.kind == Kind::Kill);
    let line = |name, samples| println!("  {name:<26}{}", distribution(samples));
    line("death of the leader", deaths().flat_map(|event| seen(&event)).collect());
    let away = |event: &&&Event| event.fault.hold >= REPLACED_AFTER;
    line("  of those, stays away", deaths().filter(away).flat_map(|e| seen(&e)).collect());
    line("in sync after healing", settled.iter().filter_map(|event| event.in_sync_after).collect());
}

/// Another one each time.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000
}
