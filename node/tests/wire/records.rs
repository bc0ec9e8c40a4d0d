//! The records of `__consumer_offsets` and the opaque bytes of consumers: what is read is written
//! again, every version, and hostile bytes end in an error within the memory they may take.

use crate::{
    allocation::counted,
    codecs::{DATA, RECORDS},
    hostile::{SHARING_BYTES, damage},
    samples::{Sampler, data, records},
    schema::{Record, Struct},
};
use bytes::{BufMut, Bytes};
use highwater_node::wire::{
    DecodeErrorKind, GroupRecord, Reader, RecordError, VersionRange,
    consumer_protocol::{self, ConsumerProtocolAssignment, ConsumerProtocolSubscription},
    generated::records::{
        consumer_group_regular_expression::{
            ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
        },
        group_metadata::GroupMetadataKey,
    },
};
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Random keys, values and structures per version.
const SAMPLES: u64 = 60;

/// What decoding may allocate for each byte.
const MEMORY_PER_BYTE: usize = 64;

fn sample(body: &Struct, version: i16, flexible: bool, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut out = Vec::new();
    Sampler { random, version, flexible, unknown_tags: false }.structure(body, &mut out);
    out
}

fn behind(number: i16, rest: &[u8]) -> Bytes {
    [&number.to_be_bytes(), rest].concat().into()
}

/// A random record: its key without the type and its value without the version.
fn record_parts(schema: &Record, version: i16, random: &mut ChaCha8Rng) -> (Vec<u8>, Vec<u8>) {
    let flexible = version >= schema.flexible_from;
    let key = sample(&schema.key, 0, false, random);
    (key, sample(&schema.value, version, flexible, random))
}

#[test]
fn every_version_of_every_record_is_read_and_written_as_the_schema_says() {
    assert_eq!(RECORDS.len(), records().len());
    for (schema, codec) in records().iter().zip(RECORDS) {
        assert_eq!(schema.name, codec.name);
        assert_eq!((schema.types.last, schema.written), (codec.record_type, codec.written));
        for version in schema.versions.first..=schema.versions.last {
            for seed in 0..SAMPLES {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let (key, value) = record_parts(schema, version, &mut random);
                let reader = |bytes: &[u8]| Reader::new(Bytes::copy_from_slice(bytes), 1 << 20);
                let context = format!("{} version {version}, seed {seed}", schema.name);
                assert_eq!((codec.key)(reader(&key), 0).unwrap(), key, "{context}: the key");
                let again = (codec.value)(reader(&value), version).unwrap();
                assert_eq!(again, value, "{context}: the value");
            }
        }
    }
}

#[test]
fn a_record_of_the_version_that_is_written_survives_byte_for_byte() {
    for schema in records() {
        for seed in 0..SAMPLES {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (key, value) = record_parts(&schema, schema.written, &mut random);
            let value = behind(schema.written, &value);
            let newest = behind(schema.types.last, &key);
            for record_type in schema.types.first..=schema.types.last {
                let key = behind(record_type, &key);
                let record = GroupRecord::decode(key.clone(), Some(value.clone())).unwrap();
                let expected = (newest.clone(), Some(value.clone()));
                assert_eq!(record.encode().unwrap(), expected, "{}", schema.name);
                let tombstone = GroupRecord::decode(key, None).unwrap();
                assert_eq!(tombstone.encode().unwrap(), (newest.clone(), None));
            }
        }
    }
}

#[test]
fn a_value_with_a_tag_of_a_newer_broker_is_read() {
    // A group's epoch, and a tag 99 of two bytes.
    let key = Bytes::from_static(b"\0\x03\0\x01g");
    let value = Bytes::from_static(b"\0\0\0\0\0\x07\x01\x63\x02zz");
    let GroupRecord::ConsumerGroupMetadata(_, Some(value)) =
        GroupRecord::decode(key, Some(value)).unwrap()
    else {
        panic!("another record")
    };
    assert_eq!(value.epoch, 7);
}

#[test]
fn what_is_no_record_says_why() {
    let decode = |key: &'static [u8], value: Option<&'static [u8]>| {
        GroupRecord::decode(Bytes::from_static(key), value.map(Bytes::from_static)).unwrap_err()
    };
    let kind = |error| match error {
        RecordError::Key(error) => ("key", error.kind),
        RecordError::Value(error) => ("value", error.kind),
        RecordError::UnknownType(_) | RecordError::NoKey => panic!("{error}"),
    };
    assert_eq!(decode(b"\0\x11\0\x01g", None), RecordError::UnknownType(17));
    assert_eq!(decode(b"\xff\xff", None), RecordError::UnknownType(-1));
    assert_eq!(kind(decode(b"\0", None)), ("key", DecodeErrorKind::UnexpectedEnd));
    assert_eq!(kind(decode(b"\0\x02\0\x01gx", None)), ("key", DecodeErrorKind::TrailingBytes(1)));
    assert_eq!(
        kind(decode(b"\0\x03\0\x01g", Some(b"\0\x01\0\0\0\x07\0"))),
        ("value", DecodeErrorKind::UnknownVersion { version: 1, known: VersionRange::new(0, 0) })
    );
    assert_eq!(
        kind(decode(b"\0\x03\0\x01g", Some(b""))),
        ("value", DecodeErrorKind::UnexpectedEnd)
    );
}

