//! One broker: its clocks, its coordinator, what the coordinator's log says, and what waits.

use crate::{
    log::Entry,
    view::{Key, View},
};
use highwater_core::{
    coordinator::Coordinator,
    group::{GroupConfig, GroupId, GroupShard, MemberId, Request},
    time::{Instant, Now, Timestamp},
    types::{RequestId, WriteId},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Thousandths of the true speed of time.
pub const SLOWEST_CLOCK: u64 = 850;
pub const FASTEST_CLOCK: u64 = 1150;
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// A log that is being read.
pub struct Load {
    pub attempt: WriteId,
    pub entries: Vec<Entry>,
    pub high_watermark: u64,
    pub next: usize,
}

/// What is expected of an offset that somebody fetches.
pub struct ExpectedOffset {
    pub key: Key,
    /// Where the log had it when it was asked for.
    pub position: Option<u64>,
}

/// A request that has not been answered.
pub struct Waiting {
    pub client: usize,
    pub seq: u64,
    pub body: Request,
    /// Which rule its acceptance would break.
    pub forbidden: Option<&'static str>,
    pub offsets: Vec<ExpectedOffset>,
    /// The leader epoch in which it was taken.
    pub epoch: u32,
    pub arrived: Instant,
    pub parked: bool,
}

/// What a coordinator must not forget of a classic member while it leads.
pub struct Heard {
    pub at: Instant,
    /// The shorter of its session and its rebalance timeout.
    pub patience: Duration,
}

pub struct Broker {
    clock_rate: u64,
    clock_offset: u64,
    /// Milliseconds by which the wall clock is wrong.
    pub wall_error: i64,
    pub up: bool,
    pub coordinator: Coordinator<GroupShard>,
    /// The newest epoch and the high watermark that the coordinator was told.
    pub told: u32,
    pub told_high_watermark: u64,
    /// Which image it has.
    pub image: usize,
    pub loads: Vec<Load>,
    /// The one that the coordinator waits for, or that it has had.
    pub newest_load: Option<WriteId>,
    /// When the coordinator had read its log, in true time.
    pub loaded_at: u64,
    pub requests: BTreeMap<RequestId, Waiting>,
    /// What the log says that its coordinator has loaded and written.
    pub view: View,
    pub heard: BTreeMap<(GroupId, MemberId), Heard>,
    /// Members that have their assignment in a generation.
    pub synced: BTreeSet<(MemberId, u32)>,
}

impl Broker {
    pub fn new(config: &GroupConfig, random: &mut ChaCha8Rng) -> Self {
        Self {
            clock_rate: random.random_range(SLOWEST_CLOCK..=FASTEST_CLOCK),
            clock_offset: random.random_range(0..1 << 40),
            wall_error: random.random_range(-600_000..600_000),
            up: true,
            coordinator: Coordinator::new(config.clone(), ANSWER_TIMEOUT),
            told: 0,
            told_high_watermark: 0,
            image: 0,
            loads: Vec::new(),
            newest_load: None,
            loaded_at: 0,
            requests: BTreeMap::new(),
            view: View::default(),
            heard: BTreeMap::new(),
            synced: BTreeSet::new(),
        }
    }

    pub fn now(&self, time: u64) -> Now {
        let monotonic = Instant(self.clock_offset + time / 1000 * self.clock_rate);
        let wall = 1_700_000_000_000 + (time / 1_000_000) as i64 + self.wall_error;
        Now { monotonic, wall: Timestamp(wall) }
    }

    /// The process ends and another one begins, which knows nothing.
    pub fn restart(&mut self, config: &GroupConfig) {
        self.coordinator = Coordinator::new(config.clone(), ANSWER_TIMEOUT);
        (self.told, self.told_high_watermark) = (0, 0);
        self.loads.clear();
        self.newest_load = None;
        self.requests.clear();
        self.forget();
    }

    /// Sessions begin anew.
    pub fn forget(&mut self) {
        self.heard.clear();
        self.synced.clear();
    }
}
