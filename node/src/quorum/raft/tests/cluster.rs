//! Several nodes and the network between them.

use super::super::{RaftOptions, RaftQuorum};
use crate::{
    config::MetadataSnapshots,
    env::{BoxFuture, Clock, Doors, Entropy, Transport, TransportError},
    log::tests::disk::MemoryDisk,
    peer::{
        PeerService,
        messages::{PeerReply, PeerRequest},
    },
    quorum::{OpenError, ProposeError, Quorum},
    tasks::Tasks,
};
use highwater_core::{
    metadata::{Command, Endpoint, Reply},
    time::{Instant, Now, Timestamp},
    types::{BrokerId, MetadataOffset},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Virtual time. Nodes count it from different starts, as machines do.
#[derive(Clone)]
pub(super) struct TestClock {
    start: tokio::time::Instant,
    ahead: Duration,
}

impl TestClock {
    pub(super) fn new(ahead: Duration) -> Self {
        Self { start: tokio::time::Instant::now(), ahead }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let monotonic = Instant(0).after(self.start.elapsed() + self.ahead);
        Now { monotonic, wall: Timestamp(0) }
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock door")]
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let wait = deadline.since(self.now().monotonic);
        Box::pin(tokio::time::sleep(wait))
    }
}

pub(super) struct Counter(AtomicU64);

impl Entropy for Counter {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Net {
    services: Mutex<BTreeMap<BrokerId, Arc<dyn PeerService>>>,
    cut_off: Mutex<BTreeSet<BrokerId>>,
    /// From and to: something between the two refuses connections.
    refusing: Mutex<BTreeSet<(BrokerId, BrokerId)>>,
    /// What is sent to them is lost, and nobody hears that it is.
    swallowed: Mutex<BTreeSet<BrokerId>>,
}

/// Why nobody is reached.
enum Obstacle {
    CutOff,
    /// Nobody listens there.
    Refused,
}

impl Net {
    fn reach(&self, from: BrokerId, to: BrokerId) -> Result<Arc<dyn PeerService>, Obstacle> {
        let cut_off = self.cut_off.lock().unwrap();
        if cut_off.contains(&from) || cut_off.contains(&to) {
            return Err(Obstacle::CutOff);
        }
        if self.refusing.lock().unwrap().contains(&(from, to)) {
            return Err(Obstacle::Refused);
        }
        self.services.lock().unwrap().get(&to).cloned().ok_or(Obstacle::Refused)
    }
}

struct TestTransport {
    net: Arc<Net>,
    clock: TestClock,
    node: BrokerId,
    known: Mutex<BTreeSet<BrokerId>>,
}

impl Transport for TestTransport {
    fn call(
        &self,
        to: BrokerId,
        request: PeerRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<PeerReply, TransportError>> {
        if !self.known.lock().unwrap().contains(&to) {
            return Box::pin(std::future::ready(Err(TransportError::UnknownBroker(to))));
        }
        let (net, clock, from) = (self.net.clone(), self.clock.clone(), self.node);
        Box::pin(async move {
            let hop = || clock.sleep_until(clock.now().monotonic.after(Duration::from_millis(1)));
            hop().await;
            let address = String::new();
            let service = net.reach(from, to).map_err(|obstacle| match obstacle {
                Obstacle::CutOff => {
                    TransportError::Unreachable { to, address, reason: "cut off".into() }
                }
                Obstacle::Refused => TransportError::Refused { to, address },
            })?;
            let lost = |reason: &str| TransportError::NoAnswer { to, reason: reason.into() };
            if net.swallowed.lock().unwrap().contains(&to) {
                clock.sleep_until(deadline).await;
                return Err(lost("too late"));
            }
            let reply = tokio::select! {
                biased;
                reply = service.serve(from, request) => reply,
                () = clock.sleep_until(deadline) => return Err(lost("too late")),
            };
            hop().await;
            net.reach(from, to).map(|_| reply).map_err(|_| lost("cut off"))
        })
    }

    fn learn(&self, broker: BrokerId, _endpoint: Endpoint) {
        self.known.lock().unwrap().insert(broker);
    }

    fn listen(&self, _service: Arc<dyn PeerService>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(super) struct Cluster {
    net: Arc<Net>,
    voters: BTreeMap<BrokerId, Endpoint>,
    pub(super) disks: BTreeMap<BrokerId, MemoryDisk>,
    pub(super) nodes: BTreeMap<BrokerId, Arc<RaftQuorum>>,
    pub(super) cluster_id: String,
    pub(super) snapshots: MetadataSnapshots,
    clock: TestClock,
}

pub(super) fn endpoint(node: i32) -> Endpoint {
    Endpoint { host: format!("node-{node}"), port: 9094 }
}

pub(super) fn allocate(count: u32) -> Command {
    Command::AllocateProducerIds { count }
}

impl Cluster {
    /// Nodes 1 to `voters`, all running.
    pub(super) async fn start(voters: i32) -> Self {
        let mut cluster = Self::configured(voters);
        for node in 1..=voters {
            cluster.boot(node).await.unwrap();
        }
        cluster
    }

    /// Nodes 1 to `voters`, none of them running.
    pub(super) fn configured(voters: i32) -> Self {
        Self {
            net: Arc::default(),
            voters: (1..=voters).map(|node| (BrokerId(node), endpoint(node))).collect(),
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cluster_id: "cluster".into(),
            snapshots: MetadataSnapshots::default(),
            clock: TestClock::new(Duration::ZERO),
        }
    }

    pub(super) async fn boot(&mut self, node: i32) -> Result<(), OpenError> {
        let id = BrokerId(node);
        let clock = TestClock::new(Duration::from_secs(1000) * node.unsigned_abs());
        let transport = Arc::new(TestTransport {
            net: self.net.clone(),
            clock: clock.clone(),
            node: id,
            known: Mutex::default(),
        });
        let disk = self.disks.entry(id).or_default().clone();
        let doors = Doors {
            clock: Arc::new(clock),
            entropy: Arc::new(Counter(AtomicU64::new(u64::from(node.unsigned_abs()) << 32))),
            disk: Arc::new(disk),
            transport: transport.clone(),
        };
        let options = RaftOptions {
            node: id,
            endpoint: endpoint(node),
            voters: self.voters.clone(),
            cluster_id: self.cluster_id.clone(),
            dir: PathBuf::from("/quorum"),
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(100),
            snapshots: self.snapshots,
        };
        let quorum = RaftQuorum::open(options, &doors, transport, &Tasks::default()).await?;
        self.net.services.lock().unwrap().insert(id, quorum.clone());
        self.nodes.insert(id, quorum);
        Ok(())
    }

    /// The node dies, with whatever its disk makes of it.
    pub(super) async fn kill(&mut self, node: i32, seed: u64) {
        let id = BrokerId(node);
        self.disks[&id].die_after(0);
        self.net.services.lock().unwrap().remove(&id);
        self.nodes.remove(&id).unwrap().shutdown().await;
        self.disks[&id].power_cut(seed);
    }

    /// The node's disk is replaced by an empty one.
    pub(super) fn wipe(&mut self, node: i32) {
        assert!(!self.nodes.contains_key(&BrokerId(node)), "it is not running");
        self.disks.remove(&BrokerId(node));
    }

    pub(super) fn cut_off(&self, node: i32) {
        self.net.cut_off.lock().unwrap().insert(BrokerId(node));
    }

    /// Something on the way from one node to another refuses connections.
    pub(super) fn refuse(&self, from: i32, to: i32) {
        self.net.refusing.lock().unwrap().insert((BrokerId(from), BrokerId(to)));
    }

    /// Whatever is sent to a node is lost without a word, until that is healed.
    pub(super) fn swallow(&self, node: i32) {
        self.net.swallowed.lock().unwrap().insert(BrokerId(node));
    }

    pub(super) fn heal(&self) {
        self.net.swallowed.lock().unwrap().clear();
        self.net.cut_off.lock().unwrap().clear();
        self.net.refusing.lock().unwrap().clear();
    }

    /// The time since the cluster was set up.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.now().monotonic.since(Instant(0))
    }

    pub(super) fn node(&self, node: i32) -> &RaftQuorum {
        &self.nodes[&BrokerId(node)]
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock.sleep_until(self.clock.now().monotonic.after(duration)).await;
    }

    /// Waits for something, for a minute at most.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..6000 {
            if holds(self) {
                return;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
        let statuses: Vec<_> = self.nodes.values().map(|node| node.status()).collect();
        panic!("never: {what}: {statuses:#?}");
    }

    /// The leader, once every reachable node knows the same one.
    pub(super) async fn leader(&self) -> i32 {
        let known = |cluster: &Self| -> Option<BrokerId> {
            let cut_off = cluster.net.cut_off.lock().unwrap();
            let reachable = cluster.nodes.iter().filter(|(node, _)| !cut_off.contains(node));
            let leaders: BTreeSet<_> =
                reachable.map(|(_, quorum)| quorum.leadership().leader).collect();
            let leader = leaders.iter().next().copied().flatten()?;
            (leaders.len() == 1 && cluster.nodes.contains_key(&leader)).then_some(leader)
        };
        self.until("one leader", |cluster| known(cluster).is_some()).await;
        known(self).unwrap().0
    }

    pub(super) async fn follower(&self) -> i32 {
        let leader = self.leader().await;
        self.nodes.keys().find(|node| node.0 != leader).unwrap().0
    }

    /// Proposes at one node until the command was certainly taken.
    pub(super) async fn propose(&self, node: i32, command: Command) -> (MetadataOffset, Reply) {
        for _ in 0..1000 {
            match self.node(node).propose(command.clone()).await {
                Ok(taken) => return taken,
                Err(ProposeError::NotLeader { .. }) => {
                    self.sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let statuses: Vec<_> = self.nodes.values().map(|node| node.status()).collect();
        panic!("no leader: {statuses:#?}")
    }

    /// Waits until every node is at one offset, and checks that their images are the same.
    pub(super) async fn agree(&self) -> MetadataOffset {
        let offsets = |cluster: &Self| -> BTreeSet<_> {
            cluster.nodes.values().map(|node| node.status().last_log_offset).collect()
        };
        let applied = |cluster: &Self| -> BTreeSet<_> {
            cluster.nodes.values().map(|node| node.image().applied()).collect()
        };
        self.until("equal offsets", |cluster| {
            offsets(cluster).len() == 1 && offsets(cluster) == applied(cluster)
        })
        .await;
        let fingerprints: BTreeSet<_> =
            self.nodes.values().map(|node| node.image().fingerprint()).collect();
        assert_eq!(fingerprints.len(), 1, "images of one offset are equal");
        *offsets(self).first().unwrap()
    }
}
