//! What the broker counts about itself, without a lock where it counts.
//!
//! The broker holds one [`Metrics`] and adds to its atomics; a reader renders them as Prometheus
//! text with [`Metrics::render`]. There is no clock in here: whoever measures brings the duration.

mod offsets;
mod page;
mod text;

pub use offsets::{GroupOffset, Offsets, PartitionOffsets};

use highwater_core::group::GroupState;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: i64) {
        self.0.store(level, Relaxed);
    }

    /// Moves the level by `change`.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    /// The level now.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the histograms' buckets in microseconds, inclusive; one more bucket holds what
/// is longer.
pub const BUCKETS_MICROS: [u64; 20] = [
    50, 100, 200, 350, 500, 750, 1_000, 1_500, 2_500, 5_000, 7_500, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];

/// How durations are distributed.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// Durations counted so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The sum of all durations counted.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Relaxed))
    }
}

/// Everything the broker counts.
#[derive(Debug)]
pub struct Metrics {
    /// All topics together, those deleted since included.
    pub all_topics: Arc<TopicMetrics>,
    /// Sockets.
    pub network: NetworkMetrics,
    /// Flushes of logs.
    pub fsync: FsyncMetrics,
    /// Compaction.
    pub compaction: CompactionMetrics,
    /// Partitions and their state.
    pub replicas: ReplicaMetrics,
    /// The cluster.
    pub cluster: ClusterMetrics,
    /// The memory that requests in flight may take.
    pub memory: MemoryMetrics,
    /// The groups that this broker coordinates.
    pub groups: GroupMetrics,
    /// Indexed by API key.
    apis: [OnceLock<Box<ApiMetrics>>; API_KEYS],
    topics: Mutex<BTreeMap<String, Arc<TopicMetrics>>>,
}

/// API keys counted: all that Kafka has, with room.
const API_KEYS: usize = 128;
/// Error codes counted, from -1 up; later ones count as -1, UNKNOWN_SERVER_ERROR.
const ERROR_CODES: usize = 160;

/// Connections and the bytes on them.
#[derive(Debug, Default)]
pub struct NetworkMetrics {
    /// Bytes read from clients, frames and all.
    pub bytes_in: Counter,
    /// Bytes written to clients, frames and all.
    pub bytes_out: Counter,
    /// Connections open now.
    pub connections: Gauge,
    /// Connections ever accepted.
    pub accepted: Counter,
    /// Connections closed at once because `max.connections` were open.
    pub refused: Counter,
    /// Connections closed because of a frame that no client may send.
    pub malformed: Counter,
    /// Connections closed because they were idle.
    pub idle_closed: Counter,
}

/// Flushes of logs.
#[derive(Debug, Default)]
pub struct FsyncMetrics {
    /// How long a flush of one file took.
    pub latency: Histogram,
    /// Rounds of group commit; each flushes every file that was written since the last.
    pub rounds: Counter,
    /// Bytes made durable.
    pub bytes: Counter,
    /// Flushes that failed. Each takes a partition offline.
    pub failures: Counter,
}

/// Compaction of logs.
#[derive(Debug, Default)]
pub struct CompactionMetrics {
    /// Compactions of a partition that ended well.
    pub runs: Counter,
    /// Compactions that failed. Each left the partition as it was.
    pub failures: Counter,
    /// Bytes of segments read.
    pub bytes_read: Counter,
    /// Bytes of segments written.
    pub bytes_written: Counter,
    /// Records that are gone.
    pub records_removed: Counter,
    /// The dirty share of the dirtiest partition, in hundredths.
    pub max_dirty_percent: Gauge,
    /// Partitions that are left alone because their compaction has failed.
    pub paused_partitions: Gauge,
}

/// Partitions and their state.
#[derive(Debug, Default)]
pub struct ReplicaMetrics {
    /// Partitions with a replica here.
    pub partitions: Gauge,
    /// Partitions led from here.
    pub leaders: Gauge,
    /// Those of the partitions led from here that have fewer replicas in sync than they have
    /// replicas, not counting those that a reassignment adds.
    pub under_replicated: Gauge,
    /// Those with fewer replicas in sync than `min.insync.replicas`.
    pub under_min_isr: Gauge,
    /// Those with just so many.
    pub at_min_isr: Gauge,
    /// Partitions that cannot be written because their log failed.
    pub offline: Gauge,
    /// Changes of the ISR of a partition led from here in which a member left.
    pub isr_shrinks: Counter,
    /// Those in which a member joined.
    pub isr_expands: Counter,
    /// New leader epochs of partitions with a replica here.
    pub leader_elections: Counter,
}

/// The cluster as this broker sees it. What is not about this broker alone stays 0 unless it is the
/// controller.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    /// Partitions without a leader that can be written.
    pub offline_partitions: Gauge,
    /// Registered brokers that are alive.
    pub active_brokers: Gauge,
    /// Registered brokers that are fenced.
    pub fenced_brokers: Gauge,
    /// 1 if this broker leads the metadata quorum.
    pub is_controller: Gauge,
    /// Raft's term.
    pub quorum_term: Gauge,
    /// Who leads the metadata quorum; -1 when nobody is known to.
    pub quorum_leader: Gauge,
    /// 1 if this broker is fenced.
    pub fenced: Gauge,
}

