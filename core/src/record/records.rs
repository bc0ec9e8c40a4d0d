//! The records inside a batch whose body is not compressed.

use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Compression, TimestampType};
use crate::{time::Timestamp, types::Offset};

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp; the batch's own when the broker set it.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order, keys may repeat.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key: UTF-8 by agreement, not checked.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Iterator over the headers of a record; ends after the first error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    left: u32,
    reader: VarintReader<'a>,
}

/// Iterator over the records of a batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    left: u32,
    reader: VarintReader<'a>,
}

/// The bytes of one record as they stand in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBytes<'a> {
    /// All of it, its length included.
    pub(super) whole: &'a [u8],
    pub(super) attributes: u8,
    /// What follows the timestamp delta: the offset delta and everything behind it.
    pub(super) after_timestamp: &'a [u8],
}

/// The records of a whole uncompressed batch: header and body. The CRC is not checked here.
pub fn records(batch: &[u8]) -> Result<Records<'_>, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if header.compression != Compression::None {
        return Err(BatchError::Compressed { compression: header.compression });
    }
    let body =
        batch.get(BATCH_HEADER_BYTES..header.size_in_bytes).ok_or(BatchError::Truncated {
            needed: header.size_in_bytes as u64,
            found: batch.len() as u64,
        })?;
    Ok(Records::in_body(&header, body))
}

impl<'a> Records<'a> {
    /// The records of a body that the caller has decompressed, if it had to be.
    #[must_use]
    pub fn in_body(header: &BatchHeader, body: &'a [u8]) -> Self {
        Self { header: *header, left: header.record_count, reader: VarintReader { rest: body } }
    }

    /// The next record with its bytes; `None` behind the last one, and after an error.
    pub fn next_with_bytes(&mut self) -> Option<Result<(Record<'a>, RecordBytes<'a>), BatchError>> {
        self.left = self.left.checked_sub(1)?;
        let record = self.next_record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }

    fn next_record(&mut self) -> Result<(Record<'a>, RecordBytes<'a>), BatchError> {
        let before = self.reader.rest;
        let length = self.reader.length()?;
        let mut reader = VarintReader { rest: self.reader.take(length)? };
        let whole = &before[..before.len() - self.reader.rest.len()];
        let attributes = reader.take(1)?[0]; // unused
        let timestamp_delta = reader.varlong()?;
        let bytes = RecordBytes { whole, attributes, after_timestamp: reader.rest };
        let offset_delta = u32::try_from(reader.varint()?)
            .ok()
            .filter(|delta| *delta <= self.header.last_offset_delta)
            .ok_or(BatchError::InvalidRecord { rule: "an offset delta lies outside its batch" })?;
        let key = reader.nullable()?;
        let value = reader.nullable()?;
        let headers = reader.length()?;
        let left = u32::try_from(headers)
            .map_err(|_| BatchError::InvalidRecord { rule: "too many headers" })?;
        let record = Record {
            offset: self.header.base_offset.plus(u64::from(offset_delta)),
            timestamp: match self.header.timestamp_type {
                TimestampType::CreateTime => {
                    Timestamp(self.header.base_timestamp.0.wrapping_add(timestamp_delta))
                }
                TimestampType::LogAppendTime => self.header.max_timestamp,
            },
            key,
            value,
            headers: Headers { left, reader },
        };
        Ok((record, bytes))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_with_bytes()?.map(|(record, _)| record))
    }
}

impl<'a> Headers<'a> {
    /// How many headers the record claims to have; not to be believed before they were read.
    #[must_use]
    pub fn claimed(&self) -> u32 {
        self.left
    }

    fn next_header(&mut self) -> Result<Header<'a>, BatchError> {
        let length = self.reader.length()?;
        let key = self.reader.take(length)?;
        let value = self.reader.nullable()?;
        Ok(Header { key, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.next_header();
        if header.is_err() {
            self.left = 0;
        }
        Some(header)
    }
}

/// Reads zig-zag varints and the byte strings they announce.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VarintReader<'a> {
    rest: &'a [u8],
}

const ENDS_EARLY: BatchError = BatchError::InvalidRecord { rule: "it ends too early" };

impl<'a> VarintReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Ten bytes at most; the tenth may only carry the highest bit.
    fn varlong(&mut self) -> Result<i64, BatchError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(BatchError::InvalidRecord { rule: "a varint is too long" })
    }

    fn varint(&mut self) -> Result<i32, BatchError> {
        i32::try_from(self.varlong()?)
            .map_err(|_| BatchError::InvalidRecord { rule: "a varint exceeds 32 bits" })
    }

    fn length(&mut self) -> Result<usize, BatchError> {
        usize::try_from(self.varint()?)
            .map_err(|_| BatchError::InvalidRecord { rule: "a length is negative" })
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, BatchError> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| BatchError::InvalidRecord { rule: "a length is negative" })?;
                self.take(length).map(Some)
            }
        }
    }
}
