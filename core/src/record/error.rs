//! What can be wrong with a record batch.

use crate::time::Timestamp;
use core::fmt;

/// Why a batch was refused. Every variant names the Kafka error code that a client gets for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than a batch header, or than its length field says. CORRUPT_MESSAGE.
    Truncated {
        /// Bytes that the batch needs, as far as known.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The length field is smaller than a header. CORRUPT_MESSAGE.
    InvalidLength {
        /// The length field.
        length: i32,
    },
    /// The CRC-32C does not match the bytes. CORRUPT_MESSAGE.
    CrcMismatch {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The batch is larger than `max.message.bytes`. MESSAGE_TOO_LARGE.
    TooLarge {
        /// Size of the batch, its 12-byte prefix included.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// Not format version 2. INVALID_RECORD.
    UnsupportedMagic {
        /// The magic byte.
        magic: i8,
    },
    /// A partition of a produce request must carry exactly one batch. INVALID_RECORD.
    NotOneBatch,
    /// A codec number that Kafka does not define. UNSUPPORTED_COMPRESSION_TYPE.
    UnknownCompression {
        /// The codec number, 0 to 7.
        codec: u8,
    },
    /// No record, or record count and last offset delta disagree. INVALID_RECORD.
    CountMismatch {
        /// The record count.
        record_count: i32,
        /// The last offset delta.
        last_offset_delta: i32,
    },
    /// Offset, leader epoch or producer fields that no correct writer produces. INVALID_RECORD.
    InvalidField {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// Clients must not write control batches. INVALID_RECORD.
    ControlBatch,
    /// Transactions are not served. INVALID_TXN_STATE.
    Transactional,
    /// The timestamp type is LogAppendTime, which only a broker sets. INVALID_TIMESTAMP.
    TimestampTypeFromClient,
    /// The newest timestamp is too old or too far ahead. INVALID_TIMESTAMP.
    TimestampOutOfRange {
        /// The batch's newest timestamp.
        timestamp: Timestamp,
        /// Oldest timestamp allowed at this moment.
        oldest: Timestamp,
        /// Newest timestamp allowed at this moment.
        newest: Timestamp,
    },
    /// A record inside the batch cannot be read. CORRUPT_MESSAGE.
    InvalidRecord {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The records are compressed, so they cannot be read without decompressing the body first.
    Compressed {
        /// The codec.
        compression: super::Compression,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(formatter, "record batch needs {needed} bytes but {found} are there")
            }
            Self::InvalidLength { length } => {
                write!(formatter, "record batch length {length} is smaller than a batch header")
            }
            Self::CrcMismatch { stored, computed } => write!(
                formatter,
                "record batch is corrupt: CRC-32C {computed:#010x} computed, {stored:#010x} stored"
            ),
            Self::TooLarge { size, max } => write!(
                formatter,
                "record batch of {size} bytes exceeds the limit of {max}; raise max.message.bytes \
                 or send smaller batches"
            ),
            Self::UnsupportedMagic { magic } => write!(
                formatter,
                "record format version {magic} is not supported; send version 2 (Kafka 0.11)"
            ),
            Self::NotOneBatch => {
                formatter.write_str("a partition of a produce request must hold exactly one batch")
            }
            Self::UnknownCompression { codec } => {
                write!(formatter, "compression codec {codec} is not known")
            }
            Self::CountMismatch { record_count, last_offset_delta } => write!(
                formatter,
                "record count {record_count} does not fit last offset delta {last_offset_delta}"
            ),
            Self::InvalidField { rule } => write!(formatter, "record batch is invalid: {rule}"),
            Self::ControlBatch => formatter.write_str("clients must not write control batches"),
            Self::Transactional => formatter.write_str("transactional batches are not served"),
            Self::TimestampTypeFromClient => {
                formatter.write_str("only the broker may set the timestamp type LogAppendTime")
            }
            Self::TimestampOutOfRange { timestamp, oldest, newest } => write!(
                formatter,
                "timestamp {} is outside the allowed range {} to {}; see \
                 message.timestamp.before.max.ms and message.timestamp.after.max.ms",
                timestamp.0, oldest.0, newest.0
            ),
            Self::InvalidRecord { rule } => write!(formatter, "record is invalid: {rule}"),
            Self::Compressed { compression } => {
                write!(formatter, "records are compressed with {}", compression.name())
            }
        }
    }
}

impl core::error::Error for BatchError {}
