//! The server: it opens the metadata log, registers, opens the partitions and serves clients.

mod connection;
pub mod identity;
mod listener;

use crate::{
    broker::{FetchSessions, MemoryBudget, MeteredDisk, Partitions, ProducerIds, Shared, upkeep},
    config::BrokerConfig,
    env::{Doors, OpenMode},
    log::LogError,
    metrics::Metrics,
    quorum::{LocalQuorum, OpenError, ProposeError, Quorum, Watch},
    tasks::{TaskHandle, Tasks},
};
use highwater_core::{
    metadata::{Command, Image, Reply},
    types::{Incarnation, MetadataOffset},
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// Memory for records being read into answers, all connections together.
const READ_BYTES_MAX: usize = 16 << 20;
/// How long a clean shutdown waits for answers to be written.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// There, the last shutdown was clean. Its absence changes only what is logged at start.
const CLEAN_SHUTDOWN_FILE: &str = "clean-shutdown";

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
        let identity = identity::claim(&config, &*doors.disk).await?;
        config.cluster_id = identity.cluster_id;
        let clean = take_clean_shutdown(&config, &doors).await?;
        let dir = config.data_dir.clone();
        let quorum: Arc<dyn Quorum> = Arc::new(
            LocalQuorum::open(config.node_id, doors.disk.clone(), &tasks, &dir.join("metadata"))
                .await?,
        );
        let registered = register(&config, &doors, &*quorum).await?;
        let (socket, listen_address) = listener::bind(&config).await?;
        let partitions = Arc::new(Partitions::new(
            doors.clone(),
            tasks.clone(),
            metrics.clone(),
            &config,
            dir.join("topics"),
        ));
        let image = quorum.image();
        partitions.sweep(&image).await?;
        partitions.follow(&image).await;
        let shared = Arc::new(Shared {
            metrics,
            memory: MemoryBudget::new(config.queued_max_request_bytes),
            reads: MemoryBudget::new(READ_BYTES_MAX),
            fetch_sessions: Mutex::new(FetchSessions::new(config.fetch_session_slots)),
            followed: Arc::new(Watch::new(registered.0, ())),
            is_closing: AtomicBool::new(false),
            close_notice: Notify::new(),
            places: Arc::new(Semaphore::new(config.max_connections)),
            advertised: listener::advertised(&config, listen_address),
            cluster_id: cluster_id(&config, &image),
            static_configs: config.static_configs(),
            config,
            doors,
            tasks: tasks.clone(),
            quorum,
            partitions,
            producer_ids: ProducerIds::default(),
        });
        tasks.spawn("follow-metadata", upkeep::follow_metadata(shared.clone()));
        tasks.spawn("retention", upkeep::enforce_retention(shared.clone()));
        let listener = tasks.spawn("listener", listener::accept(shared.clone(), socket));
        let (count, offline) = shared.partitions.counts();
        tracing::info!(
            address = %listen_address, partitions = count, offline, clean_shutdown = clean,
            data = %dir.display(), cluster = %shared.cluster_id, "broker started"
        );
        Ok(Self { shared, listen_address, listener, _lock: lock })
    }

    /// The address that clients connect to on this machine.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen_address
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
        !self.shared.is_closing()
    }

    /// Stops cleanly: no new connection and no new request, what was taken in is answered, every
    /// log flushed and checkpointed, so that the next start has nothing to scan.
    pub async fn shutdown(&self) {
        self.shared.close();
        self.listener.abort();
        self.drain_connections().await;
        let clean = self.shared.partitions.close().await;
        if !clean {
            tracing::warn!("shut down, but not every log was closed: the next start recovers them");
            return;
        }
        let dir = &self.shared.config.data_dir;
        match write_clean_shutdown(&self.shared.doors, dir).await {
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

/// Whether the last shutdown was clean; from now on it is not, until the next clean one.
async fn take_clean_shutdown(config: &BrokerConfig, doors: &Doors) -> Result<bool, StartError> {
    let path = config.data_dir.join(CLEAN_SHUTDOWN_FILE);
    let removed = match doors.disk.remove(&path).await {
        Ok(()) => doors.disk.sync_dir(&config.data_dir).await.map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    removed.map_err(|error| StartError::DataDirectory { path, error })
}

async fn write_clean_shutdown(doors: &Doors, dir: &Path) -> io::Result<()> {
    let file = doors.disk.open(&dir.join(CLEAN_SHUTDOWN_FILE), OpenMode::Replace).await?;
    file.sync().await?;
    doors.disk.sync_dir(dir).await
}

/// The configured id, or one that is as old as the metadata: the first registration's.
fn cluster_id(config: &BrokerConfig, image: &Image) -> String {
    config.cluster_id.clone().unwrap_or_else(|| {
        let first = image.founder().expect("this broker has registered");
        format!("{:032x}", first.0)
    })
}

/// Registers this incarnation: a new broker epoch, and with it a new leader epoch for every
/// partition that this broker leads.
async fn register(
    config: &BrokerConfig,
    doors: &Doors,
    quorum: &dyn Quorum,
) -> Result<MetadataOffset, ProposeError> {
    let (high, low) = (doors.entropy.next_u64(), doors.entropy.next_u64());
    let command = Command::RegisterBroker {
        broker: config.node_id,
        incarnation: Incarnation(u128::from(high) << 64 | u128::from(low)),
        at: doors.clock.now().wall,
    };
    let (offset, reply) = quorum.propose(command).await?;
    let Reply::BrokerRegistered { broker_epoch } = reply else {
        unreachable!("a registration was answered with {reply:?}")
    };
    tracing::debug!(%broker_epoch, "registered");
    Ok(offset)
}
