//! What every user of the client needs to know of groups.

use super::{ClientError, Cluster, Connection};
use crate::wire::{
    ApiKey, Str,
    generated::{
        find_coordinator::FindCoordinatorRequest,
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
            OffsetCommitResponse,
        },
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup},
    },
};

/// The newest versions that name topics and not their ids.
const OFFSET_COMMIT_BY_NAME: i16 = 9;
const OFFSET_FETCH_BY_NAME: i16 = 9;
/// From here on a request asks for many.
const FIND_COORDINATOR_BATCHED: i16 = 4;
const OFFSET_FETCH_BATCHED: i16 = 8;

/// Where a group's coordinator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// The error code; the rest means nothing unless it is 0.
    pub error_code: i16,
    /// What the broker says about the error.
    pub error_message: Option<Str>,
    /// The broker's id.
    pub node_id: i32,
    /// Where it is.
    pub address: String,
}

/// Who commits offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committer {
    /// The group.
    pub group: Str,
    /// The member's id; empty for a client that is no member.
    pub member: Str,
    /// Its `group.instance.id`.
    pub instance: Option<Str>,
    /// Its generation or epoch; -1 for a client that is no member.
    pub generation: i32,
}

/// An offset to be committed, or one that was; -1 where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
    /// The next offset to be consumed.
    pub offset: i64,
    /// The error code of this partition.
    pub error_code: i16,
}

impl Committer {
    /// A client that manages offsets without being a member: the group must have none.
    #[must_use]
    pub fn outsider(group: &str) -> Self {
        Self { group: group.into(), member: Str::EMPTY, instance: None, generation: -1 }
    }
}

impl Cluster {
    /// Asks any broker where a group's coordinator is; [`Cluster::broker`] connects to it once a
    /// metadata answer has named it.
    ///
    /// # Errors
    /// No broker can be reached, or the answer did not come.
    pub async fn coordinator(&mut self, group: &str) -> Result<Coordinator, ClientError> {
        self.any().await?.find_coordinator(group).await
    }
}

impl Connection {
    /// Asks where a group's coordinator is.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn find_coordinator(&mut self, group: &str) -> Result<Coordinator, ClientError> {
        let version = self.version(ApiKey::FindCoordinator)?;
        let request = match version {
            ..FIND_COORDINATOR_BATCHED => {
                FindCoordinatorRequest { key: group.into(), ..Default::default() }
            }
            _ => FindCoordinatorRequest {
                coordinator_keys: vec![group.into()],
                ..Default::default()
            },
        };
        let answer = self.send(&request, version).await?;
        let address = |host: &Str, port: i32| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        if version < FIND_COORDINATOR_BATCHED {
            return Ok(Coordinator {
                error_code: answer.error_code,
                error_message: answer.error_message,
                node_id: answer.node_id,
                address: address(&answer.host, answer.port),
            });
        }
        let mut coordinators = answer.coordinators.into_iter();
        let found = self.only_one(ApiKey::FindCoordinator, &mut coordinators)?;
        Ok(Coordinator {
            error_code: found.error_code,
            address: address(&found.host, found.port),
            error_message: found.error_message,
            node_id: found.node_id,
        })
    }

    /// Everything that a group has committed, and the error code of the whole.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn group_offsets(
        &mut self,
        group: &str,
    ) -> Result<(i16, Vec<GroupOffset>), ClientError> {
        let version = self.version(ApiKey::OffsetFetch)?.min(OFFSET_FETCH_BY_NAME);
        if version < OFFSET_FETCH_BATCHED {
            let request =
                OffsetFetchRequest { group_id: group.into(), topics: None, ..Default::default() };
            let answer = self.send(&request, version).await?;
            let offsets = answer.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |partition| GroupOffset {
                    topic: topic.name.clone(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    error_code: partition.error_code,
                })
            });
            return Ok((answer.error_code, offsets.collect()));
        }
        let wanted =
            OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![wanted], ..Default::default() };
        let answer = self.send(&request, version).await?;
        let found = self.only_one(ApiKey::OffsetFetch, &mut answer.groups.into_iter())?;
        let offsets = found.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |partition| GroupOffset {
                topic: topic.name.clone(),
                partition: partition.partition_index,
                offset: partition.committed_offset,
                error_code: partition.error_code,
            })
        });
        Ok((found.error_code, offsets.collect()))
    }

    /// Commits offsets; the codes in what is given mean nothing.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn commit_offsets(
        &mut self,
        committer: &Committer,
        offsets: &[GroupOffset],
    ) -> Result<OffsetCommitResponse, ClientError> {
        let version = self.version(ApiKey::OffsetCommit)?.min(OFFSET_COMMIT_BY_NAME);
        let mut topics = Vec::<OffsetCommitRequestTopic>::new();
        for offset in offsets {
            let partition = OffsetCommitRequestPartition {
                partition_index: offset.partition,
                committed_offset: offset.offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(Str::EMPTY),
            };
            match topics.iter_mut().find(|topic| topic.name == offset.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetCommitRequestTopic {
                    name: offset.topic.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: committer.group.clone(),
            generation_id_or_member_epoch: committer.generation,
            member_id: committer.member.clone(),
            group_instance_id: committer.instance.clone(),
            retention_time_ms: -1,
            topics,
        };
        self.send(&request, version).await
    }

    fn only_one<T>(
        &self,
        api: ApiKey,
        answers: &mut impl Iterator<Item = T>,
    ) -> Result<T, ClientError> {
        match (answers.next(), answers.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(ClientError::Misbehaved {
                address: self.address().to_owned(),
                what: format!("an answer to {api} that is not about the one group asked for"),
            }),
        }
    }
}
