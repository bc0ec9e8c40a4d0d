//! The simulator's own reading of record batches (magic 2), written from the protocol and not from
//! the broker's code, so that both cannot be wrong in the same way. Uncompressed batches only.
//!
//! Every record's content follows from its number: what a consumer reads can be compared with what
//! was sent without keeping any of it.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
const LENGTH_PREFIX: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LOG_APPEND_TIME: i16 = 0x08;

/// Numbers with this bit are records of compacted topics: they have one of few keys, and every
/// fourth deletes its key.
pub const KEYED: u64 = 1 << 62;
/// How many keys they have, if nothing else is asked for. Odd, so that every key has values and
/// deletions.
pub const KEYS: u64 = 61;

/// Where a number says how large its value is, in units of [`VALUE_UNIT`]; zero is a small one.
const VALUE_UNITS_AT: u32 = 40;
const VALUE_UNITS_MASK: u64 = 0x7ff;
const VALUE_UNIT: u64 = 64;

/// One record to send: its number, from which key, value and header follow, and its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Unique in a run.
    pub number: u64,
    /// CreateTime in milliseconds.
    pub timestamp: i64,
}

/// Who sent a batch, for idempotence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record.
    pub base_sequence: i32,
}

/// A batch as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Leader epoch of the append.
    pub leader_epoch: i32,
    /// The header's largest timestamp.
    pub max_timestamp: i64,
    /// Whether the broker stamped the records.
    pub append_time: bool,
    /// The idempotent producer, if it was one.
    pub producer: Option<Producer>,
    /// The records.
    pub records: Vec<ReadRecord>,
}

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp: the producer's, or the broker's under LogAppendTime.
    pub timestamp: i64,
    /// Its number; `None` when the content is not exactly what that number was sent with.
    pub number: Option<u64>,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBatch {
    /// The bytes end before the batch does.
    Truncated,
    /// They contradict the format, in this respect.
    Malformed(&'static str),
    /// The checksum does not match.
    Crc,
}

/// Encodes records as one batch with base offset zero.
#[must_use]
pub fn encode(records: &[Sent], producer: Option<Producer>) -> Bytes {
    let mut body = BytesMut::new();
    let first = records[0].timestamp;
    for (index, record) in records.iter().enumerate() {
        put_record(&mut body, index as i64, record.timestamp - first, record.number);
    }
    let count = records.len() as i32;
    let newest = records.iter().map(|record| record.timestamp).max().unwrap_or(first);
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + body.len());
    batch.put_i64(0);
    batch.put_i32((HEADER_BYTES - LENGTH_PREFIX + body.len()) as i32);
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(count - 1);
    batch.put_i64(first);
    batch.put_i64(newest);
    batch.put_i64(producer.map_or(-1, |producer| producer.id));
    batch.put_i16(producer.map_or(-1, |producer| producer.epoch));
    batch.put_i32(producer.map_or(-1, |producer| producer.base_sequence));
    batch.put_i32(count);
    batch.extend_from_slice(&body);
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// Reads batches up to the end of the bytes or the first one that is cut short or bad: what was
/// read, the bytes it took, and what stopped it.
#[must_use]
pub fn decode_all(bytes: &[u8]) -> (Vec<ReadBatch>, usize, Option<BadBatch>) {
    let (mut batches, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match decode(&bytes[at..]) {
            Ok((batch, size)) => {
                batches.push(batch);
                at += size;
            }
            Err(bad) => return (batches, at, Some(bad)),
        }
    }
    (batches, at, None)
}

/// Reads the batch at the start of the bytes, and its size.
pub fn decode(bytes: &[u8]) -> Result<(ReadBatch, usize), BadBatch> {
    if bytes.len() < HEADER_BYTES {
        return Err(BadBatch::Truncated);
    }
    let length = i32_at(bytes, 8);
    if (length as usize) < HEADER_BYTES - LENGTH_PREFIX || length < 0 {
        return Err(BadBatch::Malformed("length"));
    }
    let size = LENGTH_PREFIX + length as usize;
    let batch = bytes.get(..size).ok_or(BadBatch::Truncated)?;
    if batch[16] != 2 {
        return Err(BadBatch::Malformed("magic"));
    }
    if crc32c(&batch[ATTRIBUTES_AT..]) != i32_at(batch, CRC_AT) as u32 {
        return Err(BadBatch::Crc);
    }
    Ok((parse(batch)?, size))
}

fn parse(batch: &[u8]) -> Result<ReadBatch, BadBatch> {
    let attributes = i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]);
    let append_time = attributes & LOG_APPEND_TIME != 0;
    let (base_offset, last_delta) = (i64_at(batch, 0), i32_at(batch, 23));
    let (base_timestamp, max_timestamp) = (i64_at(batch, 27), i64_at(batch, 35));
    let producer = (i64_at(batch, 43) >= 0).then(|| Producer {
        id: i64_at(batch, 43),
        epoch: i16::from_be_bytes([batch[51], batch[52]]),
        base_sequence: i32_at(batch, 53),
    });
    let count = i32_at(batch, 57);
    // Compaction takes records out and leaves the offsets of the others.
    if count < 0 || last_delta < count - 1 {
        return Err(BadBatch::Malformed("record count"));
    }
    let mut reader = Fields(&batch[HEADER_BYTES..]);
    let mut records = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let record = reader.record().ok_or(BadBatch::Malformed("record"))?;
        records.push(ReadRecord {
            offset: base_offset + record.offset_delta,
            timestamp: if append_time {
                max_timestamp
            } else {
                base_timestamp + record.timestamp_delta
            },
            number: record.number,
        });
    }
    Ok(ReadBatch {
        base_offset,
        last_offset: base_offset + i64::from(last_delta),
        leader_epoch: i32_at(batch, 12),
        max_timestamp,
        append_time,
        producer,
        records,
    })
}

