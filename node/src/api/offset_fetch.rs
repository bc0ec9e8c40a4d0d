//! OffsetFetch (key 9): how far groups have come.

use super::{
    Context, errors,
    groups::{self, group_id, member_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::offset_fetch::{
        OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
};
use highwater_core::{
    group::{CommittedOffset, FetchOffsets, GroupError, MemberId, Request, Response, TopicOffsets},
    types::{PartitionIndex, TopicId},
};
use std::{collections::BTreeMap, sync::Arc};

/// Offsets by the topic's name and the partition.
type Found = BTreeMap<(Arc<str>, PartitionIndex), Result<Option<CommittedOffset>, GroupError>>;

/// Tells committed offsets. Before version 8 of one group; a null list of topics is all of them.
pub async fn handle(context: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if context.version >= 8 {
        let mut response = OffsetFetchResponse::default();
        for group in &request.groups {
            response.groups.push(fetch(&context, group, request.require_stable).await);
        }
        return response;
    }
    let wanted = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name.clone(),
            partition_indexes: topic.partition_indexes.clone(),
            ..Default::default()
        });
        topics.collect()
    });
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: wanted,
        ..Default::default()
    };
    let fetched = fetch(&context, &group, request.require_stable).await;
    let topics = fetched.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(of_old_version).collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: fetched.error_code,
        ..Default::default()
    }
}

fn of_old_version(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}

async fn fetch(
    context: &Context,
    group: &OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let names = group
        .topics
        .as_ref()
        .map(|topics| topics.iter().map(|topic| name_of(context, topic)).collect::<Vec<_>>());
    let wanted = names.as_ref().zip(group.topics.as_ref()).map(|(names, topics)| {
        let named = names.iter().zip(topics);
        let known = named.filter_map(|(name, topic)| Some((name.clone()?, indexes(topic))));
        known.collect()
    });
    let body = Request::FetchOffsets(FetchOffsets {
        group: group_id(&group.group_id),
        member: claimed(group),
        topics: wanted,
        require_stable,
    });
    let answer = match groups::ask(context, &group.group_id, body).await {
        Ok(Response::Offsets(answer)) => answer.map_err(|error| errors::of_group(&error)),
        Ok(other) => groups::mismatch(&other),
        Err(code) => Err(code),
    };
    let mut response =
        OffsetFetchResponseGroup { group_id: group.group_id.clone(), ..Default::default() };
    match (answer, &group.topics) {
        (Ok(offsets), None) => response.topics = all(context, offsets),
        (Ok(offsets), Some(topics)) => {
            let found = by_partition(offsets);
            let named = topics.iter().zip(names.unwrap_or_default());
            response.topics = named.map(|(topic, name)| wanted_of(topic, name, &found)).collect();
        }
        // Before version 2 there is no error of the whole answer.
        (Err(code), Some(topics)) if context.version < 2 => {
            response.topics = topics.iter().map(|topic| refused(topic, code)).collect();
        }
        (Err(code), _) => response.error_code = code as i16,
    }
    response
}

/// The member that a client says it is. Without an id and with a negative epoch it says that it is
/// none, and it may leave out neither alone.
fn claimed(group: &OffsetFetchRequestGroup) -> Option<(MemberId, Option<u32>)> {
    let epoch = u32::try_from(group.member_epoch).ok();
    match &group.member_id {
        None if epoch.is_none() => None,
        None => Some((MemberId::from(""), epoch)),
        Some(id) => Some((member_id(id), epoch)),
    }
}

/// The name of a topic; `None` where the request names an id that no topic has.
fn name_of(context: &Context, topic: &OffsetFetchRequestTopics) -> Option<Arc<str>> {
    if context.version < 10 {
        return Some(Arc::from(&*topic.name));
    }
    let image = context.shared.quorum.image();
    image.topic(topic.topic_id).map(|found| Arc::from(found.name.as_str()))
}

