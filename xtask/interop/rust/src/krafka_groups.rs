//! krafka in consumer groups. Whoever runs this kills and restarts the broker at `kill-now`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use krafka::admin::NewTopic;
use krafka::consumer::{AutoOffsetReset, Consumer, GroupProtocol};
use krafka::{Kafka, Record};

use crate::step;

const PARTITIONS: i32 = 6;
const AWAY: Duration = Duration::from_secs(3);
const REBALANCE: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(100);

/// A member of a group and what it read.
struct Member {
    consumer: Consumer,
    values: Vec<String>,
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
        expect(&wanted, &mut [member]).await
    })
    .await;
    step("group-one-joins", async {
        let one = member_of(&mut first)?;
        one.consumer.commit().await?;
        let two = second.insert(groups.member("readers", None).await?);
        share(&mut [one, two]).await?;
        expect(&groups.send(60).await?, &mut [one, two]).await
    })
    .await;
    step("group-one-leaves", async {
        let (one, two) = (member_of(&mut first)?, member_of(&mut second)?);
        one.consumer.commit().await?;
        two.consumer.commit().await?;
        two.consumer.close().await?;
        share(&mut [one]).await?;
        expect(&groups.send(60).await?, &mut [one]).await
    })
    .await;
    step("group-consumer-resumes", async {
        let one = member_of(&mut first)?;
        one.consumer.commit().await?;
        one.consumer.close().await?;
        let wanted = groups.send(60).await?;
        let member = first.insert(groups.member("readers", None).await?);
        expect(&wanted, &mut [member]).await
    })
    .await;
    step("group-broker-dies", async {
        let one = member_of(&mut first)?;
        one.consumer.commit().await?;
        println!("kill-now");
        tokio::time::sleep(AWAY).await;
        expect(&groups.send(60).await?, &mut [one]).await?;
        Ok(one.consumer.commit().await?)
    })
    .await;
    step("group-resumes-after-kill", async {
        member_of(&mut first)?.consumer.close().await?;
        let wanted = groups.send(12).await?;
        let member = first.insert(groups.member("readers", None).await?);
        expect(&wanted, &mut [member]).await?;
        Ok(member.consumer.close().await?)
    })
    .await;
    step("group-static-member-returns", static_member_returns(&groups)).await;
    Ok(())
}

fn member_of(place: &mut Option<Member>) -> Result<&mut Member> {
    place.as_mut().ok_or_else(|| anyhow::anyhow!("the member never joined"))
}

async fn create_topic(kafka: &Kafka, topic: &str) -> Result<()> {
    let wanted = NewTopic::new(topic, PARTITIONS, 1)?;
    for (_, result) in kafka.admin().create_topics([wanted], Default::default()).await? {
        result?;
    }
    Ok(())
}

async fn static_member_returns(groups: &Groups<'_>) -> Result<()> {
    let mut one = groups.member("static", Some("one")).await?;
    let mut two = groups.member("static", Some("two")).await?;
    share(&mut [&mut one, &mut two]).await?;
    let (held, others) = (one.assigned(groups.topic).await, two.assigned(groups.topic).await);
    // A static member that only goes for a moment says nothing to the coordinator.
    drop(one);
    let mut again = groups.member("static", Some("one")).await?;
    let end = Instant::now() + REBALANCE;
    while again.assigned(groups.topic).await != held {
        ensure!(Instant::now() < end, "another assignment than before");
        again.poll().await?;
        two.poll().await?;
        let now = two.assigned(groups.topic).await;
        ensure!(now == others, "the other member has {now:?} for {others:?}");
    }
    again.consumer.close().await?;
    Ok(two.consumer.close().await?)
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
        Ok(Member { consumer, values: Vec::new() })
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
    async fn poll(&mut self) -> Result<()> {
        for record in self.consumer.poll(POLL).await? {
            let value = record.value.map(|value| value.to_vec()).unwrap_or_default();
            self.values.push(String::from_utf8(value)?);
        }
        Ok(())
    }

    async fn assigned(&self, topic: &str) -> BTreeSet<i32> {
        let all = self.consumer.assignment().await;
        all.get(topic).into_iter().flatten().copied().collect()
    }
}

/// The members get exactly these values.
async fn expect(wanted: &[String], members: &mut [&mut Member]) -> Result<()> {
    let end = Instant::now() + REBALANCE;
    let mut settled = false;
    loop {
        for member in &mut *members {
            member.poll().await?;
        }
        let mut got: Vec<_> = members.iter().flat_map(|member| member.values.clone()).collect();
        got.sort();
        if got.len() >= wanted.len() && settled {
            ensure!(got == wanted, "{} records read, {} produced", got.len(), wanted.len());
            break;
        }
        settled = got.len() >= wanted.len();
        if Instant::now() > end {
            bail!("only {} of {} records in {} s", got.len(), wanted.len(), REBALANCE.as_secs());
        }
    }
    members.iter_mut().for_each(|member| member.values.clear());
    Ok(())
}

/// Every partition is one member's, and every member has one.
async fn share(members: &mut [&mut Member]) -> Result<()> {
    let end = Instant::now() + REBALANCE;
    loop {
        let mut held = Vec::new();
        for member in &mut *members {
            member.poll().await?;
            let mine: Vec<i32> =
                member.consumer.assignment().await.into_values().flatten().collect();
            held.push(mine);
        }
        let mut all = held.concat();
        all.sort();
        if all == (0..PARTITIONS).collect::<Vec<_>>() && held.iter().all(|mine| !mine.is_empty()) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the partitions are not shared; members have {held:?}");
    }
}