/// The number of a record whose value has so many bytes, in steps of 64.
#[must_use]
pub fn with_value_bytes(number: u64, bytes: u64) -> u64 {
    number | (bytes / VALUE_UNIT).clamp(1, VALUE_UNITS_MASK) << VALUE_UNITS_AT
}

/// The number of a record of a compacted topic with this key, below 61. Unlike `numbers` give unlike
/// ones; `value_bytes` as for [`with_value_bytes`].
#[must_use]
pub fn keyed_number(number: u64, key: u64, value_bytes: Option<u64>) -> u64 {
    let size = value_bytes.map_or(0, |bytes| with_value_bytes(0, bytes));
    KEYED | size | (number * KEYS + (key % KEYS + KEYS - size % KEYS) % KEYS)
}

/// Which key a record of a compacted topic has; none of any other.
#[must_use]
pub fn compaction_key(number: u64) -> Option<u64> {
    (number & KEYED != 0).then_some((number ^ KEYED) % KEYS)
}

/// Whether a record of a compacted topic deletes its key.
#[must_use]
pub fn is_deletion(number: u64) -> bool {
    number & KEYED != 0 && number % 4 == 3
}

/// The value a record of this number carries: the number and a filler that follows from it.
fn value_of(number: u64) -> Option<Vec<u8>> {
    if is_deletion(number) {
        return None;
    }
    let mut value = number.to_be_bytes().to_vec();
    let length = match (number >> VALUE_UNITS_AT) & VALUE_UNITS_MASK {
        0 => (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) * 2,
        units => units * VALUE_UNIT - 8,
    };
    value.extend((0..length).map(|at| (number.wrapping_mul(31).wrapping_add(at * 7)) as u8));
    Some(value)
}

fn key_of(number: u64) -> Option<[u8; 2]> {
    if let Some(key) = compaction_key(number) {
        return Some([key as u8, u8::MAX]);
    }
    (!number.is_multiple_of(3)).then_some([(number % 7) as u8, (number % 11) as u8])
}

