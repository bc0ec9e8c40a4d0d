//! Rule tests: what a batch may be, and how it is patched and read.

use super::*;
use crate::{
    time::Timestamp,
    types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence},
};
use alloc::{format, string::String, vec, vec::Vec};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NO_LIMIT: usize = usize::MAX;

fn sample() -> Bytes {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(2), Sequence(i32::MAX));
    builder.push(NewRecord {
        timestamp: Timestamp(1000),
        key: Some(b"key"),
        value: Some(b"value"),
        headers: &[(b"h", Some(b"1")), (b"h", None)],
    });
    builder.push(NewRecord { timestamp: Timestamp(990), value: None, ..NewRecord::default() });
    builder.build()
}

/// The sample with some header bytes replaced and the CRC made to match.
fn altered(at: usize, field: &[u8]) -> Bytes {
    let mut bytes = sample().to_vec();
    bytes[at..at + field.len()].copy_from_slice(field);
    let crc = crc_of(&bytes[header::ATTRIBUTES..]);
    bytes[header::CRC..header::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn from_client(bytes: Bytes) -> Result<Batch, BatchError> {
    Batch::parse(bytes, NO_LIMIT, Origin::Client)
}

/// Checked against a bitwise CRC-32C and the format's description by hand.
const GOLDEN_BATCH: &str = "00000000000000000000004effffffff02a5bc7b0a0000000000010000000000\
                            0003e800000000000003e8000000000000000700027fffffff000000022a0000\
                            00066b65790a76616c756504026802310268010c001302010100";

#[test]
fn a_built_batch_has_the_golden_bytes() {
    let hex: String = sample().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN_BATCH);
}

#[test]
fn a_parsed_header_holds_every_field() {
    let batch = from_client(sample()).expect("valid");
    let header = batch.header;
    assert_eq!(header.size_in_bytes, sample().len());
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(0), None));
    assert_eq!((header.record_count, header.last_offset_delta), (2, 1));
    assert_eq!((header.base_timestamp, header.max_timestamp), (Timestamp(1000), Timestamp(1000)));
    assert_eq!((header.is_control, header.is_transactional), (false, false));
    let producer = header.producer.expect("idempotent");
    assert_eq!((producer.id, producer.epoch), (ProducerId(7), ProducerEpoch(2)));
    assert_eq!((producer.base_sequence, producer.last_sequence), (Sequence(i32::MAX), Sequence(0)));
    assert!(verify_crc(&batch.bytes));
}

#[test]
fn placing_patches_offset_and_epoch_and_leaves_the_crc_valid() {
    let batch = from_client(sample()).expect("valid");
    let crc = batch.header.crc;
    let placed = batch.placed(Offset(1 << 40), LeaderEpoch(9), None);
    let bytes = placed.chunks.concat();
    let header = BatchHeader::parse(&bytes).expect("valid");
    assert_eq!(header, placed.header);
    assert_eq!(
        (header.base_offset, header.last_offset()),
        (Offset(1 << 40), Offset((1 << 40) + 1))
    );
    assert_eq!((header.leader_epoch, header.crc), (Some(LeaderEpoch(9)), crc));
    assert!(verify_crc(&bytes));
    assert_eq!(bytes[header::MAGIC..], sample()[header::MAGIC..]);
}

#[test]
fn log_append_time_is_stamped_with_a_new_crc() {
    let batch = from_client(sample()).expect("valid");
    let placed = batch.placed(Offset(5), LeaderEpoch(0), Some(Timestamp(777)));
    let bytes = placed.chunks.concat();
    assert!(verify_crc(&bytes));
    let parsed = Batch::parse(Bytes::from(bytes.clone()), NO_LIMIT, Origin::Log).expect("valid");
    assert_eq!(parsed.header, placed.header);
    assert_eq!(parsed.header.timestamp_type, TimestampType::LogAppendTime);
    let times: Vec<_> =
        records(&bytes).expect("plain").map(|record| record.expect("valid").timestamp).collect();
    assert_eq!(times, [Timestamp(777), Timestamp(777)]);
}

