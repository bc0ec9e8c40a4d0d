//! `highwater produce`: lines from standard input become records.
//!
//! One task reads the input; the other builds batches and keeps several in flight. A batch is sent
//! when it is full or when no input is waiting, so that a pipe is fast and a terminal is prompt.
//! Each batch goes to the leader of its partition. When a leader is lost, what was not acknowledged
//! is sent again under the same sequence numbers, so that brokers write it once. When no leader
//! takes it for too long, it says how much was acknowledged and stops.

use super::{
    arguments::{Acks, Produce},
    check, connect,
    output::Output,
};
use anyhow::Context;
use bytes::Bytes;
use highwater_core::{
    record::{BatchBuilder, NewRecord},
    types::{PartitionIndex, Sequence},
};
use highwater_node::{
    client::{ClientError, Cluster, InFlight, PartitionRef, ProducerGrant},
    env::{Clock, OsClock},
    tasks::Tasks,
    wire::{
        ErrorCode,
        generated::produce::{PartitionProduceResponse, ProduceRequest},
    },
};
use serde_json::json;
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
};

/// Batches in flight. Kafka's brokers remember five per idempotent producer and partition.
const MAX_IN_FLIGHT: usize = 5;
/// Chunks of input read ahead.
const CHUNKS_AHEAD: usize = 4;
/// Bytes read from the input at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// The longest line; the broker's max.message.bytes is usually far below it.
const MAX_LINE_BYTES: usize = 64 << 20;
/// How long the broker may take for a batch.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);
/// A topic that is just being created is asked for this often, this long apart.
const METADATA_TRIES: u32 = 50;
const METADATA_PAUSE: Duration = Duration::from_millis(100);
/// How long a batch is offered to ever new leaders.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines of the input, or the error that ended it.
type Lines = io::Result<Vec<Bytes>>;

pub async fn run(arguments: Produce, output: Output) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let mut producer = Producer::start(&arguments, clock).await?;
    let outcome = producer.write_all(read_input()).await;
    let (acknowledged, unknown) = (producer.acknowledged, producer.unknown());
    let report = output.print(
        || json!({ "topic": arguments.topic, "acknowledged": acknowledged, "unknown": unknown }),
        |out| match unknown {
            0 => writeln!(out, "{acknowledged} records acknowledged"),
            unknown => {
                writeln!(out, "{acknowledged} records acknowledged, {unknown} sent without answer")
            }
        },
    );
    outcome.and(report)
}

/// Starts reading standard input in whole lines, without their line ends.
fn read_input() -> mpsc::Receiver<Lines> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    // Its end is seen as the channel's end, so nobody waits for the handle.
    drop(Tasks::default().spawn("read-input", async move {
        let mut input = BufReader::with_capacity(CHUNK_BYTES, tokio::io::stdin());
        let mut unfinished = Vec::new();
        loop {
            let lines = next_lines(&mut input, &mut unfinished).await;
            let ended = matches!(&lines, Ok(None) | Err(_));
            let Some(lines) = lines.transpose() else { break };
            if sender.send(lines).await.is_err() || ended {
                break;
            }
        }
    }));
    receiver
}

/// All lines that are there, at least one; `None` at the end of the input.
async fn next_lines(
    input: &mut (impl AsyncBufReadExt + Unpin),
    unfinished: &mut Vec<u8>,
) -> io::Result<Option<Vec<Bytes>>> {
    loop {
        let available = input.fill_buf().await?;
        let length = available.len();
        if length == 0 {
            let last = std::mem::take(unfinished);
            return Ok((!last.is_empty()).then(|| vec![last.into()]));
        }
        let mut lines = Vec::new();
        let mut rest = available;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            unfinished.extend_from_slice(&rest[..end]);
            lines.push(Bytes::from(std::mem::take(unfinished)));
            rest = &rest[end + 1..];
        }
        unfinished.extend_from_slice(rest);
        input.consume(length);
        if unfinished.len() > MAX_LINE_BYTES {
            return Err(io::Error::other("a line of the input is over 64 MiB"));
        }
        if !lines.is_empty() {
            return Ok(Some(lines));
        }
    }
}