#[test]
fn the_record_that_takes_the_most_memory_for_its_bytes_is_read() {
    let topics = vec!["".into(); 10_000];
    let record = GroupRecord::ConsumerGroupRegularExpression(
        ConsumerGroupRegularExpressionKey { group_id: "g".into(), regular_expression: "".into() },
        Some(ConsumerGroupRegularExpressionValue { topics, version: 1, timestamp: 2 }),
    );
    let (key, value) = record.encode().unwrap();
    assert_eq!(value.as_ref().unwrap().len(), 2 + 2 + 10_000 + 16 + 1);
    assert_eq!(GroupRecord::decode(key, value).unwrap(), record);
}

#[test]
fn hostile_records_neither_panic_nor_allocate_more_than_their_share() {
    let schemas = records();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut survivors = 0;
    for _ in 0..60_000 {
        let schema = schemas.choose(&mut random).unwrap();
        let version = random.random_range(schema.versions.first..=schema.versions.last);
        let (key, value) = record_parts(schema, version, &mut random);
        let mut key = behind(schema.types.last, &key).to_vec();
        let mut value = behind(version, &value).to_vec();
        if random.random_bool(0.3) {
            damage(&mut key, &mut random);
        } else {
            damage(&mut value, &mut random);
        }
        let most = MEMORY_PER_BYTE * (key.len() + value.len()) + 2 * SHARING_BYTES;
        let (key, value) = (Bytes::from(key), Bytes::from(value));
        let (decoded, allocated) =
            counted(|| GroupRecord::decode(key.clone(), Some(value.clone())));
        assert!(allocated <= most, "{allocated} for {key:02x?} and {value:02x?}");
        if let Ok(record) = decoded {
            let (key, value) =
                record.encode().unwrap_or_else(|error| panic!("{record:?}: {error}"));
            assert!(GroupRecord::decode(key, value).is_ok(), "{record:?}");
            survivors += 1;
        }
    }
    assert!(survivors > 1000, "only {survivors} damaged records could be decoded");
}

#[test]
fn a_group_whose_metadata_is_gone_is_a_tombstone() {
    let key = GroupMetadataKey { group: "g".into() };
    let record = GroupRecord::GroupMetadata(key, None);
    assert_eq!(record.encode().unwrap(), (Bytes::from_static(b"\0\x02\0\x01g"), None));
}

#[test]
fn what_consumers_tell_each_other_agrees_with_an_independent_codec() {
    for (schema, codec) in data().iter().zip(DATA) {
        for version in schema.versions.first..=schema.versions.last {
            for seed in 0..SAMPLES {
                let random = &mut ChaCha8Rng::seed_from_u64(seed);
                let bytes = Bytes::from(sample(&schema.body, version, false, random));
                let context = format!("{} version {version}, seed {seed}", schema.body.name);
                let reader = Reader::new(bytes.clone(), 1 << 20);
                assert_eq!((codec.ours)(reader, version).unwrap(), bytes, "{context}");
                assert_eq!((codec.theirs)(bytes.clone(), version).unwrap(), bytes, "{context}");
            }
        }
    }
}

#[test]
fn a_subscription_newer_than_any_known_one_is_read_as_the_newest() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        generation_id: 5,
        rack_id: Some("r".into()),
        ..ConsumerProtocolSubscription::default()
    };
    let bytes = consumer_protocol::encode_subscription(&subscription, 3).unwrap();
    let golden = [
        &b"\0\x03"[..],       // version
        b"\0\0\0\x01\0\x01t", // one topic
        b"\xff\xff\xff\xff",  // no user data
        b"\0\0\0\0",          // nothing owned
        b"\0\0\0\x05\0\x01r", // generation, rack
    ];
    assert_eq!(bytes, golden.concat());
    let mut newer = bytes.to_vec();
    newer[1] = 9;
    newer.put_slice(b"appended");
    assert_eq!(consumer_protocol::decode_subscription(newer.into()), Ok(subscription));
    let negative = Bytes::from_static(b"\xff\xff\0\0\0\0\xff\xff\xff\xff");
    assert!(consumer_protocol::decode_subscription(negative).is_err());
}

#[test]
fn an_assignment_of_version_0_is_read() {
    let bytes =
        Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x02ab");
    let assignment = consumer_protocol::decode_assignment(bytes.clone()).unwrap();
    assert_eq!(assignment.assigned_partitions[0].topic, "t");
    assert_eq!(assignment.assigned_partitions[0].partitions, [0, 3]);
    assert_eq!(assignment.user_data.as_deref(), Some(&b"ab"[..]));
    assert_eq!(consumer_protocol::encode_assignment(&assignment, 0).unwrap(), bytes);
    let empty = ConsumerProtocolAssignment::default();
    let bytes = consumer_protocol::encode_assignment(&empty, 1).unwrap();
    assert_eq!(bytes, b"\0\x01\0\0\0\0\xff\xff\xff\xff"[..]);
}

#[test]
fn hostile_subscriptions_neither_panic_nor_allocate_more_than_their_share() {
    let schemas = data();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..40_000 {
        let schema = schemas.choose(&mut random).unwrap();
        let version = random.random_range(schema.versions.first..=schema.versions.last);
        let body = sample(&schema.body, version, false, &mut random);
        let mut bytes = behind(version, &body).to_vec();
        damage(&mut bytes, &mut random);
        let most = MEMORY_PER_BYTE * bytes.len() + SHARING_BYTES;
        let bytes = Bytes::from(bytes);
        let one = counted(|| consumer_protocol::decode_subscription(bytes.clone()).is_ok()).1;
        assert!(one <= most, "{one} for {bytes:02x?}");
        let other = counted(|| consumer_protocol::decode_assignment(bytes.clone()).is_ok()).1;
        assert!(other <= most, "{other} for {bytes:02x?}");
    }
}
