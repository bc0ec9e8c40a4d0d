//! `highwater partition`: moves partitions between nodes and elects their leaders.

use super::{
    arguments::{Elect, Partition, Reassign, Reassignments},
    check, connect, describe,
    output::Output,
    throttle,
};
use highwater_node::{
    client::Cluster,
    wire::{
        ErrorCode,
        generated::{
            alter_partition_reassignments::{
                AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
            },
            elect_leaders::{ElectLeadersRequest, TopicPartitions},
        },
    },
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long the cluster may take for a change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Replicas for a partition, the preferred leader first; `None` gives a move up.
pub type Target = (String, i32, Option<Vec<i32>>);

pub async fn run(command: Partition, output: Output) -> anyhow::Result<()> {
    match command {
        Partition::Reassign(reassign) => self::reassign(reassign, output).await,
        Partition::Reassignments(list) => reassignments(list, output).await,
        Partition::Unthrottle(unthrottle) => throttle::lift(unthrottle, output).await,
        Partition::Elect(elect) => self::elect(elect, output).await,
    }
}

async fn reassign(arguments: Reassign, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let Reassign { topic, partition, replicas, cancel, throttle: rate, .. } = arguments;
    if let Some(rate) = rate {
        throttle::set(&mut cluster, (&topic, partition), &replicas, rate).await?;
    }
    let target = (!cancel).then(|| replicas.clone());
    move_partitions(&mut cluster, vec![(topic.clone(), partition, target)]).await?;
    let document = || {
        let replicas = if cancel { Value::Null } else { json!(replicas) };
        json!({
            "topic": topic,
            "partition": partition,
            "cancelled": cancel,
            "replicas": replicas,
            "throttle": rate,
        })
    };
    output.print(document, |out| match (cancel, rate) {
        (true, _) => writeln!(out, "{topic}-{partition} stays where it was"),
        (false, None) => writeln!(out, "{topic}-{partition} moves to {replicas:?}"),
        (false, Some(rate)) => {
            writeln!(out, "{topic}-{partition} moves to {replicas:?} at {rate} bytes per second")?;
            writeln!(out, "once no partition moves, lift it: highwater partition unthrottle")
        }
    })
}

/// Begins moves, or gives them up; fails with the first that is refused.
pub async fn move_partitions(cluster: &mut Cluster, targets: Vec<Target>) -> anyhow::Result<()> {
    let mut topics = BTreeMap::<String, Vec<ReassignablePartition>>::new();
    for (topic, partition_index, replicas) in targets {
        let partition = ReassignablePartition { partition_index, replicas };
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic { name: name.into(), partitions });
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: CHANGE_TIMEOUT_MS,
        topics: topics.collect(),
        ..Default::default()
    };
    let answer = cluster.call(&request).await?;
    check("move partitions", answer.error_code, answer.error_message.as_ref())?;
    for topic in &answer.responses {
        for partition in &topic.partitions {
            let what = format!("move {}-{}", topic.name, partition.partition_index);
            check(&what, partition.error_code, partition.error_message.as_ref())?;
        }
    }
    Ok(())
}

async fn reassignments(arguments: Reassignments, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let moves = describe::moves(&mut cluster).await?;
    let document = || {
        let one = |((topic, partition), moving): (&(String, i32), &describe::Moving)| {
            json!({
                "topic": topic,
                "partition": partition,
                "replicas": moving.replicas,
                "adding": moving.adding_replicas,
                "removing": moving.removing_replicas,
            })
        };
        Value::Array(moves.iter().map(one).collect())
    };
    output.print(document, |out| {
        for ((topic, partition), moving) in &moves {
            let (adding, removing) = (&moving.adding_replicas, &moving.removing_replicas);
            let replicas = &moving.replicas;
            write!(out, "{topic}-{partition}: replicas {replicas:?}")?;
            writeln!(out, " adding {adding:?} removing {removing:?}")?;
        }
        match moves.is_empty() {
            true => writeln!(out, "no partition is moving"),
            false => Ok(()),
        }
    })
}

async fn elect(arguments: Elect, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let wanted = match (&arguments.topic, arguments.partition) {
        (None, _) => None,
        (Some(topic), Some(partition)) => Some(vec![(topic.clone(), partition)]),
        (Some(topic), None) => Some(partitions_of(&mut cluster, topic).await?),
    };
    let (elected, refused) = elect_leaders(&mut cluster, arguments.unclean, wanted).await?;
    let document = || {
        let partition =
            |(topic, partition): &(String, i32)| json!({ "topic": topic, "partition": partition });
        let refusals = refused.iter().map(|(at, reason)| {
            let mut one = partition(at);
            one["reason"] = json!(reason);
            one
        });
        let refusals: Vec<_> = refusals.collect();
        json!({ "elected": elected.iter().map(partition).collect::<Vec<_>>(), "refused": refusals })
    };
    output.print(document, |out| {
        for (topic, partition) in &elected {
            writeln!(out, "{topic}-{partition} has a new leader")?;
        }
        match elected.is_empty() && refused.is_empty() {
            true => writeln!(out, "no election was needed"),
            false => Ok(()),
        }
    })?;
    match refused.first() {
        None => Ok(()),
        Some(((topic, partition), reason)) => {
            let more = refused.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            anyhow::bail!("cannot elect a leader for {topic}-{partition}: {reason}{more}")
        }
    }
}

async fn partitions_of(cluster: &mut Cluster, topic: &str) -> anyhow::Result<Vec<(String, i32)>> {
    let metadata = cluster.metadata(Some(&[topic]), false).await?;
    let mut partitions = Vec::new();
    for found in &metadata.topics {
        check(&format!("find topic `{topic}`"), found.error_code, None)?;
        partitions
            .extend(found.partitions.iter().map(|one| (topic.to_owned(), one.partition_index)));
    }
    Ok(partitions)
}

type At = (String, i32);

/// Elects leaders of these partitions, or wherever it is needed. Those that have a new leader, and
/// those that could not get one with the reason; those that needed none are in neither.
pub async fn elect_leaders(
    cluster: &mut Cluster,
    unclean: bool,
    wanted: Option<Vec<At>>,
) -> anyhow::Result<(Vec<At>, Vec<(At, String)>)> {
    let topic_partitions = wanted.map(|wanted| {
        let mut topics = BTreeMap::<String, Vec<i32>>::new();
        for (topic, partition) in wanted {
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter();
        topics
            .map(|(topic, partitions)| TopicPartitions { topic: topic.into(), partitions })
            .collect()
    });
    let request = ElectLeadersRequest {
        election_type: if unclean { UNCLEAN } else { PREFERRED },
        topic_partitions,
        timeout_ms: CHANGE_TIMEOUT_MS,
    };
    let answer = cluster.call(&request).await?;
    check("elect leaders", answer.error_code, None)?;
    let (mut elected, mut refused) = (Vec::new(), Vec::new());
    for topic in answer.replica_election_results {
        for result in topic.partition_result {
            let at = (topic.topic.to_string(), result.partition_id);
            if result.error_code == ErrorCode::None.code() {
                elected.push(at);
            } else if result.error_code != ErrorCode::ElectionNotNeeded.code() {
                let outcome = check("elect", result.error_code, result.error_message.as_ref());
                let reason = outcome.err().map(|error| error.to_string()).unwrap_or_default();
                refused.push((at, reason.trim_start_matches("cannot elect: ").to_owned()));
            }
        }
    }
    Ok((elected, refused))
}
