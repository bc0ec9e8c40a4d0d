//! `cargo xtask bench`: what a release broker does on this machine.
//!
//! Nothing here passes or fails. The broker is driven over loopback by a load generator of its own
//! and by librdkafka's; beside it stand the bare loop and the sync of the same disk, because the
//! numbers of a broker mean little without them.

mod bare;
pub(crate) mod broker;
mod cluster;
#[cfg(test)]
mod fake_broker;
mod groups;
mod kafka;
mod librdkafka;
mod load;
mod results;
mod statistics;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::workspace;
use bare::Place;
use broker::Broker;
use load::{ClosedLoop, FixedRate};
use results::Results;

const THROUGHPUT_TOPIC: &str = "throughput";
const LATENCY_TOPIC: &str = "latency";
const LIBRDKAFKA_TOPIC: &str = "librdkafka";

/// How often the start on an empty directory is measured; the median counts.
const EMPTY_STARTS: usize = 5;

/// One gigabyte, in bytes.
const GIGABYTE: f64 = 1e9;

/// One mebibyte, in bytes.
const MEBIBYTE: f64 = 1_048_576.0;

#[derive(Args, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// Producers at once, each with a connection and a partition of its own.
    #[arg(long, default_value_t = 4)]
    producers: usize,
    /// Requests in flight of each producer.
    #[arg(long, default_value_t = 2)]
    in_flight: usize,
    /// Payload of one record, in bytes.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Records of one batch in the throughput runs.
    #[arg(long, default_value_t = 1000)]
    records_per_batch: usize,
    /// Payload of the throughput run, in GB.
    #[arg(long, default_value_t = 4.0)]
    gigabytes: f64,
    /// Records per second of the latency run.
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// How long the latency run takes, in seconds.
    #[arg(long, default_value_t = 20)]
    latency_seconds: u64,
    /// Payload on the disk when the broker is killed, in GB.
    #[arg(long, default_value_t = 10.0)]
    crash_gigabytes: f64,
    /// Payload that librdkafka's tool produces, in GB; 0 leaves it out.
    #[arg(long, default_value_t = 1.0)]
    librdkafka_gigabytes: f64,
    /// Nodes of a cluster to measure beside one node, instead of everything else; 1 for no cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Payload that a replica has missed when it comes back, in GB.
    #[arg(long, default_value_t = 1.0)]
    catch_up_gigabytes: f64,
    /// Small sizes: a look in under a minute, not a measurement.
    #[arg(long)]
    quick: bool,
    /// Where the data goes; the disk below it is what is measured.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// An executable to measure instead of building one.
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// Measure only the disk and the bare loop.
    #[arg(long)]
    bare_only: bool,
    /// Also write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Something else to measure.
#[derive(Subcommand, Clone)]
enum Other {
    /// Measure the group coordinator with large groups and with many.
    Groups(groups::Options),
}

impl Options {
    /// The sizes to use: `--quick` caps them all.
    fn sized(&self) -> Self {
        let mut sized = self.clone();
        if self.quick {
            sized.gigabytes = sized.gigabytes.min(0.5);
            sized.crash_gigabytes = sized.crash_gigabytes.min(0.5);
            sized.librdkafka_gigabytes = sized.librdkafka_gigabytes.min(0.2);
            sized.catch_up_gigabytes = sized.catch_up_gigabytes.min(0.2);
            sized.latency_seconds = sized.latency_seconds.min(5);
        }
        sized
    }

    fn closed_loop(&self, address: std::net::SocketAddr, gigabytes: f64) -> ClosedLoop {
        ClosedLoop {
            leaders: vec![address],
            topic: THROUGHPUT_TOPIC.to_owned(),
            producers: self.producers.max(1),
            in_flight: self.in_flight.max(1),
            records_per_batch: self.records_per_batch.max(1),
            record_bytes: self.record_bytes,
            total_bytes: (gigabytes * GIGABYTE) as u64,
        }
    }

    fn fixed_rate(&self, address: std::net::SocketAddr) -> FixedRate {
        FixedRate {
            leaders: vec![address],
            topic: LATENCY_TOPIC.to_owned(),
            producers: self.producers.max(1),
            records_per_request: 1,
            record_bytes: self.record_bytes,
            requests_per_second: self.rate as f64,
            duration: Duration::from_secs(self.latency_seconds),
        }
    }
}

