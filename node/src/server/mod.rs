//! The server: it opens the metadata log, registers, opens the partitions and serves clients.

mod clean_shutdown;
mod connection;
pub mod identity;
mod inspection;
mod listener;
mod quorum;

pub use inspection::ReplicaOffsets;

use crate::{
    broker::{
        ControllerDriver, FetchSessions, IsrChanges, Membership, MemoryBudget, MeteredDisk,
        Partitions, Peers, ProducerIds, Replication, ReplicationOptions, Shared, compaction,
        membership::{self, Registrant},
        upkeep,
    },
    config::{BrokerConfig, HostPort},
    coordinator::Coordinators,
    env::Doors,
    log::LogError,
    metrics::Metrics,
    quorum::{Leadership, OpenError, ProposeError, Watch},
    tasks::{TaskHandle, Tasks},
};
use highwater_core::{
    controller::ControllerConfig,
    metadata::{Endpoint, Image},
    types::{BrokerEpoch, DirectoryId},
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// Memory for records being read into answers, all connections together.
const READ_BYTES_MAX: usize = 16 << 20;
/// How long a clean shutdown waits for answers to be written.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory {}: {error}", path.display())]
    DataDirectory { path: PathBuf, error: io::Error },
    /// Another process uses the data directory.
    #[error(
        "data directory {} is in use by another broker; stop that one, or give this one a \
         directory of its own with --data",
        path.display()
    )]
    Locked { path: PathBuf },
    /// The data directory is not this broker's.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The directory of the partitions cannot be read.
    #[error(transparent)]
    Partitions(#[from] LogError),
    /// The metadata log cannot be used.
    #[error(transparent)]
    Metadata(#[from] OpenError),
    /// The broker could not register itself.
    #[error("the broker could not register in the metadata log: {0}")]
    Register(#[from] ProposeError),
    /// The listener cannot be bound.
    #[error("cannot listen on {address}: {error}; choose another address with --listen")]
    Listen { address: String, error: io::Error },
}

/// A running broker.
pub struct Broker {
    shared: Arc<Shared>,
    listen_address: SocketAddr,
    listener: TaskHandle<()>,
    is_clustered: bool,
    _lock: Box<dyn Send + Sync>,
}

impl Broker {
    /// Starts a broker: when this returns, every partition is open or reported offline, and
    /// clients are served.
    pub async fn start(mut config: BrokerConfig, doors: Doors) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let metrics = Arc::new(Metrics::new());
        let metered = MeteredDisk::new(doors.disk, doors.clock.clone(), metrics.clone());
        let doors = Doors { disk: Arc::new(metered), ..doors };
        let lock = lock_data_dir(&config, &doors).await?;
        let identity = identity::claim(&config, &*doors.disk, &*doors.entropy).await?;
        config.cluster_id = identity.cluster_id;
        let dir = config.data_dir.clone();
        let clean_shutdown_of = take_clean_shutdown(&config, &doors).await?;
        let is_clean = clean_shutdown_of.is_some();
        let quorum = quorum::open(&config, &doors, &tasks).await?;
        let controller = ControllerDriver::new(
            config.node_id,
            (controller_config(&config), config.broker_heartbeat_interval),
            &doors,
            quorum.metadata.clone(),
            tasks.clone(),
        );
        let peers = quorum.peer.map(|peer| Peers::new(peer, controller.clone()));
        if let Some(peers) = &peers {
            listen_for_peers(&config, &doors, peers.clone()).await?;
            tasks.spawn("controller", controller.clone().run());
        }
        let quorum = quorum.metadata;
        let (socket, listen_address) = listener::bind(&config).await?;
        let advertised = listener::advertised(&config, listen_address);
        let registrant = registrant(&config, &advertised, identity.directory, clean_shutdown_of);
        let (broker_epoch, registered) = membership::register(registrant, &doors, &*quorum).await?;
        membership::publish_defaults(&config, &*quorum).await;
        let isr_changes = Arc::new(IsrChanges::default());
        let partitions = Arc::new(Partitions::new(
            doors.clone(),
            tasks.clone(),
            metrics.clone(),
            &config,
            isr_changes.clone(),
            dir.join("topics"),
        ));
        let image = quorum.image();
        partitions.sweep(&image).await?;
        partitions.follow(&image).await;
        let replication = Replication::new(
            doors.clock.clone(),
            doors.transport.clone(),
            tasks.clone(),
            replication_options(&config),
            broker_epoch,
        );
        let shared = Arc::new(Shared {
            memory: MemoryBudget::new(config.queued_max_request_bytes),
            reads: MemoryBudget::new(READ_BYTES_MAX),
            fetch_sessions: Mutex::new(FetchSessions::new(config.fetch_session_slots)),
            followed: Arc::new(Watch::new(registered.0, ())),
            is_closing: AtomicBool::new(false),
            close_notice: Notify::new(),
            places: Arc::new(Semaphore::new(config.max_connections)),
            cluster_id: cluster_id(&config, &image),
            static_configs: config.static_configs(),
            coordinators: Coordinators::new(
                &config,
                &doors,
                quorum.clone(),
                tasks.clone(),
                metrics.clone(),
            ),
            metrics,
            config,
            doors,
            tasks: tasks.clone(),
            quorum,
            partitions,
            broker_epoch,
            membership: Membership::default(),
            replication,
            producer_ids: ProducerIds::default(),
        });
        let broker = shared.config.node_id;
        let (quorum, followed) = (shared.quorum.clone(), shared.followed.clone());
        let clock = shared.doors.clock.clone();
        let changes = isr_changes.run(quorum, followed, clock, (broker, broker_epoch));
        tasks.spawn("isr-changes", changes);
        tasks.spawn("follow-metadata", upkeep::follow_metadata(shared.clone()));
        tasks.spawn("check-replicas", upkeep::check_replicas(shared.clone()));
        tasks.spawn("retention", upkeep::enforce_retention(shared.clone()));
        tasks.spawn("compaction", compaction::compact_logs(shared.clone()));
        if let Some(peers) = &peers {
            peers.open(shared.clone());
            tasks.spawn("heartbeat", membership::beat(shared.clone(), controller));
        }
        let unfenced =
            membership::unfence(broker, broker_epoch, &shared.doors, &*shared.quorum).await?;
        shared.followed.changed(unfenced.0 - 1).await;
        let listener = tasks.spawn("listener", listener::accept(shared.clone(), socket));
        let (count, offline) = shared.partitions.counts();
        tracing::info!(
            address = %listen_address, partitions = count, offline, clean_shutdown = is_clean,
            data = %dir.display(), cluster = %shared.cluster_id, "broker started"
        );
        let is_clustered = peers.is_some();
        Ok(Self { shared, listen_address, listener, is_clustered, _lock: lock })
    }

    /// The address that clients connect to on this machine.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen_address
    }

    /// The metadata as far as this broker has applied it.
    pub fn image(&self) -> Arc<Image> {
        self.shared.quorum.image()
    }

    /// Who leads the metadata quorum, as far as this broker knows.
    pub fn leadership(&self) -> Leadership {
        self.shared.quorum.leadership()
    }

    /// The broker's counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Partitions that exist and those of them that are offline.
    pub fn partition_counts(&self) -> (usize, usize) {
        self.shared.partitions.counts()
    }

    /// Whether the broker takes traffic.
    pub fn ready(&self) -> bool {
        !self.shared.is_closing() && !self.shared.membership.fenced.load(Ordering::Acquire)
    }

    /// Completes with the reason when the broker cannot go on and must be stopped.
    pub async fn failed(&self) -> String {
        self.shared.failed().await
    }

    /// Stops cleanly: no new connection and no new request, what was taken in is answered, every
    /// log flushed and checkpointed, so that the next start has nothing to scan.
    pub async fn shutdown(&self) {
        if self.is_clustered {
            membership::hand_over(&self.shared).await;
        }
        self.shared.close();
        // Who waits for a group is sent away, and finds another coordinator.
        self.shared.coordinators.close();
        self.listener.abort();
        self.drain_connections().await;
        let clean = self.shared.partitions.close().await;
        if !clean {
            tracing::warn!("shut down, but not every log was closed: the next start recovers them");
            return;
        }
        let dir = &self.shared.config.data_dir;
        let (disk, epoch) = (&*self.shared.doors.disk, self.shared.broker_epoch);
        match clean_shutdown::write(disk, dir, epoch).await {
            Ok(()) => tracing::info!("shut down cleanly"),
            Err(error) => tracing::warn!(%error, "the clean-shutdown marker was not written"),
        }
    }
}

