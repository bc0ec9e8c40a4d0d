//! An administrator: creates topics, grows them, deletes them and their records, and changes
//! configurations, beside the other clients.

use super::{Turns, session::Session};
use crate::{
    batch::{Sent, encode},
    choices::Choices,
    cluster::WALL_AT_START,
    history::{Change, Named, Outcome, Partition, Produce, Request, Topic},
    recorder::now_nanos,
    scenario::{Spread, WorkloadShape},
};
use highwater_node::{
    client::{ClientError, Connection},
    wire::generated::{
        alter_partition_reassignments::{
            AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
        },
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
        delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        elect_leaders::ElectLeadersRequest,
        incremental_alter_configs::{
            AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
        },
    },
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

const REQUEST_TIMEOUT_MS: i32 = 1_000;
const LATEST: i64 = -1;
/// The resource type of topics in configuration requests.
const TOPIC: i8 = 2;

/// Administers until the run comes to an end.
pub async fn run(session: Session, mut turns: Turns, shape: WorkloadShape) {
    let calls = turns.client.within("calls", &shape.calls) / 3;
    let draw = turns.client.clone();
    let mut admin = Admin { session, draw, own: Vec::new() };
    for _ in 0..calls {
        let Some(draw) = turns.next(&mut admin.session).await else { return };
        admin.draw = draw;
        let pause = shape.pause.clone().unwrap_or(10..=80);
        let pause = admin.draw.within("pause", &pause).max(0) as u64;
        if !admin.session.connected().await {
            return;
        }
        admin.act().await;
        time::sleep(Duration::from_millis(pause)).await;
    }
}

/// What an administrator does; the last three in a cluster only.
#[derive(Clone, Copy)]
enum Kind {
    Create,
    Delete,
    Grow,
    Write,
    DeleteRecords,
    Configure,
    MinInsync,
    Reassign,
    Elect,
}

struct Admin {
    session: Session,
    /// The choices of the operation.
    draw: Choices,
    /// The topics that this administrator made and did not delete.
    own: Vec<usize>,
}

impl Admin {
    async fn act(&mut self) {
        let kinds = [
            (3, "create", Kind::Create),
            (1, "delete", Kind::Delete),
            (1, "grow", Kind::Grow),
            (2, "write", Kind::Write),
            (2, "delete-records", Kind::DeleteRecords),
            (1, "configure", Kind::Configure),
            (1, "min-insync", Kind::MinInsync),
            (2, "reassign", Kind::Reassign),
            (1, "elect", Kind::Elect),
        ];
        let of_one_broker = 6;
        let kinds = if self.session.is_in_cluster() { &kinds[..] } else { &kinds[..of_one_broker] };
        match self.draw.weighted("kind", kinds) {
            Kind::Create => self.create().await,
            Kind::Delete => self.delete().await,
            Kind::Grow => self.grow().await,
            Kind::Write => self.write_to_own().await,
            Kind::DeleteRecords => self.delete_records().await,
            Kind::Configure => self.configure().await,
            Kind::MinInsync => self.change_min_insync().await,
            Kind::Reassign => self.reassign().await,
            Kind::Elect => self.elect_preferred_leaders().await,
        }
    }

    async fn create(&mut self) {
        // Some names come again, as another incarnation of the topic (KIP-516).
        let number = self.draw.between("name", 0..=3);
        let name = format!("churn-{}-{number}", self.session.client().0);
        let history_has = |topic: &usize, admin: &Self| {
            admin.session.clients.recorder.history().topics[*topic].name == name
        };
        if self.own.iter().any(|topic| history_has(topic, self)) {
            return;
        }
        let partitions = self.draw.between("partitions", 1..=2) as i32;
        let plan = TopicPlan { partitions, ..TopicPlan::default() };
        if let Some(topic) = create_topic(&mut self.session, &name, &plan).await {
            self.own.push(topic);
        }
    }

    async fn delete(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let last = self.own.len() as u64 - 1;
        let at = self.draw.between("topic", 0..=last) as usize;
        let topic = self.own.swap_remove(at);
        let name = {
            let mut history = self.session.clients.recorder.history();
            history.topics[topic].deleted = true;
            history.topics[topic].name.clone()
        };
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(name.as_str().into()),
                ..Default::default()
            }],
            topic_names: vec![name.as_str().into()],
            timeout_ms: REQUEST_TIMEOUT_MS,
        };
        self.session
            .call(
                Request::Admin(Change::DeleteTopic(Named { name, topic })),
                async |connection| {
                    let answer = connection.call(&request).await?;
                    Ok(answer.responses.first().map_or(-1, |response| response.error_code))
                },
                done_or_code,
            )
            .await;
    }

    async fn grow(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let topic = *self.draw.pick("topic", &self.own);
        let name = self.session.clients.recorder.history().topics[topic].name.clone();
        let count = self.draw.between("partitions", 2..=3) as i32;
        let wanted = CreatePartitionsTopic { name: name.as_str().into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![wanted],
            timeout_ms: REQUEST_TIMEOUT_MS,
            validate_only: false,
        };
        self.session
            .call(
                Request::Admin(Change::Grow {
                    topic: Named { name, topic },
                    partitions: count as usize,
                }),
                async |connection| {
                    let answer = connection.call(&request).await?;
                    Ok(answer.results.first().map_or(-1, |result| result.error_code))
                },
                done_or_code,
            )
            .await;
    }

    async fn write_to_own(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let partition = Partition { topic: *self.draw.pick("topic", &self.own), index: 0 };
        let now = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
        let number = self.session.next_number();
        let records = vec![Sent { number, timestamp: now }];
        let produce = Produce { partition, acks: -1, producer: None, records };
        produce_once(&mut self.session, produce).await;
    }

    async fn delete_records(&mut self) {
        let partition = self.session.choose(Spread::Even, &mut self.draw);
        let Some(Ok((end, _))) = self.session.list_offset(partition, LATEST).await else { return };
        if !self.session.is_connected() || end < 2 {
            return;
        }
        let before = self.draw.between("before", 0..=end as u64 / 2) as i64;
        if !self.session.towards(partition).await {
            return;
        }
        let reference = self.session.reference(partition);
        let wanted = DeleteRecordsPartition { partition_index: partition.index, offset: before };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic { name: reference.topic, partitions: vec![wanted] }],
            timeout_ms: REQUEST_TIMEOUT_MS,
        };
        self.session
            .call(
                Request::DeleteRecords { partition, before },
                async |connection| {
                    let answer = connection.call(&request).await?;
                    let mut results = answer.topics.into_iter().flat_map(|topic| topic.partitions);
                    Ok(results.next().map_or((-1, -1), |r| (r.error_code, r.low_watermark)))
                },
                |(code, low_watermark)| match code {
                    0 => Outcome::Deleted { low_watermark: *low_watermark },
                    code => Outcome::Failed(*code),
                },
            )
            .await;
    }

    async fn configure(&mut self) {
        let topic = self.session.choose(Spread::Even, &mut self.draw).topic;
        let bytes = self.draw.between("bytes", 1_024..=16_384);
        self.set(topic, "segment.bytes", bytes).await;
    }

    /// Only of its own topics, and never below what the cluster promises.
    async fn change_min_insync(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let topic = *self.draw.pick("topic", &self.own);
        let promise = self.session.clients.recorder.history().promise;
        let (least, most) = (promise.min_insync as u64, promise.replication_factor as u64);
        let count = self.draw.between("replicas", least..=most);
        self.set(topic, "min.insync.replicas", count).await;
    }

    async fn set(&mut self, topic: usize, key: &str, value: u64) {
        let name = self.session.clients.recorder.history().topics[topic].name.clone();
        let value = value.to_string();
        let config = AlterableConfig {
            name: key.into(),
            config_operation: 0,
            value: Some(value.as_str().into()),
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name.as_str().into(),
            configs: vec![config],
        };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        self.session
            .call(
                Request::Admin(Change::Configure {
                    topic: Named { name, topic },
                    key: key.to_owned(),
                    value,
                }),
                async |connection| {
                    let answer = connection.call(&request).await?;
                    Ok(answer.responses.first().map_or(-1, |response| response.error_code))
                },
                done_or_code,
            )
            .await;
    }

    /// Gives a partition other replicas, or the same in another order, or takes that back.
    async fn reassign(&mut self) {
        let mut topics: Vec<usize> = self.own.clone();
        topics.push(self.session.choose(Spread::Even, &mut self.draw).topic);
        let topic = *self.draw.pick("topic", &topics);
        let promise = self.session.clients.recorder.history().promise;
        let name = self.session.clients.recorder.history().topics[topic].name.clone();
        let mut rest: Vec<i32> = (1..=promise.brokers).collect();
        let target: Vec<i32> = (0..promise.replication_factor)
            .map(|_| {
                let at = self.draw.between("replica", 0..=rest.len() as u64 - 1);
                rest.swap_remove(at as usize)
            })
            .collect();
        let replicas = (!self.draw.chance("take_back", 0.15)).then_some(target);
        let wanted = Request::Admin(Change::Reassign {
            topic: Named { name: name.clone(), topic },
            index: 0,
            replicas: replicas.clone(),
        });
        let partition = ReassignablePartition { partition_index: 0, replicas };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: REQUEST_TIMEOUT_MS,
            allow_replication_factor_change: false,
            topics: vec![ReassignableTopic {
                name: name.as_str().into(),
                partitions: vec![partition],
            }],
        };
        self.session
            .call(
                wanted,
                async |connection| {
                    let answer = connection.call(&request).await?;
                    let mut results = answer.responses.iter().flat_map(|topic| &topic.partitions);
                    Ok(results.next().map_or(answer.error_code, |result| result.error_code))
                },
                done_or_code,
            )
            .await;
    }

    async fn elect_preferred_leaders(&mut self) {
        let request = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: None,
            timeout_ms: REQUEST_TIMEOUT_MS,
        };
        self.session
            .call(
                Request::Admin(Change::ElectLeaders),
                async |connection| Ok(connection.call(&request).await?.error_code),
                done_or_code,
            )
            .await;
    }
}

