//! Builds uncompressed batches: for the coordinator, the command line, workloads and tests.

use super::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES,
    header::{
        ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, CRC, LAST_OFFSET_DELTA,
        LEADER_EPOCH, LENGTH, MAGIC, MAGIC_V2, MAX_TIMESTAMP, PRODUCER_EPOCH, PRODUCER_ID,
        RECORD_COUNT, crc_of,
    },
};
use crate::{
    time::Timestamp,
    types::{ProducerEpoch, ProducerId, Sequence},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Collects records into one uncompressed batch, as a producer would send it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    record_count: u32,
    bytes: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            producer: None,
            base_timestamp: None,
            max_timestamp: Timestamp(i64::MIN),
            record_count: 0,
            bytes: alloc::vec![0; BATCH_HEADER_BYTES],
        }
    }

    /// Makes the batch idempotent.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence) -> Self {
        self.producer = Some((id, epoch, base));
        self
    }

    /// Appends a record.
    pub fn push(&mut self, record: NewRecord<'_>) {
        let base = *self.base_timestamp.get_or_insert(record.timestamp);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let mut body = Vec::new();
        body.push(0);
        put_varlong(&mut body, record.timestamp.0.wrapping_sub(base.0));
        put_varlong(&mut body, i64::from(self.record_count));
        put_nullable(&mut body, record.key);
        put_nullable(&mut body, record.value);
        put_varlong(&mut body, record.headers.len() as i64);
        for (key, value) in record.headers {
            put_nullable(&mut body, Some(key));
            put_nullable(&mut body, *value);
        }
        put_varlong(&mut self.bytes, body.len() as i64);
        self.bytes.extend_from_slice(&body);
        self.record_count += 1;
    }

    /// Size of the batch so far in bytes, its 12-byte prefix included.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many records it holds so far.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The finished batch. Panics without a record or above 2 GiB.
    #[must_use]
    pub fn build(mut self) -> Bytes {
        assert!(self.record_count > 0, "a batch holds at least one record");
        let length = i32::try_from(self.bytes.len() - BATCH_PREFIX_BYTES)
            .expect("a batch is smaller than 2 GiB");
        let (id, epoch, sequence) = match self.producer {
            Some((id, epoch, sequence)) => (id.0 as i64, epoch.0, sequence.0),
            None => (-1, -1, -1),
        };
        let base_timestamp = self.base_timestamp.unwrap_or_default().0;
        self.put(BASE_OFFSET, &0_i64.to_be_bytes());
        self.put(LENGTH, &length.to_be_bytes());
        self.put(LEADER_EPOCH, &(-1_i32).to_be_bytes());
        self.put(MAGIC, &MAGIC_V2.to_be_bytes());
        self.put(LAST_OFFSET_DELTA, &(self.record_count - 1).to_be_bytes());
        self.put(BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
        self.put(MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes());
        self.put(PRODUCER_ID, &id.to_be_bytes());
        self.put(PRODUCER_EPOCH, &epoch.to_be_bytes());
        self.put(BASE_SEQUENCE, &sequence.to_be_bytes());
        self.put(RECORD_COUNT, &self.record_count.to_be_bytes());
        let crc = crc_of(&self.bytes[ATTRIBUTES..]);
        self.put(CRC, &crc.to_be_bytes());
        Bytes::from(self.bytes)
    }

    fn put(&mut self, at: usize, field: &[u8]) {
        self.bytes[at..at + field.len()].copy_from_slice(field);
    }
}

pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
