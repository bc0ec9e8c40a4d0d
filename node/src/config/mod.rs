//! The broker's configuration: one table of keys, read from TOML or Kafka's properties.
//!
//! [`Settings`] gathers values from files and options, later ones over earlier ones, and
//! [`Settings::build`] checks them together into a [`BrokerConfig`]. Nothing here opens a file: the
//! caller brings the text and the file's name.

mod address;
mod cluster;
mod error;
mod group_keys;
mod keys;
mod source;
mod value;

pub use address::HostPort;
pub use error::{ConfigError, ConfigErrors, Origin, Problem};
pub use keys::{Key, keys};
pub use value::{Kind, Raw, Value};

use core::time::Duration;
use highwater_core::{
    config::{nearest, validate_broker_config},
    group::GroupConfig,
    metadata::Endpoint,
    types::BrokerId,
};
use keys::{Target, find_key};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything that a broker is told at its start. All bounds of the key table hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `cluster.id`; `None` lets the broker generate one at its first start.
    pub cluster_id: Option<String>,
    /// `controller.quorum.voters`: the brokers that keep the metadata. Empty for a broker that is
    /// alone.
    ///
    /// Invariant: unless empty, `cluster_id`, `peer_listen` and `peer_advertised` are given.
    pub voters: BTreeMap<BrokerId, Endpoint>,
    /// Where to listen for other brokers (the listener CONTROLLER). Given exactly in a cluster.
    pub peer_listen: Option<HostPort>,
    /// What other brokers are told to connect to. Given exactly in a cluster. Port 0 stands for the
    /// port that was bound.
    ///
    /// Invariant: never a wildcard; of a voter, its address among the voters.
    pub peer_advertised: Option<HostPort>,
    /// `controller.quorum.election.timeout.ms`: at least this long without the quorum's leader.
    ///
    /// Invariant: at least twice [`BrokerConfig::quorum_heartbeat_interval`].
    pub quorum_election_timeout: Duration,
    /// `controller.quorum.heartbeat.interval.ms`.
    pub quorum_heartbeat_interval: Duration,
    /// When the metadata log gives way to a snapshot. No key sets it.
    pub metadata_snapshots: MetadataSnapshots,
    /// `broker.session.timeout.ms`: a broker that was not heard for that long is fenced.
    ///
    /// Invariant: at least twice [`BrokerConfig::broker_heartbeat_interval`].
    pub broker_session_timeout: Duration,
    /// `broker.heartbeat.interval.ms`.
    pub broker_heartbeat_interval: Duration,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`.
    pub replica_fetch_wait_max: Duration,
    /// `replica.fetch.max.bytes`: of one partition, except for the one batch that is always
    /// answered.
    pub replica_fetch_max_bytes: u32,
    /// `replica.fetch.response.max.bytes`: of all partitions of one answer.
    pub replica_fetch_response_max_bytes: u32,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub leader_imbalance_check_interval: Duration,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `replica.selector.class`.
    pub replica_selector: ReplicaSelector,
    /// Whether the node is a broker (`process.roles`): it registers, holds partitions and serves
    /// clients. A node that is none keeps metadata only.
    ///
    /// Invariant: true unless `voters` are given.
    pub is_broker: bool,
    /// Whether the node was said to be a controller (`process.roles`); `None` when nothing was said.
    /// What it is, the metadata quorum knows.
    pub is_controller: Option<bool>,
    /// Where to listen for clients. Port 0 lets the system pick one.
    ///
    /// Invariant: given for a broker.
    pub listen: Option<HostPort>,
    /// What clients are told to connect to. Port 0 stands for the port that was bound.
    ///
    /// Invariant: given for a broker, and of a broker never a wildcard.
    pub advertised: Option<HostPort>,
    /// Where the binary serves health and metrics; `None` serves them nowhere.
    pub admin_listen: Option<HostPort>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// `num.partitions`.
    pub num_partitions: u32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// The largest request frame, without its length prefix.
    ///
    /// Invariant: at most [`BrokerConfig::queued_max_request_bytes`].
    pub socket_request_max_bytes: usize,
    /// Memory for all requests that are read and not yet answered.
    pub queued_max_request_bytes: usize,
    /// Client connections at one time.
    pub max_connections: usize,
    /// Requests of one connection that are read and not yet answered.
    pub max_in_flight_per_connection: usize,
    /// A connection without a request for that long is closed; `None` keeps it for ever.
    pub connections_max_idle: Option<Duration>,
    /// The largest answer to a fetch, except for the one batch that is always answered.
    pub fetch_max_bytes: usize,
    /// Incremental fetch sessions kept (KIP-227).
    pub fetch_session_slots: usize,
    /// How often retention looks for segments to delete.
    pub retention_check_interval: Duration,
    /// How this broker's group coordinators keep their groups.
    ///
    /// Invariant: the shortest session timeout is at most the longest.
    pub groups: GroupConfig,
    /// `offsets.commit.timeout.ms`: how long an answer of a coordinator waits for the high
    /// watermark.
    pub offsets_commit_timeout: Duration,
    /// How `__consumer_offsets` is created.
    pub offsets_topic: OffsetsTopic,
    /// Whether compacted topics are compacted (`log.cleaner.enable`).
    pub cleaner_enabled: bool,
    /// How long compaction rests when no log needs it.
    pub cleaner_backoff: Duration,
    /// Bytes of the map from keys to offsets.
    pub cleaner_map_bytes: u64,
    /// Bytes that compaction reads and writes in a second at most.
    pub cleaner_bytes_per_second: u64,
    /// What was set, by the key's own name; everything else has its default.
    explicit: BTreeMap<&'static str, (String, Origin)>,
}

/// Which replica a leader lets consumers read from (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// Itself.
    Leader,
    /// A follower in the consumer's rack, where it is in none itself.
    RackAware,
}

/// When the replicated metadata log gives way to a snapshot of the metadata, and how much of it stays.
/// Kafka has keys for the bytes and the hours between two snapshots; the log is counted in entries
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataSnapshots {
    /// Entries behind a snapshot that make the next one due; at least 1.
    pub entries: u64,
    /// Entries that stay in the log although a snapshot holds them, for followers that lag a little.
    pub entries_kept: u64,
    /// A file of the log with fewer bytes is not rewritten without the entries that a snapshot holds.
    pub rewrite_bytes_min: u64,
}

impl Default for MetadataSnapshots {
    fn default() -> Self {
        Self { entries: 5_000, entries_kept: 1_000, rewrite_bytes_min: 4 << 20 }
    }
}

/// How `__consumer_offsets` is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// `offsets.topic.num.partitions`.
    pub partitions: u32,
    /// `offsets.topic.replication.factor`.
    pub replication_factor: u32,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: u32,
}

/// One key with its value in force, as DescribeConfigs shows a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in force as text; `None` when there is neither value nor default.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The key's type.
    pub kind: Kind,
    /// Whether it may be altered while the broker runs.
    pub dynamic: bool,
    /// What it does.
    pub doc: &'static str,
}

/// Values gathered for a configuration, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, (Value, Origin)>,
    errors: Vec<ConfigError>,
}

impl Settings {
    /// No setting: all defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a file's settings over those given so far. What is wrong is reported by
    /// [`Settings::build`]. A name that ends in `.properties` is read as Java properties, any
    /// other as TOML.
    pub fn read(&mut self, text: &str, file: &str) {
        let entries = match source::read(text, file) {
            Ok(entries) => entries,
            Err(error) => return self.errors.push(error),
        };
        let mut of_this_file = BTreeMap::new();
        for entry in entries {
            let Some(key) = find_key(&entry.key) else {
                self.unknown(entry.key, entry.origin);
                continue;
            };
            if let Some(first) = of_this_file.insert(key.name, entry.origin.clone()) {
                let problem = Problem::Duplicate { key: key.name, first };
                self.errors.push(ConfigError { origin: entry.origin, problem });
                continue;
            }
            self.put(key, &entry.value, entry.origin);
        }
    }

    /// Takes one setting over those given so far. `by` says who gives it: `--listen`.
    pub fn set(&mut self, key: &str, value: &str, by: &str) {
        let origin = Origin::Given(by.into());
        match find_key(key) {
            Some(key) => self.put(key, &Raw::Text(value.to_owned()), origin),
            None => self.unknown(key.to_owned(), origin),
        }
    }

    /// Checks everything together. The error holds all that is wrong, in the order given.
    pub fn build(self) -> Result<BrokerConfig, ConfigErrors> {
        let mut config = BrokerConfig::with_defaults();
        let mut errors = self.errors;
        for key in keys() {
            let Some((value, origin)) = self.given.get(key.name) else { continue };
            if let Err(problem) = config.apply(&key, value) {
                errors.push(ConfigError { origin: origin.clone(), problem });
                continue;
            }
            config.explicit.insert(key.name, (value.to_text(), origin.clone()));
        }
        if errors.is_empty()
            && let Err(error) = config.settle()
        {
            errors.push(error);
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    fn put(&mut self, key: Key, raw: &Raw, origin: Origin) {
        match check(&key, raw) {
            Ok(value) => {
                self.given.insert(key.name, (value, origin));
            }
            Err(expected) => {
                let problem = Problem::BadValue { key: key.name, found: raw.shown(), expected };
                self.errors.push(ConfigError { origin, problem });
            }
        }
    }

    fn unknown(&mut self, key: String, origin: Origin) {
        let nearest = nearest(&key, key_names());
        self.errors.push(ConfigError { origin, problem: Problem::UnknownKey { key, nearest } });
    }
}

impl BrokerConfig {
    /// Reads one file's text over the defaults, as [`Settings::read`] does.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigErrors> {
        let mut settings = Settings::new();
        settings.read(text, file);
        settings.build()
    }

    /// Every key of the broker with its value in force, in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = ConfigEntry> + '_ {
        keys().map(|key| {
            let (value, origin) = match self.explicit.get(key.name) {
                Some((value, origin)) => (Some(value.clone()), origin.clone()),
                None => {
                    let default = Some(key.default).filter(|default| !default.is_empty());
                    (default.map(str::to_owned), Origin::Default)
                }
            };
            let Key { name, kind, dynamic, doc, .. } = key;
            ConfigEntry { name, value, origin, kind, dynamic, doc }
        })
    }

    /// What was set, as the layer of configuration below the dynamic ones.
    #[must_use]
    pub fn static_configs(&self) -> BTreeMap<String, String> {
        let set = self.explicit.iter();
        set.map(|(name, (value, _))| ((*name).to_owned(), value.clone())).collect()
    }

    fn with_defaults() -> Self {
        let mut config = Self {
            node_id: BrokerId(0),
            cluster_id: None,
            voters: BTreeMap::new(),
            peer_listen: None,
            peer_advertised: None,
            quorum_election_timeout: Duration::ZERO,
            quorum_heartbeat_interval: Duration::ZERO,
            metadata_snapshots: MetadataSnapshots::default(),
            broker_session_timeout: Duration::ZERO,
            broker_heartbeat_interval: Duration::ZERO,
            replica_lag_time_max: Duration::ZERO,
            replica_fetch_wait_max: Duration::ZERO,
            replica_fetch_max_bytes: 0,
            replica_fetch_response_max_bytes: 0,
            auto_leader_rebalance: false,
            leader_imbalance_check_interval: Duration::ZERO,
            rack: None,
            replica_selector: ReplicaSelector::Leader,
            is_broker: true,
            is_controller: None,
            listen: None,
            advertised: None,
            admin_listen: None,
            data_dir: PathBuf::new(),
            num_partitions: 0,
            default_replication_factor: 0,
            auto_create_topics: false,
            delete_topics: false,
            socket_request_max_bytes: 0,
            queued_max_request_bytes: 0,
            max_connections: 0,
            max_in_flight_per_connection: 0,
            connections_max_idle: None,
            fetch_max_bytes: 0,
            fetch_session_slots: 0,
            retention_check_interval: Duration::ZERO,
            groups: GroupConfig::default(),
            offsets_commit_timeout: Duration::ZERO,
            offsets_topic: OffsetsTopic { partitions: 0, replication_factor: 0, segment_bytes: 0 },
            cleaner_enabled: false,
            cleaner_backoff: Duration::ZERO,
            cleaner_map_bytes: 0,
            cleaner_bytes_per_second: 0,
            explicit: BTreeMap::new(),
        };
        for key in keys().filter(|key| matches!(key.target, Target::Field(_))) {
            if key.default.is_empty() {
                continue;
            }
            let value = key.kind.check(&Raw::Text(key.default.to_owned()));
            let value = value.unwrap_or_else(|expected| {
                panic!("the default of {} is {:?}, not {expected}", key.name, key.default)
            });
            let applied = config.apply(&key, &value);
            assert!(applied.is_ok(), "the default of {} is refused: {applied:?}", key.name);
        }
        config
    }

    fn apply(&mut self, key: &Key, value: &Value) -> Result<(), Problem> {
        match key.target {
            Target::Field(set) => {
                set(self, value).map_err(|reason| Problem::Unsupported { key: key.name, reason })
            }
            // Read back through `static_configs`.
            Target::TopicDefault => Ok(()),
        }
    }

    /// The rules between keys.
    fn settle(&mut self) -> Result<(), ConfigError> {
        self.settle_listeners()?;
        cluster::settle(self)?;
        if self.groups.min_session_timeout > self.groups.max_session_timeout {
            let key = "group.min.session.timeout.ms";
            let reason = "it is above `group.max.session.timeout.ms`, so no member could join; \
                          lower it"
                .to_owned();
            let problem = Problem::Unsupported { key, reason };
            return Err(ConfigError { origin: self.origin(key), problem });
        }
        self.socket_request_max_bytes =
            self.socket_request_max_bytes.min(self.queued_max_request_bytes);
        Ok(())
    }

    /// A broker tells its clients where it is.
    fn settle_listeners(&mut self) -> Result<(), ConfigError> {
        let wrong = |reason: String| {
            let problem = Problem::Unsupported { key: "listeners", reason };
            ConfigError { origin: self.origin("listeners"), problem }
        };
        if self.is_broker && self.listen.is_none() {
            return Err(wrong(address::NO_CLIENTS.to_owned()));
        }
        if self.advertised.is_some() {
            return Ok(());
        }
        if let Some(listen) = self.listen.as_ref().filter(|at| self.is_broker && at.is_wildcard()) {
            return Err(wrong(format!(
                "`{listen}` is every address of this machine, and no client can connect to that; \
                 set `advertised.listeners` (or --advertise) to the name or address under which \
                 clients reach this broker, such as PLAINTEXT://{}:{}",
                "kafka.example.com", listen.port
            )));
        }
        self.advertised = self.listen.clone();
        Ok(())
    }

    fn origin(&self, key: &str) -> Origin {
        self.explicit.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Settings::new().build().unwrap_or_else(|errors| panic!("the defaults are wrong: {errors}"))
    }
}

/// Checks one value by its key's kind, and by core's rule for a default of topics.
fn check(key: &Key, raw: &Raw) -> Result<Value, String> {
    let value = key.kind.check(raw);
    if let Target::Field(_) = key.target {
        return value;
    }
    // A value of the wrong kind goes to core too, for its words of what is expected.
    let text = value.as_ref().map_or_else(|_| raw.shown(), Value::to_text);
    match validate_broker_config(key.name, &text) {
        Ok(()) => value,
        Err(highwater_core::config::ConfigError::InvalidValue { rule, .. }) => {
            Err(rule.into_owned())
        }
        Err(other) => Err(other.to_string()),
    }
}

fn key_names() -> impl Iterator<Item = &'static str> {
    keys().flat_map(|key| core::iter::once(key.name).chain(key.aliases.iter().copied()))
}

#[cfg(test)]
mod tests;
