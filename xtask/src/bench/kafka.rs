//! As much of the Kafka protocol as a load generator needs, built by hand: the benchmark must not
//! spend the broker's processors on a general codec, and must not share one with the broker.
//!
//! Only inflexible versions are spoken: CreateTopics 4, Produce 8, ListOffsets 1, Metadata 1,
//! ApiVersions 0.

use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

/// A broker that says nothing for so long has failed the benchmark.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer is shorter than this, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The bytes of a batch before its first record.
const BATCH_HEADER_BYTES: usize = 61;

/// Where the part of a batch starts that its CRC covers.
const CRC_COVERS_FROM: usize = 21;

const CLIENT_ID: &str = "highwater-bench";
const PRODUCE: (i16, i16) = (0, 8);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const METADATA: (i16, i16) = (3, 1);
const API_VERSIONS: (i16, i16) = (18, 0);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const ALL_IN_SYNC_REPLICAS: i16 = -1;
const LATEST: i64 = -1;

/// One blocking connection to a broker.
pub struct Connection {
    stream: TcpStream,
    next_correlation: i32,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to the broker at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, next_correlation: 0 })
    }

    /// A second handle on the same socket, to read answers on another thread.
    pub fn reader(&self) -> anyhow::Result<Self> {
        let stream = self.stream.try_clone().context("cannot duplicate a socket")?;
        Ok(Self { stream, next_correlation: 0 })
    }

    /// Asks whether a broker listens at all.
    pub fn api_versions(&mut self) -> anyhow::Result<()> {
        let mut answer = self.call(API_VERSIONS, &[])?;
        no_error(answer.i16()?, "ApiVersions")
    }

    /// Creates a topic with so many replicas; one that exists already is an error.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: usize,
        replicas: i16,
    ) -> anyhow::Result<()> {
        let mut body = Vec::new();
        put_i32(&mut body, 1);
        put_string(&mut body, name);
        put_i32(&mut body, i32::try_from(partitions)?);
        body.extend(replicas.to_be_bytes());
        put_i32(&mut body, 0); // assignments
        put_i32(&mut body, 0); // configurations
        put_i32(&mut body, 30_000);
        body.push(0); // validate only
        let mut answer = self.call(CREATE_TOPICS, &body)?;
        answer.i32()?; // throttle time
        answer.i32()?; // one topic
        answer.string()?;
        no_error(answer.i16()?, "CreateTopics")
    }

    /// Who leads and who is in sync; a topic without a leader somewhere is an error.
    pub fn metadata(&mut self, topic: &str) -> anyhow::Result<Metadata> {
        let mut body = Vec::new();
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        let mut answer = self.call(METADATA, &body)?;
        let mut brokers = BTreeMap::new();
        for _ in 0..answer.i32()? {
            let (id, host) = (answer.i32()?, answer.text()?);
            let port = u16::try_from(answer.i32()?)?;
            answer.optional_string()?; // rack
            brokers.insert(id, SocketAddr::new(host.parse()?, port));
        }
        let controller = answer.i32()?;
        answer.i32()?; // one topic
        no_error(answer.i16()?, "Metadata")?;
        answer.string()?;
        answer.take(1)?; // internal
        let mut partitions = BTreeMap::new();
        for _ in 0..answer.i32()? {
            no_error(answer.i16()?, "Metadata")?;
            let (index, leader) = (answer.i32()?, answer.i32()?);
            answer.i32s()?; // replicas
            let address = *brokers.get(&leader).context("a partition has no leader")?;
            partitions.insert(index, (address, answer.i32s()?.len()));
        }
        let controller = brokers.get(&controller).copied();
        let (leaders, in_sync) = partitions.into_values().unzip();
        Ok(Metadata { controller, leaders, in_sync })
    }

    /// The offset after the last record that consumers can read.
    pub fn latest_offset(&mut self, topic: &str, partition: usize) -> anyhow::Result<u64> {
        let mut body = Vec::new();
        put_i32(&mut body, -1); // no replica
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        put_i32(&mut body, 1);
        put_i32(&mut body, i32::try_from(partition)?);
        body.extend(LATEST.to_be_bytes());
        let mut answer = self.call(LIST_OFFSETS, &body)?;
        answer.i32()?; // one topic
        answer.string()?;
        answer.i32()?; // one partition
        answer.i32()?;
        no_error(answer.i16()?, "ListOffsets")?;
        answer.i64()?; // timestamp
        Ok(u64::try_from(answer.i64()?)?)
    }

    /// Sends a produce with acks=all and does not wait for its answer.
    pub fn send_produce(&mut self, request: &ProduceRequest) -> anyhow::Result<()> {
        let mut head = request.head.clone();
        head[8..12].copy_from_slice(&self.next_correlation.to_be_bytes());
        self.next_correlation = self.next_correlation.wrapping_add(1);
        write_all_vectored(&mut self.stream, &head, &request.batch)
            .context("cannot send a produce request")
    }

    /// Waits for the answer to the oldest produce and gives its base offset.
    pub fn receive_produced(&mut self) -> anyhow::Result<u64> {
        let mut answer = self.receive()?;
        answer.i32()?; // correlation id
        answer.i32()?; // one topic
        answer.string()?;
        answer.i32()?; // one partition
        answer.i32()?;
        no_error(answer.i16()?, "Produce")?;
        Ok(u64::try_from(answer.i64()?)?)
    }

    /// Sends a request, waits for its answer and reads its correlation id.
    pub fn call(&mut self, api: (i16, i16), body: &[u8]) -> anyhow::Result<Answer> {
        let correlation = self.send(api, body)?;
        let mut answer = self.receive()?;
        let answered = answer.i32()?;
        anyhow::ensure!(answered == correlation, "asked {correlation}, answered {answered}");
        Ok(answer)
    }

    /// Sends a request and does not wait for its answer. Returns its correlation id.
    pub fn send(&mut self, api: (i16, i16), body: &[u8]) -> anyhow::Result<i32> {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let mut frame = request_head(api, body.len());
        frame[8..12].copy_from_slice(&correlation.to_be_bytes());
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).context("cannot send a request")?;
        Ok(correlation)
    }

    /// Waits for the answer to the oldest request; it begins with its correlation id.
    pub fn receive(&mut self) -> anyhow::Result<Answer> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("no answer from the broker")?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        anyhow::ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).context("the broker stopped inside an answer")?;
        Ok(Answer { bytes, at: 0 })
    }
}

