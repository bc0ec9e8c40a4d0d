//! A member's calls to the coordinator of its group: finding it, following it when it moves, and
//! writing down what was asked and heard.

use super::loads::Loads;
use crate::{
    group::{Ask, GroupCall, Heard, Partitions, Subscription},
    history::{Outcome, Partition, Request},
    recorder::now_nanos,
    workload::session::Session,
};
use highwater_core::types::TopicId;
use highwater_node::{
    client::{ClientError, Connection},
    wire::generated::{
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        },
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
};
use madsim::time;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// How long a member waits before it asks again where its coordinator is.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(40);
/// How often it asks, at most, before it gives up for the moment.
const LOOKUPS: u32 = 8;

/// What came of a call: an answer, an error code, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<T> {
    /// The answer.
    Well(T),
    /// An error code.
    Refused(i16),
    /// Nothing was heard.
    Nothing,
}

/// Speaks for one member.
pub struct Voice {
    /// Its connections.
    pub session: Session,
    /// The group.
    pub group: String,
    /// The member's id; empty while it has none.
    pub member: String,
    /// Its `group.instance.id`.
    pub instance: Option<String>,
    /// What its next call subscribes to, if it says so.
    pub subscription: Option<Subscription>,
    coordinator: Option<i32>,
    /// Until when it does not reach the coordinator, in simulated nanoseconds.
    deaf_until: u64,
}

impl Voice {
    /// Nobody was asked yet.
    #[must_use]
    pub fn new(session: Session, group: &str, instance: Option<String>) -> Self {
        let (group, member) = (group.to_owned(), String::new());
        let subscription = None;
        Self { session, group, member, instance, subscription, coordinator: None, deaf_until: 0 }
    }

    /// For a while nothing reaches the coordinator.
    pub fn cut_off(&mut self, time: Duration) {
        self.deaf_until = now_nanos() + time.as_nanos() as u64;
    }

    /// Calls the coordinator and writes it down. What the answer means is an error code and, where
    /// that is 0, what was heard.
    pub async fn ask<T>(
        &mut self,
        ask: Ask,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
        meaning: impl Fn(&T) -> Result<Heard, i16>,
    ) -> Said<T> {
        let Some(coordinator) = self.towards_coordinator().await else { return Said::Nothing };
        let call = GroupCall {
            group: self.group.clone(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            ask,
            subscription: self.subscription.take(),
        };
        let cluster = self.session.clients.cluster.clone();
        let before = Loads::of(&cluster, coordinator);
        let outcome_of = |answer: &T| match meaning(answer) {
            Ok(Heard::Alive) if !before.were_none_until(&Loads::of(&cluster, coordinator)) => {
                Outcome::Heard(Heard::Taken)
            }
            Ok(heard) => Outcome::Heard(heard),
            Err(code) => Outcome::Failed(code),
        };
        let answer = self.session.call(Request::Group(call), make, outcome_of).await;
        let Some(answer) = answer else {
            self.coordinator = None;
            return Said::Nothing;
        };
        match meaning(&answer) {
            Ok(_) => Said::Well(answer),
            Err(code) => {
                if matches!(code, COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR) {
                    self.coordinator = None;
                }
                Said::Refused(code)
            }
        }
    }

    /// Finds the coordinator if needed, and connects to it. `None` when that does not work now.
    async fn towards_coordinator(&mut self) -> Option<i32> {
        if now_nanos() < self.deaf_until {
            return None;
        }
        for _ in 0..LOOKUPS {
            if let Some(coordinator) = self.coordinator {
                if self.session.connect_to(coordinator).await {
                    return Some(coordinator);
                }
                self.coordinator = None;
            }
            self.session.turn();
            if !self.session.connected().await {
                return None;
            }
            let group = self.group.clone();
            let finding =
                async |connection: &mut Connection| connection.find_coordinator(&group).await;
            match self.session.exchange(finding).await {
                Some(found) if found.error_code == 0 => self.coordinator = Some(found.node_id),
                _ => time::sleep(ASK_AGAIN_AFTER).await,
            }
        }
        None
    }

    /// OffsetCommit: the error code of each partition.
    pub async fn commit(
        &mut self,
        generation: i32,
        offsets: BTreeMap<Partition, i64>,
    ) -> Said<BTreeMap<Partition, i16>> {
        let partition = |of: &Partition, offset: &i64| OffsetCommitRequestPartition {
            partition_index: of.index,
            committed_offset: *offset,
            committed_leader_epoch: -1,
            committed_metadata: Some("".into()),
        };
        let ids = self.ids(offsets.keys());
        let topics = ids.iter().map(|(topic, id)| OffsetCommitRequestTopic {
            topic_id: TopicId(*id),
            partitions: offsets
                .iter()
                .filter(|(of, _)| of.topic == *topic)
                .map(|(of, offset)| partition(of, offset))
                .collect(),
            ..Default::default()
        });
        let request = OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            generation_id_or_member_epoch: generation,
            member_id: self.member.as_str().into(),
            group_instance_id: self.instance.as_deref().map(Into::into),
            retention_time_ms: -1,
            topics: topics.collect(),
        };
        let topic_of = topics_by_id(ids);
        self.ask(
            Ask::Commit { generation, offsets },
            async |connection| {
                let answer = connection.call(&request).await?;
                let codes = answer.topics.iter().flat_map(|topic| {
                    let number = topic_of.get(&topic.topic_id.0).copied();
                    topic.partitions.iter().filter_map(move |of| {
                        let index = of.partition_index;
                        Some((Partition { topic: number?, index }, of.error_code))
                    })
                });
                Ok(codes.collect::<BTreeMap<_, _>>())
            },
            |codes| {
                let all: BTreeSet<i16> = codes.values().copied().collect();
                match all.first() {
                    Some(code) if all.len() == 1 && *code != 0 => Err(*code),
                    _ => Ok(Heard::Committed(codes.clone())),
                }
            },
        )
        .await
    }