#[test]
fn records_are_read_back_as_they_were_pushed() {
    let bytes = sample();
    let read: Vec<_> =
        records(&bytes).expect("plain").collect::<Result<_, _>>().expect("valid records");
    assert_eq!(read[0].key, Some(&b"key"[..]));
    assert_eq!(read[0].value, Some(&b"value"[..]));
    assert_eq!((read[0].offset, read[0].timestamp), (Offset(0), Timestamp(1000)));
    let headers: Vec<_> = read[0].headers.clone().collect::<Result<_, _>>().expect("valid");
    assert_eq!(
        headers,
        [Header { key: b"h", value: Some(b"1") }, Header { key: b"h", value: None }]
    );
    assert_eq!((read[1].offset, read[1].timestamp), (Offset(1), Timestamp(990)));
    assert_eq!((read[1].key, read[1].value), (None, None));
}

#[test]
fn a_flipped_bit_anywhere_behind_the_crc_is_corruption() {
    for at in header::ATTRIBUTES..sample().len() {
        let mut bytes = sample().to_vec();
        bytes[at] ^= 1;
        assert!(Batch::parse(Bytes::from(bytes), NO_LIMIT, Origin::Log).is_err(), "byte {at}");
    }
}

#[test]
fn a_batch_must_fill_its_bytes_exactly() {
    let bytes = sample();
    let size = bytes.len() as u64;
    let cut = bytes.slice(..bytes.len() - 1);
    assert_eq!(from_client(cut), Err(BatchError::Truncated { needed: size, found: size - 1 }));
    let two = Bytes::from([&bytes[..], &bytes[..]].concat());
    assert_eq!(from_client(two), Err(BatchError::NotOneBatch));
    assert!(matches!(
        from_client(Bytes::from(vec![0; 60])),
        Err(BatchError::Truncated { needed: 61, found: 60 })
    ));
    assert!(matches!(from_client(Bytes::new()), Err(BatchError::Truncated { .. })));
    for length in [-1, 0, 48] {
        let short = altered(header::LENGTH, &i32::to_be_bytes(length));
        assert_eq!(from_client(short), Err(BatchError::InvalidLength { length }));
    }
}

#[test]
fn the_size_limit_counts_the_prefix() {
    let size = sample().len();
    assert!(Batch::parse(sample(), size, Origin::Client).is_ok());
    assert_eq!(
        Batch::parse(sample(), size - 1, Origin::Client),
        Err(BatchError::TooLarge { size: size as u64, max: size as u64 - 1 })
    );
}

#[test]
fn a_client_may_not_send_what_only_a_broker_writes() {
    let attributes = |bits: u16| altered(header::ATTRIBUTES, &bits.to_be_bytes());
    for (bytes, expected) in [
        (attributes(header::CONTROL_BIT), BatchError::ControlBatch),
        (attributes(header::TRANSACTIONAL_BIT), BatchError::Transactional),
        (attributes(header::LOG_APPEND_TIME_BIT), BatchError::TimestampTypeFromClient),
        (attributes(5), BatchError::UnknownCompression { codec: 5 }),
        (altered(header::MAGIC, &[1]), BatchError::UnsupportedMagic { magic: 1 }),
        (
            altered(header::RECORD_COUNT, &1_i32.to_be_bytes()),
            BatchError::CountMismatch { record_count: 1, last_offset_delta: 1 },
        ),
        (
            altered(header::RECORD_COUNT, &0_i32.to_be_bytes()),
            BatchError::CountMismatch { record_count: 0, last_offset_delta: 1 },
        ),
        (
            altered(header::LAST_OFFSET_DELTA, &i32::MIN.to_be_bytes()),
            BatchError::CountMismatch { record_count: 2, last_offset_delta: i32::MIN },
        ),
    ] {
        assert_eq!(from_client(bytes), Err(expected));
    }
    for (at, field) in [
        (header::PRODUCER_ID, (-2_i64).to_be_bytes().as_slice()),
        (header::PRODUCER_EPOCH, (-1_i16).to_be_bytes().as_slice()),
        (header::BASE_SEQUENCE, (-1_i32).to_be_bytes().as_slice()),
    ] {
        assert!(matches!(from_client(altered(at, field)), Err(BatchError::InvalidField { .. })));
    }
}

