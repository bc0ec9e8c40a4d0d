//! `--nodes N`: what replication costs beside one node, and how a replica catches up.
//!
//! Both are driven by the same load in the same run. All nodes share the processors and the disk
//! of this machine with the load generator, so the ratios are worse than on machines of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::broker::Broker;
use super::kafka::{Connection, Metadata};
use super::load::FixedRate;
use super::results::{Row, mbps, ms, print_table, ratio};
use super::statistics::Percentiles;
use super::{GIGABYTE, LATENCY_TOPIC, Options, THROUGHPUT_TOPIC, load_average};
use crate::cluster::{Cluster, Guard, Network};

const CATCH_UP_TOPIC: &str = "catch-up";

/// The longest until nodes are ready, until another leader is elected, until replicas are in sync.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// The longest that a replica may take to catch up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

const ASK_EVERY: Duration = Duration::from_millis(50);

/// What was measured of one node or of a cluster.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Side {
    /// Closed loop with acks=all, in MB/s of payload.
    pub megabytes_per_second: f64,
    /// From when a record was due to its acknowledgement.
    pub latency: Percentiles,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Nodes of the cluster.
    pub nodes: u8,
    /// Copies of each partition, and how many of them must have a record before it is acknowledged.
    pub replicas: u8,
    pub min_insync: u8,
    /// As in the other benchmark.
    pub processors: usize,
    pub load_average: f64,
    pub record_bytes: usize,
    /// Records per second of the latency runs.
    pub rate: u64,
    /// One node without replicas.
    pub single: Side,
    pub cluster: Side,
    /// What the replica had missed, in units of 1,000,000,000 bytes.
    pub catch_up_gigabytes: f64,
    /// What producers send meanwhile, in MB/s.
    pub catch_up_load_megabytes_per_second: f64,
    /// From the start of its process until all replicas are in sync.
    pub catch_up_seconds: f64,
    /// The producers' latency meanwhile, by whole batches.
    pub catch_up_latency: Percentiles,
}

/// Measures one node, then the cluster, then the return of a replica.
pub fn measure(options: &Options, directory: &Path) -> Result<Results> {
    let binary = match &options.broker {
        Some(binary) => std::path::absolute(binary)?,
        None => super::broker::build()?,
    };
    let replicas = options.nodes.min(3);
    let mut results = Results {
        nodes: options.nodes,
        replicas,
        min_insync: replicas.div_ceil(2),
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        load_average: load_average(),
        record_bytes: options.record_bytes,
        rate: options.rate,
        ..Results::default()
    };
    println!("measuring one node with {:.1} GB", options.gigabytes);
    let mut broker = Broker::start(&binary, &directory.join("single"))?;
    broker.wait_until(|connection| connection.api_versions())?;
    let single = [broker.address];
    results.single = measure_side(options, &single, 1)?;
    broker.kill()?;

    let nodes = usize::from(options.nodes);
    println!("measuring {nodes} nodes with {:.1} GB", options.gigabytes);
    let network = (Network::loopback(nodes)?, Guard::start()?);
    let mut cluster = Cluster::prepare(&binary, directory, network, nodes, &[])?;
    cluster.start_all()?;
    cluster.wait_ready(WAIT_LIMIT)?;
    let addresses: Vec<SocketAddr> = (0..nodes).map(|node| cluster.client(node)).collect();
    results.cluster = measure_side(options, &addresses, replicas)?;
    measure_catch_up(options, &mut cluster, &addresses, &mut results)?;
    Ok(results)
}

fn measure_side(options: &Options, addresses: &[SocketAddr], replicas: u8) -> Result<Side> {
    let partitions = options.producers.max(1);
    let leaders = create(addresses, THROUGHPUT_TOPIC, partitions, replicas)?;
    let load = options.closed_loop(addresses[0], options.gigabytes);
    let sent = super::load::ClosedLoop { leaders, ..load }.run()?;
    let leaders = create(addresses, LATENCY_TOPIC, partitions, replicas)?;
    println!("measuring latency at {} records a second", options.rate);
    let load = FixedRate { leaders, ..options.fixed_rate(addresses[0]) };
    let latency = Percentiles::of(load.run()?);
    Ok(Side { megabytes_per_second: sent.megabytes_per_second(), latency })
}

/// One node misses so much, and comes back while producers go on at half of what they can.
fn measure_catch_up(
    options: &Options,
    cluster: &mut Cluster,
    addresses: &[SocketAddr],
    results: &mut Results,
) -> Result<()> {
    let partitions = options.producers.max(1);
    create(addresses, CATCH_UP_TOPIC, partitions, results.replicas)?;
    let (away, present) = addresses.split_last().context("a cluster has nodes")?;
    cluster.kill(addresses.len() - 1)?;
    let what = ("leaders that are there", WAIT_LIMIT);
    let metadata =
        wait_for(present, CATCH_UP_TOPIC, what, |metadata| !metadata.leaders.contains(away))?;
    println!("writing {:.1} GB while a replica is away", options.catch_up_gigabytes);
    let load = options.closed_loop(present[0], options.catch_up_gigabytes);
    let topic = CATCH_UP_TOPIC.to_owned();
    let leaders = metadata.leaders;
    let load = super::load::ClosedLoop { leaders: leaders.clone(), topic: topic.clone(), ..load };
    results.catch_up_gigabytes = load.run()?.bytes as f64 / GIGABYTE;

    let half = results.cluster.megabytes_per_second / 2.0;
    println!("measuring its return while producers send {half:.0} MB/s");
    let batch = (options.records_per_batch.max(1) * options.record_bytes) as f64;
    let load = FixedRate {
        leaders,
        topic,
        producers: partitions,
        records_per_request: options.records_per_batch.max(1),
        record_bytes: options.record_bytes,
        requests_per_second: half * 1e6 / batch.max(1.0),
        duration: CATCH_UP_LIMIT,
    };
    let over = AtomicBool::new(false);
    let started = Instant::now();
    cluster.start(addresses.len() - 1)?;
    let replicas = usize::from(results.replicas);
    let (caught_up, latencies) = std::thread::scope(|scope| {
        let producers = scope.spawn(|| load.run_unless(&over));
        let what = ("all replicas in sync", CATCH_UP_LIMIT);
        let caught_up = wait_for(present, CATCH_UP_TOPIC, what, |metadata| {
            metadata.in_sync.iter().all(|count| *count == replicas)
        })
        .map(|_| started.elapsed());
        over.store(true, Ordering::Relaxed);
        (caught_up, producers.join())
    });
    let latencies = latencies.map_err(|_| anyhow::anyhow!("the producers panicked"))??;
    results.catch_up_seconds = caught_up?.as_secs_f64();
    results.catch_up_load_megabytes_per_second = half;
    results.catch_up_latency = Percentiles::of(latencies);
    Ok(())
}