impl Broker {
    /// Waits until every connection has written its answers, or for [`DRAIN_TIMEOUT`].
    async fn drain_connections(&self) {
        let shared = &self.shared;
        let all = u32::try_from(shared.config.max_connections).unwrap_or(u32::MAX);
        let until = shared.doors.clock.now().monotonic.after(DRAIN_TIMEOUT);
        tokio::select! {
            biased;
            _ = shared.places.acquire_many(all) => {}
            () = shared.doors.clock.sleep_until(until) => {
                tracing::warn!("some clients did not read their answers; closing without them");
            }
        }
    }
}

async fn lock_data_dir(
    config: &BrokerConfig,
    doors: &Doors,
) -> Result<Box<dyn Send + Sync>, StartError> {
    let path = config.data_dir.clone();
    let at = |error| StartError::DataDirectory { path: path.clone(), error };
    doors.disk.create_dir(&path).await.map_err(at)?;
    // The data directory may be new itself: its own entry must be durable before anything in it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    doors.disk.sync_dir(parent.unwrap_or(Path::new("."))).await.map_err(at)?;
    doors.disk.lock(&path).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::Locked { path: path.clone() },
        _ => at(error),
    })
}

/// The registration that the last shutdown ended, if that was clean.
async fn take_clean_shutdown(
    config: &BrokerConfig,
    doors: &Doors,
) -> Result<Option<BrokerEpoch>, StartError> {
    let path = config.data_dir.clone();
    let taken = clean_shutdown::take(&*doors.disk, &path).await;
    taken.map_err(|error| StartError::DataDirectory { path, error })
}

