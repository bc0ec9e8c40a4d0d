//! krafka in consumer groups. Whoever runs this kills and restarts the broker at `kill-now`, and
//! then makes the file that the variable BROKER_IS_BACK names; without the variable nobody kills it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use krafka::admin::NewTopic;
use krafka::consumer::{AutoOffsetReset, Consumer, GroupProtocol};
use krafka::{Kafka, Record};
use tokio::task::JoinHandle;

use crate::step;

const PARTITIONS: i32 = 6;
const REBALANCE: Duration = Duration::from_secs(60);
const COMMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// A poll gives a join up that takes longer than the poll was to.
const JOIN: Duration = Duration::from_secs(5);

/// A member of a group and what it read. A task of its own polls it: a member that joins waits
/// inside its poll for the others to come too.
struct Member {
    consumer: Arc<Consumer>,
    values: Arc<Mutex<Vec<String>>>,
    /// Why the task ended.
    failure: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

/// The topic, the group protocol, and how many records were written.
struct Groups<'a> {
    kafka: &'a Kafka,
    topic: &'a str,
    protocol: &'a str,
    sent: usize,
}

pub async fn run(bootstrap: &str, topic: &str, protocol: &str) -> Result<()> {
    let kafka = Kafka::builder(bootstrap)
        .client_id("interop")
        .request_timeout(Duration::from_secs(10))
        .connect()
        .await?;
    let mut groups = Groups { kafka: &kafka, topic, protocol, sent: 0 };
    let mut first = None;
    let mut second = None;
    step("group-topic", create_topic(&kafka, topic)).await;
    step("group-one-reads-all", async {
        let wanted = groups.send(120).await?;
        let member = first.insert(groups.member("readers", None).await?);
        expect(&wanted, &[member]).await
    })
    .await;
    step("group-one-joins", async {
        let one = member_of(&first)?;
        one.consumer.commit().await?;
        let two = second.insert(groups.member("readers", None).await?);
        share(topic, &[one, two]).await?;
        expect(&groups.send(60).await?, &[one, two]).await
    })
    .await;
    step("group-one-leaves", async {
        let (one, two) = (member_of(&first)?, member_of(&second)?);
        one.consumer.commit().await?;
        two.consumer.commit().await?;
        two.close().await?;
        share(topic, &[one]).await?;
        expect(&groups.send(60).await?, &[one]).await
    })
    .await;
    step("group-consumer-resumes", async {
        let one = member_of(&first)?;
        one.consumer.commit().await?;
        one.close().await?;
        let wanted = groups.send(60).await?;
        let member = first.insert(groups.member("readers", None).await?);
        expect(&wanted, &[member]).await
    })
    .await;
    step("group-broker-dies", async {
        let one = member_of(&first)?;
        one.consumer.commit().await?;
        println!("kill-now");
        broker_is_back().await?;
        expect(&groups.send(60).await?, &[one]).await?;
        commit(&one.consumer).await
    })
    .await;
    step("group-resumes-after-kill", async {
        member_of(&first)?.close().await?;
        let wanted = groups.send(12).await?;
        let member = first.insert(groups.member("readers", None).await?);
        expect(&wanted, &[member]).await?;
        member.close().await
    })
    .await;
    step("group-static-member-returns", static_member_returns(&groups)).await;
    Ok(())
}

fn member_of(place: &Option<Member>) -> Result<&Member> {
    place.as_ref().ok_or_else(|| anyhow::anyhow!("the member never joined"))
}

async fn create_topic(kafka: &Kafka, topic: &str) -> Result<()> {
    let wanted = NewTopic::new(topic, PARTITIONS, 1)?;
    for (_, result) in kafka.admin().create_topics([wanted], Default::default()).await? {
        result?;
    }
    Ok(())
}

