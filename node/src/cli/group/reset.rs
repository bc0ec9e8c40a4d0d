//! `highwater group reset`: commits other offsets for a group that has no members.

use super::{
    TRIES, coordinator, is_passing,
    offsets::{bounds, committed, known_topics, look_up, partition_ref},
    offsets_file::{self, Offsets},
    pause,
    view::View,
};
use crate::cli::{
    arguments::{ResetOffsets, ResetTo, TopicScope},
    check, connect,
    output::Output,
};
use highwater_node::{
    client::{Cluster, Committer, GroupOffset, PartitionRef},
    env::{Clock, OsClock},
    wire::{ErrorCode, Str, generated::offset_commit::OffsetCommitResponse},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
    let given = match &arguments.to.from_file {
        Some(file) => Some(offsets_file::read(file, name).await?),
        None => None,
    };
    let view = match arguments.topic.is_empty() && given.is_none() {
        true => Some(View::of(&mut cluster, name).await?),
        // A group that does not exist yet gets its first offsets here.
        false => View::find(&mut cluster, name).await?,
    };
    if let Some(view) = view.as_ref().filter(|view| view.has_members()) {
        anyhow::bail!(
            "cannot reset group `{name}`: it has members, which would go on where they are; stop \
             them first (`highwater group members {}`)",
            view.name
        );
    }
    let changes = plan(&mut cluster, &arguments, view.as_ref(), given.as_ref()).await?;
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
        if arguments.export {
            return changes.iter().try_for_each(|change| {
                let PartitionRef { topic, index, .. } = &change.partition;
                writeln!(out, "{topic},{index},{}", change.to)
            });
        }
        let verb = if arguments.dry_run { "would be" } else { "is" };
        changes.iter().try_for_each(|change| {
            let before = change.before.map_or("-".to_owned(), |before| before.to_string());
            let PartitionRef { topic, index, .. } = &change.partition;
            writeln!(out, "{topic}-{index}  {before} {verb} {}", change.to)
        })
    })
}

async fn plan(
    cluster: &mut Cluster,
    arguments: &ResetOffsets,
    view: Option<&View>,
    given: Option<&Offsets>,
) -> anyhow::Result<Vec<Change>> {
    let present = match view {
        Some(view) => committed(cluster, view).await?,
        None => BTreeMap::new(),
    };
    let wanted = match arguments.topic.is_empty() {
        true => given.unwrap_or(&present).keys().cloned().collect(),
        false => in_scope(cluster, &arguments.topic).await?,
    };
    let topics = known_topics(cluster, wanted.iter().map(|(topic, _)| topic.as_str())).await?;
    let mut changes = Vec::new();
    for (topic, index) in wanted {
        let Some(id) = topics.get(&topic) else { anyhow::bail!("there is no topic `{topic}`") };
        let partition = partition_ref(&topic, *id, index);
        let Some(bounds) = bounds(cluster, &partition).await else {
            anyhow::bail!("nobody leads {topic}-{index}, or there is no such partition");
        };
        let place = (topic, index);
        let before = present.get(&place).copied();
        let wanted = match given {
            Some(given) => given[&place],
            None => target(cluster, &arguments.to, &partition, before, bounds).await?,
        };
        let to = wanted.clamp(bounds.0, bounds.1);
        changes.push(Change { partition, before, to, bounds });
    }
    Ok(changes)
}

/// The partitions of what was named.
async fn in_scope(
    cluster: &mut Cluster,
    scopes: &[TopicScope],
) -> anyhow::Result<BTreeSet<(String, i32)>> {
    let mut places = BTreeSet::new();
    for TopicScope { topic, partitions } in scopes {
        let partitions = match partitions {
            Some(partitions) => partitions.clone(),
            None => partitions_of(cluster, topic).await?,
        };
        anyhow::ensure!(!partitions.is_empty(), "there is no topic `{topic}`");
        places.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
    }
    Ok(places)
}

/// The indexes of a topic's partitions; none if there is no such topic.
pub async fn partitions_of(cluster: &mut Cluster, topic: &str) -> anyhow::Result<Vec<i32>> {
    let found = cluster.metadata(Some(&[topic]), false).await?.topics;
    let partitions = found.into_iter().flat_map(|topic| topic.partitions);
    let mut indexes: Vec<i32> = partitions.map(|one| one.partition_index).collect();
    indexes.sort_unstable();
    Ok(indexes)
}

async fn target(
    cluster: &mut Cluster,
    wanted: &ResetTo,
    partition: &PartitionRef,
    before: Option<i64>,
    (start, end): (i64, i64),
) -> anyhow::Result<i64> {
    if wanted.to_earliest {
        return Ok(start);
    }
    if wanted.to_latest {
        return Ok(end);
    }
    if wanted.to_current {
        return Ok(before.unwrap_or(end));
    }
    if let Some(offset) = wanted.to_offset {
        return Ok(offset);
    }
    if let Some(count) = wanted.shift_by {
        let Some(before) = before else {
            let PartitionRef { topic, index, .. } = partition;
            anyhow::bail!(
                "the group has committed no offset of {topic}-{index} to shift by {count}"
            )
        };
        return Ok(before.saturating_add(count));
    }
    let ago = wanted.by_duration.map(|age| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        OsClock::new().now().wall.0.saturating_sub(age).max(0)
    });
    let timestamp = wanted.by_time.or(wanted.to_datetime).or(ago).unwrap_or_default();
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
    let committer = Committer::outsider(group);
    for tries in 1.. {
        let broker = coordinator(cluster, group).await?;
        let answer = cluster.broker(broker).await?.commit_offsets(&committer, &offsets).await?;
        if is_to_be_repeated(&answer) && tries < TRIES {
            pause().await;
            continue;
        }
        return check_commit(group, &answer);
    }
    unreachable!("the tries are bounded")
}

/// Whether a coordinator that moves or reads its log has refused any of a commit. All of it is sent
/// again then: the same offsets once more change nothing.
fn is_to_be_repeated(answer: &OffsetCommitResponse) -> bool {
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.into_iter().any(|partition| is_passing(partition.error_code))
}

fn check_commit(group: &str, answer: &OffsetCommitResponse) -> anyhow::Result<()> {
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
    use highwater_node::wire::generated::offset_commit::{
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };

    #[test]
    fn a_commit_that_a_coordinator_could_not_take_yet_is_sent_again_and_no_other() {
        let none = ErrorCode::None;
        let table: [(&[ErrorCode], bool, bool); 7] = [
            (&[none, none], false, true),
            (&[], false, true),
            (&[ErrorCode::CoordinatorLoadInProgress; 2], true, false),
            (&[ErrorCode::NotCoordinator], true, false),
            (&[none, ErrorCode::CoordinatorNotAvailable], true, false),
            (&[none, ErrorCode::UnknownMemberId], false, false),
            (&[ErrorCode::OffsetMetadataTooLarge], false, false),
        ];
        for (codes, is_repeated, is_done) in table {
            let partitions = codes.iter().map(|code| OffsetCommitResponsePartition {
                error_code: code.code(),
                ..Default::default()
            });
            let partitions = partitions.collect();
            let topic = OffsetCommitResponseTopic { partitions, ..Default::default() };
            let answer = OffsetCommitResponse { topics: vec![topic], ..Default::default() };
            assert_eq!(is_to_be_repeated(&answer), is_repeated, "{codes:?}");
            assert_eq!(check_commit("g", &answer).is_ok(), is_done, "{codes:?}");
        }
    }

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