/// One partition and the batch that is being built for it.
struct Partition {
    target: PartitionRef,
    sequence: i32,
    batch: BatchBuilder,
}

/// A batch that was sent and is not acknowledged yet.
struct Sent {
    /// Who was asked, and what its answer is known by; `None` when it could not be sent.
    asked: Option<(i32, InFlight<ProduceRequest>)>,
    batch: Bytes,
    records: u32,
    partition: usize,
}

struct Producer {
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    grant: ProducerGrant,
    acks: i16,
    batch_bytes: usize,
    key_separator: Option<Vec<u8>>,
    partitions: Vec<Partition>,
    /// Where batches without keys go now.
    turn: usize,
    /// In the order in which they were sent.
    in_flight: VecDeque<Sent>,
    acknowledged: u64,
}

impl Producer {
    async fn start(arguments: &Produce, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let mut cluster = connect(&arguments.at.broker).await?;
        let all = partitions_of(&mut cluster, &arguments.topic, true, &*clock).await?;
        let targets: Vec<_> = match arguments.partition {
            None => all,
            Some(wanted) => {
                let count = all.len();
                let wanted = PartitionIndex(wanted.unsigned_abs());
                let chosen: Vec<_> = all.into_iter().filter(|one| one.index == wanted).collect();
                let topic = &arguments.topic;
                anyhow::ensure!(
                    !chosen.is_empty(),
                    "topic `{topic}` has no partition {wanted}: it has {count}"
                );
                chosen
            }
        };
        let grant = cluster.any().await?.init_producer().await?;
        check("get a producer id", grant.error_code, None)?;
        let mut producer = Self {
            cluster,
            clock,
            grant,
            acks: match arguments.acks {
                Acks::All => -1,
                Acks::Leader => 1,
            },
            batch_bytes: arguments.batch_bytes as usize,
            key_separator: arguments.key_separator.clone().map(String::into_bytes),
            partitions: Vec::new(),
            turn: 0,
            in_flight: VecDeque::new(),
            acknowledged: 0,
        };
        for target in targets {
            let batch = producer.new_batch(0);
            producer.partitions.push(Partition { target, sequence: 0, batch });
        }
        Ok(producer)
    }

    /// Records that were sent and whose fate is not known.
    fn unknown(&self) -> u64 {
        self.in_flight.iter().map(|sent| u64::from(sent.records)).sum()
    }

    async fn write_all(&mut self, mut input: mpsc::Receiver<Lines>) -> anyhow::Result<()> {
        loop {
            let lines = match input.try_recv() {
                Ok(lines) => Some(lines),
                Err(_) => {
                    self.flush().await?;
                    input.recv().await
                }
            };
            let Some(lines) = lines else { return self.flush().await };
            for line in lines.context("cannot read standard input")? {
                self.push(&line).await?;
            }
        }
    }

    async fn push(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let (key, value) = match &self.key_separator {
            Some(separator) => split(line, separator),
            None => (None, line),
        };
        let count = self.partitions.len();
        let index = key.map_or(self.turn, |key| partition_of(key, count));
        let timestamp = self.clock.now().wall;
        let partition = &mut self.partitions[index];
        let batch = &mut partition.batch;
        if batch.record_count() > 0 && batch.size_in_bytes() + line.len() > self.batch_bytes {
            self.send(index).await?;
        }
        let partition = &mut self.partitions[index];
        partition.batch.push(NewRecord { timestamp, key, value: Some(value), headers: &[] });
        if partition.batch.size_in_bytes() >= self.batch_bytes {
            self.send(index).await?;
        }
        Ok(())
    }

