//! `cargo xtask bench groups`: what a group coordinator of a release broker does with large groups
//! and with many.
//!
//! Every measure has a broker of its own, so that its memory is the measure's. All groups are on one
//! coordinator. Members are driven in a closed loop: each asks again as soon as it is answered, where
//! real ones ask every few seconds.

mod classic;
mod consumer;
mod fleet;
mod limits;
mod results;
mod thought;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use super::broker::{self, Broker};
use super::kafka::Connection;
use super::{MEBIBYTE, load_average};
use consumer::{Member, Members};
use fleet::{Fleet, Share, deal};
pub use results::Results;
use results::Side;

const TOPIC: &str = "consumed";

/// One coordinator for all groups.
const CONFIGURATION: &str = "offsets.topic.num.partitions = 1\n";

/// Partitions of the topic that the many groups consume.
const PARTITIONS_OF_SMALL: usize = 3;

/// Partitions of the assignment that is measured by itself.
const PARTITIONS_OF_ASSIGNMENT: usize = 10_000;

/// The longest until members have their assignments.
const CONVERGE_LIMIT: Duration = Duration::from_secs(600);

/// The longest until there is a coordinator.
const COORDINATOR_LIMIT: Duration = Duration::from_secs(60);

const ASK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args, Clone)]
pub struct Options {
    /// Members of one large group.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    members: usize,
    /// Partitions that the large groups consume.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    partitions: usize,
    /// Groups of one member each.
    #[arg(long, default_value_t = 10_000, value_parser = positive)]
    groups: usize,
    /// Connections that members share for their heartbeats. A broker takes the requests of one
    /// connection one after the other, so joins, which wait for an fsync, need many.
    #[arg(long, default_value_t = 64, value_parser = positive)]
    connections: usize,
    /// Heartbeats in flight on each of them.
    #[arg(long, default_value_t = 16, value_parser = positive)]
    in_flight: usize,
    /// How long heartbeats are counted, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Small sizes: a look in under a minute, not a measurement.
    #[arg(long)]
    quick: bool,
    /// Measure the brokers only, not the coordinator by itself.
    #[arg(long)]
    brokers_only: bool,
    /// Where the data goes.
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// An executable to measure instead of building one.
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// Also write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

impl Options {
    /// The sizes to use: `--quick` caps them all.
    fn sized(&self) -> Self {
        let mut sized = self.clone();
        if self.quick {
            sized.members = sized.members.min(100);
            sized.partitions = sized.partitions.min(100);
            sized.groups = sized.groups.min(500);
            sized.seconds = sized.seconds.min(2);
        }
        sized
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Measures everything, with the data in `directory`.
pub fn measure(options: &Options, directory: &Path) -> Result<Results> {
    let options = &options.sized();
    limits::check(limits::Needs {
        connections: options.members + options.connections,
        partitions: options.partitions,
    })?;
    let mut results = Results {
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        load_average: load_average(),
        members: options.members,
        partitions: options.partitions,
        groups: options.groups,
        connections: options.connections,
        in_flight: options.in_flight,
        assigned_partitions: PARTITIONS_OF_ASSIGNMENT,
        ..Results::default()
    };
    let binary = match &options.broker {
        Some(binary) => std::path::absolute(binary)?,
        None => broker::build()?,
    };
    println!("measuring a classic group of {} members", options.members);
    (results.classic, results.classic_rebalance_ms) =
        measure_classic(options, &binary, &directory.join("classic"))?;
    println!("measuring a consumer group of {} members", options.members);
    let names = (0..options.members).map(|number| ("large".to_owned(), number));
    let members = names.map(|(group, number)| Member::new(group, number, TOPIC)).collect();
    let home = (directory.join("consumer"), options.partitions);
    results.consumer = measure_consumers(options, &binary, &home, members)?;
    println!("measuring {} groups of one member", options.groups);
    let names = (0..options.groups).map(|number| (format!("small-{number:05}"), number));
    let members = names.map(|(group, number)| Member::new(group, number, TOPIC)).collect();
    let home = (directory.join("small"), PARTITIONS_OF_SMALL);
    results.small = measure_consumers(options, &binary, &home, members)?;
    if !options.brokers_only {
        println!("measuring the assignment of {PARTITIONS_OF_ASSIGNMENT} partitions");
        results.thoughts = thought::measure(options.members, PARTITIONS_OF_ASSIGNMENT)?;
    }
    Ok(results)
}

/// A broker with a topic and a coordinator.
fn start(binary: &Path, directory: &Path, partitions: usize) -> Result<Broker> {
    let mut broker = Broker::start_with(binary, directory, CONFIGURATION)?;
    broker.wait_until(|connection| connection.api_versions())?;
    let mut connection = Connection::open(broker.address)?;
    connection.create_topic(TOPIC, partitions, 1)?;
    let started = Instant::now();
    loop {
        let mut answer = connection.call(wire::FIND_COORDINATOR, &wire::find_coordinator("any"))?;
        match wire::error_of(&mut answer)? {
            wire::NO_ERROR => break,
            error if !wire::is_passing(error) || started.elapsed() > COORDINATOR_LIMIT => {
                bail!("FindCoordinator: error code {error}")
            }
            _ => std::thread::sleep(ASK_EVERY),
        }
    }
    wait_for_coordinator(broker.address)?;
    Ok(broker)
}

/// The coordinator reads its log before it answers: a member that nobody knows is told so then.
fn wait_for_coordinator(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    let mut connection = Connection::open(address)?;
    while started.elapsed() < COORDINATOR_LIMIT {
        let body = wire::heartbeat("any", 1, "nobody");
        let error = wire::error_of(&mut connection.call(wire::HEARTBEAT, &body)?)?;
        if !wire::is_passing(error) {
            ensure!(error == wire::UNKNOWN_MEMBER_ID, "a stranger's heartbeat: error code {error}");
            return Ok(());
        }
        std::thread::sleep(ASK_EVERY);
    }
    bail!("the coordinator is not ready after {} s", COORDINATOR_LIMIT.as_secs())
}

/// A classic group: it comes together, members send heartbeats, and then all rebalance.
fn measure_classic(options: &Options, binary: &Path, directory: &Path) -> Result<(Side, f64)> {
    let broker = start(binary, directory, options.partitions)?;
    let (names, count) = (("large", TOPIC), options.members);
    let mut members = classic::Members::connect(broker.address, names, options.partitions, count)?;
    let before = broker.process().resident_bytes()?;
    let started = Instant::now();
    members.introduce()?;
    members.converge()?;
    let converged = started.elapsed();
    let shares = members.shares(options.connections);
    let mut fleet = Fleet::connect(broker.address, shares, options.in_flight)?;
    let mut side = beat(options, &broker, &mut fleet)?;
    side.converge_ms = converged.as_secs_f64() * 1e3;
    side.memory_before_mebibytes = before as f64 / MEBIBYTE;
    let rebalanced = members.rebalance()?;
    side.peak_memory_mebibytes = broker.process().peak_memory_bytes()? as f64 / MEBIBYTE;
    broker.kill()?;
    Ok((side, rebalanced.as_secs_f64() * 1e3))
}

/// Members of consumer groups: they join, and go on until all are stable.
fn measure_consumers(
    options: &Options,
    binary: &Path,
    (directory, partitions): &(PathBuf, usize),
    members: Vec<Member>,
) -> Result<Side> {
    let broker = start(binary, directory, *partitions)?;
    let shares = deal(members, options.connections).into_iter().map(Members).collect();
    let mut fleet = Fleet::connect(broker.address, shares, options.in_flight)?;
    let before = broker.process().resident_bytes()?;
    let started = Instant::now();
    let mut rounds = 0;
    loop {
        fleet.round()?;
        rounds += 1;
        let all = fleet.shares().flat_map(|share| &share.0);
        if consumer::have_converged(all, *partitions) {
            break;
        }
        let limit = CONVERGE_LIMIT.as_secs();
        ensure!(started.elapsed() < CONVERGE_LIMIT, "no assignment for all within {limit} s");
    }
    let converged = started.elapsed();
    let mut side = beat(options, &broker, &mut fleet)?;
    side.converge_ms = converged.as_secs_f64() * 1e3;
    side.rounds = rounds;
    side.memory_before_mebibytes = before as f64 / MEBIBYTE;
    side.peak_memory_mebibytes = broker.process().peak_memory_bytes()? as f64 / MEBIBYTE;
    broker.kill()?;
    Ok(side)
}

/// What heartbeats cost when they come as fast as they are answered.
fn beat<S: Share>(options: &Options, broker: &Broker, fleet: &mut Fleet<S>) -> Result<Side> {
    let process = broker.process();
    let cpu_before = process.cpu_seconds()?;
    let answered = fleet.beat_for(options.duration())?;
    let cpu = process.cpu_seconds()? - cpu_before;
    Ok(Side {
        heartbeats_per_second: answered.per_second(),
        cpu_us_per_heartbeat: cpu * 1e6 / answered.heartbeats.max(1) as f64,
        ..Side::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn quick_only_ever_makes_a_run_smaller() {
        let parse =
            |arguments: &[&str]| Line::parse_from([&["groups"], arguments].concat()).options;
        assert_eq!(parse(&[]).sized().members, 1000);
        assert_eq!(parse(&["--quick"]).sized().members, 100);
        assert_eq!(parse(&["--quick", "--members", "7"]).sized().members, 7);
    }

    #[test]
    fn no_size_is_zero() {
        assert!(Line::try_parse_from(["groups", "--members", "0"]).is_err());
        assert_eq!(positive("1"), Ok(1));
        assert!(positive("many").is_err());
    }

    #[test]
    fn the_additional_configuration_is_toml() {
        let table: toml::Table = CONFIGURATION.parse().unwrap();
        assert_eq!(table["offsets"]["topic"]["num"]["partitions"].as_integer(), Some(1));
    }
}
