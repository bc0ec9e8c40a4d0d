//! The replicated metadata quorum: the metadata log is agreed on by the voters through Raft.
//!
//! openraft decides; it is named in this directory only. What it needs of the world comes through
//! our doors: [`runtime`] gives it tasks, time and randomness, [`storage`] and [`log_file`] keep
//! its log, [`snapshots`] the image that replaces old entries, [`network`] carries its calls, and
//! [`state_machine`] applies what was agreed on to the metadata image. [`admission`] decides who
//! takes part at all, [`succession`] lets a leader that is gone have a successor at once.
//!
//! The offset of an entry is the one behind it: its index in the log plus one. Entries without a
//! command (a new leader's first one, a change of the quorum's members) move the image's offset
//! too, so that equal offsets mean equal images on every node.

mod admission;
mod channels;
mod forwarding;
mod founding;
mod log_file;
mod log_state;
mod members;
mod network;
mod propose;
mod runtime;
mod snapshots;
mod state_machine;
mod storage;
mod succession;
#[cfg(test)]
mod tests;
mod types;
mod watch;

use super::{ChangeError, Leadership, OpenError, ProposeError, Quorum, QuorumStatus, Watch};
use crate::{
    config::MetadataSnapshots,
    env::{self, BoxFuture, Doors, Transport},
    peer::{
        PeerService,
        messages::{PeerReply, PeerRequest, VoterChange},
    },
    tasks::Tasks,
};
use highwater_core::{
    metadata::{Command, Endpoint, Image, Reply},
    mutant::Mutant,
    sometimes,
    types::{BrokerId, MetadataOffset},
};
use log_file::{LogFile, WRITES_MAX};
use log_state::Record;
use network::Network;
use openraft::{Config, Raft, ServerState, SnapshotPolicy, async_runtime::WatchReceiver};
use runtime::World;
use snapshots::{Snapshot, Snapshots};
use state_machine::StateMachine;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};
use storage::{Log, LogStore, Standing};
use types::Types;

/// Entries that are written, or sent to a follower, at once. With [`propose::COMMAND_BYTES_MAX`]
/// each this stays below what one frame may hold.
const ENTRIES_AT_ONCE: u64 = 64;
/// The most time that a snapshot may take to reach another node.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);
/// The most time that a node whose voter is itself alone takes to become the leader.
const LONE_START_TIMEOUT: Duration = Duration::from_secs(60);

/// How a node takes part in the quorum.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// The node.
    pub node: BrokerId,
    /// Where the node serves its peers.
    pub endpoint: Endpoint,
    /// The voters that a new quorum starts with, the same on every node. A node that is not one of
    /// them follows as a learner.
    pub voters: BTreeMap<BrokerId, Endpoint>,
    /// Names the cluster in the log file, which no other cluster's node will take.
    pub cluster_id: String,
    /// The directory of the log and the snapshot; created when missing.
    pub dir: PathBuf,
    /// A follower that does not hear of a leader for so long, drawn between the two (the upper one
    /// exclusive), asks to be elected. Whole milliseconds.
    pub election_timeout_min: Duration,
    /// See [`RaftOptions::election_timeout_min`].
    pub election_timeout_max: Duration,
    /// How often a leader shows that it is there; below the election timeouts. Whole milliseconds.
    pub heartbeat_interval: Duration,
    /// When the log gives way to a snapshot, the same on every node.
    pub snapshots: MetadataSnapshots,
}

/// The node's part in the replicated metadata quorum.
pub struct RaftQuorum {
    shared: Arc<Shared>,
}

struct Shared {
    node: BrokerId,
    endpoint: Endpoint,
    configured: BTreeMap<BrokerId, Endpoint>,
    world: Arc<World>,
    transport: Arc<dyn Transport>,
    raft: Raft<Types, StateMachine>,
    image: Arc<Watch<Image>>,
    store: LogStore,
    /// Another node has said that there is a quorum: this one founds none any more.
    knows_quorum: AtomicBool,
    /// Held by the one that changes the members: two changes at once would undo each other.
    changing: tokio::sync::Mutex<()>,
    retry_interval: Duration,
    heartbeat_interval: Duration,
    /// When a leader's call was served last, in nanoseconds of the monotonic clock.
    leader_heard: AtomicU64,
}

