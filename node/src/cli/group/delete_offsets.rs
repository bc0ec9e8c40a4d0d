//! `highwater group delete-offsets`: forgets offsets of topics that no member subscribes to.

use super::{TRIES, coordinator, is_passing, pause, reset::partitions_of};
use crate::cli::{
    arguments::{DeleteOffsets, TopicScope},
    check, connect,
    output::Output,
};
use anyhow::Context;
use highwater_node::{
    client::Cluster,
    wire::{
        ErrorCode,
        generated::offset_delete::{
            OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
            OffsetDeleteResponse,
        },
    },
};
use serde_json::json;

/// Deletes the offsets. What cannot be deleted does not keep the others.
pub async fn run(arguments: DeleteOffsets, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let name = &arguments.name;
    let mut topics = Vec::new();
    for scope in &arguments.topic {
        topics.push(wanted(&mut cluster, scope).await?);
    }
    let request = OffsetDeleteRequest { group_id: name.as_str().into(), topics };
    let answer = delete(&mut cluster, name, &request).await?;
    check(&format!("delete offsets of group `{name}`"), answer.error_code, None)?;
    let (mut deleted, mut outcome) = (Vec::new(), Ok(()));
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let (place, code) =
                (format!("{}-{}", topic.name, partition.partition_index), partition.error_code);
            match refusal(name, &place, code) {
                Ok(()) => deleted.push(place),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
    }
    let printed = output.print(
        || json!({ "group": name, "deleted": deleted }),
        |out| deleted.iter().try_for_each(|place| writeln!(out, "deleted {place}")),
    );
    outcome.and(printed)
}

fn refusal(group: &str, place: &str, code: i16) -> anyhow::Result<()> {
    anyhow::ensure!(
        code != ErrorCode::GroupSubscribedToTopic.code(),
        "cannot delete the offset of {place}: group `{group}` subscribes to the topic; stop its \
         members first"
    );
    check(&format!("delete the offset of {place} of group `{group}`"), code, None)
}

async fn wanted(
    cluster: &mut Cluster,
    scope: &TopicScope,
) -> anyhow::Result<OffsetDeleteRequestTopic> {
    let indexes = match &scope.partitions {
        Some(partitions) => partitions.clone(),
        None => partitions_of(cluster, &scope.topic).await?,
    };
    anyhow::ensure!(!indexes.is_empty(), "there is no topic `{}`", scope.topic);
    let partitions =
        indexes.into_iter().map(|partition_index| OffsetDeleteRequestPartition { partition_index });
    Ok(OffsetDeleteRequestTopic {
        name: scope.topic.as_str().into(),
        partitions: partitions.collect(),
    })
}

async fn delete(
    cluster: &mut Cluster,
    group: &str,
    request: &OffsetDeleteRequest,
) -> anyhow::Result<OffsetDeleteResponse> {
    for tries in 1.. {
        let broker = coordinator(cluster, group).await?;
        let connection = cluster.broker(broker).await?;
        let answer = connection.call(request).await.context("offsets may be deleted or not")?;
        if !is_passing(answer.error_code) || tries >= TRIES {
            return Ok(answer);
        }
        pause().await;
    }
    unreachable!("the tries are bounded")
}
