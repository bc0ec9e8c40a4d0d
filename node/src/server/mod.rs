//! The server: it opens the metadata log, registers, opens the partitions and serves clients.

mod clean_shutdown;
mod connection;
pub mod identity;
mod inspection;
mod listener;
mod quorum;

pub use inspection::{ReplicaHealth, ReplicaState};

use crate::{
    broker::{
        ControllerDriver, FetchSessions, IsrChanges, Membership, MemoryBudget, MeteredDisk,
        Partitions, Peers, ProducerIds, ReplicaSessions, Replication, ReplicationOptions, Shared,
        Throttles, compaction,
        membership::{self, Registrant},
        upkeep,
    },
    config::{BrokerConfig, HostPort},
    coordinator::Coordinators,
    env::Doors,
    log::LogError,
    metrics::{Metrics, Offsets},
    quorum::{Leadership, OpenError, ProposeError, QuorumStatus, Watch},
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

/// A running node: a broker, a controller or both.
pub struct Broker {
    shared: Arc<Shared>,
    listen_address: Option<SocketAddr>,
    listener: Option<TaskHandle<()>>,
    is_clustered: bool,
    _lock: Box<dyn Send + Sync>,
}

impl Broker {
    /// Starts a node. When this returns, every partition of a broker is open or reported offline, and
    /// clients are served; a controller that is no broker takes part in the quorum.
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
        let socket = listener::bind(&mut config).await?;
        let listen_address = socket.as_ref().map(|(_, bound)| *bound);
        let registration = if config.is_broker {
            let registrant = registrant(&config, identity.directory, clean_shutdown_of);
            let registered = membership::register(registrant, &doors, &*quorum).await?;
            membership::publish_defaults(&config, &*quorum).await;
            Some(registered)
        } else {
            None
        };
        let broker_epoch = registration.map(|(epoch, _)| epoch);
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
        if broker_epoch.is_some() {
            partitions.sweep(&image).await?;
            partitions.carry_out(partitions.tell(&image)).await;
        }
        let throttles = Arc::new(Throttles::default());
        let replication = Replication::new(
            doors.clock.clone(),
            doors.transport.clone(),
            tasks.clone(),
            (replication_options(&config), throttles.clone()),
            // Without a registration nothing is followed.
            broker_epoch.unwrap_or_default(),
        );
        let shared = Arc::new(Shared {
            memory: MemoryBudget::new(config.queued_max_request_bytes),
            reads: MemoryBudget::new(READ_BYTES_MAX),
            fetch_sessions: Mutex::new(FetchSessions::new(config.fetch_session_slots)),
            replica_sessions: Mutex::new(ReplicaSessions::new(broker_epoch.unwrap_or_default())),
            followed: Arc::new(Watch::new(registration.map_or(0, |(_, at)| at.0), ())),
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
            throttles,
            producer_ids: ProducerIds::default(),
        });
        tasks.spawn("follow-metadata", upkeep::follow_metadata(shared.clone()));
        tasks.spawn("check-replicas", upkeep::check_replicas(shared.clone()));
        if let Some(peers) = &peers {
            peers.open(shared.clone());
        }
        if let Some(epoch) = broker_epoch {
            let controller = peers.is_some().then_some(controller);
            serve_partitions(&shared, epoch, isr_changes, controller).await?;
        }
        let accept =
            |(socket, _)| tasks.spawn("listener", listener::accept(shared.clone(), socket));
        let listener = socket.map(accept);
        let (count, offline) = shared.partitions.counts();
        tracing::info!(
            address = listen_address.map(tracing::field::display), partitions = count, offline,
            clean_shutdown = is_clean, data = %dir.display(), cluster = %shared.cluster_id,
            "{} started", if shared.config.is_broker { "broker" } else { "controller" }
        );
        let is_clustered = peers.is_some();
        Ok(Self { shared, listen_address, listener, is_clustered, _lock: lock })
    }

    /// The address that clients connect to on this machine; a broker has one.
    pub fn listen_address(&self) -> Option<SocketAddr> {
        self.listen_address
    }

    /// The metadata as far as this broker has applied it.
    pub fn image(&self) -> Arc<Image> {
        self.shared.quorum.image()
    }

    /// The metadata quorum as this broker sees it.
    pub fn quorum_status(&self) -> QuorumStatus {
        self.shared.quorum.status()
    }

    /// Who leads the metadata quorum, as far as this broker knows.
    pub fn leadership(&self) -> Leadership {
        self.shared.quorum.leadership()
    }

    /// The broker's counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// The offsets of the partitions that this broker leads and of the groups that it coordinates.
    pub async fn offsets(&self) -> Offsets {
        self.shared.offsets().await
    }

    /// Partitions that exist and those of them that are offline.
    pub fn partition_counts(&self) -> (usize, usize) {
        self.shared.partitions.counts()
    }

    /// Whether a broker takes traffic, or a controller that is none knows a leader of the quorum.
    pub fn ready(&self) -> bool {
        let is_of_use = match self.shared.broker_epoch {
            Some(_) => !self.shared.membership.fenced.load(Ordering::Acquire),
            None => self.leadership().leader.is_some(),
        };
        !self.shared.is_closing() && is_of_use
    }

    /// Completes with the reason when the broker cannot go on and must be stopped.
    pub async fn failed(&self) -> String {
        self.shared.failed().await
    }

    /// Stops cleanly: no new connection and no new request, what was taken in is answered, every
    /// log flushed and checkpointed, so that the next start has nothing to scan. Whether the
    /// partitions that others could lead were handed over to them.
    pub async fn shutdown(&self) -> bool {
        let handed_over = !self.is_clustered || membership::hand_over(&self.shared).await;
        self.shared.close();
        // Who waits for a group is sent away, and finds another coordinator.
        self.shared.coordinators.close();
        if let Some(listener) = &self.listener {
            listener.abort();
        }
        self.drain_connections().await;
        let clean = self.shared.partitions.close().await;
        if !clean {
            tracing::warn!("shut down, but not every log was closed: the next start recovers them");
        } else if let Some(epoch) = self.shared.broker_epoch {
            self.mark_clean(epoch).await;
        }
        handed_over
    }
}

