//! The records of the topic `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! A key is a record type and the fields of the key; a value is its version and the fields of that
//! version. The structures come from `schema/records`.

use super::{DecodeError, EncodeError, Message, Reader, Writer};
use bytes::Bytes;

pub use super::generated::records::GroupRecord;

/// What decoding may allocate for each byte of a key or of a value. Every element of an array takes
/// at least a byte on the wire, and the dearest such byte is an empty string, of 32 bytes in memory;
/// so this is enough for every record, and hostile bytes get no more.
const MEMORY_PER_BYTE: usize = 64;

/// The only version that keys have.
const KEY_VERSION: i16 = 0;

/// The key of a record.
pub trait RecordKey: Message {
    /// The record type that is written in front of the key.
    const TYPE: i16;
    /// The version of the value that is written.
    const VALUE_VERSION: i16;
    /// What stands under such a key.
    type Value: Message;
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is of a type that a newer broker or another product wrote; a reader skips it.
    #[error("record type {0} is unknown")]
    UnknownType(i16),
    /// The record has no key; a reader skips it.
    #[error("a record without a key")]
    NoKey,
    /// The bytes are no key of the type they begin with.
    #[error("the key: {0}")]
    Key(DecodeError),
    /// The bytes are no value of the key's type, or of a version that is unknown.
    #[error("the value: {0}")]
    Value(DecodeError),
}

/// The bytes of a key.
///
/// # Errors
/// A string is too long.
pub fn encode_key<K: RecordKey>(key: &K) -> Result<Bytes, EncodeError> {
    versioned(key, K::TYPE, KEY_VERSION)
}

/// The bytes of a value, in the version that Kafka writes.
///
/// # Errors
/// A string is too long, or the version needs a field that is null.
pub fn encode_value<K: RecordKey>(value: &K::Value) -> Result<Bytes, EncodeError> {
    versioned(value, K::VALUE_VERSION, K::VALUE_VERSION)
}

/// The bytes of a record; without a value it is a tombstone.
pub(super) fn encode<K: RecordKey>(
    key: &K,
    value: Option<&K::Value>,
) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    Ok((encode_key(key)?, value.map(encode_value::<K>).transpose()?))
}

/// Reads the type of a record; the fields of the key follow in the reader.
pub(super) fn start(key: Bytes) -> Result<(i16, Reader), RecordError> {
    let mut reader = bounded(key);
    let record_type = reader.i16().map_err(RecordError::Key)?;
    Ok((record_type, reader))
}

/// Reads the rest of a record whose type is known.
pub(super) fn decode<K: RecordKey>(
    mut key: Reader,
    value: Option<Bytes>,
) -> Result<(K, Option<K::Value>), RecordError> {
    let decoded = K::decode(&mut key, KEY_VERSION).map_err(RecordError::Key)?;
    key.finish().map_err(RecordError::Key)?;
    Ok((decoded, value.map(decode_value).transpose().map_err(RecordError::Value)?))
}

fn decode_value<V: Message>(bytes: Bytes) -> Result<V, DecodeError> {
    let mut reader = bounded(bytes);
    let version = reader.i16()?;
    let value = V::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(value)
}

/// A message behind a number of two bytes.
pub(super) fn versioned<M: Message>(
    message: &M,
    number: i16,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(number);
    message.encode(&mut writer, version)?;
    Ok(writer.finish_contiguous())
}

/// A reader that may allocate in proportion to the bytes it was given.
pub(super) fn bounded(bytes: Bytes) -> Reader {
    let budget = bytes.len().saturating_mul(MEMORY_PER_BYTE);
    Reader::new(bytes, budget)
}
