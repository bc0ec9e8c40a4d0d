//! The one table of the broker's keys: name, type, default, whether it may change while the
//! broker runs, what it does, and where it goes.
//!
//! Rows that set the same field stand in order of precedence: the later row wins when both are
//! given (`log.dirs` over `log.dir`).

use super::{
    BrokerConfig, ReplicaSelector,
    address::{HostPort, PEER_LISTENER, parse_listeners},
    cluster,
    group_keys::GROUP_KEYS,
    value::{Kind, Value},
};
use core::time::Duration;
use highwater_core::{
    config::{ConfigType, TOPIC_CONFIGS},
    types::BrokerId,
};
use std::path::PathBuf;

const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// One key that a configuration may set.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's name of it, or ours where Kafka has none.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// Its type and bounds.
    pub kind: Kind,
    /// The default as text; empty when there is none.
    pub default: &'static str,
    /// Whether it may be altered while the broker runs.
    pub dynamic: bool,
    /// What it does: sentences, for the documentation and for DescribeConfigs.
    pub doc: &'static str,
    pub(super) target: Target,
}

/// Where a key's value goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Into a field of the configuration. The error is a whole reason.
    Field(Setter),
    /// Among the defaults of topics, which core checks and reads.
    TopicDefault,
}

type Setter = fn(&mut BrokerConfig, &Value) -> Result<(), String>;

/// Every key: the broker's own, then those that give topics their defaults.
pub fn keys() -> impl Iterator<Item = Key> {
    KEYS.iter().chain(GROUP_KEYS).copied().chain(topic_defaults())
}

/// The key of that name or alias.
pub(super) fn find_key(name: &str) -> Option<Key> {
    keys().find(|key| key.name == name || key.aliases.contains(&name))
}

/// The broker-level names in core's table of topic configurations.
fn topic_defaults() -> impl Iterator<Item = Key> {
    TOPIC_CONFIGS.iter().flat_map(|definition| {
        definition.synonyms.iter().enumerate().map(|(index, synonym)| Key {
            name: synonym.name,
            aliases: &[],
            kind: kind_of(definition.config_type, synonym.name),
            // The strongest name shows the default; the others are empty until they are set.
            default: if index == 0 { definition.default } else { "" },
            dynamic: true,
            doc: definition.documentation,
            target: Target::TopicDefault,
        })
    })
}

/// Core checks the bounds; the kind only says how text is read.
fn kind_of(config_type: ConfigType, name: &str) -> Kind {
    let (min, max) = (i64::MIN, i64::MAX);
    match config_type {
        ConfigType::Boolean => Kind::Bool,
        ConfigType::List => Kind::List,
        ConfigType::String | ConfigType::Double => Kind::Text,
        _ if name.ends_with(".ms") => Kind::Millis { min, max },
        _ if name.ends_with(".bytes") => Kind::Bytes { min, max },
        _ => Kind::Int { min, max },
    }
}

pub(super) const ANY: i64 = i64::MAX;
pub(super) const I32: i64 = i32::MAX as i64;
/// Well below the longest reply between brokers, which may hold a larger batch whole.
const REPLICA_FETCH_MAX: i64 = 64 << 20;

pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    set: Setter,
) -> Key {
    let target = Target::Field(set);
    Key { name, aliases: &[], kind, default, dynamic: false, doc, target }
}

/// A key of Kafka's that is checked and has nothing to do here.
pub(super) const fn inert(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    row(name, kind, "", doc, |_, _| Ok(()))
}

impl Key {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
}

pub(super) const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

pub(super) const fn bytes(min: i64, max: i64) -> Kind {
    Kind::Bytes { min, max }
}

pub(super) const fn millis(min: i64, max: i64) -> Kind {
    Kind::Millis { min, max }
}

macro_rules! set {
    (|$config:ident, $value:ident| $body:expr) => {
        |$config: &mut crate::config::BrokerConfig, $value: &crate::config::Value| {
            $body;
            Ok(())
        }
    };
}
pub(super) use set;

