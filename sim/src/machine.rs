//! One simulated machine with the real broker on it: starting, killing, cutting its power, pausing
//! it, taking its disk away.

use crate::{
    clock::{SimClock, SimEntropy},
    disk::{DiskFaults, SimDisk},
    explain::{self, Event, Kind, Lane},
    history::{Boundary, LogImage, MarkKind, Partition},
    inspect, metadata,
    network::Network,
    recorder::{Recorder, now_nanos},
    trace::Effect,
};
use highwater_core::{metadata::Image, types::BrokerId};
use highwater_node::{config::BrokerConfig, env::Doors, server::Broker};
use madsim::{
    net::NetSim,
    runtime::{Handle, NodeHandle},
    task::NodeId,
    time,
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a clean shutdown may take, in simulated time, before the process is killed anyway.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// A machine that a broker runs on. Clones are the same machine.
#[derive(Clone)]
pub struct Machine {
    /// The broker's id, which its address ends with.
    pub id: BrokerId,
    /// Whether it was set up as a voter of the metadata quorum.
    pub votes: bool,
    /// Its disk.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: SimClock,
    /// What happens in the run.
    pub recorder: Recorder,
    network: Network,
    node: NodeId,
    life: Arc<Mutex<Life>>,
}

/// Where the broker is in its life.
#[derive(Default)]
struct Life {
    broker: Option<Arc<Broker>>,
    /// The newest metadata that an earlier life had applied.
    left: Option<Arc<Image>>,
    /// Why the last start failed, if it did.
    failed: Option<String>,
    /// Counts starts, so that a late start of a dead process is not taken for the current one.
    number: u64,
    running: bool,
    paused: bool,
}

impl Life {
    fn newest_image(&self) -> Option<Arc<Image>> {
        let now = self.broker.as_ref().map(|broker| broker.image());
        now.into_iter().chain(self.left.clone()).max_by_key(|image| image.applied())
    }
}

/// What a machine is made of.
pub struct Parts {
    /// The broker's id, which its address ends with.
    pub id: BrokerId,
    /// Whose lines in the trace these are; empty for the only machine.
    pub owner: String,
    /// From which its disk and its entropy draw.
    pub seed: u64,
    /// What its wall clock shows at the start of the run, in milliseconds.
    pub wall: i64,
    /// What its broker is told.
    pub config: BrokerConfig,
}

impl Machine {
    /// A machine with an empty disk whose broker is starting.
    #[must_use]
    pub fn start(parts: Parts, network: Network, recorder: Recorder) -> Self {
        let Parts { id, owner, seed, wall, config } = parts;
        let disk = SimDisk::of(id.0, owner, seed, &recorder.trace);
        let clock = SimClock::new(wall);
        recorder.watch_clock(clock.clone());
        disk.on_failed_sync(note_failed_sync(id, recorder.clone()));
        let life = Arc::new(Mutex::new(Life { running: true, ..Life::default() }));
        let entropy = Arc::new(SimEntropy::new(seed));
        let votes = config.voters.contains_key(&id);
        let on = (id, disk.clone(), recorder.clone(), life.clone());
        let doors = {
            let (disk, clock, network) = (disk.clone(), clock.clone(), network.clone());
            move || Doors {
                clock: Arc::new(clock.clone()),
                entropy: entropy.clone(),
                disk: Arc::new(disk.clone()),
                transport: Arc::new(network.transport(id, clock.clone())),
            }
        };
        let node = Handle::current()
            .create_node()
            .name(format!("broker {id}"))
            .ip(address(id).parse().expect("an address made of numbers"))
            .init(move || live(config.clone(), doors(), on.clone()))
            .build();
        Self { id, votes, disk, clock, recorder, network, node: node.id(), life }
    }

    /// The broker, when it has started in its current life.
    #[must_use]
    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.life().broker.clone()
    }

    /// The newest metadata that the broker has applied, in this life or an earlier one.
    #[must_use]
    pub fn newest_image(&self) -> Option<Arc<Image>> {
        self.life().newest_image()
    }

    /// Whether the broker has started in its current life.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.life().broker.is_some()
    }

    /// Whether a process runs that has not given up its start.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let life = self.life();
        life.running && life.failed.is_none()
    }

    /// Why the last start failed.
    #[must_use]
    pub fn start_failure(&self) -> Option<String> {
        self.life().failed.clone()
    }

    /// The process dies; what it had written stays in the page cache.
    pub fn kill(&self) {
        self.stop(false);
    }

    /// The machine loses its power.
    pub fn cut_power(&self) {
        self.stop(true);
    }

    /// Asks the broker to shut down cleanly, which is to be killed then; `None` when there is none. Says
    /// whether it had handed over what it led, and nothing when it took too long.
    pub async fn shut_down(&self) -> Option<Option<bool>> {
        let broker = self.broker()?;
        let stopping = self.process().spawn(async move { broker.shutdown().await });
        let outcome = time::timeout(SHUTDOWN_PATIENCE, stopping).await;
        let handed_over = outcome.ok().and_then(Result::ok);
        self.recorder.note(format_args!("shut down, handed over: {handed_over:?}"));
        if handed_over.is_some() {
            self.recorder.mark(self.id.0, MarkKind::ShutDown);
        }
        Some(handed_over)
    }

    /// Starts the broker after [`Machine::kill`], [`Machine::cut_power`] or [`Machine::wipe`].
    pub fn restart(&self) {
        {
            let mut life = self.life();
            let (number, left) = (life.number + 1, life.left.take());
            *life = Life { number, running: true, left, ..Life::default() };
        }
        self.recorder.note(format_args!("restart broker {}", self.id));
        self.recorder.history().starts.push((now_nanos(), self.id.0));
        self.happens(Kind::Life, || "starts".into());
        self.network.leave(self.id, false);
        Handle::current().restart(self.node);
    }

    /// The machine stands still, and is heard by nobody, until [`Machine::resume`].
    pub fn pause(&self) {
        self.life().paused = true;
        self.recorder.note(format_args!("pause broker {}", self.id));
        self.happens(Kind::Fault, || "the machine stands still".into());
        self.recorder.trace.effect(Effect::MachinePaused, 1);
        NetSim::current().clog_node(self.node);
        Handle::current().pause(self.node);
    }

    /// A paused machine goes on as if no time had passed.
    pub fn resume(&self) {
        if !std::mem::take(&mut self.life().paused) {
            return;
        }
        self.recorder.note(format_args!("resume broker {}", self.id));
        self.happens(Kind::Life, || "goes on after the pause".into());
        NetSim::current().unclog_node(self.node);
        Handle::current().resume(self.node);
    }

    /// The machine loses its power and its disk; the new one is empty.
    pub fn wipe(&self) {
        self.stop(true);
        self.disk.model().replace();
        self.recorder.mark(self.id.0, MarkKind::Wiped);
        self.recorder.trace.effect(Effect::DiskWiped, 1);
    }

    /// Waits for the broker to be ready; `false` when its start failed or took too long.
    pub async fn wait_ready(&self, patience: Duration) -> bool {
        let deadline = now_nanos() + patience.as_nanos() as u64;
        loop {
            if self.is_ready() {
                return true;
            }
            if self.start_failure().is_some() || now_nanos() >= deadline {
                return false;
            }
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The disk is healthy again.
    pub fn repair_disk(&self) {
        self.disk.model().faults = DiskFaults::default();
    }

    /// Both clocks keep their pace again; steps of the wall clock stay.
    pub fn repair_clock(&self) {
        self.clock.change(|model| {
            model.set_rate(now_nanos(), 1.0);
            model.strobe(None);
            model.freeze_wall(now_nanos(), false);
        });
    }

    fn stop(&self, power: bool) {
        self.resume();
        if self.recorder.history().promise.is_cluster() {
            // What was acknowledged until now went by this.
            metadata::note(self);
        }
        self.network.leave(self.id, power);
        let interrupted = {
            let mut life = self.life();
            let interrupted = life.running && life.broker.is_none() && life.failed.is_none();
            life.running = false;
            life.left = life.newest_image();
            life.broker = None;
            interrupted
        };
        let stopped = self.recorder.mark(self.id.0, MarkKind::Stopped);
        let before = self.images();
        Handle::current().kill(self.node);
        self.recorder.trace.events.abandon(Lane::Broker(self.id.0), now_nanos());
        let trace = &self.recorder.trace;
        let mut after = BTreeMap::new();
        if power {
            let lines = self.disk.model().cut_power();
            self.recorder.note(format_args!("power cut of broker {}", self.id));
            lines.iter().for_each(|line| self.recorder.note(format_args!("  {line}")));
            self.happens(Kind::Fault, || explain::disk::power_cut(&lines));
            after = self.images();
            trace.effect(Effect::PowerCut, 1);
            if interrupted {
                trace.effect(Effect::RecoveryInterrupted, 1);
            }
        } else {
            self.disk.model().kill_process();
            self.recorder.note(format_args!("process of broker {} killed", self.id));
            self.happens(Kind::Fault, || "the process is killed".into());
            trace.effect(Effect::ProcessKilled, 1);
        }
        let machine = self.id.0;
        let boundary = Boundary { machine, stopped, power, before, after, recovered: None };
        self.recorder.history().boundaries.push(boundary);
    }

    fn happens(&self, kind: Kind, text: impl FnOnce() -> String) {
        let lane = Lane::Broker(self.id.0);
        self.recorder.trace.events.add(|| Event::new(now_nanos(), lane, kind, text()));
    }

    /// The logs on the disk as a process would see them.
    pub fn images(&self) -> BTreeMap<Partition, LogImage> {
        images_of(&self.disk, &self.recorder)
    }

    /// The machine's current process: a handle from before a restart spawns nothing any more.
    fn process(&self) -> NodeHandle {
        Handle::current().get_node(self.node).expect("a machine stays for ever")
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of the broker's process.
async fn live(
    config: BrokerConfig,
    doors: Doors,
    (id, disk, recorder, life): (BrokerId, SimDisk, Recorder, Arc<Mutex<Life>>),
) {
    let lock = || life.lock().unwrap_or_else(PoisonError::into_inner);
    let number = lock().number;
    let started = Broker::start(config, doors).await;
    if lock().number != number {
        return;
    }
    match started {
        Ok(broker) => {
            let images = images_of(&disk, &recorder);
            {
                let mut history = recorder.history();
                let mut ended = history.boundaries.iter_mut().rev();
                if let Some(boundary) = ended.find(|boundary| boundary.machine == id.0) {
                    boundary.recovered = Some(images);
                }
            }
            recorder.mark(id.0, MarkKind::Ready);
            lock().broker = Some(Arc::new(broker));
        }
        Err(error) => {
            recorder.note(format_args!("start of broker {id} failed: {error}"));
            lock().failed = Some(error.to_string());
            return;
        }
    }
    std::future::pending().await
}

/// Notes in the history that the sync of a log failed, at the moment when it does.
fn note_failed_sync(id: BrokerId, recorder: Recorder) -> impl Fn(&Path) + Send + Sync {
    move |path| {
        let place = inspect::place_of(path, &recorder.history().topics);
        if let inspect::Place::Segment(partition, _) = place {
            recorder.mark(id.0, MarkKind::SyncFailed(partition));
        }
    }
}

fn images_of(disk: &SimDisk, recorder: &Recorder) -> BTreeMap<Partition, LogImage> {
    let topics = recorder.history().topics.clone();
    let model = disk.model();
    let mut images = inspect::images(&model.live_files(), &topics);
    for path in model.rotten_files() {
        if let inspect::Place::Segment(partition, _) | inspect::Place::Checkpoint(partition) =
            inspect::place_of(&path, &topics)
        {
            images.entry(partition).or_default().rotten = true;
        }
    }
    images
}

/// The address of a broker's machine on the simulated network.
#[must_use]
pub fn address(id: BrokerId) -> String {
    format!("10.0.0.{id}")
}