/// The memory that requests in flight may take (`queued.max.request.bytes`).
#[derive(Debug, Default)]
pub struct MemoryMetrics {
    /// Requests that had to wait for memory before they were read.
    pub waits: Counter,
    /// How long those waited.
    pub wait_latency: Histogram,
}

/// The groups that this broker coordinates.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    /// Groups by their state, in the order of [`GroupState::ALL`].
    pub groups: [Gauge; GroupState::ALL.len()],
    /// Their members.
    pub members: Gauge,
    /// Rebalances that were completed.
    pub rebalances: Counter,
    /// How long those took.
    pub rebalance_latency: Histogram,
    /// Offsets of partitions that were committed.
    pub offset_commits: Counter,
    /// Times that a coordinator was elected, or had to read its log again.
    pub loads: Counter,
    /// Coordinators that have not read their log to its end.
    pub loading: Gauge,
    /// How long a coordinator took to read its log.
    pub load_latency: Histogram,
    /// Answers that wait for the high watermark.
    pub deferred_answers: Gauge,
    /// Requests that were refused because too many waited for their coordinator.
    pub queue_refusals: Counter,
}

/// One topic.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Bytes of batches appended.
    pub bytes_in: Counter,
    /// Bytes of batches read by consumers.
    pub bytes_out: Counter,
    /// Records appended.
    pub messages_in: Counter,
    /// Produce requests to a partition of it.
    pub produce_requests: Counter,
    /// Fetch requests to a partition of it.
    pub fetch_requests: Counter,
    /// Those of the produce requests that got an error.
    pub failed_produces: Counter,
    /// Those of the fetch requests that got an error.
    pub failed_fetches: Counter,
}

/// One API.
#[derive(Debug)]
pub struct ApiMetrics {
    /// From the last byte of a request read to its answer handed to the socket.
    pub latency: Histogram,
    /// Bytes of its requests.
    pub request_bytes: Counter,
    /// Bytes of its answers.
    pub response_bytes: Counter,
    /// Answers by their first error code, code -1 first.
    errors: [Counter; ERROR_CODES],
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            all_topics: Arc::default(),
            network: NetworkMetrics::default(),
            fsync: FsyncMetrics::default(),
            compaction: CompactionMetrics::default(),
            replicas: ReplicaMetrics::default(),
            cluster: ClusterMetrics::default(),
            memory: MemoryMetrics::default(),
            groups: GroupMetrics::default(),
            apis: [const { OnceLock::new() }; API_KEYS],
            topics: Mutex::default(),
        }
    }

    /// The counters of an API. Lock-free after the first call for that key.
    #[must_use]
    pub fn api(&self, key: i16) -> &ApiMetrics {
        // Only keys that the broker serves come here: the frame reader refuses all others.
        let slot = usize::try_from(key).ok().and_then(|key| self.apis.get(key));
        let slot = slot.unwrap_or_else(|| panic!("API key {key} is none of Kafka's"));
        slot.get_or_init(Box::default)
    }

    /// The counters of a topic. Takes a lock: a partition's driver asks once and keeps the answer.
    #[must_use]
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        topics.entry(name.to_owned()).or_default().clone()
    }

    /// Shows a deleted topic no longer. What it counted stays in [`Metrics::all_topics`].
    pub fn forget_topic(&self, name: &str) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Counts a batch that was appended to `topic`.
    pub fn produced(&self, topic: &TopicMetrics, bytes: u64, records: u64) {
        for counters in [topic, &self.all_topics] {
            counters.bytes_in.add(bytes);
            counters.messages_in.add(records);
        }
    }

    /// Counts bytes of `topic` that were read for a consumer.
    pub fn fetched(&self, topic: &TopicMetrics, bytes: u64) {
        for counters in [topic, &self.all_topics] {
            counters.bytes_out.add(bytes);
        }
    }

    /// Counts one partition's part of a produce request.
    pub fn produce_request(&self, topic: &TopicMetrics, failed: bool) {
        for counters in [topic, &self.all_topics] {
            counters.produce_requests.increment();
            counters.failed_produces.add(u64::from(failed));
        }
    }

    /// Counts one partition's part of a fetch request.
    pub fn fetch_request(&self, topic: &TopicMetrics, failed: bool) {
        for counters in [topic, &self.all_topics] {
            counters.fetch_requests.increment();
            counters.failed_fetches.add(u64::from(failed));
        }
    }

    /// Everything as Prometheus text, version 0.0.4: jmx_exporter's names where Kafka has the
    /// metric, and `highwater_` for our own.
    #[must_use]
    pub fn render(&self) -> String {
        text::render(self)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiMetrics {
    /// Counts one answer: its first error code (0 is none) and the time since the request was
    /// read.
    pub fn answered(&self, error_code: i16, took: Duration) {
        let index = usize::try_from(i32::from(error_code) + 1).unwrap_or(0);
        self.errors.get(index).unwrap_or(&self.errors[0]).increment();
        self.latency.observe(took);
    }

    /// Answers given so far, with and without errors.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.errors.iter().map(Counter::value).sum()
    }
}

impl Default for ApiMetrics {
    fn default() -> Self {
        Self {
            latency: Histogram::default(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            errors: [const { Counter(AtomicU64::new(0)) }; ERROR_CODES],
        }
    }
}
