//! What can be said on the command line.

mod group;
mod moment;
mod partition;

pub use group::{
    DeleteGroups, DeleteOffsets, DescribeGroups, Group, GroupMembers, GroupOffsets, ListGroups,
    ResetOffsets, ResetTo, TopicScope,
};
pub use moment::{datetime, duration};
pub use partition::{Elect, Partition, Reassign, Reassignments, Unthrottle};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A durable event-streaming broker that speaks the Kafka protocol.
///
/// Every acknowledged record is on disk before it is acknowledged. Exit status: 0 done, 1 failed,
/// 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results, or logs, are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// JSON, one document per line.
    Json,
}

/// What to do. A command is documented where its arguments are.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    Dev(Dev),
    CheckConfig(CheckConfig),
    /// Create, list, describe, delete or alter topics.
    #[command(subcommand)]
    Topic(Topic),
    Produce(Produce),
    Consume(Consume),
    /// Look at groups of consumers, and change where they go on.
    #[command(subcommand)]
    Group(Group),
    /// Look at a cluster, empty a node, and change who belongs to it.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Move partitions between nodes and choose their leaders.
    #[command(subcommand)]
    Partition(Partition),
    /// Look at the files of a log.
    #[command(subcommand)]
    Log(LogCommand),
}

/// Run a broker until SIGTERM or SIGINT.
///
/// Without options it is one broker on 127.0.0.1:9092 with its data in ./highwater-data, and
/// health and metrics on 127.0.0.1:9644. Options win over the configuration file. What is logged
/// is chosen by the environment variable HIGHWATER_LOG, as in `HIGHWATER_LOG=debug`.
#[derive(Args, Debug)]
pub struct Serve {
    /// The configuration: TOML, or Kafka's properties if the name ends in .properties.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where to listen for clients. Port 0 lets the system pick one.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The address that clients are told to connect to, if it is not the one listened on.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where to serve /healthz, /readyz and /metrics; `none` for nowhere.
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// How the log is written to standard error.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub log_format: Format,
}

/// Run a whole cluster on this machine, for development and tests.
///
/// Every broker of it is as `serve` runs it, with its own data and ports, but all in one process:
/// what one process loses, all of them lose. Prints the addresses for clients when all are up, and
/// ends at SIGTERM or SIGINT. Started again with the same directory it is the same cluster.
#[derive(Args, Debug)]
pub struct Dev {
    /// How many brokers.
    #[arg(long, short, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub nodes: u16,
    /// Where the data is: a directory for each broker, and the cluster's id.
    #[arg(long, value_name = "DIR", default_value = "highwater-dev")]
    pub data: PathBuf,
    /// The first broker's port for clients; the others follow. Ports for brokers are 10000 higher.
    /// Without it the first of 9092, 9192, 9292 and so on whose ports are all free.
    #[arg(long, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=55_000))]
    pub listen_base: Option<u16>,
    /// How the log is written to standard error.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub log_format: Format,
}

/// Check a configuration file and print what would be in force.
///
/// Every mistake is named with its line, and nothing is started.
#[derive(Args, Debug)]
pub struct CheckConfig {
    /// The file: TOML, or Kafka's properties if the name ends in .properties.
    pub file: PathBuf,
}

/// Where the cluster is.
#[derive(Args, Debug)]
pub struct Broker {
    /// A broker to begin with, or several, separated by commas.
    #[arg(long, short, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    #[arg(visible_alias = "bootstrap-server")]
    pub broker: String,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum Topic {
    Create(CreateTopic),
    List(ListTopics),
    Describe(DescribeTopics),
    Delete(DeleteTopics),
    Alter(AlterTopic),
}

/// Create a topic.
#[derive(Args, Debug)]
pub struct CreateTopic {
    #[command(flatten)]
    pub at: Broker,
    /// The topic's name.
    pub name: String,
    /// How many partitions; the broker's num.partitions if it is not given.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default.replication.factor if it is not given.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A setting of the topic, such as retention.ms=86400000. May be given more than once.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub config: Vec<(String, String)>,
    /// Succeed if the topic is there already.
    #[arg(long)]
    pub if_not_exists: bool,
}

/// List the topics.
#[derive(Args, Debug)]
pub struct ListTopics {
    #[command(flatten)]
    pub at: Broker,
}

/// Show the partitions, offsets and settings of topics, and what their durability promises.
#[derive(Args, Debug)]
pub struct DescribeTopics {
    #[command(flatten)]
    pub at: Broker,
    /// The topics' names; all topics if none is given.
    pub names: Vec<String>,
}

/// Delete topics and all their records.
#[derive(Args, Debug)]
pub struct DeleteTopics {
    #[command(flatten)]
    pub at: Broker,
    /// The topics' names.
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Succeed if a topic is not there.
    #[arg(long)]
    pub if_exists: bool,
}

/// Change the settings of a topic, or give it more partitions.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct AlterTopic {
    #[command(flatten)]
    pub at: Broker,
    /// The topic's name.
    pub name: String,
    /// How many partitions it shall have: more than it has.
    #[arg(long, short, group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// A setting to make, such as retention.ms=86400000. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE", group = "change", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// A setting to give back to the broker's default. May be given more than once.
    #[arg(long, value_name = "KEY", group = "change")]
    pub unset: Vec<String>,
}

