//! The end of a run: the healed broker must take records again, and everything it serves is read.

use super::{
    ClientNumber, Clients,
    admin::produce_once,
    session::{Session, is_about_leadership},
};
use crate::{
    batch::Sent,
    cluster::WALL_AT_START,
    dice::Dice,
    history::{FinalLog, FinalTopic, Outcome, Partition, Produce},
    recorder::now_nanos,
};
use highwater_node::wire::{
    Str,
    generated::{
        describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
        describe_producers::{DescribeProducersRequest, TopicRequest},
    },
};
use madsim::time;
use std::{collections::BTreeSet, time::Duration};

/// The healed broker takes records again within this, in simulated time.
const CONVERGE_WITHIN: Duration = Duration::from_secs(10);
/// A healed cluster does, and describes and serves everything within as long again.
const CLUSTER_CONVERGES_WITHIN: Duration = Duration::from_secs(30);
/// Lookups by timestamp and fetches at single offsets for each partition.
const SAMPLES: usize = 8;
pub(super) const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;
const FETCH_BYTES: u64 = 2_500;
/// The resource type of topics in configuration requests.
const TOPIC: i8 = 2;
/// The source of a configuration that the topic has itself.
const OF_THE_TOPIC: i8 = 1;

/// Waits until every partition takes records again, except those that may be offline. Those that do
/// not, and what became of them.
pub async fn converge(
    clients: &Clients,
    may_be_offline: &BTreeSet<Partition>,
) -> Vec<(Partition, String)> {
    let mut session = Session::new(clients.clone(), ClientNumber(0));
    let patience = patience(&session);
    let deadline = now_nanos() + patience.as_nanos() as u64;
    let mut silent: Vec<Partition> = clients.partitions.to_vec();
    loop {
        // All of them again and again, so that one that is stuck costs the others no time.
        let is_last = now_nanos() > deadline;
        let mut unserved = Vec::new();
        for partition in silent {
            let outcome = match session.is_connected() || session.connected().await {
                true => probe(&mut session, partition).await,
                false => None,
            };
            match outcome {
                Some(Outcome::Produced { .. }) => {}
                Some(Outcome::Failed(code)) if may_be_offline.contains(&partition) => {
                    excuse_rot(clients, partition, code);
                }
                _ => unserved.push((partition, outcome)),
            }
        }
        if unserved.is_empty() || is_last {
            let told = |(partition, outcome)| {
                let name = clients.recorder.name(partition);
                let message = format!(
                    "{name} took no record within {patience:?} after everything was healed; its \
                     last answer was {outcome:?}"
                );
                (partition, message)
            };
            return unserved.into_iter().map(told).collect();
        }
        silent = unserved.into_iter().map(|(partition, _)| partition).collect();
        time::sleep(Duration::from_millis(50)).await;
    }
}

fn excuse_rot(clients: &Clients, partition: Partition, code: i16) {
    let name = clients.recorder.name(partition);
    let excuse =
        format!("{name}: a bit of its only log has flipped, and it is offline with {code}");
    clients.recorder.note(format_args!("excused: {excuse}"));
    clients.recorder.history().excuses.push(excuse);
}

fn patience(session: &Session) -> Duration {
    if session.is_in_cluster() { CLUSTER_CONVERGES_WITHIN } else { CONVERGE_WITHIN }
}

pub(super) async fn probe(session: &mut Session, partition: Partition) -> Option<Outcome> {
    let timestamp = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
    let records = vec![Sent { number: session.next_number(), timestamp }];
    produce_once(session, Produce { partition, acks: -1, producer: None, records }).await
}

/// Reads everything that the broker serves into the history, but no partition that is excused. Those
/// that could not be read, and what became of them.
pub async fn read_back(
    clients: &Clients,
    seed: u64,
    excused: &BTreeSet<Partition>,
) -> Result<Vec<(Partition, String)>, String> {
    let mut session = Session::new(clients.clone(), ClientNumber(0));
    let mut dice = Dice::new(seed, "finale");
    session.connected().await;
    let metadata = session.exchange(async |connection| connection.metadata(None, false).await);
    let metadata = metadata.await.ok_or("the healed broker does not describe its topics")?;
    let mut partitions = Vec::new();
    for topic in &metadata.topics {
        let mut history = clients.recorder.history();
        let name = topic.name.as_ref().map_or(String::new(), |name| name.as_str().to_owned());
        let known = history.topics.iter().position(|known| known.id == topic.topic_id.0);
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
        partitions
            .extend(known.into_iter().flat_map(|topic| indexes.clone().map(move |i| (topic, i))));
        let count = topic.partitions.len();
        let id = topic.topic_id.0;
        history.final_topics.push(FinalTopic { name, id, partitions: count, configs: None });
    }
    describe_configs(clients, &mut session).await;
    let partitions = partitions.into_iter().map(|(topic, index)| Partition { topic, index });
    let is_unlimited = clients.recorder.history().promise.unlimited;
    let mut unread = Vec::new();
    for partition in partitions.filter(|partition| !excused.contains(partition)) {
        let read = read_partition(&mut session, &mut dice, partition).await;
        let name = clients.recorder.name(partition);
        let Some(log) = read else {
            let message = format!("the healed broker stopped answering while {name} was read back");
            unread.push((partition, message));
            continue;
        };
        // Within the promise an oracle judges why a partition is offline.
        if let Some(code) = log.error.filter(|_| is_unlimited) {
            unread.push((partition, format!("reading {name} back ended with error {code}")));
        }
        clients.recorder.history().finals.push(log);
    }
    Ok(unread)
}