/// What a topic is to be.
#[derive(Clone, Debug, Default)]
pub struct TopicPlan {
    /// Its partitions.
    pub partitions: i32,
    /// `retention.ms`, when time may remove records.
    pub retention_millis: Option<i64>,
    /// `retention.bytes`, when size may remove records.
    pub retention_bytes: Option<i64>,
    /// `delete.retention.ms` of a topic that is compacted, as soon and as often as it can be.
    pub compacted: Option<i64>,
    /// Whether `durability` is `replicated`.
    pub replicated: bool,
    /// Whether `unclean.leader.election.enable` is true.
    pub unclean: bool,
}

impl TopicPlan {
    fn configs(&self) -> BTreeMap<String, String> {
        let retention = self.retention_millis.map(|millis| ("retention.ms", millis.to_string()));
        let size = self.retention_bytes.map(|bytes| ("retention.bytes", bytes.to_string()));
        let compaction = self.compacted.map(|millis| {
            [
                ("cleanup.policy", "compact".to_owned()),
                ("min.cleanable.dirty.ratio", "0.01".to_owned()),
                ("delete.retention.ms", millis.to_string()),
            ]
        });
        let durability = self.replicated.then(|| ("durability", "replicated".to_owned()));
        let name = "unclean.leader.election.enable";
        let unclean = self.unclean.then(|| (name, "true".to_owned()));
        let configs = retention.into_iter().chain(size).chain(compaction.into_iter().flatten());
        let all = configs.chain(durability).chain(unclean);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Creates a topic and enters it in the history; its index there when it worked.
pub async fn create_topic(session: &mut Session, name: &str, plan: &TopicPlan) -> Option<usize> {
    let replication_factor = session.clients.recorder.history().promise.replication_factor;
    let partitions = plan.partitions;
    let config = |(name, value): (String, String)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor,
            configs: plan.configs().into_iter().map(config).collect(),
            ..Default::default()
        }],
        timeout_ms: REQUEST_TIMEOUT_MS,
        validate_only: false,
    };
    let create = async |connection: &mut Connection| -> Result<_, ClientError> {
        let answer = connection.call(&request).await?;
        Ok(answer.topics.first().map_or((-1, [0; 16]), |t| (t.error_code, t.topic_id.0)))
    };
    let wanted = Request::Admin(Change::CreateTopic { name: name.to_owned(), partitions });
    let (code, id) = session.call(wanted, create, |(code, _)| done_or_code(code)).await?;
    (code == 0).then(|| enter_topic(session, name, id, plan))
}