/// Every key of the broker itself. Those that give topics their defaults are in core's table.
static KEYS: &[Key] = &[
    row(
        "node.id",
        int(0, I32),
        "1",
        "The broker's number in its cluster. It is written into the data directory at the first \
         start and may not change afterwards.",
        set!(|c, v| c.node_id = BrokerId(number(v))),
    )
    .alias(&["broker.id"]),
    row(
        "cluster.id",
        Kind::Text,
        "",
        "The cluster's identity, the same on all of its brokers. A broker that is alone may leave it \
         out: one is then generated at the first start and kept in the data directory.",
        |c, v| {
            let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=');
            let text = v.text();
            if text.is_empty() || text.len() > 64 || !text.bytes().all(valid) {
                return Err("use 1 to 64 letters, digits, `-`, `_` or `=`".to_owned());
            }
            c.cluster_id = Some(text.to_owned());
            Ok(())
        },
    ),
    row(
        "broker.rack",
        Kind::Text,
        "",
        "The rack or zone of this broker, told to clients.",
        set!(|c, v| c.rack = Some(v.text().to_owned()).filter(|rack| !rack.is_empty())),
    ),
    row(
        "replica.selector.class",
        Kind::Choice(&[LEADER_SELECTOR, RACK_AWARE_SELECTOR]),
        "",
        "Where consumers read. With Kafka's `RackAwareReplicaSelector` a leader sends a consumer \
         that names its rack (`client.rack`) to a follower of the same `broker.rack` that is in \
         sync, unless it is there itself. Give it to every broker. Without it, or with \
         `LeaderSelector`, consumers read from leaders.",
        set!(|c, v| {
            c.replica_selector = match v.text() {
                RACK_AWARE_SELECTOR => ReplicaSelector::RackAware,
                _ => ReplicaSelector::Leader,
            };
        }),
    ),
    row(
        "listeners",
        Kind::List,
        "PLAINTEXT://127.0.0.1:9092",
        "Where to listen for clients: `PLAINTEXT://HOST:PORT` or `HOST:PORT`; and, in a cluster, \
         for the other brokers: `CONTROLLER://HOST:PORT` behind a comma. Only PLAINTEXT, on both. \
         Port 0 lets the system pick one for clients. A controller that is no broker needs no \
         listener for clients; where it has one, tools can ask it about the quorum.",
        |c, v| {
            let listeners = parse_listeners(v.text())?;
            (c.listen, c.peer_listen) = (listeners.clients, listeners.peers);
            Ok(())
        },
    )
    .alias(&["listen"]),
    row(
        "advertised.listeners",
        Kind::List,
        "",
        "The address that clients are told to connect to. Without it the listener's own. It must \
         be given when the listener is a wildcard (`0.0.0.0`, `::`), since no client can connect \
         to that. `CONTROLLER://HOST:PORT` in it is told to the other brokers.",
        |c, v| {
            let advertised = parse_listeners(v.text())?;
            for address in [advertised.clients.as_ref(), advertised.peers.as_ref()] {
                let Some(address) = address.filter(|address| address.is_wildcard()) else {
                    continue;
                };
                return Err(format!(
                    "`{address}` is every address of a machine, and no client can connect to \
                     that; write the name or address under which clients reach this broker"
                ));
            }
            (c.advertised, c.peer_advertised) = (advertised.clients, advertised.peers);
            Ok(())
        },
    )
    .alias(&["advertise"]),
    row(
        "process.roles",
        Kind::List,
        "",
        "Kafka's roles: `broker`, `controller` or `broker,controller`. A broker holds partitions and \
         serves clients; a controller takes part in the metadata quorum when \
         `controller.quorum.voters` names it, which must not name a node that is a broker only. \
         Without it the node is a broker, and a controller when it is named there.",
        |c, v| {
            let roles = cluster::parse_roles(v.text())?;
            (c.is_broker, c.is_controller) = (roles.broker, Some(roles.controller));
            Ok(())
        },
    ),
    row(
        "controller.listener.names",
        Kind::List,
        "",
        "The name of the listener for the other brokers, which is CONTROLLER.",
        |_, v| match v.text().trim() {
            PEER_LISTENER => Ok(()),
            other => Err(format!(
                "`{other}` is not supported: the listener for the other brokers is named \
                 CONTROLLER; write CONTROLLER here and CONTROLLER://HOST:PORT in `listeners`"
            )),
        },
    ),
    row(
        "controller.quorum.voters",
        Kind::List,
        "",
        "The brokers that keep the cluster's metadata, as `1@host:9093,2@host:9093,3@host:9093`: \
         node ids with the addresses of their CONTROLLER listeners, the same list on every broker. \
         A majority of them must be up. Without it the broker is alone.",
        |c, v| {
            c.voters = cluster::parse_voters(v.text())?;
            Ok(())
        },
    ),
    row(
        "controller.quorum.election.timeout.ms",
        millis(20, 3_600_000),
        "200",
        "How long a voter hears nothing from the quorum's leader before it asks for an election; \
         each election waits at random up to twice that. Kafka's default is 1000; here it is \
         shorter, so that a cluster changes leaders within a second of a crash.",
        set!(|c, v| c.quorum_election_timeout = millis_of(v)),
    ),
    row(
        "controller.quorum.heartbeat.interval.ms",
        millis(1, 3_600_000),
        "50",
        "How often the quorum's leader shows the other voters that it is alive.",
        set!(|c, v| c.quorum_heartbeat_interval = millis_of(v)),
    ),
    row(
        "broker.session.timeout.ms",
        millis(10, 3_600_000),
        "500",
        "How long the quorum's leader hears nothing from a broker before it fences it: the broker \
         then leads no partition and is in no ISR that has another member. Kafka's default of 9000 \
         leaves partitions without a leader that long after a crash. Five missed heartbeats are \
         enough to tell a crash from a busy moment on a local network; a broker that was only \
         paused loses its leaderships but no record, and is back at its next heartbeat. Raise it \
         where machines pause or the network is long.",
        set!(|c, v| c.broker_session_timeout = millis_of(v)),
    ),
    row(
        "broker.heartbeat.interval.ms",
        millis(1, 3_600_000),
        "100",
        "How often a broker shows the quorum's leader that it is alive. Kafka's default is 2000, \
         for its longer session.",
        set!(|c, v| c.broker_heartbeat_interval = millis_of(v)),
    ),
    row(
        "replica.lag.time.max.ms",
        millis(1, ANY),
        "30000",
        "A follower that has not caught up with its leader for that long leaves the ISR.",
        set!(|c, v| c.replica_lag_time_max = millis_of(v)),
    ),
    row(
        "replica.fetch.wait.max.ms",
        millis(0, I32),
        "500",
        "How long a leader waits for new records before it answers a follower's fetch.",
        set!(|c, v| c.replica_fetch_wait_max = millis_of(v)),
    ),
    row(
        "replica.fetch.max.bytes",
        bytes(0, REPLICA_FETCH_MAX),
        "1048576",
        "Bytes of one partition in the answer to a follower's fetch. One batch is always answered \
         whole.",
        set!(|c, v| c.replica_fetch_max_bytes = number(v)),
    ),
    row(
        "replica.fetch.response.max.bytes",
        bytes(0, REPLICA_FETCH_MAX),
        "10485760",
        "Bytes of the whole answer to a follower's fetch. One batch is always answered whole.",
        set!(|c, v| c.replica_fetch_response_max_bytes = number(v)),
    ),
    row(
        "auto.leader.rebalance.enable",
        Kind::Bool,
        "true",
        "Whether partitions go back to their preferred leader, the first of their replicas, when it \
         is in sync.",
        set!(|c, v| c.auto_leader_rebalance = v.bool()),
    ),
    row(
        "leader.imbalance.check.interval.seconds",
        int(1, I32),
        "300",
        "How often partitions are looked for that their preferred leader does not lead.",
        set!(|c, v| c.leader_imbalance_check_interval = Duration::from_secs(number(v))),
    ),
    row(
        "admin.listen",
        Kind::Text,
        "127.0.0.1:9644",
        "Where `/healthz`, `/readyz` and `/metrics` are served over HTTP; `none` serves them \
         nowhere. They need no password: keep the address private.",
        |c, v| {
            c.admin_listen = match v.text() {
                "none" => None,
                text => Some(HostPort::parse(text).map_err(|e| format!("`{text}` is not {e}"))?),
            };
            Ok(())
        },
    ),
    row(
        "log.dir",
        Kind::Text,
        "highwater-data",
        "The data directory; `log.dirs` is preferred when both are given.",
        data_dir,
    )
    .alias(&["data"]),
    row(
        "log.dirs",
        Kind::List,
        "",
        "The data directory. Kafka takes several; this broker takes one.",
        data_dir,
    ),
    row(
        "num.partitions",
        int(1, 10_000),
        "1",
        "Partitions of a topic that is created without saying how many.",
        set!(|c, v| c.num_partitions = number(v)),
    ),
    row(
        "default.replication.factor",
        int(1, i16::MAX as i64),
        "1",
        "Replicas of a topic that is created without saying how many. More than 1 needs a cluster: \
         `controller.quorum.voters`.",
        set!(|c, v| c.default_replication_factor = number(v)),
    ),
    row(
        "auto.create.topics.enable",
        Kind::Bool,
        "true",
        "Whether a topic is created when a client first asks for it.",
        set!(|c, v| c.auto_create_topics = v.bool()),
    ),
    row(
        "delete.topic.enable",
        Kind::Bool,
        "true",
        "Whether topics may be deleted.",
        set!(|c, v| c.delete_topics = v.bool()),
    ),
    row(
        "socket.request.max.bytes",
        bytes(1024, 1 << 30),
        "104857600",
        "The largest request that is read. A client that sends a larger one is disconnected. \
         `queued.max.request.bytes` bounds it as well.",
        set!(|c, v| c.socket_request_max_bytes = number(v)),
    ),
    row(
        "queued.max.request.bytes",
        bytes(1 << 20, 1 << 40),
        "25165824",
        "Memory for all requests that are read and not yet answered. When it is used up, \
         connections wait before they read on. Kafka's own default is no bound; here it is what \
         keeps the broker small, and a request larger than it is refused.",
        set!(|c, v| c.queued_max_request_bytes = number(v)),
    ),
    row(
        "max.connections",
        int(1, 1_000_000),
        "10000",
        "Client connections at one time; more are closed at once.",
        set!(|c, v| c.max_connections = number(v)),
    ),
    row(
        "max.in.flight.requests.per.connection",
        int(1, 10_000),
        "64",
        "Requests of one connection that are read and not yet answered; reading waits beyond it.",
        set!(|c, v| c.max_in_flight_per_connection = number(v)),
    ),
    row(
        "connections.max.idle.ms",
        millis(-1, ANY),
        "600000",
        "A connection without a request for that long is closed; -1 keeps it for ever.",
        set!(|c, v| c.connections_max_idle = optional_millis(v)),
    ),
    row(
        "fetch.max.bytes",
        bytes(1024, I32),
        "57671680",
        "The largest answer to a fetch, whatever the client asks for. One batch is always \
         answered whole.",
        set!(|c, v| c.fetch_max_bytes = number(v)),
    ),
    row(
        "max.incremental.fetch.session.cache.slots",
        int(0, 100_000),
        "1000",
        "Incremental fetch sessions kept (KIP-227); 0 serves none.",
        set!(|c, v| c.fetch_session_slots = number(v)),
    ),
    Key {
        name: "producer.id.expiration.ms",
        aliases: &[],
        kind: millis(1, I32),
        default: "86400000",
        dynamic: true,
        doc: "An idempotent producer that wrote nothing to a partition for that long is forgotten \
              there.",
        target: Target::TopicDefault,
    },
    Key {
        name: "leader.replication.throttled.rate",
        aliases: &[],
        kind: bytes(1, ANY),
        default: "9223372036854775807",
        dynamic: true,
        doc: "Bytes in a second that this broker gives to the followers that \
              `leader.replication.throttled.replicas` of their topics throttles. Set while the \
              broker runs, as `highwater partition reassign --throttle` does.",
        target: Target::TopicDefault,
    },
    Key {
        name: "follower.replication.throttled.rate",
        aliases: &[],
        kind: bytes(1, ANY),
        default: "9223372036854775807",
        dynamic: true,
        doc: "Bytes in a second that this broker takes from leaders for the replicas that \
              `follower.replication.throttled.replicas` of their topics throttles.",
        target: Target::TopicDefault,
    },
    row(
        "log.retention.check.interval.ms",
        millis(1, ANY),
        "300000",
        "How often each partition looks for segments that retention may delete.",
        set!(|c, v| c.retention_check_interval = millis_of(v)),
    ),
    row(
        "log.cleaner.enable",
        Kind::Bool,
        "true",
        "Whether topics with `cleanup.policy=compact` are compacted.",
        set!(|c, v| c.cleaner_enabled = *v == Value::Bool(true)),
    ),
    row(
        "log.cleaner.backoff.ms",
        millis(0, ANY),
        "15000",
        "How long compaction rests when no partition needs it.",
        set!(|c, v| c.cleaner_backoff = millis_of(v)),
    ),
    row(
        "log.cleaner.dedupe.buffer.size",
        bytes(1 << 20, ANY),
        "134217728",
        "Memory for the keys of a partition that is compacted: 24 bytes for each, a fifth of it \
         left free. What does not fit is compacted in another pass.",
        set!(|c, v| c.cleaner_map_bytes = number(v)),
    ),
    row(
        "log.cleaner.io.max.bytes.per.second",
        bytes(1, ANY),
        "9223372036854775807",
        "What compaction reads and writes in a second at most.",
        set!(|c, v| c.cleaner_bytes_per_second = number(v)),
    ),
    inert("log.cleaner.threads", int(0, I32), CLEANER),
    inert("log.cleaner.io.buffer.size", bytes(0, I32), CLEANER),
    inert("log.cleaner.io.buffer.load.factor", Kind::Text, CLEANER),
    inert("log.flush.scheduler.interval.ms", millis(1, ANY), FLUSH),
    inert("log.flush.offset.checkpoint.interval.ms", millis(0, ANY), FLUSH),
    inert("log.flush.start.offset.checkpoint.interval.ms", millis(0, ANY), FLUSH),
    inert("num.network.threads", int(1, I32), THREADS),
    inert("num.io.threads", int(1, I32), THREADS),
    inert("num.recovery.threads.per.data.dir", int(1, I32), THREADS),
    inert("background.threads", int(1, I32), THREADS),
    inert(
        "queued.max.requests",
        int(1, I32),
        "No effect: `queued.max.request.bytes` bounds memory.",
    ),
    inert("socket.send.buffer.bytes", bytes(-1, I32), BUFFERS),
    inert("socket.receive.buffer.bytes", bytes(-1, I32), BUFFERS),
];

