//! `highwater dev`: a whole cluster in one process, on this machine's loopback.

use super::{arguments::Dev, doors::doors_for, logging, output::Output, serve::Signals};
use anyhow::Context;
use bytes::Bytes;
use highwater_node::{
    config::{BrokerConfig, Settings},
    env::{Disk, Entropy, OpenMode, OsDisk, OsEntropy},
    server::{Broker, StartError},
    tasks::{TaskHandle, Tasks},
};
use serde_json::json;
use std::{io, path::Path, sync::Arc};
use tokio::{net::TcpListener, sync::mpsc};

const HOST: &str = "127.0.0.1";
/// From a broker's port for clients to its port for other brokers.
const PEER_PORT_DISTANCE: u16 = 10_000;
/// Where ports are looked for.
const FIRST_BASE: u16 = 9092;
const LAST_BASE: u16 = 19_000;
const BASE_STEP: usize = 100;
/// What a topic of a cluster has, unless it says otherwise.
const REPLICAS_MAX: u16 = 3;
/// Holds the cluster's id, which is drawn at the first start.
const CLUSTER_FILE: &str = "cluster.id";
const TEMPORARY_FILE: &str = "cluster.id.tmp";
const CLUSTER_ID_BYTES_MAX: usize = 64;

/// Runs a cluster until SIGTERM or SIGINT.
pub async fn run(arguments: Dev, output: Output) -> anyhow::Result<()> {
    logging::start(arguments.log_format)?;
    logging::abort_on_panic();
    let mut signals = Signals::new()?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new().context("cannot start the I/O threads")?);
    let cluster_id = cluster_id(&*disk, &OsEntropy, &arguments.data).await;
    let in_dir = || format!("cannot use {}", arguments.data.display());
    let cluster_id = cluster_id.with_context(in_dir)?;
    let base = match arguments.listen_base {
        Some(base) => base,
        None => free_base(arguments.nodes).await?,
    };
    let configs = configs(&arguments.data, arguments.nodes, base, &cluster_id)?;
    let servers: Vec<_> = configs
        .iter()
        .map(|config| config.advertised.as_ref().map_or_else(String::new, ToString::to_string))
        .collect();
    let brokers = tokio::select! {
        biased;
        started = start_all(configs, &disk) => started?,
        // Nothing was acknowledged yet, and recovery repeats what it did: stopping is safe.
        () = signals.stop() => return Ok(()),
    };
    let servers = servers.join(",");
    output.print(
        || json!({ "bootstrap_servers": servers, "cluster_id": cluster_id }),
        |out| writeln!(out, "bootstrap servers: {servers}"),
    )?;
    signals.stop().await;
    tracing::info!("shutting down");
    tokio::select! {
        biased;
        () = shut_down(brokers) => {}
        // A second signal does not wait: what was acknowledged is on disk already.
        () = signals.stop() => tracing::warn!("stopped before the shutdown was clean"),
    }
    Ok(())
}

/// The configuration of every broker of a cluster.
fn configs(
    data: &Path,
    nodes: u16,
    base: u16,
    cluster_id: &str,
) -> anyhow::Result<Vec<BrokerConfig>> {
    let peer_port = |node: u16| base + PEER_PORT_DISTANCE + node - 1;
    let voters = (1..=nodes).map(|node| format!("{node}@{HOST}:{}", peer_port(node)));
    let voters = voters.collect::<Vec<_>>().join(",");
    let replicas = nodes.min(REPLICAS_MAX);
    // All but one, so that one broker may be down.
    let in_sync = replicas.saturating_sub(1).max(1);
    let config = |node: u16| {
        let (client, peer) = (base + node - 1, peer_port(node));
        let dir = data.join(format!("node-{node}"));
        let dir = dir.to_str().context("the data directory's name is not UTF-8")?;
        let mut settings = Settings::new();
        for (key, value) in [
            ("node.id", node.to_string().as_str()),
            ("cluster.id", cluster_id),
            ("controller.quorum.voters", &voters),
            ("listeners", &format!("PLAINTEXT://{HOST}:{client},CONTROLLER://{HOST}:{peer}")),
            ("log.dir", dir),
            ("admin.listen", "none"),
            ("default.replication.factor", &replicas.to_string()),
            ("min.insync.replicas", &in_sync.to_string()),
            ("offsets.topic.replication.factor", &replicas.to_string()),
            // As in the server.properties that Kafka ships: a developer waits for no one.
            ("group.initial.rebalance.delay.ms", "0"),
        ] {
            settings.set(key, value, "highwater dev");
        }
        Ok(settings.build()?)
    };
    (1..=nodes).map(config).collect()
}

