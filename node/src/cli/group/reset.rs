//! `highwater group reset`: commits other offsets for a group that has no members.

use super::{
    coordinator,
    offsets::{bounds, committed, known_topics, look_up, partition_ref},
    view::View,
};
use crate::cli::{arguments::ResetOffsets, check, connect, output::Output};
use highwater_node::{
    client::{Cluster, Committer, GroupOffset, PartitionRef},
    wire::{ErrorCode, Str},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is done to one partition.
struct Change {
    partition: PartitionRef,
    before: Option<i64>,
    to: i64,
    /// The first offset and the one behind the last.
    bounds: (i64, i64),
}

impl Change {
    /// Records that the group has not read and will not read.
    fn skipped(&self) -> i64 {
        let (start, _) = self.bounds;
        (self.to - self.before.unwrap_or(start).max(start)).max(0)
    }

    fn index(&self) -> i32 {
        i32::try_from(self.partition.index.0).unwrap_or(i32::MAX)
    }
}

pub async fn run(arguments: ResetOffsets, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let name = &arguments.name;
    let view = view_or_new(&mut cluster, &arguments).await?;
    if let Some(view) = view.as_ref().filter(|view| view.has_members()) {
        anyhow::bail!(
            "cannot reset group `{name}`: it has members, which would go on where they are; stop \
             them first (`highwater group members {}`)",
            view.name
        );
    }
    let changes = plan(&mut cluster, &arguments, view.as_ref()).await?;
    anyhow::ensure!(
        !changes.is_empty(),
        "group `{name}` has committed no offset; name the topics with --topic"
    );
    for change in changes.iter().filter(|change| change.skipped() > 0) {
        eprintln!(
            "highwater: {}-{}: {} records are skipped that the group has not read",
            change.partition.topic,
            change.partition.index,
            change.skipped()
        );
    }
    if !arguments.dry_run {
        commit(&mut cluster, name, &changes).await?;
    }
    let document = || {
        let one = |change: &Change| {
            json!({
                "topic": change.partition.topic.as_str(),
                "partition": change.partition.index.0,
                "before": change.before,
                "to": change.to,
                "skipped": change.skipped(),
            })
        };
        json!({
            "group": name,
            "committed": !arguments.dry_run,
            "offsets": changes.iter().map(one).collect::<Vec<Value>>(),
        })
    };
    output.print(document, |out| {
        let verb = if arguments.dry_run { "would be" } else { "is" };
        changes.iter().try_for_each(|change| {
            let before = change.before.map_or("-".to_owned(), |before| before.to_string());
            let PartitionRef { topic, index, .. } = &change.partition;
            writeln!(out, "{topic}-{index}  {before} {verb} {}", change.to)
        })
    })
}

/// The group; `None` for one that does not exist yet and gets its first offsets here.
async fn view_or_new(
    cluster: &mut Cluster,
    arguments: &ResetOffsets,
) -> anyhow::Result<Option<View>> {
    match View::of(cluster, &arguments.name).await {
        Ok(view) => Ok(Some(view)),
        Err(_) if !arguments.topic.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn plan(
    cluster: &mut Cluster,
    arguments: &ResetOffsets,
    view: Option<&View>,
) -> anyhow::Result<Vec<Change>> {
    let present = match view {
        Some(view) => committed(cluster, view).await?,
        None => BTreeMap::new(),
    };
    let wanted: Vec<&str> = match arguments.topic.is_empty() {
        true => present.keys().map(|(topic, _)| topic.as_str()).collect(),
        false => arguments.topic.iter().map(String::as_str).collect(),
    };
    let topics = known_topics(cluster, wanted.iter().copied()).await?;
    if let Some(missing) = wanted.iter().find(|topic| !topics.contains_key(**topic)) {
        anyhow::bail!("there is no topic `{missing}`");
    }
    let mut changes = Vec::new();
    for (topic, id) in &topics {
        let partitions = match arguments.topic.is_empty() {
            true => {
                present.keys().filter(|(name, _)| name == topic).map(|(_, index)| *index).collect()
            }
            false => partitions_of(cluster, topic).await?,
        };
        for partition in partitions {
            let before = present.get(&(topic.clone(), partition)).copied();
            let partition = partition_ref(topic, *id, partition);
            let Some(bounds) = bounds(cluster, &partition).await else {
                anyhow::bail!("nobody leads {topic}-{}; try again", partition.index);
            };
            let wanted = target(cluster, arguments, &partition, before, bounds).await?;
            let to = wanted.clamp(bounds.0, bounds.1);
            changes.push(Change { partition, before, to, bounds });
        }
    }
    Ok(changes)
}

async fn partitions_of(cluster: &mut Cluster, topic: &str) -> anyhow::Result<Vec<i32>> {
    let found = cluster.metadata(Some(&[topic]), false).await?.topics;
    let partitions = found.into_iter().flat_map(|topic| topic.partitions);
    let mut indexes: Vec<i32> = partitions.map(|one| one.partition_index).collect();
    indexes.sort_unstable();
    Ok(indexes)
}

async fn target(
    cluster: &mut Cluster,
    arguments: &ResetOffsets,
    partition: &PartitionRef,
    before: Option<i64>,
    (start, end): (i64, i64),
) -> anyhow::Result<i64> {
    if arguments.to_earliest {
        return Ok(start);
    }
    if arguments.to_latest {
        return Ok(end);
    }
    if let Some(offset) = arguments.to_offset {
        return Ok(offset);
    }
    if let Some(count) = arguments.shift_by {
        let Some(before) = before else {
            let PartitionRef { topic, index, .. } = partition;
            anyhow::bail!(
                "the group has committed no offset of {topic}-{index} to shift by {count}"
            )
        };
        return Ok(before.saturating_add(count));
    }
    let timestamp = arguments.by_time.unwrap_or_default();
    let found = look_up(cluster, partition, timestamp).await?;
    // Nothing is that young: go on where such a record will be.
    Ok(if found < 0 { end } else { found })
}

async fn commit(cluster: &mut Cluster, group: &str, changes: &[Change]) -> anyhow::Result<()> {
    let offsets: Vec<GroupOffset> = changes
        .iter()
        .map(|change| GroupOffset {
            topic: Str::from(&*change.partition.topic),
            partition: change.index(),
            offset: change.to,
            error_code: 0,
        })
        .collect();
    let broker = coordinator(cluster, group).await?;
    let committer = Committer::outsider(group);
    let answer = cluster.broker(broker).await?.commit_offsets(&committer, &offsets).await?;
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let what =
                format!("commit {}-{} for group `{group}`", topic.name, partition.partition_index);
            if partition.error_code == ErrorCode::UnknownMemberId.code() {
                anyhow::bail!("cannot {what}: a member has joined the group; stop it first");
            }
            check(&what, partition.error_code, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::types::TopicId;

    #[test]
    fn records_are_skipped_that_lie_between_where_it_was_and_where_it_goes() {
        let change = |before, to, bounds| Change {
            partition: partition_ref("t", TopicId::default(), 0),
            before,
            to,
            bounds,
        };
        for (before, to, bounds, skipped) in [
            (Some(3), 10, (0, 10), 7),
            (Some(3), 0, (0, 10), 0),
            (None, 10, (4, 10), 6),
            // What retention has removed could not be read anyway.
            (Some(3), 9, (8, 10), 1),
        ] {
            assert_eq!(change(before, to, bounds).skipped(), skipped, "{before:?} to {to}");
        }
    }
}
