//! The 61-byte header of a record batch.

use super::BatchError;
use crate::{
    time::Timestamp,
    types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence},
};
use crc_fast::{CrcAlgorithm, checksum};

/// Size of a batch's header: everything before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Size of the base offset and length fields, which the length field does not count.
pub const BATCH_PREFIX_BYTES: usize = 12;

pub(super) const BASE_OFFSET: usize = 0;
pub(super) const LENGTH: usize = 8;
pub(super) const LEADER_EPOCH: usize = 12;
pub(super) const MAGIC: usize = 16;
pub(super) const CRC: usize = 17;
/// The CRC covers everything from here to the end of the batch.
pub(super) const ATTRIBUTES: usize = 21;
pub(super) const LAST_OFFSET_DELTA: usize = 23;
pub(super) const BASE_TIMESTAMP: usize = 27;
pub(super) const MAX_TIMESTAMP: usize = 35;
pub(super) const PRODUCER_ID: usize = 43;
pub(super) const PRODUCER_EPOCH: usize = 51;
pub(super) const BASE_SEQUENCE: usize = 53;
pub(super) const RECORD_COUNT: usize = 57;

pub(super) const MAGIC_V2: i8 = 2;
pub(super) const COMPRESSION_MASK: u16 = 0b111;
pub(super) const LOG_APPEND_TIME_BIT: u16 = 1 << 3;
pub(super) const TRANSACTIONAL_BIT: u16 = 1 << 4;
pub(super) const CONTROL_BIT: u16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: u16 = 1 << 6;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// The codec's name as in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    fn from_attributes(attributes: u16) -> Result<Self, BatchError> {
        Ok(match attributes & COMPRESSION_MASK {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            codec => return Err(BatchError::UnknownCompression { codec: codec as u8 }),
        })
    }
}

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker: every record has the batch's maximum timestamp.
    LogAppendTime,
}

/// The producer of an idempotent batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: ProducerId,
    /// The id's generation, never negative.
    pub epoch: ProducerEpoch,
    /// Sequence number of the first record, never negative.
    pub base_sequence: Sequence,
    /// Sequence number of the last record: `base_sequence` plus the last offset delta, wrapping.
    pub last_sequence: Sequence,
}

/// Every field of a batch's header, checked for consistency but not against the CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Size of the whole batch in bytes, its 12-byte prefix included; at least 61.
    pub size_in_bytes: usize,
    /// Epoch of the leader that appended the batch; `None` while it comes from a client.
    pub leader_epoch: Option<LeaderEpoch>,
    /// CRC-32C as stored.
    pub crc: u32,
    /// Codec of the records.
    pub compression: Compression,
    /// Meaning of the timestamps.
    pub timestamp_type: TimestampType,
    /// Part of a transaction.
    pub is_transactional: bool,
    /// A transaction marker instead of data.
    pub is_control: bool,
    /// Offset of the last record, relative to the first.
    pub last_offset_delta: u32,
    /// Timestamp that the records' timestamps are relative to. In a batch with a delete horizon it
    /// is that, and no record's.
    pub base_timestamp: Timestamp,
    /// From when on compaction may remove the batch's tombstones (KIP-534); `None` until it has come
    /// upon them.
    pub delete_horizon: Option<Timestamp>,
    /// The newest timestamp as the producer (or broker) states it; -1 when it gave none.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, if any.
    pub producer: Option<ProducerIdentity>,
    /// Number of records. Invariant: at most `last_offset_delta + 1`, and equal to it in a batch
    /// that comes from a client. Compaction removes records and keeps the delta; it may leave a batch
    /// without a record.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads a header from the first 61 bytes of `bytes`; more may follow. The CRC is not checked
    /// and the body need not be there.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = raw(bytes)?;
        let length = i32_at(header, LENGTH);
        if length < (BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES) as i32 {
            return Err(BatchError::InvalidLength { length });
        }
        let magic = header[MAGIC] as i8;
        if magic != MAGIC_V2 {
            return Err(BatchError::UnsupportedMagic { magic });
        }
        let attributes = i16_at(header, ATTRIBUTES) as u16;
        let (last_offset_delta, record_count) = counts(header)?;
        let base_timestamp = Timestamp(i64_at(header, BASE_TIMESTAMP));
        let has_horizon = attributes & DELETE_HORIZON_BIT != 0;
        Ok(Self {
            base_offset: base_offset(header)?,
            size_in_bytes: length as usize + BATCH_PREFIX_BYTES,
            leader_epoch: leader_epoch(header)?,
            crc: i32_at(header, CRC) as u32,
            compression: Compression::from_attributes(attributes)?,
            timestamp_type: if attributes & LOG_APPEND_TIME_BIT == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            is_transactional: attributes & TRANSACTIONAL_BIT != 0,
            is_control: attributes & CONTROL_BIT != 0,
            last_offset_delta,
            base_timestamp,
            delete_horizon: has_horizon.then_some(base_timestamp),
            max_timestamp: Timestamp(i64_at(header, MAX_TIMESTAMP)),
            producer: producer(header, last_offset_delta, attributes & CONTROL_BIT != 0)?,
            record_count,
        })
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.last_offset_delta))
    }

    /// Offset that follows the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// How many offsets the batch spans.
    #[must_use]
    pub fn offset_count(&self) -> u64 {
        u64::from(self.last_offset_delta) + 1
    }
}

