//! Batches from which compaction has taken records.
//!
//! What stays keeps its offset, timestamp and bytes, and the batch keeps everything that others go by:
//! base offset, last offset, leader epoch, producer and sequence numbers.

use super::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, Record, RecordBytes, TimestampType,
    builder::put_varlong,
    crc_of,
    header::{
        ATTRIBUTES, BASE_TIMESTAMP, COMPRESSION_MASK, CRC, DELETE_HORIZON_BIT, LENGTH,
        MAX_TIMESTAMP, RECORD_COUNT, i16_at,
    },
};
use crate::time::Timestamp;
use alloc::vec::Vec;
use bytes::Bytes;

/// Collects the records of a batch that stay in it.
#[derive(Clone, Debug)]
pub struct RetainedRecords {
    header: BatchHeader,
    /// The delete horizon that the batch gets now.
    new_horizon: Option<Timestamp>,
    record_count: u32,
    max_timestamp: Timestamp,
    body: Vec<u8>,
}

impl RetainedRecords {
    /// None yet, of the batch with this header. With `new_horizon` the batch gets that delete
    /// horizon (KIP-534); it must not have one.
    #[must_use]
    pub fn of(header: &BatchHeader, new_horizon: Option<Timestamp>) -> Self {
        assert!(
            new_horizon.is_none() || header.delete_horizon.is_none(),
            "a delete horizon is set once"
        );
        let (record_count, max_timestamp) = (0, Timestamp(-1));
        Self { header: *header, new_horizon, record_count, max_timestamp, body: Vec::new() }
    }

    /// Keeps a record of the batch, in the order of the offsets.
    pub fn push(&mut self, record: &Record<'_>, bytes: &RecordBytes<'_>) {
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let Some(horizon) = self.new_horizon else {
            return self.body.extend_from_slice(bytes.whole);
        };
        let mut head = Vec::with_capacity(11);
        head.push(bytes.attributes);
        put_varlong(&mut head, record.timestamp.0.wrapping_sub(horizon.0));
        put_varlong(&mut self.body, (head.len() + bytes.after_timestamp.len()) as i64);
        self.body.extend_from_slice(&head);
        self.body.extend_from_slice(bytes.after_timestamp);
    }

    /// The records, to be compressed as the batch is.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The batch with these records. `original` is the batch, of which only the header is read;
    /// `body` is what [`RetainedRecords::body`] returns, compressed as the batch is.
    ///
    /// # Panics
    /// When no record was kept: that is [`emptied`]. When it grows above 2 GiB.
    #[must_use]
    pub fn into_batch(self, original: &[u8], body: &[u8]) -> Bytes {
        assert!(self.record_count > 0, "a batch without records is made otherwise");
        let mut batch = Vec::with_capacity(BATCH_HEADER_BYTES + body.len());
        batch.extend_from_slice(&original[..BATCH_HEADER_BYTES]);
        batch.extend_from_slice(body);
        if let Some(horizon) = self.new_horizon {
            let header = batch.first_chunk().expect("a batch has a header");
            let attributes = i16_at(header, ATTRIBUTES) as u16 | DELETE_HORIZON_BIT;
            put(&mut batch, ATTRIBUTES, &attributes.to_be_bytes());
            put(&mut batch, BASE_TIMESTAMP, &horizon.0.to_be_bytes());
        }
        if self.header.timestamp_type == TimestampType::CreateTime {
            put(&mut batch, MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes());
        }
        put(&mut batch, RECORD_COUNT, &self.record_count.to_be_bytes());
        sealed(batch)
    }
}

/// A batch without its records: what is left is where it stood, and what its producer had sent
/// with it. `original` is the batch, of which only the header is read.
#[must_use]
pub fn emptied(original: &[u8]) -> Bytes {
    let mut batch = original[..BATCH_HEADER_BYTES].to_vec();
    let header = batch.first_chunk().expect("a batch has a header");
    let attributes = i16_at(header, ATTRIBUTES) as u16 & !(COMPRESSION_MASK | DELETE_HORIZON_BIT);
    let max_timestamp: [u8; 8] =
        *header[MAX_TIMESTAMP..].first_chunk().expect("every field lies inside the header");
    put(&mut batch, ATTRIBUTES, &attributes.to_be_bytes());
    put(&mut batch, BASE_TIMESTAMP, &max_timestamp);
    put(&mut batch, RECORD_COUNT, &0_u32.to_be_bytes());
    sealed(batch)
}

/// Writes length and CRC.
fn sealed(mut batch: Vec<u8>) -> Bytes {
    let length =
        i32::try_from(batch.len() - BATCH_PREFIX_BYTES).expect("a batch is smaller than 2 GiB");
    put(&mut batch, LENGTH, &length.to_be_bytes());
    let crc = crc_of(&batch[ATTRIBUTES..]);
    put(&mut batch, CRC, &crc.to_be_bytes());
    Bytes::from(batch)
}