impl RaftQuorum {
    /// Opens the quorum's files and starts to take part. A configured voter whose log is empty
    /// founds the quorum, together with the other ones, unless there is one already: then the
    /// leader has to let it in, as it may have lost what it had promised. One that is alone leads
    /// when this returns, with everything that was ever committed applied.
    ///
    /// The caller lets the transport listen, and passes what arrives to [`RaftQuorum::serve`].
    pub async fn open(
        options: RaftOptions,
        doors: &Doors,
        transport: Arc<dyn Transport>,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let clock = env::timers(doors.clock.clone(), Mutant::ElectionsByWallClock);
        let world = World::new(tasks.clone(), clock, &*doors.entropy);
        let opening = Self::open_in(world.clone(), options, doors, transport);
        world.scope(opening).await
    }

    async fn open_in(
        world: Arc<World>,
        options: RaftOptions,
        doors: &Doors,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<Self>, OpenError> {
        let mut config = config(&options)?;
        let (log, snapshots) = open_files(&world, &options, doors).await?;
        for (voter, endpoint) in &options.voters {
            transport.learn(*voter, endpoint.clone());
        }
        config.enable_elect = log.standing() == Standing::Full;
        let store = log.clone();
        let image = Arc::new(Watch::new(0, Image::default()));
        let machine = StateMachine::new(image.clone(), snapshots);
        let network = Network {
            world: world.clone(),
            transport: transport.clone(),
            configured: options.voters.clone(),
            append_timeout: options.election_timeout_min,
        };
        let raft = Raft::new(options.node, Arc::new(config), network, log, machine)
            .await
            .map_err(|error| OpenError::Stopped(error.to_string()))?;
        let shared = Arc::new(Shared {
            node: options.node,
            endpoint: options.endpoint,
            configured: options.voters,
            world: world.clone(),
            transport,
            raft,
            image,
            store,
            knows_quorum: AtomicBool::new(false),
            changing: tokio::sync::Mutex::new(()),
            retry_interval: options.election_timeout_max,
            heartbeat_interval: options.heartbeat_interval,
            leader_heard: AtomicU64::new(world.now().0),
        });
        shared.found_alone().await?;
        shared.lead_alone().await?;
        world.spawn(admission::take_part(Arc::downgrade(&shared)));
        world.spawn(succession::watch_leader(Arc::downgrade(&shared)));
        Ok(Arc::new(Self { shared }))
    }

    /// Serves the quorum's requests of another node: Raft calls, probes, joining and proposals.
    pub fn serve(&self, _from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move {
            match request {
                PeerRequest::Raft(bytes) => network::serve(&shared, &bytes).await,
                PeerRequest::Join { node, endpoint, join_as } => {
                    shared.let_join(node, endpoint, join_as).await
                }
                PeerRequest::QuorumProbe => shared.probed(),
                PeerRequest::Propose(command) => shared.serve_proposal(command).await,
                PeerRequest::ChangeVoters(change) => shared.serve_change(change).await,
                PeerRequest::DescribeQuorum => shared.tell_status(),
                _ => PeerReply::Unavailable("this is no request to the quorum".into()),
            }
        }))
    }

    /// Stops taking part. The files hold everything that was acknowledged, with or without this.
    pub async fn shutdown(&self) {
        // An error says that the consensus task has ended already.
        let _ = self.shared.world.scope(self.shared.raft.shutdown()).await;
    }
}

impl Shared {
    /// Where nobody else votes there is nobody to wait for.
    async fn lead_alone(&self) -> Result<(), OpenError> {
        let stopped = |error: String| OpenError::Stopped(error);
        let node = self.node;
        let alone = self.raft.with_raft_state(move |state| {
            state.membership_state.effective().voter_ids().eq([node])
        });
        if !alone.await.map_err(|error| stopped(error.to_string()))? {
            return Ok(());
        }
        if self.raft.metrics().borrow_watched().state != ServerState::Leader {
            let elected = self.raft.trigger().elect(false).await;
            elected.map_err(|error| stopped(error.to_string()))?;
        }
        let wait = self.raft.wait(Some(LONE_START_TIMEOUT));
        let leading = wait.metrics(
            |metrics| {
                metrics.state == ServerState::Leader
                    && metrics.last_applied.map(|at| at.index) == metrics.last_log_index
            },
            "a lone voter leads",
        );
        leading.await.map_err(|error| stopped(error.to_string()))?;
        Ok(())
    }

    fn leadership(&self) -> Leadership {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let running = metrics.running_state.is_ok();
        Leadership {
            term: metrics.current_term,
            leader: metrics.current_leader.filter(|_| running),
        }
    }