/// The cluster's id in its directory, drawn now if there is none.
async fn cluster_id(disk: &dyn Disk, entropy: &dyn Entropy, data: &Path) -> io::Result<String> {
    disk.create_dir(data).await?;
    let path = data.join(CLUSTER_FILE);
    match disk.open(&path, OpenMode::Read).await {
        Ok(file) => {
            let bytes = file.read_at(0, CLUSTER_ID_BYTES_MAX + 1).await?;
            let text = std::str::from_utf8(&bytes).map_err(io::Error::other)?;
            return Ok(text.trim().to_owned());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = format!("{:016x}{:016x}", entropy.next_u64(), entropy.next_u64());
    let temporary = data.join(TEMPORARY_FILE);
    let file = disk.open(&temporary, OpenMode::Replace).await?;
    file.write_at(0, vec![Bytes::from(format!("{id}\n"))]).await?;
    file.sync().await?;
    disk.rename(&temporary, &path).await?;
    disk.sync_dir(data).await?;
    Ok(id)
}

/// The first base whose ports are all free at this moment.
async fn free_base(nodes: u16) -> anyhow::Result<u16> {
    for base in (FIRST_BASE..=LAST_BASE).step_by(BASE_STEP) {
        if all_free(base, nodes).await {
            return Ok(base);
        }
    }
    anyhow::bail!(
        "no free ports were found from {FIRST_BASE} to {LAST_BASE}; choose them with --listen-base"
    )
}

async fn all_free(base: u16, nodes: u16) -> bool {
    for port in base..base + nodes {
        for port in [port, port + PEER_PORT_DISTANCE] {
            if TcpListener::bind((HOST, port)).await.is_err() {
                return false;
            }
        }
    }
    true
}

/// Starts all brokers at the same time: each may need the others to get ready.
async fn start_all(
    configs: Vec<BrokerConfig>,
    disk: &Arc<dyn Disk>,
) -> Result<Vec<Broker>, StartError> {
    let tasks = Tasks::default();
    let (outcomes, mut started) = mpsc::channel(configs.len());
    let start = |config: BrokerConfig| {
        let (outcomes, doors) = (outcomes.clone(), doors_for(&config, disk.clone()));
        tasks.spawn("dev-broker", async move {
            // Nobody waits for it any more only when the process ends.
            let _ = outcomes.send(Broker::start(config, doors).await).await;
        })
    };
    let starting: Vec<_> = configs.into_iter().map(start).collect();
    drop(outcomes);
    let (mut brokers, mut failed) = (Vec::new(), None);
    while let Some(outcome) = started.recv().await {
        match outcome {
            Ok(broker) => brokers.push(broker),
            Err(error) => {
                failed.get_or_insert(error);
                // The others may wait for the one that failed.
                starting.iter().for_each(TaskHandle::abort);
            }
        }
    }
    let Some(error) = failed else { return Ok(brokers) };
    shut_down(brokers).await;
    Err(error)
}

async fn shut_down(brokers: Vec<Broker>) {
    let tasks = Tasks::default();
    let stop = |broker: Broker| tasks.spawn("dev-stop", async move { broker.shutdown().await });
    let stopping: Vec<_> = brokers.into_iter().map(stop).collect();
    for stopped in stopping {
        stopped.join().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_node::config::HostPort;

    #[test]
    fn every_broker_knows_all_and_has_ports_and_data_of_its_own() {
        let configs = configs(Path::new("/d"), 3, 9092, "c").expect("they are right");
        assert_eq!(configs.len(), 3);
        for (config, index) in configs.iter().zip(0_u16..) {
            assert_eq!(config.node_id.0, i32::from(index) + 1);
            assert_eq!(config.cluster_id.as_deref(), Some("c"));
            assert_eq!(config.advertised, Some(HostPort::new(HOST, 9092 + index)));
            assert_eq!(config.peer_listen, Some(HostPort::new(HOST, 19_092 + index)));
            assert_eq!(config.peer_advertised, config.peer_listen);
            assert_eq!(config.voters, configs[0].voters);
            assert_eq!(config.data_dir, Path::new("/d").join(format!("node-{}", index + 1)));
            assert_eq!(
                (config.default_replication_factor, config.admin_listen.as_ref()),
                (3, None)
            );
            assert_eq!(config.static_configs()["min.insync.replicas"], "2");
        }
        let alone = super::configs(Path::new("/d"), 1, 1, "c").expect("it is right");
        assert_eq!(alone[0].default_replication_factor, 1);
        assert_eq!(alone[0].static_configs()["min.insync.replicas"], "1");
        let most =
            super::configs(Path::new("/d"), 100, 55_000, "c").expect("ports do not overflow");
        assert_eq!(most[99].peer_listen, Some(HostPort::new(HOST, 65_099)));
    }

    #[tokio::test]
    async fn the_cluster_id_is_drawn_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("dev");
        let disk = OsDisk::new().expect("it starts");
        let id = cluster_id(&disk, &OsEntropy, &data).await.expect("it is written");
        assert_eq!(id.len(), 32);
        assert_eq!(cluster_id(&disk, &OsEntropy, &data).await.expect("it is read"), id);
    }
}