async fn broker_is_back() -> Result<()> {
    let Some(back) = std::env::var_os("BROKER_IS_BACK").map(PathBuf::from) else { return Ok(()) };
    let end = Instant::now() + REBALANCE;
    while !back.exists() {
        ensure!(Instant::now() < end, "the broker was not killed and ready again");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Commits while the member may not have found the coordinator again.
async fn commit(consumer: &Consumer) -> Result<()> {
    let end = Instant::now() + COMMIT;
    loop {
        match consumer.commit().await {
            Err(error) if error.is_retriable() && Instant::now() < end => {
                tokio::time::sleep(POLL).await;
            }
            ended => return ended.context("not committed"),
        }
    }
}

async fn static_member_returns(groups: &Groups<'_>) -> Result<()> {
    let one = groups.member("static", Some("one")).await?;
    let two = groups.member("static", Some("two")).await?;
    share(groups.topic, &[&one, &two]).await?;
    let (held, others) = (one.assigned(groups.topic).await, two.assigned(groups.topic).await);
    // A static member that only goes for a moment says nothing to the coordinator.
    one.close().await?;
    let again = groups.member("static", Some("one")).await?;
    let end = Instant::now() + REBALANCE;
    while again.assigned(groups.topic).await != held {
        ensure!(Instant::now() < end, "another assignment than before");
        tokio::time::sleep(POLL).await;
        let now = two.assigned(groups.topic).await;
        ensure!(now == others, "the other member has {now:?} for {others:?}");
    }
    again.close().await?;
    two.close().await
}

impl Groups<'_> {
    async fn member(&self, group: &str, instance: Option<&str>) -> Result<Member> {
        let mut builder = self
            .kafka
            .consumer(format!("{group}-krafka-{}", self.protocol))
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .enable_auto_commit(false);
        builder = match self.protocol {
            "consumer" => builder.group_protocol(GroupProtocol::Consumer),
            _ => builder
                .session_timeout(Duration::from_secs(6))
                .heartbeat_interval(Duration::from_millis(500)),
        };
        if let Some(instance) = instance {
            builder = builder.group_instance_id(instance);
        }
        let consumer = builder.build().await?;
        consumer.subscribe([self.topic]).await?;
        Ok(Member::start(Arc::new(consumer)))
    }

    /// Writes so many records, the n-th to partition n modulo six, and returns their values.
    async fn send(&mut self, count: usize) -> Result<Vec<String>> {
        let producer = self
            .kafka
            .producer()
            .idempotent(true)
            .delivery_timeout(Duration::from_secs(30))
            .build()
            .await?;
        let values: Vec<_> = (0..count).map(|n| format!("record-{:05}", self.sent + n)).collect();
        self.sent += count;
        let mut handles = Vec::new();
        for (n, value) in values.iter().enumerate() {
            let partition = n as i32 % PARTITIONS;
            let record = Record::new(self.topic, value.clone().into_bytes()).partition(partition);
            handles.push(producer.enqueue(record).await?);
        }
        for handle in handles {
            let _metadata = handle.await?;
        }
        producer.close().await?;
        Ok(values)
    }
}

impl Member {
    fn start(consumer: Arc<Consumer>) -> Self {
        let values = Arc::<Mutex<Vec<String>>>::default();
        let failure = Arc::<Mutex<Option<String>>>::default();
        let polling = (Arc::clone(&consumer), Arc::clone(&values), Arc::clone(&failure));
        let task = tokio::spawn(async move {
            let (consumer, values, failure) = polling;
            while !consumer.is_closed() {
                match consumer.poll(JOIN).await {
                    Ok(records) => values.lock().expect("no panic").extend(
                        records
                            .into_iter()
                            .filter_map(|record| record.value)
                            .map(|value| String::from_utf8_lossy(&value).into_owned()),
                    ),
                    // The broker may be away for a moment.
                    Err(error) => {
                        *failure.lock().expect("no panic") = Some(error.to_string());
                        tokio::time::sleep(POLL).await;
                    }
                }
            }
        });
        Member { consumer, values, failure, task }
    }

    async fn close(&self) -> Result<()> {
        self.task.abort();
        Ok(self.consumer.close().await?)
    }

    async fn assigned(&self, topic: &str) -> BTreeSet<i32> {
        let all = self.consumer.assignment().await;
        all.get(topic).into_iter().flatten().copied().collect()
    }

    fn values(&self) -> Vec<String> {
        self.values.lock().expect("no panic").clone()
    }

    fn failure(&self) -> String {
        self.failure.lock().expect("no panic").clone().unwrap_or_default()
    }
}

/// The members get exactly these values.
async fn expect(wanted: &[String], members: &[&Member]) -> Result<()> {
    let end = Instant::now() + REBALANCE;
    let got = || {
        let mut got: Vec<_> = members.iter().flat_map(|member| member.values()).collect();
        got.sort();
        got
    };
    while got().len() < wanted.len() {
        if Instant::now() > end {
            let failures: Vec<_> = members.iter().map(|member| member.failure()).collect();
            bail!("only {} of {} records; last errors {failures:?}", got().len(), wanted.len());
        }
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(POLL * 3).await;
    let got = got();
    ensure!(got == wanted, "{} records read, {} produced", got.len(), wanted.len());
    members.iter().for_each(|member| member.values.lock().expect("no panic").clear());
    Ok(())
}

/// Every partition is one member's, and every member has one.
async fn share(topic: &str, members: &[&Member]) -> Result<()> {
    let end = Instant::now() + REBALANCE;
    loop {
        let mut held = Vec::new();
        for member in members {
            held.push(member.assigned(topic).await);
        }
        let mut all: Vec<i32> = held.iter().flatten().copied().collect();
        all.sort();
        if all == (0..PARTITIONS).collect::<Vec<_>>() && held.iter().all(|mine| !mine.is_empty()) {
            return Ok(());
        }
        let failures: Vec<_> = members.iter().map(|member| member.failure()).collect();
        ensure!(Instant::now() < end, "not shared: {held:?}; last errors {failures:?}");
        tokio::time::sleep(POLL).await;
    }
}
