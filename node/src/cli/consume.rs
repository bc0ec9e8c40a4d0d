//! `highwater consume`: prints the records of a topic.

mod group;

use super::{
    arguments::{Consume, Start},
    check, connect,
    output::{Output, StdoutClosed, json_bytes},
    produce::partitions_of,
};
use anyhow::Context;
use bytes::Bytes;
use highwater_core::record::{BATCH_HEADER_BYTES, BatchHeader, Record, Records, verify_crc};
use highwater_node::{
    client::{ClientError, Cluster, InFlight, PartitionRef},
    codec,
    env::{Clock, OsClock},
    wire::{
        ApiKey, ErrorCode,
        generated::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData},
    },
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// How long the broker waits for a first byte.
const MAX_WAIT_MS: i32 = 500;
/// Bytes of one partition in one answer.
const PARTITION_BYTES: i32 = 1 << 20;
/// Bytes of one answer.
const ANSWER_BYTES: i32 = 16 << 20;
/// A partition without a leader is tried so often, this long apart.
const LEADER_TRIES: u32 = 150;
const LEADER_PAUSE: Duration = Duration::from_millis(200);

pub async fn run(arguments: Consume, output: Output) -> anyhow::Result<()> {
    if let Some(group) = &arguments.group {
        return group::run(&arguments, group, output).await;
    }
    let mut cluster = connect(&arguments.at.broker).await?;
    let mut cursors = cursors(&mut cluster, &arguments).await?;
    let mut printer = Printer { arguments: &arguments, output, left: arguments.count };
    let mut failures = 0;
    while printer.left != Some(0) && cursors.iter().any(Cursor::wants_more) {
        let (fetched, failure) = fetch(&mut cluster, &cursors).await;
        let mut out = io::BufWriter::new(io::stdout().lock());
        for data in fetched {
            let cursor = cursors.iter_mut().find(|cursor| cursor.index() == data.partition_index);
            let Some(cursor) = cursor else { continue };
            cursor.take(data, &mut printer, &mut out)?;
        }
        out.flush().map_err(StdoutClosed)?;
        drop(out);
        match failure {
            None => failures = 0,
            Some(error) if failures >= LEADER_TRIES => return Err(error),
            Some(_) => {
                failures += 1;
                find_leaders(&mut cluster, &arguments.topic).await;
            }
        }
        // So that partitions take turns when the answer has no room for all.
        cursors.rotate_left(1);
    }
    Ok(())
}

/// Asks anew who leads, after a pause. If nobody can tell, the next attempt finds out.
async fn find_leaders(cluster: &mut Cluster, topic: &str) {
    let clock = OsClock::new();
    clock.sleep_until(clock.now().monotonic.after(LEADER_PAUSE)).await;
    cluster.disconnect();
    let _ = cluster.metadata(Some(&[topic]), false).await;
}

/// Whether a code says that another broker leads, or nobody for the moment.
fn leader_is_elsewhere(code: i16) -> bool {
    let code = ErrorCode::from_i16(code);
    code.is_some_and(|code| code != ErrorCode::CorruptMessage && code.is_retriable())
}

/// One partition and how far it is read.
struct Cursor {
    partition: PartitionRef,
    next: i64,
    /// Where it ends, exclusive; `None` follows for ever.
    end: Option<i64>,
}

async fn cursors(cluster: &mut Cluster, arguments: &Consume) -> anyhow::Result<Vec<Cursor>> {
    let topic = &arguments.topic;
    let all = partitions_of(cluster, topic, false, &OsClock::new()).await?;
    let count = all.len();
    for wanted in &arguments.partition {
        let exists = all.iter().any(|one| one.index.0 == wanted.unsigned_abs());
        anyhow::ensure!(exists, "topic `{topic}` has no partition {wanted}: it has {count}");
    }
    let mut cursors = Vec::new();
    for partition in all {
        let index = partition.index.0;
        let chosen = arguments.partition.iter().any(|wanted| wanted.unsigned_abs() == index);
        if !(arguments.partition.is_empty() || chosen) {
            continue;
        }
        let end = offset(cluster, &partition, LATEST).await?;
        let next = match arguments.from {
            Start::Beginning => offset(cluster, &partition, EARLIEST).await?,
            Start::End => end,
            Start::Offset(offset) => offset,
            Start::Timestamp(timestamp) => {
                let found = offset(cluster, &partition, timestamp).await?;
                // Nothing is that young: start where such a record will be.
                if found < 0 { end } else { found }
            }
        };
        let end = (!arguments.follow).then_some(end);
        cursors.push(Cursor { partition, next, end });
    }
    Ok(cursors)
}

/// Looks an offset up at the partition's leader, and waits for one.
async fn offset(
    cluster: &mut Cluster,
    partition: &PartitionRef,
    timestamp: i64,
) -> anyhow::Result<i64> {
    let PartitionRef { topic, index, .. } = partition;
    for failures in 0.. {
        let leader = cluster.leader_of(partition).unwrap_or(-1);
        let answer = match cluster.broker(leader).await {
            Ok(connection) => connection.list_offset(partition, timestamp).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if failures >= LEADER_TRIES || !leader_is_elsewhere(answer.error_code) => {
                check(&format!("find an offset in {topic}-{index}"), answer.error_code, None)?;
                return Ok(answer.offset);
            }
            Err(error) if failures >= LEADER_TRIES => return Err(error.into()),
            Ok(_) | Err(_) => find_leaders(cluster, topic).await,
        }
    }
    unreachable!("the tries are bounded")
}

