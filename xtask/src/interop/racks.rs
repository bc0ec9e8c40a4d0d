//! Three nodes in racks of their own, and a consumer of librdkafka that reads in its rack (KIP-392)
//! while the node it reads from, and the leader, are killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::clients::{self, Client};
use super::program::Program;
use super::{Places, Report};
use crate::cluster::{Cluster, Guard, Network};

/// The name of these tests on the command line and in the report.
pub const NAME: &str = "racks";

const NODES: usize = 3;

const SETTINGS: [&str; 3] = [
    "broker.rack=rack-{node}",
    // A replica whose broker is fenced is read by nobody: a busy moment must not be enough for that.
    // Shorter than a killed node stays away, so that its death is noticed.
    "broker.session.timeout.ms=2000",
    "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector",
];

/// The longest until all nodes of the new cluster are ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(3);

/// How many nodes the program asks to have killed.
const KILLS: usize = 2;

/// Runs the program; `has` tells which clients can be used.
pub fn run(places: &Places, binary: &Path, has: &dyn Fn(Client) -> bool, report: &mut Report) {
    if !has(Client::ConfluentKafka) {
        return;
    }
    let started = Instant::now();
    let mut cluster = match start(places, binary) {
        Ok(cluster) => cluster,
        Err(error) => return report.result(NAME, "start", started.elapsed(), Err(error)),
    };
    report.result(NAME, "start", started.elapsed(), Ok(format!("{NODES} nodes")));
    let mut command = clients::python(places, "confluent_racks.py");
    command.args([cluster.bootstrap().as_str(), "interop-racks"]);
    let mut kills = Ok(0);
    Program::new(NAME, command, places)
        .on_line(|line| {
            let node = line.strip_prefix("kill-node ").and_then(|id| id.parse::<usize>().ok());
            let Some(node) = node.filter(|node| (1..=NODES).contains(node)) else { return };
            if let Ok(count) = &mut kills {
                *count += 1;
                if let Err(error) = kill_and_restart(&mut cluster, node - 1) {
                    kills = Err(error);
                }
            }
        })
        .run(report);
    let started = Instant::now();
    let killed = kills.and_then(|count| {
        ensure!(count == KILLS, "{count} kills took place");
        Ok(format!("{KILLS} kills"))
    });
    report.result(NAME, "kill-9-under-the-reader", started.elapsed(), killed);
    let started = Instant::now();
    report.result(NAME, "stop-after-the-reader", started.elapsed(), stop(cluster));
}

fn start(places: &Places, binary: &Path) -> Result<Cluster> {
    let directory = places.fresh(NAME)?;
    let surroundings = (Network::loopback(NODES)?, Guard::start()?);
    let mut cluster = Cluster::prepare(binary, &directory, surroundings, NODES, &SETTINGS)?;
    cluster.start_all()?;
    cluster.wait_ready(START_LIMIT)?;
    Ok(cluster)
}

fn kill_and_restart(cluster: &mut Cluster, node: usize) -> Result<()> {
    cluster.kill(node)?;
    std::thread::sleep(AWAY);
    cluster.start(node)
}

fn stop(mut cluster: Cluster) -> Result<String> {
    let mut accidents = cluster.ended_by_themselves();
    accidents.extend(cluster.panics());
    ensure!(accidents.is_empty(), "{}", accidents.join("; "));
    // A process that has only just begun would be ended by the signal, and not end by itself.
    cluster.wait_ready(START_LIMIT)?;
    (0..NODES).try_for_each(|node| cluster.terminate(node).map(drop))?;
    Ok(format!("{NODES} nodes"))
}