/// Whether the CRC-32C stored in a whole batch (`bytes` must hold exactly one) matches its bytes.
#[must_use]
pub fn verify_crc(bytes: &[u8]) -> bool {
    match raw(bytes) {
        Ok(header) => i32_at(header, CRC) as u32 == crc_of(&bytes[ATTRIBUTES..]),
        Err(_) => false,
    }
}

/// The CRC-32C (Castagnoli) of `bytes`.
#[must_use]
pub fn crc_of(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

pub(super) fn raw(bytes: &[u8]) -> Result<&[u8; BATCH_HEADER_BYTES], BatchError> {
    bytes.first_chunk().ok_or(BatchError::Truncated {
        needed: BATCH_HEADER_BYTES as u64,
        found: bytes.len() as u64,
    })
}

pub(super) fn i32_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(array(header, at))
}

pub(super) fn i16_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(array(header, at))
}

pub(super) fn i64_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(array(header, at))
}

fn array<const N: usize>(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("every field lies inside the header")
}

fn base_offset(header: &[u8; BATCH_HEADER_BYTES]) -> Result<Offset, BatchError> {
    /// Leaves room for a batch's offsets below `i64::MAX`, Kafka's own limit.
    const HIGHEST: u64 = (i64::MAX - i32::MAX as i64 - 1) as u64;
    match u64::try_from(i64_at(header, BASE_OFFSET)) {
        Ok(offset) if offset <= HIGHEST => Ok(Offset(offset)),
        _ => Err(BatchError::InvalidField { rule: "the base offset must be 0 to 2^63 - 2^31" }),
    }
}

fn leader_epoch(header: &[u8; BATCH_HEADER_BYTES]) -> Result<Option<LeaderEpoch>, BatchError> {
    match i32_at(header, LEADER_EPOCH) {
        -1 => Ok(None),
        epoch => u32::try_from(epoch)
            .map(|epoch| Some(LeaderEpoch(epoch)))
            .map_err(|_| BatchError::InvalidField { rule: "the leader epoch must be -1 or more" }),
    }
}

fn counts(header: &[u8; BATCH_HEADER_BYTES]) -> Result<(u32, u32), BatchError> {
    let last_offset_delta = i32_at(header, LAST_OFFSET_DELTA);
    let record_count = i32_at(header, RECORD_COUNT);
    if record_count < 0 || last_offset_delta < 0 || last_offset_delta < record_count - 1 {
        return Err(BatchError::CountMismatch { record_count, last_offset_delta });
    }
    Ok((last_offset_delta as u32, record_count as u32))
}

fn producer(
    header: &[u8; BATCH_HEADER_BYTES],
    last_offset_delta: u32,
    is_control: bool,
) -> Result<Option<ProducerIdentity>, BatchError> {
    let id = i64_at(header, PRODUCER_ID);
    if id == -1 || is_control {
        return Ok(None);
    }
    let epoch = i16_at(header, PRODUCER_EPOCH);
    let base_sequence = i32_at(header, BASE_SEQUENCE);
    if id < 0 || epoch < 0 || base_sequence < 0 {
        return Err(BatchError::InvalidField {
            rule: "a producer id, its epoch and its base sequence must not be negative",
        });
    }
    let base_sequence = Sequence(base_sequence);
    Ok(Some(ProducerIdentity {
        id: ProducerId(id as u64),
        epoch: ProducerEpoch(epoch),
        base_sequence,
        last_sequence: base_sequence.plus(last_offset_delta as i32),
    }))
}
