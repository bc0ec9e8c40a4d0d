//! One broker: a machine with a clock of its own, a disk, and at most one process.

use crate::{
    clients::Place,
    disk::Disk,
    fetching::{Fetching, Serving},
};
use highwater_core::{
    config::TopicConfig,
    epochs::EpochCache,
    partition::{Acks, Partition, Recovered, ReplicaOptions, ReplicaPosition},
    time::{Instant, Now, Timestamp},
    types::{BrokerEpoch, BrokerId, Offset, RequestId},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, time::Duration};

pub const LAG_MAX: Duration = Duration::from_secs(1);

/// What a request waits for.
pub enum Expected {
    Produced {
        producer: Option<u64>,
        identity: u32,
        acks: Acks,
        place: Place,
    },
    Replica {
        position: ReplicaPosition,
    },
    Readable {
        offset: u64,
        is_current: bool,
    },
    Latest {
        is_current: bool,
    },
    /// What was said to be deleted, by anybody, when it was asked.
    Deleted {
        to: u64,
        told: u64,
    },
    Producers,
    EpochEnd {
        epoch: u32,
    },
}

/// What is gone when the process ends.
pub struct Process {
    pub partition: Partition,
    pub incarnation: u64,
    pub broker_epoch: BrokerEpoch,
    /// The first image that this process has not been told.
    pub next_image: usize,
    /// The first image that knows its registration.
    pub registered_in: usize,
    pub has_failed: bool,
    pub requests: BTreeMap<RequestId, Expected>,
    /// The newest answer of each leader to this process.
    pub heard: BTreeMap<BrokerId, Stamp>,
    pub fetching: Fetching,
    pub serving: Serving,
}

/// When a process answered, by its clock.
#[derive(Clone, Copy)]
pub struct Stamp {
    pub incarnation: u64,
    pub at: Instant,
}

pub struct Broker {
    pub id: BrokerId,
    pub process: Option<Process>,
    pub disk: Disk,
    pub is_paused: bool,
    /// Thousandths of the true speed of time.
    pub clock_rate: u64,
    pub clock_offset: u64,
    /// How many committed batches the disk and the partition are known to have.
    pub trusted_durable: usize,
    pub trusted_live: usize,
}

impl Broker {
    pub fn new(id: BrokerId, random: &mut ChaCha8Rng) -> Self {
        Self {
            id,
            process: None,
            disk: Disk::default(),
            is_paused: false,
            clock_rate: random.random_range(800..1200),
            clock_offset: random.random_range(0..1 << 40),
            trusted_durable: 0,
            trusted_live: 0,
        }
    }

    pub fn now(&self, time: u64) -> Now {
        let monotonic = Instant(self.clock_offset + time / 1000 * self.clock_rate);
        Now { monotonic, wall: Timestamp(1_000_000) }
    }

    /// Whether its process does anything now.
    pub fn is_live(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    pub fn has_failed(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.has_failed)
    }

    /// The process and everything that it knew is gone.
    pub fn died(&mut self) {
        self.process = None;
        self.is_paused = false;
        (self.trusted_durable, self.trusted_live) = (0, 0);
    }

    /// A partition on what the disk has now.
    pub fn recover(
        &mut self,
        random: &mut ChaCha8Rng,
        time: u64,
        config: TopicConfig,
    ) -> Partition {
        let log = &self.disk.durable;
        let end = log.end();
        assert!(self.disk.start <= end, "a log starts at or before its end (L15)");
        let high_watermark = self.disk.checkpoint.clamp(self.disk.start, end);
        // The producers as of a batch boundary at or below the high watermark, and the rest.
        let settled = log.index_at(random.random_range(self.disk.start..=high_watermark));
        let settled = settled.saturating_sub(1);
        let boundary = log.entries.get(settled).map_or(end, |entry| entry.base());
        let recovered = Recovered {
            log_start_offset: Offset(self.disk.start),
            log_end_offset: Offset(end),
            epochs: self.epochs(),
            high_watermark: Offset(high_watermark),
            producers: log.replayed(boundary).producers,
            tail: log.entries[settled..].iter().map(|entry| entry.header).collect(),
        };
        let options = ReplicaOptions { broker: self.id, lag_max: LAG_MAX };
        Partition::new(self.now(time), options, config, recovered)
    }

    fn epochs(&self) -> EpochCache {
        self.disk.durable.replayed(u64::MAX).epochs
    }
}