async fn listen_for_peers(
    config: &BrokerConfig,
    doors: &Doors,
    peers: Arc<Peers>,
) -> Result<(), StartError> {
    let address = config.peer_listen.as_ref().map_or_else(String::new, HostPort::to_string);
    let listening = doors.transport.listen(peers).await;
    listening.map_err(|error| StartError::Listen { address, error })
}

fn controller_config(config: &BrokerConfig) -> ControllerConfig {
    ControllerConfig {
        session_timeout: config.broker_session_timeout,
        rebalance_interval: config
            .auto_leader_rebalance
            .then_some(config.leader_imbalance_check_interval),
    }
}

fn replication_options(config: &BrokerConfig) -> ReplicationOptions {
    ReplicationOptions {
        wait: config.replica_fetch_wait_max,
        max_bytes: config.replica_fetch_response_max_bytes,
    }
}

fn registrant(
    config: &BrokerConfig,
    advertised: &HostPort,
    directory: DirectoryId,
    clean_shutdown_of: Option<BrokerEpoch>,
) -> Registrant {
    let endpoint = |at: &HostPort| Endpoint { host: at.host.clone(), port: at.port };
    Registrant {
        broker: config.node_id,
        rack: config.rack.clone(),
        client_endpoint: endpoint(advertised),
        peer_endpoint: config.peer_advertised.as_ref().map_or_else(Endpoint::default, endpoint),
        directory,
        clean_shutdown_of,
    }
}

/// The configured id, or one that is as old as the metadata: the first registration's.
fn cluster_id(config: &BrokerConfig, image: &Image) -> String {
    config.cluster_id.clone().unwrap_or_else(|| {
        let first = image.founder().expect("this broker has registered");
        format!("{:032x}", first.0)
    })
}