    /// OffsetFetch as a member, or without one as an epoch of -1: the committed offsets.
    pub async fn offsets(
        &mut self,
        epoch: i32,
        partitions: Partitions,
    ) -> Said<BTreeMap<Partition, i64>> {
        let ids = self.ids(partitions.iter());
        let topics = ids.iter().map(|(topic, id)| {
            let indexes = partitions.iter().filter(|of| of.topic == *topic);
            OffsetFetchRequestTopics {
                topic_id: TopicId(*id),
                partition_indexes: indexes.map(|of| of.index).collect(),
                ..Default::default()
            }
        });
        let member = (epoch >= 0).then(|| self.member.as_str().into());
        let wanted = OffsetFetchRequestGroup {
            group_id: self.group.as_str().into(),
            member_id: member,
            member_epoch: epoch,
            topics: Some(topics.collect()),
        };
        let request = OffsetFetchRequest { groups: vec![wanted], ..Default::default() };
        let topic_of = topics_by_id(ids);
        let fetching = async |connection: &mut Connection| -> Result<_, ClientError> {
            let answer = connection.call(&request).await?;
            let Some(group) = answer.groups.into_iter().next() else { return Ok(Err(-1)) };
            if group.error_code != 0 {
                return Ok(Err(group.error_code));
            }
            let mut offsets = BTreeMap::new();
            for topic in group.topics {
                let Some(number) = topic_of.get(&topic.topic_id.0).copied() else { continue };
                for of in topic.partitions {
                    if of.error_code != 0 {
                        return Ok(Err(of.error_code));
                    }
                    if of.committed_offset >= 0 {
                        let partition = Partition { topic: number, index: of.partition_index };
                        offsets.insert(partition, of.committed_offset);
                    }
                }
            }
            Ok(Ok(offsets))
        };
        let said = self
            .ask(Ask::Offsets { partitions }, fetching, |answer| answer.clone().map(Heard::Offsets))
            .await;
        match said {
            Said::Well(Ok(offsets)) => Said::Well(offsets),
            Said::Well(Err(code)) | Said::Refused(code) => Said::Refused(code),
            Said::Nothing => Said::Nothing,
        }
    }

    /// The ids of the topics of these partitions, by the topic's number.
    fn ids<'a>(
        &self,
        partitions: impl Iterator<Item = &'a Partition>,
    ) -> BTreeMap<usize, [u8; 16]> {
        let history = self.session.clients.recorder.history();
        partitions.map(|of| (of.topic, history.topics[of.topic].id)).collect()
    }
}

fn topics_by_id(ids: BTreeMap<usize, [u8; 16]>) -> BTreeMap<[u8; 16], usize> {
    ids.into_iter().map(|(topic, id)| (id, topic)).collect()
}