/// What a broker tells of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where topics are created.
    pub controller: Option<SocketAddr>,
    /// Each partition's leader.
    pub leaders: Vec<SocketAddr>,
    /// How many replicas of each partition are in sync.
    pub in_sync: Vec<usize>,
}

/// A produce request for one partition that can be sent again and again: no producer id.
pub struct ProduceRequest {
    /// Everything before the batch, beginning with the frame's length.
    head: Vec<u8>,
    batch: Vec<u8>,
}

impl ProduceRequest {
    /// A request with one batch of `records` values of `record_bytes` bytes each.
    pub fn new(topic: &str, partition: usize, records: usize, record_bytes: usize) -> Self {
        let batch = batch(records, record_bytes);
        let mut body = Vec::new();
        body.extend((-1_i16).to_be_bytes()); // no transactional id
        body.extend(ALL_IN_SYNC_REPLICAS.to_be_bytes());
        put_i32(&mut body, 30_000);
        put_i32(&mut body, 1);
        put_string(&mut body, topic);
        put_i32(&mut body, 1);
        put_i32(&mut body, i32::try_from(partition).expect("few partitions"));
        put_i32(&mut body, i32::try_from(batch.len()).expect("a batch is below 2 GiB"));
        let mut head = request_head(PRODUCE, body.len() + batch.len());
        head.extend(body);
        Self { head, batch }
    }

    /// What goes over the wire, in bytes.
    #[cfg(test)]
    pub fn wire_bytes(&self) -> usize {
        self.head.len() + self.batch.len()
    }
}

