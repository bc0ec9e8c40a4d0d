//! The consumer protocol (KIP-848): one heartbeat for everything. The coordinator assigns; a member
//! gives up what it is told to, says so, and takes what is free.

use super::{
    member::{BEAT_EVERY, FENCED_INSTANCE_ID, Member, UNRELEASED_INSTANCE_ID},
    voice::Said,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::Partition,
    recorder::now_nanos,
};
use highwater_core::types::TopicId;
use highwater_node::{
    client::{ClientError, Connection},
    wire::generated::consumer_group_heartbeat::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
    },
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;
/// How long the coordinator waits for a member to give partitions up.
const REBALANCE_TIMEOUT_MS: i32 = 900;

impl Member {
    pub(super) async fn consumer_step(&mut self) {
        if self.reconcile().await {
            // What it has now is news to the coordinator.
            self.next_beat = 0;
        }
        if self.generation.is_some() && !self.is_time_to_beat() {
            return;
        }
        if self.is_restless() && self.dice.chance(0.03) {
            self.repeat_an_old_beat().await;
        }
        let epoch = self.generation.unwrap_or(JOIN);
        match self.beat_consumer(epoch).await {
            Said::Well(told) => {
                if self.generation != Some(told.member_epoch) {
                    self.epochs.push(told.member_epoch);
                }
                self.generation = Some(told.member_epoch);
                self.next_beat = now_nanos() + BEAT_EVERY.as_nanos() as u64;
                if let Some(target) = self.target_of(&told) {
                    self.target = target;
                    if self.dice.chance(0.2) {
                        let slowly = Duration::from_millis(self.dice.between(50..=700));
                        self.holds_until = now_nanos() + slowly.as_nanos() as u64;
                    }
                }
            }
            Said::Refused(UNRELEASED_INSTANCE_ID) => {
                time::sleep(BEAT_EVERY).await;
            }
            Said::Refused(FENCED_INSTANCE_ID) => {
                time::sleep(BEAT_EVERY).await;
                self.refused(FENCED_INSTANCE_ID);
            }
            Said::Refused(code) => self.refused(code),
            Said::Nothing => {}
        }
    }

    /// A heartbeat of an epoch long past arrives once more: it must be refused and change nothing.
    async fn repeat_an_old_beat(&mut self) {
        // The last but one is taken for one whose answer was lost.
        let Some(old) = self.epochs.iter().rev().nth(2).copied() else { return };
        self.beat_consumer(old).await;
    }

    /// Gives up what is not its own any more, then takes what is. Whether anything changed.
    async fn reconcile(&mut self) -> bool {
        if self.generation.is_none() {
            return false;
        }
        let owned: Partitions = self.positions.keys().copied().collect();
        if owned == self.target {
            return false;
        }
        if !owned.is_subset(&self.target) {
            if now_nanos() < self.holds_until {
                return false;
            }
            if self.dice.chance(0.7) {
                self.commit().await;
            }
            let target = self.target.clone();
            self.positions.retain(|of, _| target.contains(of));
            return true;
        }
        for partition in self.target.clone() {
            self.positions.entry(partition).or_insert(None);
        }
        true
    }

    async fn beat_consumer(&mut self, epoch: i32) -> Said<ConsumerGroupHeartbeatResponse> {
        let owned: Partitions = self.positions.keys().copied().collect();
        let joins = epoch == JOIN;
        // What has not changed need not be said.
        let says_all = joins || self.dice.chance(0.3);
        if says_all {
            self.topics = self.living_topics();
        }
        let names = self.names();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.voice.group.as_str().into(),
            member_id: self.voice.member.as_str().into(),
            member_epoch: epoch,
            instance_id: self.voice.instance.as_deref().map(Into::into),
            rebalance_timeout_ms: if says_all { REBALANCE_TIMEOUT_MS } else { -1 },
            subscribed_topic_names: says_all
                .then(|| names.iter().map(|name| name.as_str().into()).collect()),
            topic_partitions: Some(self.by_id(&owned)),
            ..Default::default()
        };
        let numbers = self.numbers();
        self.voice
            .ask(
                Ask::ConsumerHeartbeat { epoch, owned },
                async |connection| connection.call(&request).await,
                |answer| match answer.error_code {
                    0 => Ok(Heard::Told {
                        epoch: answer.member_epoch,
                        assigned: assigned(answer, &numbers),
                    }),
                    code => Err(code),
                },
            )
            .await
    }

    pub(super) async fn leave_consumer(&mut self) {
        let epoch = match self.voice.instance.is_some() && self.dice.chance(0.7) {
            true => LEAVE_FOR_NOW,
            false => LEAVE,
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.voice.group.as_str().into(),
            member_id: self.voice.member.as_str().into(),
            member_epoch: epoch,
            instance_id: self.voice.instance.as_deref().map(Into::into),
            ..Default::default()
        };
        let leaving = async |connection: &mut Connection| -> Result<_, ClientError> {
            Ok(connection.call(&request).await?.error_code)
        };
        let meaning = |code: &i16| if *code == 0 { Ok(Heard::Left) } else { Err(*code) };
        let ask = Ask::ConsumerHeartbeat { epoch, owned: Partitions::new() };
        self.voice.ask(ask, leaving, meaning).await;
    }

    fn target_of(&self, told: &ConsumerGroupHeartbeatResponse) -> Option<Partitions> {
        assigned(told, &self.numbers())
    }

    /// The numbers of topics by their ids.
    fn numbers(&self) -> BTreeMap<[u8; 16], usize> {
        let history = self.voice.session.clients.recorder.history();
        history.topics.iter().enumerate().map(|(number, topic)| (topic.id, number)).collect()
    }

    fn by_id(&self, partitions: &Partitions) -> Vec<TopicPartitions> {
        let history = self.voice.session.clients.recorder.history();
        let mut topics: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for of in partitions {
            topics.entry(of.topic).or_default().push(of.index);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| TopicPartitions {
            topic_id: TopicId(history.topics[topic].id),
            partitions,
        });
        topics.collect()
    }
}

fn assigned(
    answer: &ConsumerGroupHeartbeatResponse,
    numbers: &BTreeMap<[u8; 16], usize>,
) -> Option<Partitions> {
    let assignment = answer.assignment.as_ref()?;
    let known = assignment.topic_partitions.iter().filter_map(|topic| {
        let number = *numbers.get(&topic.topic_id.0)?;
        Some(topic.partitions.iter().map(move |index| Partition { topic: number, index: *index }))
    });
    Some(known.flatten().collect())
}
