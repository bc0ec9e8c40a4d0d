//! One whole batch: checked once where it enters, patched where it is placed in a log.

use super::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, Compression, TimestampType,
    crc_of,
    header::{
        ATTRIBUTES, BASE_OFFSET, CRC, LEADER_EPOCH, LENGTH, LOG_APPEND_TIME_BIT, MAX_TIMESTAMP,
        i16_at, i32_at, raw,
    },
};
use crate::{
    time::Timestamp,
    types::{LeaderEpoch, Offset},
};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

/// A record without key, value and headers: its length, attributes, two deltas, two lengths and a
/// count take a byte each.
const MIN_RECORD_BYTES: u64 = 7;

/// Where a batch comes from, which decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A produce request. Base offset and leader epoch carry nothing and are ignored; control and
    /// transactional batches, LogAppendTime, delete horizons, holes between offsets, batches without a
    /// record and more records than uncompressed bytes can hold are refused.
    Client,
    /// A log: this broker's own, or another replica's.
    Log,
}

/// A batch whose header, length and CRC were checked. The records stay opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The parsed header.
    pub header: BatchHeader,
    /// Invariant: exactly one batch, `header.size_in_bytes` long, as it came.
    pub bytes: Bytes,
}

/// A batch with its place in a log written into its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBatch {
    /// The header as patched.
    pub header: BatchHeader,
    /// The patched 61-byte header and the untouched records; written one after the other.
    pub chunks: [Bytes; 2],
}

impl Batch {
    /// Checks that `bytes` hold exactly one valid batch of at most `max_bytes` bytes, its 12-byte
    /// prefix included.
    pub fn parse(bytes: Bytes, max_bytes: usize, origin: Origin) -> Result<Self, BatchError> {
        let length = i32_at(raw(&bytes)?, LENGTH);
        check_size(length, bytes.len(), max_bytes)?;
        let header = match origin {
            Origin::Client => client_header(&bytes)?,
            Origin::Log => BatchHeader::parse(&bytes)?,
        };
        let computed = crc_of(&bytes[ATTRIBUTES..]);
        if computed != header.crc {
            return Err(BatchError::CrcMismatch { stored: header.crc, computed });
        }
        if origin == Origin::Client {
            check_client_rules(&header)?;
        }
        Ok(Self { header, bytes })
    }

    /// Writes the batch's place into its header. With `append_time` the batch becomes
    /// LogAppendTime with that timestamp and gets a new CRC; otherwise the CRC stays as it was.
    #[must_use]
    pub fn placed(
        self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        append_time: Option<Timestamp>,
    ) -> PlacedBatch {
        let Self { mut header, bytes } = self;
        let body = bytes.slice(BATCH_HEADER_BYTES..);
        let mut patched = *raw(&bytes).expect("a parsed batch has a header");
        header.base_offset = base_offset;
        header.leader_epoch = Some(leader_epoch);
        patched[BASE_OFFSET..LENGTH].copy_from_slice(&base_offset.0.to_be_bytes());
        patched[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.0.to_be_bytes());
        if let Some(time) = append_time {
            header.timestamp_type = TimestampType::LogAppendTime;
            header.max_timestamp = time;
            header.crc = stamp(&mut patched, &body, time);
        }
        PlacedBatch { header, chunks: [Bytes::copy_from_slice(&patched), body] }
    }
}

impl PlacedBatch {
    /// Size in bytes of both chunks.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes
    }
}

fn check_size(length: i32, found: usize, max_bytes: usize) -> Result<(), BatchError> {
    if length < (BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES) as i32 {
        return Err(BatchError::InvalidLength { length });
    }
    let size = length as u64 + BATCH_PREFIX_BYTES as u64;
    if size > found as u64 {
        return Err(BatchError::Truncated { needed: size, found: found as u64 });
    }
    if size < found as u64 {
        return Err(BatchError::NotOneBatch);
    }
    if size > max_bytes as u64 {
        return Err(BatchError::TooLarge { size, max: max_bytes as u64 });
    }
    Ok(())
}

/// Parses a client's header with the two fields blanked that only a log gives a meaning.
fn client_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let mut header = *raw(bytes)?;
    header[BASE_OFFSET..LENGTH].fill(0);
    header[LEADER_EPOCH..LEADER_EPOCH + 4].fill(0xff);
    BatchHeader::parse(&header)
}

fn check_client_rules(header: &BatchHeader) -> Result<(), BatchError> {
    if header.is_control {
        return Err(BatchError::ControlBatch);
    }
    if header.is_transactional {
        return Err(BatchError::Transactional);
    }
    if header.offset_count() != u64::from(header.record_count) {
        return Err(BatchError::CountMismatch {
            record_count: header.record_count as i32,
            last_offset_delta: header.last_offset_delta as i32,
        });
    }
    if header.delete_horizon.is_some() {
        return Err(BatchError::InvalidField { rule: "only a broker sets a delete horizon" });
    }
    let body = header.size_in_bytes.saturating_sub(BATCH_HEADER_BYTES) as u64;
    if header.compression == Compression::None
        && u64::from(header.record_count) * MIN_RECORD_BYTES > body
    {
        return Err(BatchError::InvalidField { rule: "its bytes cannot hold so many records" });
    }
    if header.timestamp_type == TimestampType::LogAppendTime {
        return Err(BatchError::TimestampTypeFromClient);
    }
    Ok(())
}

/// Makes a header LogAppendTime and returns its new CRC.
fn stamp(header: &mut [u8; BATCH_HEADER_BYTES], body: &[u8], time: Timestamp) -> u32 {
    let attributes = i16_at(header, ATTRIBUTES) as u16 | LOG_APPEND_TIME_BIT;
    header[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    header[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&time.0.to_be_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[ATTRIBUTES..]);
    digest.update(body);
    let crc = digest.finalize() as u32;
    header[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    crc
}
