//! From what a client calls a partition to the driver that serves it.

use super::Context;
use crate::{
    broker::{Lookup, PartitionDriver},
    wire::{ErrorCode, Str},
};
use highwater_core::{
    record::ProducerIdentity,
    types::{PartitionIndex, TopicId},
};
use std::sync::Arc;

/// A topic of a request: what the client named, if it exists.
pub struct Topic(Result<TopicId, ErrorCode>);

impl Topic {
    /// The topic that a request names by id, where its version has ids, or else by name.
    pub fn of_request(context: &Context, name: &Str, id: TopicId) -> Self {
        if id == TopicId::default() {
            Self::named(context, name)
        } else {
            Self::with_id(context, id)
        }
    }

    /// The topic of that name.
    pub fn named(context: &Context, name: &str) -> Self {
        let image = context.shared.quorum.image();
        Self(
            image.topic_named(name).map(|topic| topic.id).ok_or(ErrorCode::UnknownTopicOrPartition),
        )
    }

    /// The topic of that id. A topic that was deleted and created again has another id.
    pub fn with_id(context: &Context, id: TopicId) -> Self {
        let image = context.shared.quorum.image();
        Self(image.topic(id).map(|topic| topic.id).ok_or(ErrorCode::UnknownTopicId))
    }

    /// The driver of one of its partitions.
    pub fn partition(
        &self,
        context: &Context,
        index: i32,
    ) -> Result<Arc<PartitionDriver>, ErrorCode> {
        let id = self.0?;
        let index = u32::try_from(index).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        match context.shared.partitions.get(id, PartitionIndex(index)) {
            Lookup::Open(driver) => Ok(driver),
            Lookup::Offline => Err(ErrorCode::KafkaStorageError),
            // Created a moment ago: its log is being opened. Clients retry this.
            Lookup::Opening => Err(ErrorCode::NotLeaderOrFollower),
            Lookup::Unknown => Err(self.elsewhere(context, index)),
        }
    }

    /// A batch for one of its partitions was refused before the partition could hear of it.
    pub fn note_refused(&self, context: &Context, index: i32, batch: ProducerIdentity) {
        if let (Ok(id), Ok(index)) = (self.0, u32::try_from(index)) {
            context.shared.partitions.note_refused(id, PartitionIndex(index), batch);
        }
    }

    /// Whether another broker has a partition that this one has not.
    fn elsewhere(&self, context: &Context, index: u32) -> ErrorCode {
        let image = context.shared.quorum.image();
        let found = self.0.ok().and_then(|id| image.partition(id, PartitionIndex(index)));
        match found {
            Some(_) => ErrorCode::NotLeaderOrFollower,
            None => ErrorCode::UnknownTopicOrPartition,
        }
    }
}