/// Write lines from standard input to a topic, one record per line.
///
/// The line end is not part of the record. Lines are sent in batches as they come, several batches in flight, by an idempotent producer.
/// It ends at the end of the input, when every record was acknowledged.
#[derive(Args, Debug)]
pub struct Produce {
    #[command(flatten)]
    pub at: Broker,
    /// The topic's name.
    pub topic: String,
    /// Write to this partition only. Otherwise a record's key picks it as in Kafka's own clients,
    /// and batches without keys take turns.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Split each line at the first of these into key and value.
    #[arg(long, short = 'K', value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// When a batch is acknowledged.
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// A batch is sent when it has this many bytes, or when no more input is there.
    #[arg(long, default_value_t = 262_144)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_bytes: u32,
}

/// When a batch is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// When it is on the disks of all replicas in sync.
    All,
    /// When it is on the leader's disk.
    #[value(name = "1")]
    Leader,
}

/// Print the records of a topic: their values, one per line.
///
/// It starts at the beginning and ends at the topic's end as of now, unless told otherwise.
#[derive(Args, Debug)]
pub struct Consume {
    #[command(flatten)]
    pub at: Broker,
    /// The topic's name.
    pub topic: String,
    /// Read as a member of this group: it shares the partitions, and goes on where it has come to.
    #[arg(long, short, conflicts_with = "partition")]
    pub group: Option<String>,
    /// Read this partition only. May be given more than once.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Vec<i32>,
    /// Where to start (a group: where it has committed nothing): beginning, end, an offset, or @MILLISECONDS since 1970.
    #[arg(long, short = 'f', value_name = "WHERE", default_value = "beginning")]
    #[arg(value_parser = start)]
    pub from: Start,
    /// Go on at the end and wait for more.
    #[arg(long, short = 'F')]
    pub follow: bool,
    /// Stop after this many records.
    #[arg(long, short = 'n')]
    pub count: Option<u64>,
    /// Print the key too, before the value, with this between them.
    #[arg(long, short = 'K', value_name = "TEXT")]
    pub key_separator: Option<String>,
}

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the log start offset.
    Beginning,
    /// Behind the last record.
    End,
    /// At this offset.
    Offset(i64),
    /// At the first record with this timestamp or a later one, in milliseconds.
    Timestamp(i64),
}

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    Status(ClusterStatus),
    Drain(Drain),
    Unregister(Unregister),
    AddVoter(AddVoter),
    RemoveVoter(RemoveVoter),
}

/// Show the nodes, the metadata quorum, and which partitions want attention.
///
/// Exit status 1 if a partition is offline or has fewer replicas in sync than min.insync.replicas.
#[derive(Args, Debug)]
pub struct ClusterStatus {
    #[command(flatten)]
    pub at: Broker,
}

/// Move everything off a node, before it is taken away.
///
/// Leadership goes first, then each replica moves to a live node, if there is one in a rack that
/// has none yet. It ends when nothing is left; interrupted, it can be started again.
#[derive(Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    pub at: Broker,
    /// The node's id.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub node: i32,
    /// Move leadership only, and leave the replicas where they are.
    #[arg(long)]
    pub leaders_only: bool,
    /// Move at most so many partitions at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,
}

/// Forget a node that is stopped, holds no replica and will not come back.
#[derive(Args, Debug)]
pub struct Unregister {
    #[command(flatten)]
    pub at: Broker,
    /// The node's id.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub node: i32,
}

/// Let a node vote on the metadata, once it has caught up.
#[derive(Args, Debug)]
pub struct AddVoter {
    #[command(flatten)]
    pub at: Broker,
    /// The node's id.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub node: i32,
    /// Where the other nodes reach it.
    #[arg(value_name = "HOST:PORT", value_parser = host_port)]
    pub endpoint: (String, u16),
}

/// Take a node's vote on the metadata away.
#[derive(Args, Debug)]
pub struct RemoveVoter {
    #[command(flatten)]
    pub at: Broker,
    /// The node's id.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub node: i32,
}

/// What to do with the files of a log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    Dump(DumpLog),
}

/// Print the segments and batches of a log.
///
/// Nothing is changed, and no broker is needed. Exit status 1 if a segment ends in damage.
#[derive(Args, Debug)]
pub struct DumpLog {
    /// A segment file, the directory of a partition, or a data directory.
    pub path: PathBuf,
    /// Print the records too.
    #[arg(long)]
    pub records: bool,
}

/// Splits `KEY=VALUE`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn host_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port > 0 => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok((host.to_owned(), port))
        }
        _ => Err("write HOST:PORT".to_owned()),
    }
}

