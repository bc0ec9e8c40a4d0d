//! One simulated machine with the real broker on it: starting, killing, cutting its power.

use crate::{
    clock::{SimClock, SimEntropy},
    dice::Dice,
    disk::{DiskFaults, SimDisk},
    history::{Boundary, LogImage, MarkKind, Partition},
    inspect,
    recorder::{Recorder, now_nanos},
    scenario::Scenario,
    trace::Effect,
};
use highwater_node::{
    config::{BrokerConfig, Settings},
    env::{Clock, Doors},
    server::Broker,
};
use madsim::{
    runtime::{Handle, NodeHandle},
    time,
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The broker's address on the simulated network.
pub const BROKER_ADDRESS: &str = "10.0.0.1:9092";
/// The wall clock at the start of a run, in milliseconds.
pub const WALL_AT_START: i64 = 1_700_000_000_000;
/// The broker's data directory on its simulated disk.
const DATA_DIR: &str = "/data";
/// How long a clean shutdown may take, in simulated time, before the process is killed anyway.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// The machine that the broker runs on. Clones are the same machine.
#[derive(Clone)]
pub struct World {
    /// Its disk.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: SimClock,
    /// What happens in the run.
    pub recorder: Recorder,
    node: NodeHandle,
    life: Arc<Mutex<Life>>,
}

/// Where the broker is in its life.
#[derive(Default)]
struct Life {
    broker: Option<Arc<Broker>>,
    /// Why the last start failed, if it did.
    failed: Option<String>,
    /// Counts starts, so that a late start of a dead process is not taken for the current one.
    number: u64,
    running: bool,
}

impl World {
    /// A machine with an empty disk whose broker is starting.
    #[must_use]
    pub fn start(seed: u64, config: BrokerConfig, recorder: Recorder) -> Self {
        let disk = SimDisk::new(seed, &recorder.trace);
        let clock = SimClock::new(WALL_AT_START);
        recorder.watch_clock(clock.clone());
        let life = Arc::new(Mutex::new(Life { running: true, ..Life::default() }));
        let doors = Doors {
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SimEntropy::new(seed)),
            disk: Arc::new(disk.clone()),
        };
        let machine = (disk.clone(), recorder.clone(), life.clone());
        disk.on_failed_sync(note_failed_sync(recorder.clone()));
        let node = Handle::current()
            .create_node()
            .name("broker")
            .ip("10.0.0.1".parse().expect("a literal address"))
            .init(move || live(config.clone(), doors.clone(), machine.clone()))
            .build();
        Self { disk, clock, recorder, node, life }
    }

    /// Whether the broker has started in its current life.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.life().broker.is_some()
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

    /// Asks the broker to shut down cleanly, and kills it when it has or takes too long.
    pub async fn shut_down(&self) {
        let broker = self.life().broker.clone();
        if let Some(broker) = broker {
            let stopping = self.node.spawn(async move { broker.shutdown().await });
            let outcome = time::timeout(SHUTDOWN_PATIENCE, stopping).await;
            self.recorder.note(format_args!("shut down in time: {}", outcome.is_ok()));
        }
        self.kill();
    }

    /// Starts the broker after [`World::kill`] or [`World::cut_power`].
    pub fn restart(&self) {
        {
            let mut life = self.life();
            *life = Life { number: life.number + 1, running: true, ..Life::default() };
        }
        self.recorder.note(format_args!("restart"));
        Handle::current().restart(self.node.id());
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
        let mut model = self.clock.model();
        model.set_rate(now_nanos(), 1.0);
        model.strobe(None);
        model.freeze_wall(now_nanos(), false);
    }

    fn stop(&self, power: bool) {
        let interrupted = {
            let mut life = self.life();
            let interrupted = life.running && life.broker.is_none() && life.failed.is_none();
            life.running = false;
            life.broker = None;
            interrupted
        };
        let stopped = self.recorder.mark(MarkKind::Stopped);
        let before = self.images();
        Handle::current().kill(self.node.id());
        let trace = &self.recorder.trace;
        let mut after = BTreeMap::new();
        if power {
            let lines = self.disk.model().cut_power();
            self.recorder.note(format_args!("power cut"));
            lines.iter().for_each(|line| self.recorder.note(format_args!("  {line}")));
            after = self.images();
            trace.effect(Effect::PowerCut, 1);
            if interrupted {
                trace.effect(Effect::RecoveryInterrupted, 1);
            }
        } else {
            self.disk.model().kill_process();
            self.recorder.note(format_args!("process killed"));
            trace.effect(Effect::ProcessKilled, 1);
        }
        let boundary = Boundary { stopped, power, before, after, recovered: None };
        self.recorder.history().boundaries.push(boundary);
    }

    /// The logs on the disk as a process would see them.
    fn images(&self) -> BTreeMap<Partition, LogImage> {
        images_of(&self.disk, &self.recorder)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of the broker's process.
async fn live(
    config: BrokerConfig,
    doors: Doors,
    (disk, recorder, life): (SimDisk, Recorder, Arc<Mutex<Life>>),
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
            if let Some(boundary) = recorder.history().boundaries.last_mut() {
                boundary.recovered = Some(images);
            }
            recorder.mark(MarkKind::Ready);
            lock().broker = Some(Arc::new(broker));
        }
        Err(error) => {
            recorder.note(format_args!("start failed: {error}"));
            lock().failed = Some(error.to_string());
            return;
        }
    }
    std::future::pending().await
}

/// Notes in the history that the sync of a log failed, at the moment when it does.
fn note_failed_sync(recorder: Recorder) -> impl Fn(&Path) + Send + Sync {
    move |path| {
        let place = inspect::place_of(path, &recorder.history().topics);
        if let inspect::Place::Segment(partition, _) = place {
            recorder.mark(MarkKind::SyncFailed(partition));
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

/// The broker's configuration for a run: small segments, so that they roll, and no waiting.
#[must_use]
pub fn broker_config(scenario: &Scenario, dice: &mut Dice) -> BrokerConfig {
    let mut draw = |bounds: &crate::scenario::Bounds| dice.within(bounds).to_string();
    let shape = &scenario.broker;
    let mut settings = Settings::new();
    for (key, value) in [
        ("listeners", BROKER_ADDRESS.to_owned()),
        ("log.dirs", DATA_DIR.to_owned()),
        ("admin.listen", "none".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("log.segment.bytes", draw(&shape.segment_bytes)),
        ("log.index.interval.bytes", draw(&(64..=1_024))),
        ("log.retention.check.interval.ms", draw(&shape.retention_check_millis)),
        ("log.segment.delete.delay.ms", draw(&(0..=100))),
        ("log.message.timestamp.after.max.ms", i64::MAX.to_string()),
    ] {
        settings.set(key, &value, "the simulator");
    }
    settings.build().expect("the simulator's configuration is valid")
}

/// A healthy clock for the clients.
#[must_use]
pub fn client_clock() -> Arc<dyn Clock> {
    Arc::new(SimClock::new(WALL_AT_START))
}
