//! How far a group has come, and how far it lags behind.

use super::{TRIES, coordinator, is_passing, pause, view::View};
use crate::cli::check;
use highwater_core::types::{PartitionIndex, TopicId};
use highwater_node::{
    client::{Cluster, PartitionRef},
    wire::{ErrorCode, Str},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Where a group is in one partition.
pub struct Progress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset that the group reads; `None` where it has committed none.
    pub committed: Option<i64>,
    /// The first offset and the one behind the last; `None` where nobody leads or the topic is gone.
    pub bounds: Option<(i64, i64)>,
    /// The member that owns the partition.
    pub owner: Option<String>,
}

impl Progress {
    fn lag(&self) -> Option<i64> {
        let (start, end) = self.bounds?;
        Some((end - self.committed.unwrap_or(start).max(start)).max(0))
    }
}

/// Every partition that the group has committed an offset of or that a member owns.
pub async fn of_group(cluster: &mut Cluster, view: &View) -> anyhow::Result<Vec<Progress>> {
    let committed = committed(cluster, view).await?;
    let owned = view.owned().map(|(topic, partition)| (topic.to_owned(), partition));
    let all: BTreeSet<_> = committed.keys().cloned().chain(owned).collect();
    let topics = known_topics(cluster, all.iter().map(|(topic, _)| topic.as_str())).await?;
    let mut progress = Vec::new();
    for (topic, partition) in all {
        let bounds = match topics.get(&topic) {
            Some(id) => bounds(cluster, &partition_ref(&topic, *id, partition)).await,
            None => None,
        };
        progress.push(Progress {
            committed: committed.get(&(topic.clone(), partition)).copied(),
            bounds,
            owner: view.owner(&topic, partition).map(str::to_owned),
            topic,
            partition,
        });
    }
    Ok(progress)
}

/// The offsets that a group has committed.
pub async fn committed(
    cluster: &mut Cluster,
    view: &View,
) -> anyhow::Result<BTreeMap<(String, i32), i64>> {
    let name = &view.name;
    let mut broker = view.coordinator;
    for tries in 1.. {
        let (code, offsets) = cluster.broker(broker).await?.group_offsets(name).await?;
        if is_passing(code) && tries < TRIES {
            pause().await;
            broker = coordinator(cluster, name).await?;
            continue;
        }
        check(&format!("read the offsets of group `{name}`"), code, None)?;
        let found = offsets.into_iter().filter(|one| one.error_code == 0 && one.offset >= 0);
        return Ok(found.map(|one| ((one.topic.to_string(), one.partition), one.offset)).collect());
    }
    unreachable!("the tries are bounded")
}

/// The ids of those topics that exist; the leaders of their partitions are known from then on.
pub async fn known_topics<'a>(
    cluster: &mut Cluster,
    names: impl Iterator<Item = &'a str>,
) -> anyhow::Result<BTreeMap<String, TopicId>> {
    let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    let found = cluster.metadata(Some(&names), false).await?.topics;
    let known = found.into_iter().filter(|topic| topic.error_code == ErrorCode::None.code());
    Ok(known
        .filter_map(|topic| Some((topic.name.as_deref()?.to_owned(), topic.topic_id)))
        .collect())
}

/// A partition as the client names it.
pub fn partition_ref(topic: &str, id: TopicId, partition: i32) -> PartitionRef {
    let index = PartitionIndex(partition.unsigned_abs());
    PartitionRef { topic: Str::from(topic), topic_id: id, index }
}

/// The first offset of a partition and the one behind its last, where its leader can tell.
pub async fn bounds(cluster: &mut Cluster, partition: &PartitionRef) -> Option<(i64, i64)> {
    let start = look_up(cluster, partition, EARLIEST).await.ok()?;
    let end = look_up(cluster, partition, LATEST).await.ok()?;
    Some((start, end))
}

/// The first offset at a time or later; -1 where there is none.
pub async fn look_up(
    cluster: &mut Cluster,
    partition: &PartitionRef,
    timestamp: i64,
) -> anyhow::Result<i64> {
    let leader = cluster.leader_of(partition).unwrap_or(-1);
    let answer = cluster.broker(leader).await?.list_offset(partition, timestamp).await?;
    let what = format!("find an offset in {}-{}", partition.topic, partition.index);
    check(&what, answer.error_code, None)?;
    Ok(answer.offset)
}

/// As a document.
pub fn json(progress: &[Progress]) -> Value {
    let one = |one: &Progress| {
        json!({
            "topic": one.topic,
            "partition": one.partition,
            "committed": one.committed,
            "start": one.bounds.map(|(start, _)| start),
            "end": one.bounds.map(|(_, end)| end),
            "lag": one.lag(),
            "member": one.owner,
        })
    };
    Value::Array(progress.iter().map(one).collect())
}

/// For people.
pub fn write(progress: &[Progress], out: &mut dyn Write) -> io::Result<()> {
    let shown = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for one in progress {
        let end = shown(one.bounds.map(|(_, end)| end));
        let (committed, lag) = (shown(one.committed), shown(one.lag()));
        write!(out, "  {}-{}  committed {committed}", one.topic, one.partition)?;
        write!(out, "  end {end}  lag {lag}")?;
        match &one.owner {
            Some(owner) => writeln!(out, "  {owner}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_records_that_can_still_be_read() {
        let progress = |committed, bounds| Progress {
            topic: "t".into(),
            partition: 0,
            committed,
            bounds,
            owner: None,
        };
        for (committed, bounds, lag) in [
            (Some(3), Some((0, 10)), Some(7)),
            (Some(10), Some((0, 10)), Some(0)),
            // Retention has removed what lay between.
            (Some(3), Some((8, 10)), Some(2)),
            // The topic was created anew.
            (Some(30), Some((0, 10)), Some(0)),
            (None, Some((4, 10)), Some(6)),
            (Some(3), None, None),
        ] {
            assert_eq!(progress(committed, bounds).lag(), lag, "{committed:?} {bounds:?}");
        }
    }
}