/// Fetches from the leaders of all partitions at once. What was fetched, and why some of it could
/// not be.
async fn fetch(
    cluster: &mut Cluster,
    cursors: &[Cursor],
) -> (Vec<PartitionData>, Option<anyhow::Error>) {
    let mut by_leader = BTreeMap::<i32, Vec<&Cursor>>::new();
    for cursor in cursors.iter().filter(|cursor| cursor.wants_more()) {
        let leader = cluster.leader_of(&cursor.partition).unwrap_or(-1);
        by_leader.entry(leader).or_default().push(cursor);
    }
    let (mut fetched, mut failure) = (Vec::new(), None);
    let mut asked = Vec::new();
    for (leader, open) in by_leader {
        match ask(cluster, leader, &open).await {
            Ok(answer) => asked.push((leader, answer)),
            Err(error) => failure = Some(error.into()),
        }
    }
    for (leader, answer) in asked {
        match cluster.receive(leader, answer).await {
            Ok(answer) => {
                failure = check("fetch", answer.error_code, None).err().or(failure);
                let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
                fetched.extend(partitions);
            }
            Err(error) => failure = Some(error.into()),
        }
    }
    let moved = fetched.iter().find(|data| leader_is_elsewhere(data.error_code));
    if let Some(data) = moved {
        let what = format!("read partition {}", data.partition_index);
        failure = check(&what, data.error_code, None).err();
    }
    fetched.retain(|data| !leader_is_elsewhere(data.error_code));
    (fetched, failure)
}

async fn ask(
    cluster: &mut Cluster,
    leader: i32,
    open: &[&Cursor],
) -> Result<InFlight<FetchRequest>, ClientError> {
    let topic = open.first().map(|cursor| FetchTopic {
        topic: cursor.partition.topic.clone(),
        topic_id: cursor.partition.topic_id,
        partitions: open
            .iter()
            .map(|cursor| FetchPartition {
                partition: cursor.index(),
                fetch_offset: cursor.next,
                partition_max_bytes: PARTITION_BYTES,
                ..Default::default()
            })
            .collect(),
    });
    let request = FetchRequest {
        max_wait_ms: MAX_WAIT_MS,
        min_bytes: 1,
        max_bytes: ANSWER_BYTES,
        topics: topic.into_iter().collect(),
        ..Default::default()
    };
    let connection = cluster.broker(leader).await?;
    let version = connection.version(ApiKey::Fetch)?;
    connection.submit(&request, version).await
}

impl Cursor {
    fn wants_more(&self) -> bool {
        self.end.is_none_or(|end| self.next < end)
    }

    fn index(&self) -> i32 {
        i32::try_from(self.partition.index.0).unwrap_or(i32::MAX)
    }

    /// Prints what came of this partition and moves on behind it.
    fn take(
        &mut self,
        data: PartitionData,
        printer: &mut Printer<'_>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let name = format!("{}-{}", self.partition.topic, self.partition.index);
        check(&format!("read {name} at offset {}", self.next), data.error_code, None)?;
        let mut batches = data.records.unwrap_or_default();
        // A broker may cut the last batch off; it comes whole with the next answer.
        while let Some(batch) = next_batch(&mut batches)? {
            let header = BatchHeader::parse(&batch)?;
            let wrong = || format!("{name} at offset {}: the batch is damaged", header.base_offset);
            anyhow::ensure!(verify_crc(&batch), "{}: its CRC does not match", wrong());
            let body = codec::decompress(header.compression, &batch[BATCH_HEADER_BYTES..]);
            let body = body.with_context(wrong)?;
            for record in Records::in_body(&header, &body) {
                let record = record?;
                let offset = i64::try_from(record.offset.0)?;
                if offset < self.next || header.is_control {
                    continue;
                }
                let is_beyond = self.end.is_some_and(|end| offset >= end);
                if is_beyond || printer.left == Some(0) {
                    // Nobody has seen it: whoever goes on in the group begins with it.
                    self.next = offset;
                    return Ok(());
                }
                printer.print(&self.partition, &record, out)?;
            }
            self.next = self.next.max(i64::try_from(header.next_offset().0)?);
        }
        Ok(())
    }
}

/// Splits the next whole batch off.
fn next_batch(batches: &mut Bytes) -> anyhow::Result<Option<Bytes>> {
    if batches.len() < BATCH_HEADER_BYTES {
        return Ok(None);
    }
    let size = BatchHeader::parse(batches)?.size_in_bytes;
    Ok((size <= batches.len()).then(|| batches.split_to(size)))
}

struct Printer<'a> {
    arguments: &'a Consume,
    output: Output,
    /// Records still wanted; `None` is no bound.
    left: Option<u64>,
}

impl Printer<'_> {
    fn print(
        &mut self,
        partition: &PartitionRef,
        record: &Record<'_>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        let written = if self.output.is_json() {
            json_line(partition, record, out)
        } else {
            self.line(record, out)
        };
        written.map_err(|error| StdoutClosed(error).into())
    }

    fn line(&self, record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
        if let Some(separator) = &self.arguments.key_separator {
            out.write_all(record.key.unwrap_or_default())?;
            out.write_all(separator.as_bytes())?;
        }
        out.write_all(record.value.unwrap_or_default())?;
        out.write_all(b"\n")
    }
}

fn json_line(partition: &PartitionRef, record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
    let headers = record.headers.clone().map_while(Result::ok).map(
        |header| json!({ "key": json_bytes(Some(header.key)), "value": json_bytes(header.value) }),
    );
    let document = json!({
        "topic": partition.topic.as_str(),
        "partition": partition.index.0,
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": json_bytes(record.key),
        "value": json_bytes(record.value),
        "headers": headers.collect::<Vec<_>>(),
    });
    writeln!(out, "{document}")
}
