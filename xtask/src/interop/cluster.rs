//! Three nodes on the loopback interface whose leaders die under clients.
//!
//! The soak's producers and its reader run all the time; kcat looks at the cluster, and the Java
//! client writes and reads while the leader it writes to is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::clients::{self, Client};
use super::program::Program;
use super::{Places, Report, Verdict};
use crate::cluster::{Guard, Network};
use crate::soak::{self, Fault, Kind, Load, Run, Victim};

/// The name of these tests on the command line and in the report.
pub const NAME: &str = "cluster";

const NODES: usize = 3;

/// kcat's name for the replicas in the ISR, which is no word of ours.
const IN_SYNC: &str = concat!("is", "rs");

const LOAD: Load = Load { partitions: 6, producers: 3, rate: 200 };

/// The longest until kcat is told of all brokers and all replicas, by whichever broker it asks.
const KCAT_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two looks of kcat.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How long the node stays away that the Java client has killed.
const AWAY: Duration = Duration::from_secs(3);

/// What is done to the nodes, and for how many seconds. All are away for longer than the session of
/// a broker, so that others are elected; one for so long that the others have gone on without it.
const FAULTS: [(Kind, Victim, u64); 6] = [
    (Kind::Kill, Victim::Leader(0), 1),
    (Kind::Pause, Victim::Leader(1), 2),
    (Kind::Kill, Victim::Controller, 2),
    (Kind::Kill, Victim::Leader(2), 11),
    (Kind::Pause, Victim::Controller, 3),
    (Kind::KillAll, Victim::Controller, 1),
];

/// Runs them all; `has` tells which clients can be used.
pub fn run(places: &Places, binary: &Path, has: &dyn Fn(Client) -> bool, report: &mut Report) {
    if !has(Client::ConfluentKafka) {
        return;
    }
    let started = Instant::now();
    let mut cluster = match start(places, binary) {
        Ok(cluster) => cluster,
        Err(error) => return report.result(NAME, "start", started.elapsed(), Err(error)),
    };
    report.add(NAME, "start", Verdict::Passed, started.elapsed(), format!("{NODES} nodes"));
    if has(Client::Kcat) {
        step(report, "kcat-sees-all-brokers", || kcat_sees_all_brokers(&cluster.bootstrap()));
    }
    step(report, "leaders-die-and-return", || suffer(&mut cluster));
    if has(Client::Java) {
        java(places, &mut cluster, report);
    }
    let started = Instant::now();
    match cluster.finish() {
        Ok((_, _, checks)) => {
            let took = started.elapsed() / u32::try_from(checks.len().max(1)).unwrap_or(1);
            for check in checks {
                let verdict = if check.passed { Verdict::Passed } else { Verdict::Failed };
                report.add(NAME, &check.name, verdict, took, check.note);
            }
        }
        Err(error) => report.result(NAME, "judge", started.elapsed(), Err(error)),
    }
}

fn step(report: &mut Report, name: &str, work: impl FnOnce() -> Result<String>) {
    let started = Instant::now();
    let result = work();
    report.result(NAME, name, started.elapsed(), result);
}

fn start(places: &Places, binary: &Path) -> Result<Run> {
    let directory = places.fresh("cluster")?;
    let network = (Network::loopback(NODES)?, Guard::start()?);
    soak::start(places, binary, &directory, network, NODES, LOAD)
}

fn suffer(cluster: &mut Run) -> Result<String> {
    for (kind, victim, seconds) in FAULTS {
        let hold = Duration::from_secs(seconds);
        cluster.suffer(Fault { kind, victim, hold, hasty: false })?;
    }
    Ok(format!("{} faults", FAULTS.len()))
}

/// A broker that is busy may be fenced or out of an ISR for a moment.
fn kcat_sees_all_brokers(bootstrap: &str) -> Result<String> {
    let end = Instant::now() + KCAT_LIMIT;
    loop {
        let seen = look_with_kcat(bootstrap);
        if seen.is_ok() || Instant::now() > end {
            return seen.with_context(|| format!("not within {} s", KCAT_LIMIT.as_secs()));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn look_with_kcat(bootstrap: &str) -> Result<String> {
    let output = Command::new("kcat")
        .args(["-L", "-J", "-m", "20", "-b", bootstrap])
        .stdin(Stdio::null())
        .output()
        .context("cannot start kcat")?;
    ensure!(output.status.success(), "kcat ended with {}", output.status);
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let brokers = metadata["brokers"].as_array().map_or(0, Vec::len);
    ensure!(brokers == NODES, "kcat sees {brokers} brokers");
    let topics = metadata["topics"].as_array().context("kcat sees no topics")?;
    let topic = topics.iter().find(|topic| topic["topic"] == soak::TOPIC);
    let partitions = topic.context("kcat does not see the topic")?["partitions"].as_array();
    let whole = |partition: &&serde_json::Value| {
        partition[IN_SYNC].as_array().is_some_and(|replicas| replicas.len() == NODES)
    };
    let in_sync = partitions.map_or(0, |all| all.iter().filter(whole).count());
    ensure!(in_sync == LOAD.partitions, "kcat sees {in_sync} partitions with all replicas");
    Ok(format!("{brokers} brokers, {in_sync} partitions"))
}

/// The Java client says when the leader that it writes to is to be killed.
fn java(places: &Places, cluster: &mut Run, report: &mut Report) {
    let mut command = clients::java(places, "ClusterClient");
    command.arg(cluster.bootstrap()).arg("interop-cluster-java");
    let mut killed = Ok(0);
    Program::new("cluster-java", command, places)
        .on_line(|line| {
            let Some(id) = line.strip_prefix("kill-leader ").and_then(|id| id.parse().ok()) else {
                return;
            };
            if let Ok(count) = &mut killed {
                *count += 1;
                if let Err(error) = cluster.kill_and_restart(id, AWAY) {
                    killed = Err(error);
                }
            }
        })
        .run(report);
    step(report, "kill-9-under-java", || {
        let killed = killed?;
        ensure!(killed == 1, "{killed} kills took place");
        Ok("1 kill".into())
    });
}
