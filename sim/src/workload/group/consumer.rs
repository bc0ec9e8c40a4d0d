//! The consumer protocol (KIP-848): one heartbeat for everything. The coordinator assigns; a member
//! gives up what it is told to, says so, and takes what is free.

use super::{
    brief::Given,
    member::{BEAT_EVERY, FENCED_INSTANCE_ID, Member, UNRELEASED_INSTANCE_ID},
    voice::Said,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{History, Partition},
    recorder::now_nanos,
    scenario::GroupHabit,
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

impl Member {
    pub(super) async fn consumer_step(&mut self) {
        if self.reconcile().await {
            // What it has now is news to the coordinator.
            self.next_beat = 0;
        }
        if self.generation.is_some() && !self.is_time_to_beat() {
            return;
        }
        if self.is_restless() && self.draw.chance("old_beat", 0.03) {
            self.repeat_an_old_beat().await;
            if self.generation.is_none() {
                return;
            }
        }
        let epoch = self.generation.unwrap_or(JOIN);
        match self.beat_consumer(epoch).await {
            Said::Well(told) => {
                let Told { epoch, assigned, given } = told;
                if self.generation != Some(epoch) {
                    self.epochs.push(epoch);
                }
                self.generation = Some(epoch);
                self.next_beat = now_nanos() + BEAT_EVERY.as_nanos() as u64;
                if let Some(target) = assigned {
                    self.about.is_told(given);
                    self.target = target;
                    if self.manners.has(GroupHabit::KeepsPartitions)
                        && self.is_restless()
                        && self.draw.chance("keeps", 0.2)
                    {
                        let patience = Duration::from_millis(self.manners.rebalance_millis);
                        let longer = Duration::from_millis(self.draw.between("longer", 0..=3_000));
                        self.holds_until = now_nanos() + (patience + longer).as_nanos() as u64;
                    } else if self.draw.chance("dally", 0.2) {
                        let slowly = Duration::from_millis(self.draw.between("slowly", 50..=700));
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
        let said = self.beat_consumer(old).await;
        if let Said::Refused(code) = said
            && self.manners.has(GroupHabit::OldBeats)
        {
            self.refused(code);
        }
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
            if self.draw.chance("commit_first", 0.7) {
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

    async fn beat_consumer(&mut self, epoch: i32) -> Said<Told> {
        let owned: Partitions = self.positions.keys().copied().collect();
        let joins = epoch == JOIN;
        // What has not changed need not be said.
        let says_all = joins || self.draw.chance("says_all", 0.3);
        if says_all {
            self.topics = self.living_topics();
        }
        let matches = self.expression.is_some();
        let may_choose = matches && says_all && !joins && self.is_restless();
        if may_choose && self.draw.chance("another_expression", 0.1) {
            self.choose_expression();
        }
        let words = self.words(joins, says_all, &owned);
        let subscription = words.subscription.clone();
        let names = subscription.as_ref().map(|subscription| {
            subscription.topics.iter().map(|name| name.as_str().into()).collect()
        });
        let expression = subscription.as_ref().and_then(|subscription| subscription.expression);
        let text = expression.map(|expression| expression.text.into());
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.voice.group.as_str().into(),
            member_id: self.voice.member.as_str().into(),
            member_epoch: epoch,
            instance_id: self.voice.instance.as_deref().map(Into::into),
            rebalance_timeout_ms: words.rebalance_millis,
            subscribed_topic_names: names,
            subscribed_topic_regex: text,
            topic_partitions: words.owned.as_ref().map(|owned| self.by_id(owned)),
            ..Default::default()
        };
        let recorder = self.voice.session.clients.recorder.clone();
        let beating = async |connection: &mut Connection| -> Result<_, ClientError> {
            let answer = connection.call(&request).await?;
            Ok(Told::of(&answer, &recorder.history()))
        };
        let heard = |told: Told| Heard::Told { epoch: told.epoch, assigned: told.assigned };
        let ask = Ask::ConsumerHeartbeat { epoch, owned };
        self.voice.subscription = subscription;
        let said = self.voice.ask(ask, beating, |answer| answer.clone().map(heard)).await;
        let said = match said {
            Said::Well(Ok(told)) => Said::Well(told),
            Said::Well(Err(code)) | Said::Refused(code) => Said::Refused(code),
            Said::Nothing => Said::Nothing,
        };
        self.about.comes_of(&words, matches!(said, Said::Well(_)));
        said
    }

    pub(super) async fn leave_consumer(&mut self) {
        let epoch = match self.voice.instance.is_some() && self.draw.chance("for_now", 0.7) {
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

/// What a member was told, by the topics that were known when it was: what it takes is what the
/// history says that it heard, though a topic becomes known between its question and the answer.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    epoch: i32,
    /// `None` when that is no news.
    assigned: Option<Partitions>,
    given: Given,
}

impl Told {
    fn of(answer: &ConsumerGroupHeartbeatResponse, known: &History) -> Result<Self, i16> {
        if answer.error_code != 0 {
            return Err(answer.error_code);
        }
        let numbers: BTreeMap<_, _> =
            known.topics.iter().enumerate().map(|(number, topic)| (topic.id, number)).collect();
        let partitions = |topic: &TopicPartitions| {
            let number = numbers.get(&topic.topic_id.0).copied();
            let indexes = topic.partitions.clone().into_iter();
            indexes.filter_map(move |index| Some(Partition { topic: number?, index }))
        };
        let assigned = answer.assignment.as_ref().map(|assignment| {
            assignment.topic_partitions.iter().flat_map(partitions).collect::<Partitions>()
        });
        let with_ids = |topic: &TopicPartitions| {
            let id = topic.topic_id.0;
            topic.partitions.clone().into_iter().map(move |index| (id, index))
        };
        let topics = answer.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
        let given = topics.flat_map(with_ids).collect();
        Ok(Self { epoch: answer.member_epoch, assigned, given })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Topic;
    use highwater_node::wire::generated::consumer_group_heartbeat::Assignment;

    #[test]
    fn a_member_takes_the_topics_that_are_known_when_the_answer_is_there() {
        let id = [7; 16];
        let given = TopicPartitions { topic_id: TopicId(id), partitions: vec![0, 2] };
        let answer = ConsumerGroupHeartbeatResponse {
            member_epoch: 3,
            assignment: Some(Assignment { topic_partitions: vec![given] }),
            ..Default::default()
        };
        let mut history = History::default();
        let told = |history: &History| Told::of(&answer, history).unwrap().assigned.unwrap();
        assert_eq!(told(&history), Partitions::new());
        history.topics.push(Topic { name: "t".into(), id, ..Topic::default() });
        assert_eq!(told(&history), [0, 2].map(|index| Partition { topic: 0, index }).into());
    }
}