fn start(text: &str) -> Result<Start, String> {
    let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0);
    let start = match text {
        "beginning" | "earliest" => Some(Start::Beginning),
        "end" | "latest" => Some(Start::End),
        text => match text.strip_prefix('@') {
            Some(timestamp) => number(timestamp).map(Start::Timestamp),
            None => number(text).map(Start::Offset),
        },
    };
    start.ok_or_else(|| "write beginning, end, an offset, or @MILLISECONDS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_line_becomes_its_command() {
        let Command::Serve(serve) = parse("highwater serve").expect("valid").command else {
            panic!("it says serve")
        };
        assert!(serve.config.is_none() && serve.listen.is_none() && serve.data.is_none());

        let line = "highwater dev --nodes 5 --data /tmp/d --listen-base 29092";
        let Command::Dev(dev) = parse(line).expect("valid").command else { panic!("dev") };
        assert_eq!((dev.nodes, dev.data, dev.listen_base), (5, "/tmp/d".into(), Some(29_092)));

        let line = "highwater topic create orders -p 3 -c retention.ms=5 --output json";
        let arguments = parse(line).expect("valid");
        assert_eq!(arguments.output, Format::Json);
        let Command::Topic(Topic::Create(create)) = arguments.command else { panic!("create") };
        assert_eq!((create.name.as_str(), create.partitions), ("orders", Some(3)));
        assert_eq!(create.config, [("retention.ms".to_owned(), "5".to_owned())]);
        assert_eq!(create.at.broker, "127.0.0.1:9092");

        let line = "highwater consume orders --from @1500 -p 0 -p 2 --bootstrap-server h:1";
        let Command::Consume(consume) = parse(line).expect("valid").command else {
            panic!("consume")
        };
        assert_eq!(consume.from, Start::Timestamp(1500));
        assert_eq!((consume.partition, consume.at.broker), (vec![0, 2], "h:1".to_owned()));

        let line = "highwater produce orders --acks 1 -K :";
        let Command::Produce(produce) = parse(line).expect("valid").command else {
            panic!("produce")
        };
        assert_eq!((produce.acks, produce.key_separator), (Acks::Leader, Some(":".to_owned())));
    }

    #[test]
    fn a_line_about_the_cluster_becomes_its_command() {
        let line = "highwater cluster drain 3 --leaders-only";
        let Command::Cluster(Cluster::Drain(drain)) = parse(line).expect("valid").command else {
            panic!("drain")
        };
        assert_eq!((drain.node, drain.leaders_only, drain.at_once), (3, true, 20));

        let line = "highwater cluster add-voter 4 [::1]:9093";
        let Command::Cluster(Cluster::AddVoter(add)) = parse(line).expect("valid").command else {
            panic!("add a voter")
        };
        assert_eq!((add.node, add.endpoint), (4, ("::1".to_owned(), 9093)));

        let line = "highwater partition reassign orders 2 --replicas 3,1";
        let Command::Partition(Partition::Reassign(move_to)) = parse(line).expect("valid").command
        else {
            panic!("reassign")
        };
        assert_eq!((move_to.partition, move_to.replicas, move_to.cancel), (2, vec![3, 1], false));

        let line = "highwater partition reassign orders 2 --replicas 3 --throttle 1000000";
        let Command::Partition(Partition::Reassign(slow)) = parse(line).expect("valid").command
        else {
            panic!("reassign")
        };
        assert_eq!(slow.throttle, Some(1_000_000));

        let line = "highwater partition elect --unclean orders";
        let Command::Partition(Partition::Elect(elect)) = parse(line).expect("valid").command
        else {
            panic!("elect")
        };
        assert_eq!((elect.preferred, elect.unclean), (false, true));
        assert_eq!((elect.topic.as_deref(), elect.partition), (Some("orders"), None));
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for line in [
            "highwater",
            "highwater sing",
            "highwater topic create",
            "highwater topic create orders -p 0",
            "highwater topic create orders -c retention",
            "highwater topic alter orders",
            "highwater topic delete",
            "highwater produce orders --acks 2",
            "highwater consume orders --from yesterday",
            "highwater consume orders --from -5",
            "highwater serve --log-format xml",
            "highwater partition reassign orders 0 --cancel --throttle 5",
            "highwater partition reassign orders 0 --replicas 1 --throttle 0",
            "highwater dev --nodes 0",
            "highwater dev --listen-base 60000",
            "highwater log dump",
            "highwater cluster",
            "highwater cluster drain",
            "highwater cluster drain -1",
            "highwater cluster add-voter 4 somewhere",
            "highwater partition reassign orders 0",
            "highwater partition reassign orders 0 --cancel --replicas 1",
            "highwater partition elect orders",
            "highwater partition elect --preferred --unclean",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        let help = parse("highwater serve --help").expect_err("help ends parsing");
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
    }

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        assert_eq!(start("earliest"), Ok(Start::Beginning));
        assert_eq!(start("end"), Ok(Start::End));
        assert_eq!(start("12"), Ok(Start::Offset(12)));
        assert_eq!(start("@0"), Ok(Start::Timestamp(0)));
        assert!(start("@").is_err() && start("").is_err());
    }
}