fn put_record(body: &mut BytesMut, offset_delta: i64, timestamp_delta: i64, number: u64) {
    let mut record = BytesMut::new();
    record.put_i8(0);
    put_varint(&mut record, timestamp_delta);
    put_varint(&mut record, offset_delta);
    match key_of(number) {
        Some(key) => put_sized(&mut record, &key),
        None => put_varint(&mut record, -1),
    }
    match value_of(number) {
        Some(value) => put_sized(&mut record, &value),
        None => put_varint(&mut record, -1),
    }
    put_varint(&mut record, 1);
    put_sized(&mut record, b"n");
    put_sized(&mut record, &number.to_le_bytes());
    put_varint(body, record.len() as i64);
    body.extend_from_slice(&record);
}

fn put_sized(bytes: &mut BytesMut, content: &[u8]) {
    put_varint(bytes, content.len() as i64);
    bytes.extend_from_slice(content);
}

fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
}

struct Fields<'a>(&'a [u8]);

struct Parsed {
    offset_delta: i64,
    timestamp_delta: i64,
    number: Option<u64>,
}

impl<'a> Fields<'a> {
    fn record(&mut self) -> Option<Parsed> {
        let mut record = Fields(self.sized()??);
        record.take(1)?;
        let timestamp_delta = record.varint()?;
        let offset_delta = record.varint()?;
        let key = record.sized()?;
        let value = record.sized()?;
        let headers = record.varint()?;
        let header = (headers == 1).then(|| Some((record.sized()??, record.sized()??))).flatten();
        let number = header
            .filter(|(name, _)| *name == b"n")
            .and_then(|(_, number)| Some(u64::from_le_bytes(number.try_into().ok()?)))
            .filter(|number| value == value_of(*number).as_deref())
            .filter(|number| key == key_of(*number).as_ref().map(|key| &key[..]))
            .filter(|_| record.0.is_empty());
        Some(Parsed { offset_delta, timestamp_delta, number })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }

    /// Length-prefixed bytes; the inner `None` is a null.
    fn sized(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4) as u32)
}

/// CRC-32C, a table of one byte at a time.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut crc, mut bit) = (index as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(numbers: std::ops::Range<u64>) -> Bytes {
        let sent: Vec<_> =
            numbers.map(|number| Sent { number, timestamp: 1_000 + number as i64 * 3 }).collect();
        encode(&sent, Some(Producer { id: 9, epoch: 1, base_sequence: 5 }))
    }

    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_was_sent_is_what_is_read() {
        let bytes = batch(4..9);
        let (read, size) = decode(&bytes).unwrap();
        assert_eq!(size, bytes.len());
        assert_eq!((read.base_offset, read.last_offset, read.records.len()), (0, 4, 5));
        assert_eq!(read.producer, Some(Producer { id: 9, epoch: 1, base_sequence: 5 }));
        let numbers: Vec<_> = read.records.iter().map(|record| record.number).collect();
        assert_eq!(numbers, (4..9).map(Some).collect::<Vec<_>>());
        assert_eq!(read.records[1].timestamp, 1_015);
    }

    #[test]
    fn a_deletion_has_a_key_and_no_value() {
        let number = KEYED + 3;
        assert!(is_deletion(number) && compaction_key(number) == Some(3));
        let bytes = encode(&[Sent { number, timestamp: 5 }], None);
        assert_eq!(decode(&bytes).unwrap().0.records[0].number, Some(number));
        assert!(!is_deletion(3) && compaction_key(3).is_none());
    }

    #[test]
    fn a_flipped_bit_and_a_cut_are_noticed() {
        let bytes = batch(0..3);
        let mut flipped = bytes.to_vec();
        flipped[80] ^= 4;
        assert_eq!(decode(&flipped), Err(BadBatch::Crc));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(BadBatch::Truncated));
    }

    #[test]
    fn a_record_with_another_content_has_no_number() {
        let bytes = batch(0..1);
        let mut changed = bytes.to_vec();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        let crc = crc32c(&changed[ATTRIBUTES_AT..]);
        changed[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(&changed).unwrap().0.records[0].number, None);
    }
}