/// A record batch of format 2, without a producer, uncompressed.
fn batch(records: usize, record_bytes: usize) -> Vec<u8> {
    let count = i32::try_from(records).expect("a batch has fewer than 2^31 records");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let mut batch = Vec::with_capacity(BATCH_HEADER_BYTES + records * (record_bytes + 16));
    batch.extend(0_i64.to_be_bytes()); // base offset
    put_i32(&mut batch, 0); // length, below
    put_i32(&mut batch, -1); // leader epoch
    batch.push(2); // magic
    put_i32(&mut batch, 0); // CRC, below
    batch.extend(0_i16.to_be_bytes()); // attributes
    put_i32(&mut batch, count - 1);
    batch.extend(now.to_be_bytes());
    batch.extend(now.to_be_bytes());
    batch.extend((-1_i64).to_be_bytes()); // producer id
    batch.extend((-1_i16).to_be_bytes()); // producer epoch
    put_i32(&mut batch, -1); // base sequence
    put_i32(&mut batch, count);
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for delta in 0..count {
        let mut record = vec![0]; // attributes
        put_varint(&mut record, 0); // timestamp delta
        put_varint(&mut record, i64::from(delta));
        put_varint(&mut record, -1); // no key
        put_varint(&mut record, i64::try_from(record_bytes).expect("a record is small"));
        record.extend((0..record_bytes).map(|_| {
            // Bytes that no layer below can compress.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            (noise >> 24) as u8
        }));
        put_varint(&mut record, 0); // headers
        put_varint(&mut batch, i64::try_from(record.len()).expect("a record is small"));
        batch.extend(record);
    }
    let length = i32::try_from(batch.len() - 12).expect("a batch is below 2 GiB");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[CRC_COVERS_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Length, API, version, room for the correlation id, client id.
fn request_head((api, version): (i16, i16), body_bytes: usize) -> Vec<u8> {
    let length = 4 + 4 + 2 + CLIENT_ID.len() + body_bytes;
    let mut head = Vec::with_capacity(length + 4);
    put_i32(&mut head, i32::try_from(length).expect("a frame is below 2 GiB"));
    head.extend(api.to_be_bytes());
    head.extend(version.to_be_bytes());
    put_i32(&mut head, 0);
    put_string(&mut head, CLIENT_ID);
    head
}

fn write_all_vectored(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(body)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = stream.write_vectored(left)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// An answer that is read from its front.
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    /// An answer of these bytes.
    #[cfg(test)]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left of it.
    #[cfg(test)]
    pub fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn take(&mut self, count: usize) -> anyhow::Result<&[u8]> {
        let taken = self.bytes.get(self.at..self.at + count).context("an answer is too short")?;
        self.at += count;
        Ok(taken)
    }

    pub fn i16(&mut self) -> anyhow::Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub fn i32(&mut self) -> anyhow::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> anyhow::Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    pub fn string(&mut self) -> anyhow::Result<()> {
        self.text().map(|_| ())
    }

    pub fn text(&mut self) -> anyhow::Result<String> {
        let length = usize::try_from(self.i16()?)?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    pub fn optional_string(&mut self) -> anyhow::Result<()> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        self.take(length).map(|_| ())
    }

    fn i32s(&mut self) -> anyhow::Result<Vec<i32>> {
        (0..self.i32()?).map(|_| self.i32()).collect()
    }
}

pub fn no_error(code: i16, api: &str) -> anyhow::Result<()> {
    anyhow::ensure!(code == 0, "{api} was answered with error code {code}");
    Ok(())
}

pub fn put_i32(bytes: &mut Vec<u8>, value: i32) {
    bytes.extend(value.to_be_bytes());
}

pub fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(i16::try_from(text.len()).expect("a short name").to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// CRC-32C (Castagnoli), bit by bit through a table: a batch is built once.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|index| {
        (0..8).fold(index as u32, |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    });
    !bytes
        .iter()
        .fold(!0, |crc: u32, byte| (crc >> 8) ^ table[((crc ^ u32::from(*byte)) & 255) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_are_zigzag_varints() {
        let encoded = |value| {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            bytes
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(63), [126]);
        assert_eq!(encoded(64), [128, 1]);
        assert_eq!(encoded(1024), [128, 16]);
    }

    #[test]
    fn a_batch_agrees_with_its_own_header() {
        let batch = batch(3, 100);
        let number = |at: usize| i32::from_be_bytes(batch[at..at + 4].try_into().unwrap());
        assert_eq!(number(8) as usize, batch.len() - 12);
        assert_eq!(batch[16], 2);
        assert_eq!(number(23), 2, "last offset delta");
        assert_eq!(number(57), 3, "record count");
        assert_eq!(number(17).cast_unsigned(), crc32c(&batch[CRC_COVERS_FROM..]));
        assert!(batch.len() > BATCH_HEADER_BYTES + 300);
    }

    #[test]
    fn a_frame_says_how_long_it_is() {
        let request = ProduceRequest::new("topic", 1, 2, 10);
        let length = i32::from_be_bytes(request.head[..4].try_into().unwrap());
        assert_eq!(length as usize + 4, request.wire_bytes());
    }
}