impl Broker {
    async fn mark_clean(&self, epoch: BrokerEpoch) {
        let (dir, disk) = (&self.shared.config.data_dir, &*self.shared.doors.disk);
        match clean_shutdown::write(disk, dir, epoch).await {
            Ok(()) => tracing::info!("shut down cleanly"),
            Err(error) => tracing::warn!(%error, "the clean-shutdown marker was not written"),
        }
    }

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

/// What a broker does beside following the metadata. Completes when it may lead partitions.
async fn serve_partitions(
    shared: &Arc<Shared>,
    epoch: BrokerEpoch,
    isr_changes: Arc<IsrChanges>,
    controller: Option<Arc<ControllerDriver>>,
) -> Result<(), StartError> {
    let (broker, tasks) = (shared.config.node_id, &shared.tasks);
    let (quorum, followed) = (shared.quorum.clone(), shared.followed.clone());
    let clock = shared.doors.clock.clone();
    tasks.spawn("isr-changes", isr_changes.run(quorum, followed, clock, (broker, epoch)));
    tasks.spawn("retention", upkeep::enforce_retention(shared.clone()));
    tasks.spawn("compaction", compaction::compact_logs(shared.clone()));
    if let Some(controller) = controller {
        tasks.spawn("heartbeat", membership::beat(shared.clone(), controller, epoch));
    }
    let unfenced = membership::unfence(broker, epoch, &shared.doors, &*shared.quorum).await?;
    shared.followed.changed(unfenced.0 - 1).await;
    Ok(())
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
    directory: DirectoryId,
    clean_shutdown_of: Option<BrokerEpoch>,
) -> Registrant {
    let endpoint = |at: &HostPort| Endpoint { host: at.host.clone(), port: at.port };
    Registrant {
        broker: config.node_id,
        rack: config.rack.clone(),
        client_endpoint: config.advertised.as_ref().map_or_else(Endpoint::default, endpoint),
        peer_endpoint: config.peer_advertised.as_ref().map_or_else(Endpoint::default, endpoint),
        directory,
        clean_shutdown_of,
        session_timeout: config.broker_session_timeout,
    }
}

/// The configured id, or one that is as old as the metadata: the first registration's.
fn cluster_id(config: &BrokerConfig, image: &Image) -> String {
    config.cluster_id.clone().unwrap_or_else(|| {
        let first = image.founder().expect("this broker has registered");
        format!("{:032x}", first.0)
    })
}