/// Asks for the configurations of the topics that the healed broker has described.
async fn describe_configs(clients: &Clients, session: &mut Session) {
    let names: Vec<String> = {
        let history = clients.recorder.history();
        history.final_topics.iter().map(|topic| topic.name.clone()).collect()
    };
    let of_topic = |name: &String| DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: name.as_str().into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: names.iter().map(of_topic).collect(),
        include_synonyms: false,
        include_documentation: false,
    };
    let asking = session.exchange(async |connection| connection.call(&request).await);
    let Some(answer) = asking.await else { return };
    let mut history = clients.recorder.history();
    for described in answer.results.into_iter().filter(|result| result.error_code == 0) {
        let own = described.configs.into_iter().filter(|it| it.config_source == OF_THE_TOPIC);
        let value = |it: Option<Str>| it.map(|it| it.as_str().to_owned()).unwrap_or_default();
        let configs = own.map(|it| (it.name.as_str().to_owned(), value(it.value))).collect();
        let name = described.resource_name.as_str();
        if let Some(topic) = history.final_topics.iter_mut().find(|topic| topic.name == name) {
            topic.configs = Some(configs);
        }
    }
}

/// Reads one partition; again from its beginning when retention moves the log start meanwhile, or
/// when another broker leads it now.
async fn read_partition(
    session: &mut Session,
    dice: &mut Dice,
    partition: Partition,
) -> Option<FinalLog> {
    let deadline = now_nanos() + patience(session).as_nanos() as u64;
    loop {
        let read = read_once(session, dice, partition).await;
        let moved = read.as_ref().is_none_or(|log| log.error.is_some_and(is_about_leadership));
        if moved && session.is_in_cluster() && now_nanos() < deadline {
            time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let log = read?;
        match session.list_offset(partition, EARLIEST).await? {
            Ok((start, _)) if start != log.log_start => {}
            _ => return Some(log),
        }
    }
}

async fn read_once(
    session: &mut Session,
    dice: &mut Dice,
    partition: Partition,
) -> Option<FinalLog> {
    let mut log = FinalLog { partition: Some(partition), ..FinalLog::default() };
    let bounds = [EARLIEST, LATEST];
    for (at, special) in bounds.into_iter().enumerate() {
        match session.list_offset(partition, special).await? {
            Ok((offset, _)) if at == 0 => log.log_start = offset,
            Ok((offset, _)) => log.end = offset,
            Err(code) => {
                log.error = Some(code);
                return Some(log);
            }
        }
    }
    let mut next = log.log_start;
    while next < log.end {
        // Small answers, so that every part of the indexes is used.
        let bytes = dice.between(1..=FETCH_BYTES) as i32;
        let fetched = session.fetch(partition, next, Duration::ZERO, bytes).await?;
        if fetched.error != 0 {
            log.error = Some(fetched.error);
            return Some(log);
        }
        match fetched.batches.last() {
            Some(last) => next = last.last_offset + 1,
            None => break,
        }
        log.batches.extend(fetched.batches);
    }
    look_up(session, dice, partition, &mut log).await?;
    describe_producers(session, partition, &mut log).await?;
    Some(log)
}

/// Samples of the indexes: by timestamp, at the newest, and at single offsets.
async fn look_up(
    session: &mut Session,
    dice: &mut Dice,
    partition: Partition,
    log: &mut FinalLog,
) -> Option<()> {
    let timestamps: BTreeSet<i64> = log
        .batches
        .iter()
        .flat_map(|batch| &batch.records)
        .map(|record| record.timestamp)
        .collect();
    let timestamps: Vec<i64> = timestamps.into_iter().collect();
    if timestamps.is_empty() {
        return Some(());
    }
    for _ in 0..SAMPLES {
        let asked = *dice.pick(&timestamps) + dice.between(0..=2) as i64 - 1;
        match session.list_offset(partition, asked).await? {
            Ok((offset, timestamp)) => {
                log.lookups.push((asked, (offset >= 0).then_some((offset, timestamp))));
            }
            Err(code) => {
                log.error = Some(code);
                return Some(());
            }
        }
        let offset = dice.between(log.log_start as u64..=log.end as u64 - 1) as i64;
        let fetched = session.fetch(partition, offset, Duration::ZERO, 1).await?;
        if fetched.error != 0 {
            log.error = Some(fetched.error);
            return Some(());
        }
        let first = fetched.batches.first();
        log.points.push((offset, first.map(|batch| (batch.base_offset, batch.last_offset))));
    }
    match session.list_offset(partition, NEWEST).await? {
        Ok((offset, timestamp)) => log.newest = Some((offset, timestamp)),
        Err(code) => log.error = Some(code),
    }
    Some(())
}

async fn describe_producers(
    session: &mut Session,
    partition: Partition,
    log: &mut FinalLog,
) -> Option<()> {
    if !session.towards(partition).await {
        return None;
    }
    let reference = session.reference(partition);
    let wanted = TopicRequest { name: reference.topic, partition_indexes: vec![partition.index] };
    let request = DescribeProducersRequest { topics: vec![wanted] };
    let answer = session.exchange(async |connection| connection.call(&request).await).await?;
    let described: Vec<_> = answer.topics.into_iter().flat_map(|topic| topic.partitions).collect();
    if let Some(failed) = described.iter().find(|partition| partition.error_code != 0) {
        log.error = Some(failed.error_code);
        return Some(());
    }
    log.producers = described
        .into_iter()
        .flat_map(|partition| partition.active_producers)
        .map(|producer| (producer.producer_id, producer.producer_epoch, producer.last_sequence))
        .collect();
    Some(())
}