    async fn leadership_changed(&self, known: Leadership) {
        let mut metrics = self.raft.metrics();
        while self.leadership() == known {
            if metrics.changed().await.is_err() {
                // The consensus task has ended: nothing changes any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Quorum for RaftQuorum {
    fn propose(
        &self,
        command: Command,
    ) -> BoxFuture<'static, Result<(MetadataOffset, Reply), ProposeError>> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.propose(command).await }))
    }

    fn image(&self) -> Arc<Image> {
        self.shared.image.value()
    }

    fn changed(&self, after: MetadataOffset) -> BoxFuture<'static, ()> {
        self.shared.image.changed(after.0)
    }

    fn leadership(&self) -> Leadership {
        self.shared.leadership()
    }

    fn leadership_changed(&self, known: Leadership) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.leadership_changed(known).await }))
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<MetadataOffset, ProposeError>> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.read_barrier().await }))
    }

    fn status(&self) -> QuorumStatus {
        self.shared.status()
    }

    fn status_of_leader(&self) -> BoxFuture<'static, QuorumStatus> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.status_of_leader().await }))
    }

    fn add_voter(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> BoxFuture<'static, Result<(), ChangeError>> {
        let (shared, change) = (self.shared.clone(), VoterChange::Add { node, endpoint });
        Box::pin(self.shared.world.scope(async move { shared.change_voters(change).await }))
    }

    fn remove_voter(&self, node: BrokerId) -> BoxFuture<'static, Result<(), ChangeError>> {
        let (shared, change) = (self.shared.clone(), VoterChange::Remove { node });
        Box::pin(self.shared.world.scope(async move { shared.change_voters(change).await }))
    }

    fn hand_over(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.hand_over().await }))
    }

    fn is_lost(&self) -> BoxFuture<'static, bool> {
        let shared = self.shared.clone();
        Box::pin(self.shared.world.scope(async move { shared.is_lost().await }))
    }
}

impl PeerService for RaftQuorum {
    fn serve(&self, from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        Self::serve(self, from, request)
    }
}

async fn open_files(
    world: &Arc<World>,
    options: &RaftOptions,
    doors: &Doors,
) -> Result<(LogStore, Arc<Snapshots>), OpenError> {
    let dir = options.dir.clone();
    let at = |error| OpenError::Disk { path: dir.clone(), error };
    doors.disk.create_dir(&dir).await.map_err(at)?;
    if let Some(parent) = dir.parent() {
        doors.disk.sync_dir(parent).await.map_err(at)?;
    }
    let snapshots = Snapshots::open(doors.disk.clone(), &dir).await?;
    let header = Record::Header { cluster: options.cluster_id.clone(), node: options.node };
    let rewrite_bytes_min = options.snapshots.rewrite_bytes_min;
    let opening = LogFile::open(doors.disk.clone(), &dir, header, rewrite_bytes_min);
    let (file, state) = opening.await?;
    sometimes!(StartsFromSnapshot, snapshots.current().is_some());
    let is_behind = |snapshot: &Snapshot| {
        snapshot.meta.last_log_id.map(|at| at.index) > state.last().map(|at| at.index)
    };
    sometimes!(SnapshotAheadOfLog, snapshots.current().as_ref().is_some_and(is_behind));
    if state.vote.is_none() && snapshots.current().is_some() {
        return Err(lost_log(&dir));
    }
    let (writes, incoming) = tokio::sync::mpsc::channel(WRITES_MAX);
    world.spawn(file.run(incoming));
    Ok((LogStore { log: Log::new(state), writes }, snapshots))
}

fn lost_log(dir: &Path) -> OpenError {
    OpenError::Inapplicable {
        path: dir.to_owned(),
        position: 0,
        reason: "there is a snapshot but no log: the node does not know how it has voted".into(),
    }
}

fn config(options: &RaftOptions) -> Result<Config, OpenError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: options.cluster_id.clone(),
        election_timeout_min: millis(options.election_timeout_min),
        election_timeout_max: millis(options.election_timeout_max),
        heartbeat_interval: millis(options.heartbeat_interval),
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        max_payload_entries: ENTRIES_AT_ONCE,
        max_append_entries: Some(ENTRIES_AT_ONCE),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshots.entries),
        max_in_snapshot_log_to_keep: options.snapshots.entries_kept,
        enable_pre_vote: Some(true),
        // A leader sends entries while it still writes them: after a crash it may have fewer than
        // its followers, and must not go on in the same term with other ones in their place.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Settings(error.to_string()))
}