/// Measures and prints.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(Other::Groups(groups)) = &options.other {
        return in_directory(groups.directory.as_deref(), groups.json.as_deref(), |directory| {
            let results = groups::measure(groups, directory)?;
            results.print();
            Ok(serde_json::to_string_pretty(&results)?)
        });
    }
    let options = options.sized();
    in_directory(options.directory.as_deref(), options.json.as_deref(), |directory| {
        match options.nodes {
            1 => {
                let results = measure(&options, directory)?;
                results.print();
                Ok(serde_json::to_string_pretty(&results)?)
            }
            _ => {
                let results = cluster::measure(&options, directory)?;
                results.print();
                Ok(serde_json::to_string_pretty(&results)?)
            }
        }
    })
}

/// Runs a measurement that gives JSON in a directory of its own, and takes that away if it
/// succeeds. `json` is a file for what it gives.
fn in_directory(
    parent: Option<&Path>,
    json: Option<&Path>,
    measure: impl FnOnce(&Path) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let parent = parent.map_or_else(|| workspace::root().join("target/bench"), Path::to_path_buf);
    let directory = parent.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let outcome = measure(&directory);
    if outcome.is_ok() {
        std::fs::remove_dir_all(&directory).ok();
    } else {
        eprintln!("the data and logs of the brokers are left in {}", directory.display());
    }
    let text = outcome? + "\n";
    if let Some(file) = json {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn measure(options: &Options, directory: &Path) -> anyhow::Result<Results> {
    let mut results = Results {
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        load_average: load_average(),
        record_bytes: options.record_bytes,
        records_per_batch: options.records_per_batch,
        producers: options.producers,
        rate: options.rate,
        ..Results::default()
    };
    let binary = match (&options.broker, options.bare_only) {
        (_, true) => PathBuf::new(),
        (Some(binary), _) => std::path::absolute(binary)?,
        (None, _) => broker::build()?,
    };
    measure_floor(options, directory, &mut results)?;
    if options.bare_only {
        return Ok(results);
    }
    println!("measuring the start on an empty directory");
    results.empty_start_ms = measure_empty_start(&binary, directory)?;
    measure_broker(options, &binary, directory, &mut results)?;
    // Once more: another load on this machine must not make the floor look low.
    measure_floor(options, directory, &mut results)?;
    Ok(results)
}

/// The load of the last minute as the kernel gives it; 0 where it does not.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// The disk and the bare loop, which no broker can pass. Keeps the better of this measurement and
/// the one before.
fn measure_floor(options: &Options, directory: &Path, results: &mut Results) -> anyhow::Result<()> {
    println!("measuring fdatasync");
    let appended = bare::measure_sync(directory, Place::Append)?;
    results.fdatasync_append = results.fdatasync_append.quicker(appended);
    let in_place = bare::measure_sync(directory, Place::InPlace)?;
    results.fdatasync_in_place = results.fdatasync_in_place.quicker(in_place);
    println!("measuring the bare loop with {:.1} GB", options.gigabytes);
    let nowhere = ([127, 0, 0, 1], 0).into();
    let load = options.closed_loop(nowhere, options.gigabytes);
    let bare = bare::run(directory, &load)?.megabytes_per_second();
    results.bare_megabytes_per_second = results.bare_megabytes_per_second.max(bare);
    Ok(())
}

fn measure_empty_start(binary: &Path, directory: &Path) -> anyhow::Result<f64> {
    let mut durations = Vec::new();
    for attempt in 0..EMPTY_STARTS {
        let data = directory.join(format!("empty-{attempt}"));
        let mut broker = Broker::start(binary, &data)?;
        durations.push(broker.wait_until(|connection| connection.api_versions())?);
        broker.kill()?;
    }
    Ok(statistics::Percentiles::of(durations).p50_ms)
}

/// Everything that is asked of a broker with data.
fn measure_broker(
    options: &Options,
    binary: &Path,
    directory: &Path,
    results: &mut Results,
) -> anyhow::Result<()> {
    let data = directory.join("data");
    let mut broker = Broker::start(binary, &data)?;
    broker.wait_until(|connection| connection.api_versions())?;
    let mut admin = kafka::Connection::open(broker.address)?;
    for topic in [THROUGHPUT_TOPIC, LATENCY_TOPIC, LIBRDKAFKA_TOPIC] {
        admin.create_topic(topic, options.producers.max(1), 1)?;
    }
    measure_throughput(options, &broker, results)?;
    println!("measuring latency at {} records a second", options.rate);
    let load = options.fixed_rate(broker.address);
    results.latency = statistics::Percentiles::of(load.run()?);
    results.librdkafka = run_librdkafka(options, &broker);
    measure_crash(options, binary, &data, broker, results)
}

fn measure_throughput(
    options: &Options,
    broker: &Broker,
    results: &mut Results,
) -> anyhow::Result<()> {
    println!("measuring throughput with {:.1} GB", options.gigabytes);
    let process = broker.process();
    let cpu_before = process.cpu_seconds()?;
    let sent = options.closed_loop(broker.address, options.gigabytes).run()?;
    results.gigabytes = sent.bytes as f64 / GIGABYTE;
    results.megabytes_per_second = sent.megabytes_per_second();
    results.cpu_seconds_per_gigabyte =
        (process.cpu_seconds()? - cpu_before) / results.gigabytes.max(1e-9);
    results.peak_memory_mebibytes = process.peak_memory_bytes()? as f64 / MEBIBYTE;
    results.resident_mebibytes = process.resident_bytes()? as f64 / MEBIBYTE;
    Ok(())
}

/// Not having the tool is no reason to lose the other results.
fn run_librdkafka(options: &Options, broker: &Broker) -> Option<librdkafka::Performance> {
    let messages =
        (options.librdkafka_gigabytes * GIGABYTE / options.record_bytes.max(1) as f64) as u64;
    if messages == 0 {
        println!("skipped rdkafka_performance: no payload is asked of it");
        return None;
    }
    let outcome = librdkafka::build().and_then(|tool| {
        println!("measuring with rdkafka_performance, {messages} messages");
        let topic = LIBRDKAFKA_TOPIC;
        librdkafka::produce(&tool, broker.address, topic, messages, options.record_bytes)
    });
    match outcome {
        Ok(performance) => Some(performance),
        Err(error) => {
            println!("skipped rdkafka_performance: {error:#}");
            None
        }
    }
}

/// Fills the disk up to the size asked for, kills the broker and measures its return.
fn measure_crash(
    options: &Options,
    binary: &Path,
    data: &Path,
    broker: Broker,
    results: &mut Results,
) -> anyhow::Result<()> {
    let missing = options.crash_gigabytes - results.gigabytes;
    let mut on_disk = results.gigabytes;
    if missing > 0.0 {
        println!("writing another {missing:.1} GB");
        on_disk += options.closed_loop(broker.address, missing).run()?.bytes as f64 / GIGABYTE;
    }
    results.crash_gigabytes = on_disk;
    println!("measuring the start after kill -9 with {on_disk:.1} GB");
    broker.kill()?;
    let mut broker = Broker::start(binary, data)?;
    let partitions = 0..options.producers.max(1);
    let ready = broker.wait_until(|connection| {
        partitions.clone().try_for_each(|partition| {
            connection.latest_offset(THROUGHPUT_TOPIC, partition).map(|_| ())
        })
    })?;
    results.crash_start_ms = ready.as_secs_f64() * 1e3;
    let mut connection = kafka::Connection::open(broker.address)?;
    let mut recovered = 0;
    for partition in partitions {
        recovered += connection.latest_offset(THROUGHPUT_TOPIC, partition)?;
    }
    let acknowledged = (on_disk * GIGABYTE / options.record_bytes.max(1) as f64).round() as u64;
    anyhow::ensure!(
        recovered >= acknowledged,
        "{acknowledged} records were acknowledged and {recovered} are there after the crash"
    );
    broker.kill()
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
            |arguments: &[&str]| Line::parse_from([&["bench"], arguments].concat()).options.sized();
        assert_eq!(parse(&[]).gigabytes, 4.0);
        assert_eq!(parse(&["--quick"]).gigabytes, 0.5);
        assert_eq!(parse(&["--quick", "--gigabytes", "0.1"]).gigabytes, 0.1);
    }

    #[test]
    fn a_batch_fits_the_default_limit_of_a_message() {
        let options = Line::parse_from(["bench"]).options;
        let request = kafka::ProduceRequest::new(
            THROUGHPUT_TOPIC,
            0,
            options.records_per_batch,
            options.record_bytes,
        );
        assert!(request.wire_bytes() < 1_048_588, "{}", request.wire_bytes());
    }
}