const FLUSH: &str = "No effect: every acknowledgement comes after the flush of its records.";
pub(super) const THREADS: &str = "No effect: the broker runs one worker per core.";
const CLEANER: &str = "No effect: one partition is compacted at a time.";
const BUFFERS: &str = "No effect: the system sizes the socket buffers.";

fn data_dir(config: &mut BrokerConfig, value: &Value) -> Result<(), String> {
    let mut dirs = value.text().split(',').map(str::trim).filter(|dir| !dir.is_empty());
    let first = dirs.next().ok_or("no directory is named")?;
    if let Some(second) = dirs.next() {
        return Err(format!(
            "one data directory is used, and `{second}` is a second one; keep one, on a volume \
             that spans the disks"
        ));
    }
    config.data_dir = PathBuf::from(first);
    Ok(())
}

/// The kind of the row bounds the value, so a number that does not fit is a wrong row.
pub(super) fn number<T: TryFrom<i64>>(value: &Value) -> T {
    let number = value.int();
    T::try_from(number)
        .unwrap_or_else(|_| panic!("{number} passed its key's bounds and does not fit its field"))
}

pub(super) fn millis_of(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}

fn optional_millis(value: &Value) -> Option<Duration> {
    (value.int() >= 0).then(|| millis_of(value))
}