/// Indexes that a partition can have: others have no offset.
fn indexes(topic: &OffsetFetchRequestTopics) -> Vec<PartitionIndex> {
    let indexes = topic.partition_indexes.iter();
    indexes.filter_map(|index| u32::try_from(*index).ok()).map(PartitionIndex).collect()
}

fn by_partition(offsets: Vec<TopicOffsets>) -> Found {
    let mut found = Found::new();
    for TopicOffsets { topic, partitions } in offsets {
        found.extend(partitions.into_iter().map(|(index, one)| ((topic.clone(), index), one)));
    }
    found
}

/// Everything that the group has committed. From version 10 on topics have ids, so those that are
/// gone cannot be told.
fn all(context: &Context, offsets: Vec<TopicOffsets>) -> Vec<OffsetFetchResponseTopics> {
    let image = context.shared.quorum.image();
    let id_of = |name: &str| image.topic_named(name).map(|topic| topic.id);
    let topics = offsets.into_iter().filter_map(|TopicOffsets { topic, partitions }| {
        let topic_id = match context.version {
            ..10 => TopicId::default(),
            _ => id_of(&topic)?,
        };
        let partitions = partitions
            .into_iter()
            .map(|(index, offset)| partition(groups::index_number(index), Some(&offset)));
        let partitions = partitions.collect();
        Some(OffsetFetchResponseTopics { name: Str::from(&*topic), topic_id, partitions })
    });
    topics.collect()
}

fn wanted_of(
    topic: &OffsetFetchRequestTopics,
    name: Option<Arc<str>>,
    found: &Found,
) -> OffsetFetchResponseTopics {
    let Some(name) = name else { return refused(topic, ErrorCode::UnknownTopicId) };
    let partitions = topic.partition_indexes.iter().map(|index| {
        let known = u32::try_from(*index).ok().map(PartitionIndex);
        let offset = known.and_then(|known| found.get(&(name.clone(), known)));
        partition(*index, offset)
    });
    OffsetFetchResponseTopics {
        partitions: partitions.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
    }
}

fn refused(topic: &OffsetFetchRequestTopics, code: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        error_code: code as i16,
        ..partition(*index, None)
    });
    OffsetFetchResponseTopics {
        partitions: partitions.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
    }
}

/// A partition's offset as the wire has it; -1 where none was committed.
fn partition(
    partition_index: i32,
    offset: Option<&Result<Option<CommittedOffset>, GroupError>>,
) -> OffsetFetchResponsePartitions {
    let none = OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::EMPTY),
        error_code: ErrorCode::None as i16,
    };
    match offset {
        None | Some(Ok(None)) => none,
        Some(Ok(Some(committed))) => OffsetFetchResponsePartitions {
            committed_offset: errors::offset(committed.offset),
            committed_leader_epoch: committed.leader_epoch.map_or(-1, errors::epoch_number),
            metadata: Some(Str::from(&*committed.metadata)),
            ..none
        },
        Some(Err(error)) => {
            OffsetFetchResponsePartitions { error_code: errors::of_group(error) as i16, ..none }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_neither_a_member_nor_an_epoch_asks_as_no_member() {
        type Claim = (&'static str, Option<u32>);
        let table: [(Option<&str>, i32, Option<Claim>); 7] = [
            (None, -1, None),
            (None, 0, Some(("", Some(0)))),
            (None, 3, Some(("", Some(3)))),
            (Some(""), -1, Some(("", None))),
            (Some("ghost"), -1, Some(("ghost", None))),
            (Some("m"), -2, Some(("m", None))),
            (Some("m"), 3, Some(("m", Some(3)))),
        ];
        for (id, member_epoch, expected) in table {
            let member_id = id.map(Str::from);
            let group = OffsetFetchRequestGroup { member_id, member_epoch, ..Default::default() };
            let expected = expected.map(|(id, epoch)| (MemberId::from(id), epoch));
            assert_eq!(claimed(&group), expected, "{id:?} {member_epoch}");
        }
        let older = OffsetFetchRequestGroup::default();
        assert_eq!(claimed(&older), None, "before version 9 nobody can say");
    }
}
