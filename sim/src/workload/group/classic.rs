//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. The leader of a generation
//! assigns; everybody gives up everything before a rebalance.

use super::{
    member::{ILLEGAL_GENERATION, Member, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID},
    range,
    voice::Said,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{History, Partition},
    recorder::now_nanos,
    scenario::GroupHabit,
    workload::session::CALL_TIMEOUT,
};
use bytes::Bytes;
use highwater_node::client::{ClientError, Connection};
use highwater_node::wire::{
    consumer_protocol::{
        self, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
        consumer_protocol_assignment,
    },
    generated::{
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
        leave_group::{LeaveGroupRequest, MemberIdentity},
        sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
    },
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

const MEMBER_ID_REQUIRED: i16 = 79;
/// How much longer than a rebalance an answer to a join may take.
const JOINED_WITHIN: Duration = Duration::from_millis(1_000);
const PROTOCOL_VERSION: i16 = 1;
const PROTOCOL: &str = "range";
const CONSUMER: &str = "consumer";

impl Member {
    pub(super) async fn classic_step(&mut self) {
        match self.generation {
            None => self.join().await,
            Some(generation) if self.is_time_to_beat() => self.beat(generation).await,
            Some(_) => {}
        }
    }

    async fn beat(&mut self, generation: i32) {
        if self.has_grown().await {
            return self.join().await;
        }
        let request = HeartbeatRequest {
            group_id: self.voice.group.as_str().into(),
            generation_id: generation,
            member_id: self.voice.member.as_str().into(),
            group_instance_id: self.voice.instance.as_deref().map(Into::into),
        };
        let said = self
            .voice
            .ask(
                Ask::Heartbeat { generation },
                async |connection| Ok(connection.call(&request).await?.error_code),
                |code| if *code == 0 { Ok(Heard::Alive) } else { Err(*code) },
            )
            .await;
        match said {
            Said::Well(_) => self.beat_later(),
            Said::Refused(REBALANCE_IN_PROGRESS) if self.is_busy() => self.beat_later(),
            Said::Refused(REBALANCE_IN_PROGRESS) => {
                if self.draw.chance("commit_first", 0.7) {
                    self.commit().await;
                }
                self.join().await;
            }
            Said::Refused(code) => self.refused(code),
            Said::Nothing => {}
        }
    }

    /// Whether it has something to do before it joins again. It is alive meanwhile.
    fn is_busy(&mut self) -> bool {
        let now = now_nanos();
        if self.joins_at == 0 && self.is_restless() && self.manners.has(GroupHabit::SlowJoins) {
            self.joins_at = now;
            if self.draw.chance("is_busy", 0.5) {
                let longest = self.manners.rebalance_millis.max(2) * 9 / 10;
                let busy = Duration::from_millis(self.draw.between("busy", longest / 2..=longest));
                self.joins_at = now + busy.as_nanos() as u64;
            }
        }
        now < self.joins_at
    }

    /// Takes its time between joining and asking for its assignment.
    async fn dally(&mut self) {
        if !self.is_restless() || !self.manners.has(GroupHabit::SlowSyncs) {
            return;
        }
        if self.draw.chance("syncs_late", 0.3) {
            let most = self.manners.session_millis.min(self.manners.rebalance_millis) * 7 / 10;
            let late = Duration::from_millis(self.draw.between("syncs_after", 100..=most.max(100)));
            time::sleep(late).await;
        }
    }

    /// Whether this is the leader and a topic has more partitions than it has assigned, or is new.
    async fn has_grown(&mut self) -> bool {
        let Some(counted) = self.counted.clone() else { return false };
        if !self.draw.chance("counts", 0.3) {
            return false;
        }
        let topics = counted.keys().copied().collect();
        matches!(self.count(topics).await, Some(now) if now != counted)
    }

    /// Joins and syncs; a member again when both work.
    async fn join(&mut self) {
        self.forget();
        self.topics = self.living_topics();
        let Some(joined) = self.enter().await else { return };
        self.note_instances(&joined);
        let generation = joined.generation_id;
        let leads = *joined.leader == *self.voice.member && !joined.members.is_empty();
        let given = match leads {
            true => self.assign(&joined).await,
            false => Some(BTreeMap::new()),
        };
        let Some(given) = given.map(|given| given_as_told(given, &joined)) else { return };
        self.dally().await;
        let Some(assigned) = self.sync(generation, given).await else { return };
        self.generation = Some(generation);
        self.positions = assigned.into_iter().map(|of| (of, None)).collect();
        self.beat_later();
    }

    async fn enter(&mut self) -> Option<JoinGroupResponse> {
        let subscription = ConsumerProtocolSubscription {
            topics: self.names().iter().map(|name| name.as_str().into()).collect(),
            ..Default::default()
        };
        let metadata = consumer_protocol::encode_subscription(&subscription, PROTOCOL_VERSION);
        let metadata = metadata.expect("the names of topics are short");
        // A second time with the id that the first answer gives.
        for _ in 0..2 {
            let request = JoinGroupRequest {
                group_id: self.voice.group.as_str().into(),
                session_timeout_ms: self.manners.session_millis as i32,
                rebalance_timeout_ms: self.manners.rebalance_millis as i32,
                member_id: self.voice.member.as_str().into(),
                group_instance_id: self.voice.instance.as_deref().map(Into::into),
                protocol_type: CONSUMER.into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: PROTOCOL.into(),
                    metadata: metadata.clone(),
                }],
                reason: None,
            };
            let mut required = None;
            let patience = Duration::from_millis(self.manners.rebalance_millis) + JOINED_WITHIN;
            let said = self
                .voice
                .ask(
                    Ask::Join,
                    async |connection| {
                        connection.set_timeout(patience.max(CALL_TIMEOUT));
                        let answer = connection.call(&request).await;
                        connection.set_timeout(CALL_TIMEOUT);
                        let answer = answer?;
                        if answer.error_code == MEMBER_ID_REQUIRED {
                            required = Some(answer.member_id.to_string());
                        }
                        Ok(answer)
                    },
                    |answer| match answer.error_code {
                        0 => Ok(Heard::Joined {
                            generation: answer.generation_id,
                            member: answer.member_id.to_string(),
                            leader: answer.leader.to_string(),
                        }),
                        code => Err(code),
                    },
                )
                .await;
            match (said, required) {
                (Said::Well(joined), _) => {
                    self.voice.member = joined.member_id.to_string();
                    return Some(joined);
                }
                (Said::Refused(_), Some(member)) => self.voice.member = member,
                (Said::Refused(code), None) => {
                    self.refused(code);
                    return None;
                }
                (Said::Nothing, _) => return None,
            }
        }
        None
    }

    async fn sync(
        &mut self,
        generation: i32,
        given: BTreeMap<String, Partitions>,
    ) -> Option<Partitions> {
        let assignments = given.iter().map(|(member, partitions)| SyncGroupRequestAssignment {
            member_id: member.as_str().into(),
            assignment: self.encode(partitions),
        });
        let request = SyncGroupRequest {
            group_id: self.voice.group.as_str().into(),
            generation_id: generation,
            member_id: self.voice.member.as_str().into(),
            group_instance_id: self.voice.instance.as_deref().map(Into::into),
            protocol_type: Some(CONSUMER.into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: assignments.collect(),
        };
        let recorder = self.voice.session.clients.recorder.clone();
        let syncing = async |connection: &mut Connection| -> Result<_, ClientError> {
            let answer = connection.call(&request).await?;
            Ok(match answer.error_code {
                0 => Ok(decode(answer.assignment, &named(&recorder.history()))),
                code => Err(code),
            })
        };
        let ask = Ask::Sync { generation, given };
        let said = self.voice.ask(ask, syncing, |answer| answer.clone().map(Heard::Assigned)).await;
        match said {
            Said::Well(assigned) => assigned.ok(),
            Said::Refused(code) => {
                if matches!(code, UNKNOWN_MEMBER_ID | ILLEGAL_GENERATION)
                    || self.draw.chance("gives_up", 0.5)
                {
                    self.refused(code);
                }
                None
            }
            Said::Nothing => None,
        }
    }

    /// As the leader: notes who the static members are.
    fn note_instances(&self, joined: &JoinGroupResponse) {
        let mut history = self.voice.session.clients.recorder.history();
        for member in &joined.members {
            if let Some(instance) = &member.group_instance_id {
                let id = (self.voice.group.clone(), member.member_id.to_string());
                history.instances.insert(id, instance.to_string());
            }
        }
    }

    /// As the leader: shares out the partitions among the members of the generation.
    async fn assign(&mut self, joined: &JoinGroupResponse) -> Option<BTreeMap<String, Partitions>> {
        let named = named(&self.voice.session.clients.recorder.history());
        let mut members = BTreeMap::new();
        for member in &joined.members {
            let read = consumer_protocol::decode_subscription(member.metadata.clone()).ok()?;
            let topics = read.topics.iter().filter_map(|name| named.get(&**name).copied());
            members.insert(member.member_id.to_string(), topics.collect::<Vec<usize>>());
        }
        let all = members.values().flatten().copied().collect();
        let counts = self.count(all).await?;
        self.counted = Some(counts.clone());
        Some(range::assign(&members, &counts))
    }

    /// How many partitions each of the topics has, where it exists.
    async fn count(&mut self, topics: Vec<usize>) -> Option<BTreeMap<usize, i32>> {
        self.voice.session.turn();
        if !self.voice.session.connected().await {
            return None;
        }
        let asking = async |connection: &mut Connection| connection.metadata(None, false).await;
        let metadata = self.voice.session.exchange(asking).await?;
        let history = self.voice.session.clients.recorder.history();
        let counts = topics.into_iter().filter_map(|number| {
            let id = history.topics[number].id;
            let described = metadata.topics.iter().find(|topic| topic.topic_id.0 == id)?;
            Some((number, described.partitions.len() as i32))
        });
        Some(counts.collect())
    }

    fn encode(&self, partitions: &Partitions) -> Bytes {
        let history = self.voice.session.clients.recorder.history();
        let mut by_topic: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for of in partitions {
            by_topic.entry(of.topic).or_default().push(of.index);
        }
        let topics = by_topic.into_iter().map(|(topic, partitions)| {
            let topic = history.topics[topic].name.as_str().into();
            consumer_protocol_assignment::TopicPartition { topic, partitions }
        });
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: topics.collect(),
            ..Default::default()
        };
        let encoded = consumer_protocol::encode_assignment(&assignment, PROTOCOL_VERSION);
        encoded.expect("the names of topics are short")
    }

    pub(super) async fn leave_classic(&mut self) {
        // A static member that leaves for good says so by its instance; most just go (KIP-345).
        if self.voice.instance.is_some() && self.draw.chance("just_goes", 0.7) {
            return;
        }
        let member = MemberIdentity {
            member_id: self.voice.member.as_str().into(),
            group_instance_id: self.voice.instance.as_deref().map(Into::into),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: self.voice.group.as_str().into(),
            member_id: self.voice.member.as_str().into(),
            members: vec![member],
        };
        let leaving = async |connection: &mut Connection| -> Result<_, ClientError> {
            let answer = connection.call(&request).await?;
            let of_member = answer.members.first().map_or(0, |member| member.error_code);
            Ok(if answer.error_code == 0 { of_member } else { answer.error_code })
        };
        let meaning = |code: &i16| if *code == 0 { Ok(Heard::Left) } else { Err(*code) };
        self.voice.ask(Ask::Leave, leaving, meaning).await;
    }
}