/// Finds a topic whose creation had no good outcome and may have worked nevertheless, and enters it
/// in the history.
pub async fn find_topic(session: &mut Session, name: &str, plan: &TopicPlan) -> Option<usize> {
    let asking = session.exchange(async |connection| connection.metadata(None, false).await);
    let metadata = asking.await?;
    let named = |name: &str| {
        let of = metadata
            .topics
            .iter()
            .find(|topic| topic.name.as_ref().is_some_and(|known| known.as_str() == name));
        of.map(|topic| topic.topic_id.0)
    };
    named(name).map(|id| enter_topic(session, name, id, plan))
}

fn enter_topic(session: &Session, name: &str, id: [u8; 16], plan: &TopicPlan) -> usize {
    let mut history = session.clients.recorder.history();
    let known_at = history.tick();
    history.topics.push(Topic {
        name: name.to_owned(),
        id,
        retention_millis: plan.retention_millis,
        retention_bytes: plan.retention_bytes,
        compacted: plan.compacted.is_some(),
        replicated: plan.replicated,
        unclean: plan.unclean,
        deleted: false,
        partitions: plan.partitions as usize,
        configs: plan.configs(),
        known_at,
    });
    history.topics.len() - 1
}

/// Sends one batch and records what came of it.
pub async fn produce_once(session: &mut Session, produce: Produce) -> Option<Outcome> {
    let partition = produce.partition;
    if !session.towards(partition).await {
        return None;
    }
    let reference = session.reference(partition);
    let bytes = encode(&produce.records, produce.producer);
    let (acks, timeout) = (produce.acks, Duration::from_millis(1_000));
    let outcome = session
        .call(
            Request::Produce(produce),
            async |connection| {
                let answer = connection.produce(&reference, acks, timeout, bytes).await?;
                Ok(super::producer::outcome_of(&answer))
            },
            Outcome::clone,
        )
        .await;
    session.heard(partition, outcome.as_ref().unwrap_or(&Outcome::Unknown));
    outcome
}

fn done_or_code(code: &i16) -> Outcome {
    match code {
        0 => Outcome::Done,
        code => Outcome::Failed(*code),
    }
}
