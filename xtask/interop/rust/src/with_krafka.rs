//! krafka: follows the newest protocol versions; its producer is idempotent.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use krafka::admin::{NewTopic, OffsetSpec, TopicPartition};
use krafka::consumer::{AutoOffsetReset, Consumer};
use krafka::{Compression, Kafka, Record};

use crate::data::{CODECS, PARTITIONS, RECORDS, Sample, base_timestamp, compare, samples};
use crate::step;

pub async fn run(bootstrap: &str, topic: &str) -> Result<()> {
    let kafka = Kafka::builder(bootstrap)
        .client_id("interop")
        .request_timeout(Duration::from_secs(10))
        .connect()
        .await?;
    let base = base_timestamp();
    step("create-topic", create_topic(&kafka, topic)).await;
    for (round, codec) in CODECS.iter().enumerate() {
        let mut starts = Vec::new();
        step(&format!("produce-{codec}"), async {
            starts = ends(&kafka, topic).await?;
            produce(&kafka, topic, base, round, codec).await
        })
        .await;
        step(&format!("read-{codec}"), async {
            ensure!(starts.len() == PARTITIONS as usize, "nothing was produced");
            let got = read(&kafka, topic, &starts, RECORDS).await?;
            for partition in 0..PARTITIONS {
                let index = partition as usize;
                let wanted = samples(base, round, codec, partition);
                compare(partition, starts[index], &wanted, &got[index])?;
            }
            Ok(())
        })
        .await;
    }
    step("offsets-by-time", offsets_by_time(&kafka, topic, base)).await;
    step("offsets-by-spec", offsets_by_spec(&kafka, topic)).await;
    step("delete-records", delete_records(&kafka, topic)).await;
    step("delete-topic", async {
        for (_, result) in kafka.admin().delete_topics([topic], Default::default()).await? {
            result?;
        }
        wait_listed(&kafka, topic, false).await
    })
    .await;
    Ok(())
}

async fn create_topic(kafka: &Kafka, topic: &str) -> Result<()> {
    let wanted = NewTopic::new(topic, PARTITIONS, 1)?.with_config("retention.ms", "86400000");
    for (_, result) in kafka.admin().create_topics([wanted], Default::default()).await? {
        result?;
    }
    wait_listed(kafka, topic, true).await
}

async fn wait_listed(kafka: &Kafka, topic: &str, expected: bool) -> Result<()> {
    for _ in 0..100 {
        let listed = kafka.admin().list_topics(Default::default()).await?;
        if listed.iter().any(|name| name == topic) == expected {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("after 10 s the topic is not as it should be in the metadata (listed: {expected})")
}

async fn offset(kafka: &Kafka, topic: &str, partition: i32, spec: OffsetSpec) -> Result<i64> {
    let at = TopicPartition::new(topic, partition);
    let found = kafka.admin().list_offsets([(at, spec)], Default::default()).await?;
    let (_, result) = found.into_iter().next().context("no offset in the answer")?;
    Ok(result?.offset)
}

async fn ends(kafka: &Kafka, topic: &str) -> Result<Vec<i64>> {
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(offset(kafka, topic, partition, OffsetSpec::Latest).await?);
    }
    Ok(ends)
}

async fn produce(kafka: &Kafka, topic: &str, base: i64, round: usize, codec: &str) -> Result<()> {
    let compression = match codec {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::None,
    };
    let producer = kafka
        .producer()
        .idempotent(true)
        .compression(compression)
        .linger(Duration::from_millis(20))
        .delivery_timeout(Duration::from_secs(20))
        .build()
        .await?;
    let mut handles = Vec::new();
    for partition in 0..PARTITIONS {
        for sample in samples(base, round, codec, partition) {
            let mut record = Record::new(topic, sample.value.clone().unwrap_or_default())
                .partition(partition)
                .timestamp(sample.timestamp);
            if let Some(key) = sample.key {
                record = record.key(key);
            }
            if sample.value.is_none() {
                record = record.without_value();
            }
            for (name, value) in sample.headers {
                record = record.header(name, value);
            }
            handles.push(producer.enqueue(record).await?);
        }
    }
    for handle in handles {
        let _metadata = handle.await?;
    }
    producer.close().await?;
    Ok(())
}

/// What is in each partition from `starts` on, until `count` records were read in all.
async fn read(
    kafka: &Kafka,
    topic: &str,
    starts: &[i64],
    count: usize,
) -> Result<Vec<Vec<(i64, Sample)>>> {
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::None)
        .initial_offsets(
            starts.iter().enumerate().map(|(p, o)| (TopicPartition::new(topic, p as i32), *o)),
        )
        .build()
        .await?;
    consumer.assign(topic, (0..starts.len() as i32).collect()).await?;
    let got = poll(&consumer, starts.len(), count).await;
    consumer.close().await?;
    got
}

async fn poll(
    consumer: &Consumer,
    partitions: usize,
    count: usize,
) -> Result<Vec<Vec<(i64, Sample)>>> {
    let mut got = vec![Vec::new(); partitions];
    let mut read = 0;
    while read < count {
        for record in consumer.poll(Duration::from_millis(500)).await? {
            let mut headers: Vec<(String, Vec<u8>)> = record
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().unwrap_or_default().to_vec()))
                .collect();
            headers.sort();
            let sample = Sample {
                key: record.key.map(|key| key.to_vec()),
                value: record.value.map(|value| value.to_vec()),
                headers,
                timestamp: record.timestamp,
            };
            got[record.partition as usize].push((record.offset, sample));
            read += 1;
        }
    }
    Ok(got)
}

async fn offsets_by_time(kafka: &Kafka, topic: &str, base: i64) -> Result<()> {
    let wanted = samples(base, 0, "none", 1);
    for n in [0, 1, 50, 99] {
        let at = wanted[n].timestamp - 1;
        let found = offset(kafka, topic, 1, OffsetSpec::Timestamp(at)).await?;
        ensure!(found == n as i64, "timestamp {at}: offset {found}, expected {n}");
    }
    // The admin client would ask again and again for an offset that is not there.
    let consumer = kafka.consumer_without_group().build().await?;
    let found = consumer.offsets_for_times(&[(topic, 1)], base + 9_000_000).await;
    consumer.close().await?;
    for (_, late) in found {
        let late = late?;
        ensure!(late == -1, "a timestamp after the last record gave offset {late}");
    }
    Ok(())
}

async fn offsets_by_spec(kafka: &Kafka, topic: &str) -> Result<()> {
    let earliest = offset(kafka, topic, 0, OffsetSpec::Earliest).await?;
    ensure!(earliest == 0, "earliest is {earliest}");
    let latest = offset(kafka, topic, 0, OffsetSpec::Latest).await?;
    let newest = offset(kafka, topic, 0, OffsetSpec::MaxTimestamp).await?;
    ensure!(newest == latest - 1, "max timestamp at {newest}, the end is {latest}");
    Ok(())
}

async fn delete_records(kafka: &Kafka, topic: &str) -> Result<()> {
    let before = [(TopicPartition::new(topic, 0), 42)];
    for (_, low) in kafka.admin().delete_records(before, Default::default()).await? {
        let low = low?;
        ensure!(low == 42, "low watermark {low}, expected 42");
    }
    let earliest = offset(kafka, topic, 0, OffsetSpec::Earliest).await?;
    ensure!(earliest == 42, "earliest offset {earliest}, expected 42");
    let got = read(kafka, topic, &[42], 1).await?;
    ensure!(got[0][0].0 == 42, "first record after the deletion is at {}", got[0][0].0);
    Ok(())
}