/// Creates a topic and waits until all its replicas are in sync; returns its leaders.
fn create(
    addresses: &[SocketAddr],
    topic: &str,
    partitions: usize,
    replicas: u8,
) -> Result<Vec<SocketAddr>> {
    let started = Instant::now();
    // Nodes that are ready may not know each other yet.
    while let Err(error) = Connection::open(addresses[0])
        .and_then(|mut node| node.create_topic(topic, partitions, i16::from(replicas)))
    {
        if started.elapsed() > WAIT_LIMIT {
            return Err(error);
        }
        std::thread::sleep(ASK_EVERY);
    }
    let metadata = wait_for(addresses, topic, ("all replicas in sync", WAIT_LIMIT), |metadata| {
        metadata.in_sync.len() == partitions
            && metadata.in_sync.iter().all(|count| *count == usize::from(replicas))
    })?;
    Ok(metadata.leaders)
}

/// Asks one node after the other until what it tells is as wanted.
fn wait_for(
    addresses: &[SocketAddr],
    topic: &str,
    (what, limit): (&str, Duration),
    wanted: impl Fn(&Metadata) -> bool,
) -> Result<Metadata> {
    let started = Instant::now();
    for address in addresses.iter().cycle() {
        let told = Connection::open(*address).and_then(|mut node| node.metadata(topic));
        if let Ok(metadata) = told
            && wanted(&metadata)
        {
            return Ok(metadata);
        }
        if started.elapsed() > limit {
            break;
        }
        std::thread::sleep(ASK_EVERY);
    }
    bail!("not within {} s: {what}", limit.as_secs())
}

impl Results {
    /// Prints the table.
    pub fn print(&self) {
        println!(
            "{} nodes on {} processors, {} replicas, {} in sync at least, {} byte records, every \
             ack after an fsync of each replica in sync",
            self.nodes, self.processors, self.replicas, self.min_insync, self.record_bytes,
        );
        if self.load_average > 0.5 {
            println!(
                "this machine is busy with something else (load {:.1}): do not trust the numbers",
                self.load_average
            );
        }
        print_table(&self.rows());
    }

    fn rows(&self) -> Vec<Row> {
        let (one, all) = (&self.single, &self.cluster);
        let side = |name: &str| format!("{name}, {} nodes", self.nodes);
        let times = |value: f64, base: f64| format!("{:.2}", ratio(value, base));
        vec![
            Row::plain("throughput, 1 node", mbps(one.megabytes_per_second)),
            Row::plain(side("throughput"), mbps(all.megabytes_per_second)),
            Row::plain(
                "throughput to 1 node",
                times(all.megabytes_per_second, one.megabytes_per_second),
            ),
            Row::plain(format!("latency at {}/s, p50, 1 node", self.rate), ms(one.latency.p50_ms)),
            Row::plain(side(&format!("latency at {}/s, p50", self.rate)), ms(all.latency.p50_ms)),
            Row::plain("p50 to 1 node", times(all.latency.p50_ms, one.latency.p50_ms)),
            Row::plain(format!("latency at {}/s, p99, 1 node", self.rate), ms(one.latency.p99_ms)),
            Row::plain(side(&format!("latency at {}/s, p99", self.rate)), ms(all.latency.p99_ms)),
            Row::plain("p99 to 1 node", times(all.latency.p99_ms, one.latency.p99_ms)),
            Row::plain("load while a replica returns", {
                mbps(self.catch_up_load_megabytes_per_second)
            }),
            Row::plain(
                format!("in sync again, {:.1} GB missed", self.catch_up_gigabytes),
                format!("{:.1} s", self.catch_up_seconds),
            ),
            Row::plain("batch latency meanwhile, p50", ms(self.catch_up_latency.p50_ms)),
            Row::plain("batch latency meanwhile, p99", ms(self.catch_up_latency.p99_ms)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_stands_beside_one_node() {
        let mut results = Results { nodes: 3, rate: 2000, ..Results::default() };
        results.single.megabytes_per_second = 400.0;
        results.cluster.megabytes_per_second = 100.0;
        let rows = results.rows();
        let value = |measure: &str| {
            rows.iter().find(|row| row.measure.contains(measure)).unwrap().value.clone()
        };
        assert_eq!(value("throughput, 3 nodes"), "100 MB/s");
        assert_eq!(value("throughput to 1 node"), "0.25");
    }
}