/// What the leader of a generation gives. A static one that comes back to a generation that has its
/// assignment is told to give none (KIP-814): it leads to watch the topics, and another assignment
/// would not count.
fn given_as_told(
    given: BTreeMap<String, Partitions>,
    joined: &JoinGroupResponse,
) -> BTreeMap<String, Partitions> {
    if joined.skip_assignment { BTreeMap::new() } else { given }
}

/// The newest topic of each name.
fn named(known: &History) -> BTreeMap<String, usize> {
    let topics = known.topics.iter().enumerate();
    topics.map(|(number, topic)| (topic.name.clone(), number)).collect()
}

/// The partitions of an assignment whose topics are known when it is there: a leader may give of a
/// topic that nobody knew when the member asked.
fn decode(bytes: Bytes, named: &BTreeMap<String, usize>) -> Partitions {
    let Ok(assignment) = consumer_protocol::decode_assignment(bytes) else {
        return Partitions::new();
    };
    let known = assignment.assigned_partitions.iter().filter_map(|topic| {
        let number = *named.get(&*topic.topic)?;
        Some(topic.partitions.iter().map(move |index| Partition { topic: number, index: *index }))
    });
    known.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Topic;

    fn topic(name: &str, id: u8) -> Topic {
        let id = [id; 16];
        Topic { name: name.into(), id, ..Topic::default() }
    }

    #[test]
    fn a_member_takes_the_newest_topic_of_the_name_that_it_was_given() {
        let given = consumer_protocol_assignment::TopicPartition {
            topic: "t".into(),
            partitions: vec![0, 2],
        };
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: vec![given], ..Default::default() };
        let bytes = consumer_protocol::encode_assignment(&assignment, PROTOCOL_VERSION).unwrap();
        let mut history = History::default();
        assert_eq!(decode(bytes.clone(), &named(&history)), Partitions::new());
        history.topics.extend([topic("t", 1), topic("u", 2), topic("t", 3)]);
        let newest = [0, 2].map(|index| Partition { topic: 2, index });
        assert_eq!(decode(bytes, &named(&history)), newest.into());
    }

    #[test]
    fn a_leader_that_is_told_to_skip_the_assignment_gives_none() {
        let given: BTreeMap<_, _> = [("a".to_owned(), Partitions::new())].into();
        let joined = |skip_assignment| JoinGroupResponse { skip_assignment, ..Default::default() };
        assert_eq!(given_as_told(given.clone(), &joined(false)), given);
        assert!(given_as_told(given, &joined(true)).is_empty());
    }
}