fn put(batch: &mut [u8], at: usize, field: &[u8]) {
    batch[at..at + field.len()].copy_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{BatchBuilder, NewRecord, Records, records, verify_crc},
        types::{Offset, ProducerEpoch, ProducerId, Sequence},
    };

    fn batch() -> Bytes {
        let mut builder =
            BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(1), Sequence(5));
        for (timestamp, value) in [(100, Some(&b"a"[..])), (300, None), (200, Some(b"c"))] {
            let timestamp = Timestamp(timestamp);
            let headers = &[(&b"h"[..], Some(&b"v"[..]))];
            builder.push(NewRecord { timestamp, key: Some(b"key"), value, headers });
        }
        builder.build()
    }

    /// Keeps the records at these places.
    fn keep(batch: &Bytes, places: &[usize], horizon: Option<i64>) -> Bytes {
        let header = BatchHeader::parse(batch).expect("sound");
        let mut retained = RetainedRecords::of(&header, horizon.map(Timestamp));
        let mut records = Records::in_body(&header, &batch[BATCH_HEADER_BYTES..]);
        let mut place = 0;
        while let Some(record) = records.next_with_bytes() {
            let (record, bytes) = record.expect("sound");
            if places.contains(&place) {
                retained.push(&record, &bytes);
            }
            place += 1;
        }
        let body = retained.body().to_vec();
        retained.into_batch(batch, &body)
    }

    #[test]
    fn what_stays_keeps_offset_timestamp_value_and_headers() {
        let before = batch();
        let original: Vec<_> =
            records(&before).expect("plain").map(|it| it.expect("sound")).collect();
        for horizon in [None, Some(9_000), Some(-5)] {
            for places in [&[0][..], &[1], &[2], &[0, 2], &[1, 2], &[0, 1, 2]] {
                let after = keep(&before, places, horizon);
                assert!(verify_crc(&after));
                let header = BatchHeader::parse(&after).expect("sound");
                assert_eq!(header.size_in_bytes, after.len());
                assert_eq!(header.last_offset_delta, 2);
                assert_eq!(header.record_count as usize, places.len());
                assert_eq!(header.delete_horizon, horizon.map(Timestamp));
                assert_eq!(header.producer, BatchHeader::parse(&before).expect("sound").producer);
                let kept: Vec<_> =
                    records(&after).expect("plain").map(|it| it.expect("sound")).collect();
                let expected: Vec<_> = places.iter().map(|at| original[*at].clone()).collect();
                assert_eq!(kept.len(), expected.len());
                for (kept, expected) in kept.iter().zip(&expected) {
                    assert_eq!(
                        (kept.offset, kept.timestamp, kept.key, kept.value),
                        (expected.offset, expected.timestamp, expected.key, expected.value)
                    );
                    assert!(kept.headers.clone().eq(expected.headers.clone()), "its headers");
                }
                let newest = expected.iter().map(|record| record.timestamp).max();
                assert_eq!(Some(header.max_timestamp), newest);
            }
        }
    }

    #[test]
    fn a_batch_that_keeps_everything_keeps_its_bytes() {
        assert_eq!(keep(&batch(), &[0, 1, 2], None), batch());
    }

    #[test]
    fn an_emptied_batch_still_says_where_it_stood_and_what_its_producer_had_sent() {
        let before = batch();
        let after = emptied(&before);
        assert!(verify_crc(&after));
        let (before, header) = (
            BatchHeader::parse(&before).expect("sound"),
            BatchHeader::parse(&after).expect("an empty batch of a log is sound"),
        );
        assert_eq!((header.size_in_bytes, header.record_count), (BATCH_HEADER_BYTES, 0));
        assert_eq!(header.base_offset, Offset(0));
        assert_eq!(
            (header.next_offset(), header.producer),
            (before.next_offset(), before.producer)
        );
        assert_eq!(header.max_timestamp, before.max_timestamp);
        assert_eq!(records(&after).expect("plain").count(), 0);
    }

    #[test]
    fn a_delete_horizon_has_the_golden_bytes() {
        let after = keep(&batch(), &[1], Some(0x0102));
        assert_eq!(
            &after[21..43],
            [
                0, 0x40, 0, 0, 0, 2, // attributes with bit 6, last offset delta
                0, 0, 0, 0, 0, 0, 1, 2, // base timestamp: the horizon
                0, 0, 0, 0, 0, 0, 1, 0x2c, // newest timestamp
            ]
        );
        // The timestamp is relative to the horizon: 300 - 258 = 42, zigzag 84.
        assert_eq!(&after[61..], b"\x1a\0\x54\x02\x06key\x01\x02\x02h\x02v");
    }
}
