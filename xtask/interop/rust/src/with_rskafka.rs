//! rskafka: no idempotence and no consumer groups; it lists offsets by time and deletes records.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::DateTime;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

use crate::data::{CODECS, PARTITIONS, Sample, base_timestamp, compare, samples};
use crate::step;

pub async fn run(bootstrap: &str, topic: &str) -> Result<()> {
    let client = ClientBuilder::new(vec![bootstrap.into()]).build().await?;
    let base = base_timestamp();
    step("create-topic", create_topic(&client, topic)).await;
    for (round, codec) in CODECS.iter().enumerate() {
        let mut starts = Vec::new();
        step(&format!("produce-{codec}"), async {
            for partition in 0..PARTITIONS {
                let leader = partition_client(&client, topic, partition).await?;
                starts.push(leader.get_offset(OffsetAt::Latest).await?);
                let records = samples(base, round, codec, partition).iter().map(record).collect();
                leader.produce(records, compression(codec)).await?;
            }
            Ok(())
        })
        .await;
        step(&format!("read-{codec}"), async {
            for partition in 0..PARTITIONS {
                ensure!(starts.len() == PARTITIONS as usize, "nothing was produced");
                let leader = partition_client(&client, topic, partition).await?;
                let start = starts[partition as usize];
                let wanted = samples(base, round, codec, partition);
                let got = read(&leader, start, wanted.len()).await?;
                compare(partition, start, &wanted, &got)?;
            }
            Ok(())
        })
        .await;
    }
    step("offsets-by-time", offsets_by_time(&client, topic, base)).await;
    step("delete-records", delete_records(&client, topic)).await;
    step("delete-topic", async {
        client.controller_client()?.delete_topic(topic, 20_000).await?;
        wait_listed(&client, topic, false).await
    })
    .await;
    Ok(())
}

async fn create_topic(client: &Client, topic: &str) -> Result<()> {
    client.controller_client()?.create_topic(topic, PARTITIONS, 1, 20_000).await?;
    wait_listed(client, topic, true).await
}

async fn wait_listed(client: &Client, topic: &str, expected: bool) -> Result<()> {
    for _ in 0..100 {
        if client.list_topics().await?.iter().any(|t| t.name == topic) == expected {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!(
        "after 10 s the topic is not as it should be in the metadata (listed: {expected})"
    )
}

async fn partition_client(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient> {
    Ok(client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?)
}

fn compression(codec: &str) -> Compression {
    match codec {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::NoCompression,
    }
}

fn record(sample: &Sample) -> Record {
    Record {
        key: sample.key.clone(),
        value: sample.value.clone(),
        headers: sample.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
        timestamp: DateTime::from_timestamp_millis(sample.timestamp).expect("a valid timestamp"),
    }
}

async fn read(leader: &PartitionClient, start: i64, count: usize) -> Result<Vec<(i64, Sample)>> {
    let mut got = Vec::new();
    let mut next = start;
    while got.len() < count {
        let (records, _) = leader.fetch_records(next, 1..1_000_000, 500).await?;
        for read in records {
            next = read.offset + 1;
            let sample = Sample {
                key: read.record.key,
                value: read.record.value,
                headers: read.record.headers.into_iter().collect(),
                timestamp: read.record.timestamp.timestamp_millis(),
            };
            got.push((read.offset, sample));
        }
    }
    Ok(got)
}

async fn offsets_by_time(client: &Client, topic: &str, base: i64) -> Result<()> {
    let wanted = samples(base, 0, "none", 1);
    let leader = partition_client(client, topic, 1).await?;
    for n in [0, 1, 50, 99] {
        let at = wanted[n].timestamp - 1;
        let time = DateTime::from_timestamp_millis(at).expect("a valid timestamp");
        let offset = leader.get_offset(OffsetAt::Timestamp(time)).await?;
        ensure!(offset == n as i64, "timestamp {at}: offset {offset}, expected {n}");
    }
    let earliest = leader.get_offset(OffsetAt::Earliest).await?;
    ensure!(earliest == 0, "earliest is {earliest}");
    Ok(())
}

async fn delete_records(client: &Client, topic: &str) -> Result<()> {
    let leader = partition_client(client, topic, 0).await?;
    leader.delete_records(42, 20_000).await?;
    let earliest = leader.get_offset(OffsetAt::Earliest).await?;
    ensure!(earliest == 42, "earliest offset {earliest}, expected 42");
    let got = read(&leader, 42, 1).await?;
    ensure!(got[0].0 == 42, "first record after the deletion is at {}", got[0].0);
    Ok(())
}