#[test]
fn a_client_may_not_claim_more_records_than_the_bytes_can_hold() {
    let claiming = |count: i32, codec: u16| {
        let mut bytes = altered(header::ATTRIBUTES, &codec.to_be_bytes()).to_vec();
        bytes[header::RECORD_COUNT..][..4].copy_from_slice(&count.to_be_bytes());
        bytes[header::LAST_OFFSET_DELTA..][..4].copy_from_slice(&(count - 1).to_be_bytes());
        let crc = crc_of(&bytes[header::ATTRIBUTES..]);
        bytes[header::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(bytes)
    };
    let most = ((sample().len() - BATCH_HEADER_BYTES) / 7) as i32;
    assert!(from_client(claiming(most, 0)).is_ok());
    for count in [most + 1, i32::MAX] {
        let refused = from_client(claiming(count, 0));
        assert!(matches!(refused, Err(BatchError::InvalidField { .. })), "{refused:?}");
        assert!(from_client(claiming(count, 4)).is_ok(), "compressed bytes do not tell");
        assert!(Batch::parse(claiming(count, 0), NO_LIMIT, Origin::Log).is_ok());
    }
    let mut smallest = BatchBuilder::new();
    (0..100).for_each(|_| smallest.push(NewRecord::default()));
    assert!(from_client(smallest.build()).is_ok());
}

#[test]
fn a_client_s_offset_and_leader_epoch_mean_nothing() {
    let bytes = altered(header::BASE_OFFSET, &(-5_i64).to_be_bytes());
    assert_eq!(from_client(bytes.clone()).expect("ignored").header.base_offset, Offset(0));
    assert!(Batch::parse(bytes, NO_LIMIT, Origin::Log).is_err());
    let bytes = altered(header::LEADER_EPOCH, &(-9_i32).to_be_bytes());
    assert_eq!(from_client(bytes.clone()).expect("ignored").header.leader_epoch, None);
    assert!(Batch::parse(bytes, NO_LIMIT, Origin::Log).is_err());
}

#[test]
fn compressed_records_are_refused_by_the_reader_and_opaque_otherwise() {
    for (codec, compression) in [
        (1, Compression::Gzip),
        (2, Compression::Snappy),
        (3, Compression::Lz4),
        (4, Compression::Zstd),
    ] {
        let bytes = altered(header::ATTRIBUTES, &u16::to_be_bytes(codec));
        assert_eq!(from_client(bytes.clone()).expect("opaque").header.compression, compression);
        assert_eq!(records(&bytes).err(), Some(BatchError::Compressed { compression }));
    }
}

#[test]
fn sequences_wrap_from_the_highest_to_zero() {
    for (base, count, expected) in [
        (0, 0, 0),
        (0, 5, 5),
        (i32::MAX, 0, i32::MAX),
        (i32::MAX, 1, 0),
        (i32::MAX - 2, 5, 2),
        (i32::MAX, i32::MAX, i32::MAX - 1),
    ] {
        assert_eq!(Sequence(base).plus(count), Sequence(expected), "{base} + {count}");
    }
}

#[test]
fn hostile_bytes_never_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..20_000 {
        let mut bytes = sample().to_vec();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        let _ = from_client(Bytes::from(bytes.clone()));
        let _ = Batch::parse(Bytes::from(bytes.clone()), NO_LIMIT, Origin::Log);
        if let Ok(read) = records(&bytes) {
            for record in read.map_while(Result::ok) {
                record.headers.for_each(drop);
            }
        }
    }
}

#[test]
fn random_records_survive_building_and_reading() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..200 {
        let count = random.random_range(1..20);
        let pushed: Vec<PlainRecord> = (0..count)
            .map(|_| (random.random(), random_bytes(&mut random), random_bytes(&mut random)))
            .collect();
        let mut builder = BatchBuilder::new();
        for (timestamp, key, value) in &pushed {
            let (key, value) = (key.as_deref(), value.as_deref());
            let timestamp = Timestamp(*timestamp);
            builder.push(NewRecord { timestamp, key, value, headers: &[] });
        }
        let bytes = builder.build();
        let read: Vec<_> = records(&bytes)
            .expect("plain")
            .map(|record| record.expect("valid"))
            .map(|record| {
                (record.timestamp.0, record.key.map(Vec::from), record.value.map(Vec::from))
            })
            .collect();
        assert_eq!(read, pushed);
    }
}

/// Timestamp, key and value.
type PlainRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn random_bytes(random: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let length = random.random_range(0..300);
    random.random_bool(0.8).then(|| (0..length).map(|_| random.random()).collect())
}
