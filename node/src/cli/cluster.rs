//! `highwater cluster`: the state of a cluster, and who belongs to it.

use super::{
    arguments::{AddVoter, Cluster as Command, ClusterStatus, RemoveVoter, Unregister},
    check, connect, describe, drain,
    output::Output,
    topic::name_of,
};
use highwater_node::{
    client::Cluster,
    wire::{
        ApiKey,
        generated::{
            add_raft_voter::{AddRaftVoterRequest, Listener},
            describe_cluster::{DescribeClusterBroker, DescribeClusterRequest},
            describe_quorum::{
                DescribeQuorumPartition, DescribeQuorumRequest, DescribeQuorumTopic,
                DescribedQuorumPartition, ReplicaState,
            },
            metadata::MetadataResponseTopic,
            remove_raft_voter::RemoveRaftVoterRequest,
            unregister_broker::UnregisterBrokerRequest,
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// How long a new voter may take to catch up.
const VOTER_TIMEOUT_MS: i32 = 25_000;
/// Partitions named one by one in each list; people see how many more there are.
const NAMED_MAX: usize = 10;
const METADATA_TOPIC: &str = "__cluster_metadata";

pub async fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Status(status) => self::status(status, output).await,
        Command::Drain(drain) => drain::run(drain, output).await,
        Command::Unregister(unregister) => self::unregister(unregister, output).await,
        Command::AddVoter(voter) => add_voter(voter, output).await,
        Command::RemoveVoter(voter) => remove_voter(voter, output).await,
    }
}

/// The cluster as it is shown.
struct Status {
    cluster_id: String,
    brokers: Vec<DescribeClusterBroker>,
    quorum: Option<DescribedQuorumPartition>,
    partitions: usize,
    /// How many partitions each broker leads.
    leaders: BTreeMap<i32, usize>,
    moving: usize,
    offline: Vec<String>,
    under_min_isr: Vec<String>,
    under_replicated: Vec<String>,
}

async fn status(arguments: ClusterStatus, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let topics = cluster.metadata(None, false).await?.topics;
    let (cluster_id, brokers) = brokers(&mut cluster).await?;
    let moves = describe::moves(&mut cluster).await?;
    let mut status = Status {
        cluster_id,
        brokers,
        quorum: quorum(&mut cluster).await,
        partitions: 0,
        leaders: BTreeMap::new(),
        moving: moves.len(),
        offline: Vec::new(),
        under_min_isr: Vec::new(),
        under_replicated: Vec::new(),
    };
    let configs = describe::configs_of(&mut cluster, &topics).await?;
    for topic in &topics {
        let min_insync = configs.get(name_of(topic)).map_or(1, |configs| configs.min_insync);
        status.count(topic, min_insync, &moves);
    }
    output.print(|| status.document(), |out| status.write(out))?;
    let (offline, under_min_isr) = (status.offline.len(), status.under_min_isr.len());
    anyhow::ensure!(
        offline + under_min_isr == 0,
        "{offline} partitions are offline and {under_min_isr} cannot take acks=all"
    );
    Ok(())
}

/// The cluster's id and every broker, the fenced ones too where they are told.
pub async fn brokers(
    cluster: &mut Cluster,
) -> anyhow::Result<(String, Vec<DescribeClusterBroker>)> {
    let connection = cluster.any().await?;
    let version = connection.version(ApiKey::DescribeCluster)?;
    let request =
        DescribeClusterRequest { include_fenced_brokers: version >= 2, ..Default::default() };
    let answer = connection.send(&request, version).await?;
    check("describe the cluster", answer.error_code, answer.error_message.as_ref())?;
    Ok((answer.cluster_id.to_string(), answer.brokers))
}

/// The quorum as its leader knows it; `None` when it cannot be asked.
async fn quorum(cluster: &mut Cluster) -> Option<DescribedQuorumPartition> {
    let request = DescribeQuorumRequest {
        topics: vec![DescribeQuorumTopic {
            topic_name: METADATA_TOPIC.into(),
            partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
        }],
    };
    let answer = match cluster.controller().await {
        Ok(connection) => connection.call(&request).await.ok()?,
        Err(_) => cluster.call(&request).await.ok()?,
    };
    let partition = answer.topics.into_iter().next()?.partitions.into_iter().next()?;
    (answer.error_code == 0 && partition.error_code == 0).then_some(partition)
}

impl Status {
    fn count(&mut self, topic: &MetadataResponseTopic, min_insync: usize, moves: &describe::Moves) {
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let name = format!("{}-{index}", name_of(topic));
            let adding = moves
                .get(&(name_of(topic).to_owned(), index))
                .map_or(&[][..], |moving| &moving.adding_replicas);
            let is_missing = |id: &&i32| !adding.contains(id) && !partition.isr_nodes.contains(id);
            self.partitions += 1;
            if partition.leader_id < 0 {
                self.offline.push(name.clone());
            } else {
                *self.leaders.entry(partition.leader_id).or_default() += 1;
            }
            if partition.isr_nodes.len() < min_insync.min(partition.replica_nodes.len()) {
                self.under_min_isr.push(name.clone());
            }
            if partition.replica_nodes.iter().any(|id| is_missing(&id)) {
                self.under_replicated.push(name);
            }
        }
    }

    fn document(&self) -> Value {
        let broker = |broker: &DescribeClusterBroker| {
            json!({
                "id": broker.broker_id,
                "address": address(broker),
                "rack": broker.rack.as_deref(),
                "fenced": broker.is_fenced,
                "leads": self.leaders.get(&broker.broker_id).copied().unwrap_or(0),
            })
        };
        let quorum = self.quorum.as_ref().map(|quorum| {
            let node = |state: &ReplicaState| {
                json!({
                    "id": state.replica_id,
                    "log_end_offset": known(state),
                    "lag": lag(quorum, state),
                })
            };
            json!({
                "leader": quorum.leader_id,
                "term": quorum.leader_epoch,
                "high_watermark": quorum.high_watermark,
                "voters": quorum.current_voters.iter().map(node).collect::<Vec<_>>(),
                "observers": quorum.observers.iter().map(node).collect::<Vec<_>>(),
            })
        });
        json!({
            "cluster": self.cluster_id,
            "brokers": self.brokers.iter().map(broker).collect::<Vec<_>>(),
            "quorum": quorum,
            "partitions": {
                "count": self.partitions,
                "moving": self.moving,
                "offline": self.offline,
                "under_min_isr": self.under_min_isr,
                "under_replicated": self.under_replicated,
            },
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "cluster {}", self.cluster_id)?;
        for broker in &self.brokers {
            write!(out, "  broker {} at {}", broker.broker_id, address(broker))?;
            if let Some(rack) = &broker.rack {
                write!(out, " rack {rack}")?;
            }
            let state = if broker.is_fenced { "fenced" } else { "alive" };
            let leads = self.leaders.get(&broker.broker_id).copied().unwrap_or(0);
            writeln!(out, " {state}, leads {leads}")?;
        }
        match &self.quorum {
            Some(quorum) => write_quorum(quorum, out)?,
            None => writeln!(out, "quorum: not known")?,
        }
        writeln!(out, "partitions {}, of these moving {}", self.partitions, self.moving)?;
        write_list("offline", &self.offline, out)?;
        write_list("under min.insync.replicas", &self.under_min_isr, out)?;
        write_list("under-replicated", &self.under_replicated, out)
    }
}

fn write_quorum(quorum: &DescribedQuorumPartition, out: &mut dyn Write) -> io::Result<()> {
    let (term, end) = (quorum.leader_epoch, quorum.high_watermark);
    match quorum.leader_id {
        -1 => writeln!(out, "quorum: no leader, term {term}")?,
        leader => writeln!(out, "quorum: leader {leader}, term {term}, high watermark {end}")?,
    }
    let voters = quorum.current_voters.iter().map(|state| ("voter", state));
    let observers = quorum.observers.iter().map(|state| ("observer", state));
    for (role, state) in voters.chain(observers) {
        match lag(quorum, state) {
            Some(lag) => writeln!(out, "  {role} {} lag {lag}", state.replica_id)?,
            None => writeln!(out, "  {role} {} lag unknown", state.replica_id)?,
        }
    }
    Ok(())
}

fn write_list(what: &str, names: &[String], out: &mut dyn Write) -> io::Result<()> {
    write!(out, "  {what} {}", names.len())?;
    let named: Vec<_> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    match (named.is_empty(), names.len().saturating_sub(named.len())) {
        (true, _) => writeln!(out),
        (false, 0) => writeln!(out, ": {}", named.join(" ")),
        (false, more) => writeln!(out, ": {} and {more} more", named.join(" ")),
    }
}

fn known(state: &ReplicaState) -> Option<i64> {
    (state.log_end_offset >= 0).then_some(state.log_end_offset)
}

/// How much of what is committed a node lacks, in commands.
fn lag(quorum: &DescribedQuorumPartition, state: &ReplicaState) -> Option<i64> {
    known(state).map(|end| (quorum.high_watermark - end).max(0))
}

fn address(broker: &DescribeClusterBroker) -> String {
    format!("{}:{}", broker.host, broker.port)
}

async fn unregister(arguments: Unregister, output: Output) -> anyhow::Result<()> {
    let node = arguments.node;
    let mut cluster = connect(&arguments.at.broker).await?;
    let answer = cluster.call(&UnregisterBrokerRequest { broker_id: node }).await?;
    let what = format!("unregister node {node}");
    check(&what, answer.error_code, answer.error_message.as_ref())?;
    output
        .print(|| json!({ "unregistered": node }), |out| writeln!(out, "node {node} is forgotten"))
}

async fn add_voter(arguments: AddVoter, output: Output) -> anyhow::Result<()> {
    let AddVoter { at, node, endpoint: (host, port) } = arguments;
    let mut cluster = connect(&at.broker).await?;
    cluster.metadata(Some(&[]), false).await?;
    let request = AddRaftVoterRequest {
        timeout_ms: VOTER_TIMEOUT_MS,
        voter_id: node,
        listeners: vec![Listener { name: "CONTROLLER".into(), host: host.into(), port }],
        ..Default::default()
    };
    let answer = cluster.controller().await?.call(&request).await?;
    let what = format!("make node {node} a voter");
    check(&what, answer.error_code, answer.error_message.as_ref())?;
    output
        .print(|| json!({ "voter": node, "added": true }), |out| writeln!(out, "node {node} votes"))
}

async fn remove_voter(arguments: RemoveVoter, output: Output) -> anyhow::Result<()> {
    let node = arguments.node;
    let mut cluster = connect(&arguments.at.broker).await?;
    cluster.metadata(Some(&[]), false).await?;
    let request = RemoveRaftVoterRequest { voter_id: node, ..Default::default() };
    let answer = cluster.controller().await?.call(&request).await?;
    let what = format!("take the vote of node {node} away");
    check(&what, answer.error_code, answer.error_message.as_ref())?;
    let document = || json!({ "voter": node, "removed": true });
    output.print(document, |out| writeln!(out, "node {node} votes no more"))
}