    /// Sends everything and waits until all of it is acknowledged.
    async fn flush(&mut self) -> anyhow::Result<()> {
        for index in 0..self.partitions.len() {
            if self.partitions[index].batch.record_count() > 0 {
                self.send(index).await?;
            }
        }
        while !self.in_flight.is_empty() {
            self.receive().await?;
        }
        Ok(())
    }

    async fn send(&mut self, index: usize) -> anyhow::Result<()> {
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.receive().await?;
        }
        let partition = &self.partitions[index];
        let records = partition.batch.record_count();
        // Sequences are 31 bits wide and wrap to zero (KIP-98).
        let next = (i64::from(partition.sequence) + i64::from(records)) % (1 << 31);
        let fresh = self.new_batch(next as i32);
        let partition = &mut self.partitions[index];
        partition.sequence = next as i32;
        let batch = std::mem::replace(&mut partition.batch, fresh).build();
        self.turn = (index + 1) % self.partitions.len();
        // Once one could not be sent, those behind it wait for it.
        let goes_out = self.in_flight.iter().all(|sent| sent.asked.is_some());
        let asked = if goes_out { self.submit(index, batch.clone()).await.ok() } else { None };
        self.in_flight.push_back(Sent { asked, batch, records, partition: index });
        Ok(())
    }

    async fn submit(
        &mut self,
        index: usize,
        batch: Bytes,
    ) -> Result<(i32, InFlight<ProduceRequest>), ClientError> {
        let target = &self.partitions[index].target;
        let leader = self.cluster.leader_of(target).unwrap_or(-1);
        let connection = self.cluster.broker(leader).await?;
        let sent = connection.submit_produce(target, self.acks, PRODUCE_TIMEOUT, batch).await?;
        Ok((leader, sent))
    }

    async fn answer(
        &mut self,
        leader: i32,
        asked: InFlight<ProduceRequest>,
    ) -> Result<PartitionProduceResponse, ClientError> {
        let answer = self.cluster.receive(leader, asked).await?;
        let mut partitions = answer.responses.into_iter().flat_map(|t| t.partition_responses);
        // An answer about nothing is one that no batch can go by: it is sent again.
        partitions.next().ok_or(ClientError::UnknownBroker { id: leader })
    }

    /// Waits for the oldest batch; if its leader is lost, until a new one has it.
    async fn receive(&mut self) -> anyhow::Result<()> {
        let Some(sent) = self.in_flight.front_mut() else { return Ok(()) };
        let answer = match sent.asked.take() {
            Some((leader, asked)) => self.answer(leader, asked).await,
            None => Err(ClientError::UnknownBroker { id: -1 }),
        };
        match answer {
            Ok(answer) if !is_retriable(answer.error_code) => self.settle(&answer),
            _ => self.send_again().await,
        }
    }

    /// Takes the answer to the oldest batch in.
    fn settle(&mut self, answer: &PartitionProduceResponse) -> anyhow::Result<()> {
        let sent = self.in_flight.front().expect("it was answered");
        let target = &self.partitions[sent.partition].target;
        let what = format!("write to partition {} of topic `{}`", target.index, target.topic);
        // An earlier attempt of the same batch was written, so long ago that its offset is forgotten.
        if answer.error_code != ErrorCode::DuplicateSequenceNumber.code() {
            check(&what, answer.error_code, answer.error_message.as_ref())?;
        }
        self.acknowledged += u64::from(sent.records);
        self.in_flight.pop_front();
        Ok(())
    }

    /// Sends everything that is in flight again, one batch after the other: those behind a batch
    /// that was not taken were not taken either, and each has to find the one before it.
    async fn send_again(&mut self) -> anyhow::Result<()> {
        let until = self.clock.now().monotonic.after(DELIVERY_TIMEOUT);
        self.cluster.disconnect();
        while let Some(sent) = self.in_flight.front() {
            let target = self.partitions[sent.partition].target.clone();
            let (partition, batch) = (sent.partition, sent.batch.clone());
            let answer = match self.submit(partition, batch).await {
                Ok((leader, asked)) => self.answer(leader, asked).await,
                Err(error) => Err(error),
            };
            let is_overdue = self.clock.now().monotonic >= until;
            match answer {
                Ok(answer) if is_overdue || !is_retriable(answer.error_code) => {
                    self.settle(&answer)?;
                    continue;
                }
                Err(error) if is_overdue => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
            self.clock.sleep_until(self.clock.now().monotonic.after(METADATA_PAUSE)).await;
            self.cluster.disconnect();
            if let Err(error) = self.cluster.metadata(Some(&[&target.topic]), false).await
                && is_overdue
            {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn new_batch(&self, sequence: i32) -> BatchBuilder {
        BatchBuilder::new().producer(self.grant.id, self.grant.epoch, Sequence(sequence))
    }
}

/// Whether a partition may take the same batch later, or from another leader.
fn is_retriable(code: i16) -> bool {
    code != 0 && ErrorCode::from_i16(code).is_some_and(ErrorCode::is_retriable)
}

/// The topic's partitions in order. With `create` it waits while the broker creates the topic.
pub async fn partitions_of(
    cluster: &mut Cluster,
    topic: &str,
    create: bool,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<PartitionRef>> {
    let mut last_error = 0;
    for _ in 0..METADATA_TRIES {
        let metadata = cluster.metadata(Some(&[topic]), create).await?;
        let found = metadata.topics.into_iter().next().context("no answer about the topic")?;
        last_error = found.error_code;
        if last_error == 0 && !found.partitions.is_empty() {
            let target = |index: i32| PartitionRef {
                topic: topic.into(),
                topic_id: found.topic_id,
                index: PartitionIndex(index.unsigned_abs()),
            };
            let mut indexes: Vec<_> = found.partitions.iter().map(|p| p.partition_index).collect();
            indexes.sort_unstable();
            return Ok(indexes.into_iter().map(target).collect());
        }
        let retriable = ErrorCode::from_i16(last_error).is_none_or(ErrorCode::is_retriable);
        if !create || (last_error != 0 && !retriable) {
            break;
        }
        clock.sleep_until(clock.now().monotonic.after(METADATA_PAUSE)).await;
    }
    check(&format!("find topic `{topic}`"), last_error, None)?;
    anyhow::bail!("topic `{topic}` has no partitions yet; try again")
}

/// Key and value of a line. A line without the separator has no key.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    if separator.is_empty() {
        return (None, line);
    }
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

/// The partition of a key as Kafka's own clients choose it: murmur2, made positive.
fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

fn murmur2(bytes: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ word.wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_its_first_separator() {
        assert_eq!(split(b"k:v:w", b":"), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split(b"k => v", b" => "), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(split(b":v", b":"), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"value", b":"), (None, &b"value"[..]));
        assert_eq!(split(b"value", b""), (None, &b"value"[..]));
    }

    /// The values of Kafka's own tests of its hash.
    #[test]
    fn keys_hash_as_in_kafkas_own_clients() {
        for (key, hash) in [
            (&b"21"[..], -973_932_308_i32),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key) as i32, hash, "{}", key.escape_ascii());
        }
        assert!(partition_of(b"foobar", 7) < 7);
    }

    #[tokio::test]
    async fn input_is_cut_into_lines_wherever_reads_end() {
        let text = b"one\n\nthree\r\nunfinished";
        for capacity in [1, 2, 5, 64] {
            let mut input = BufReader::with_capacity(capacity, &text[..]);
            let (mut lines, mut unfinished) = (Vec::new(), Vec::new());
            while let Some(more) =
                next_lines(&mut input, &mut unfinished).await.expect("memory can be read")
            {
                lines.extend(more);
            }
            assert_eq!(lines, ["one", "", "three\r", "unfinished"], "capacity {capacity}");
        }
    }
}
