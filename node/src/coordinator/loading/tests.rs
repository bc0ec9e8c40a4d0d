//! What of a log a load takes, passes over and fails on.

use super::*;
use bytes::Bytes;
use highwater_core::{
    group::CommittedOffset,
    record::{Origin, crc_of},
    time::Timestamp,
    types::{PartitionIndex, TopicId},
};

fn commit(offset: u64) -> Record {
    let value = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "".into(),
        committed_at: Timestamp(1),
        expires_at: None,
        topic_id: None,
    };
    Record::OffsetCommit {
        group: "g".into(),
        topic: "t".into(),
        partition: PartitionIndex(0),
        value: Some(value),
    }
}

fn encoded(record: &Record) -> (Bytes, Option<Bytes>) {
    records::encode(record).expect("its texts are short")
}

/// A commit whose value is of a version that nobody has written yet.
fn newer_commit(offset: u64) -> (Bytes, Option<Bytes>) {
    let (key, value) = encoded(&commit(offset));
    let mut value = value.expect("a commit").to_vec();
    value[..2].copy_from_slice(&99_i16.to_be_bytes());
    (key, Some(value.into()))
}

/// A record of a type that Kafka may have one day.
fn of_unknown_type() -> (Bytes, Option<Bytes>) {
    (Bytes::from_static(b"\0\x63what it is about"), Some(Bytes::from_static(b"\0\0?")))
}

fn batch(records: &[(Bytes, Option<Bytes>)]) -> Vec<u8> {
    record_batch::build(records, Timestamp(1)).to_vec()
}

/// A batch that was changed, with the checksum that it has then.
fn resealed(mut batch: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut batch);
    let crc = crc_of(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn decoded(batch: Vec<u8>, from: u64) -> Result<Vec<(Offset, Record)>, String> {
    let batch = Batch::parse(batch.into(), usize::MAX, Origin::Log).expect("a batch");
    let partition = TopicPartition {
        topic: "__consumer_offsets".into(),
        topic_id: TopicId::default(),
        index: PartitionIndex(3),
    };
    let mut decoded = Vec::new();
    match decode(&partition, &batch, Offset(from), &mut decoded) {
        Ok(()) => Ok(decoded),
        Err(error) => Err(error.to_string()),
    }
}

fn assert_fails(batch: Vec<u8>, at: &str, reason: &str) {
    let error = decoded(batch, 0).expect_err("the load fails");
    let place = format!("__consumer_offsets-3 has at offset {at} what this version cannot decode");
    assert!(error.starts_with(&place), "{error}");
    assert!(error.contains(reason), "{error}");
    assert!(error.contains("start the version that wrote it, or a newer one"), "{error}");
}

#[test]
fn what_cannot_be_decoded_of_a_known_type_fails_the_load_and_says_where_and_what_to_do() {
    let known = encoded(&commit(100));
    assert_fails(batch(&[known.clone(), newer_commit(200)]), "1", "the value: ");
    assert_fails(batch(&[newer_commit(200), known.clone()]), "0", "version 99");
    let (key, value) = known.clone();
    assert_fails(batch(&[(key.slice(..key.len() - 1), value.clone())]), "0", "the key: ");
    assert_fails(batch(&[(key.slice(..1), value)]), "0", "the key: ");
}

#[test]
fn a_batch_that_holds_no_records_fails_the_load() {
    let whole = batch(&[encoded(&commit(100)), encoded(&commit(200))]);
    assert_fails(resealed(whole.clone(), |bytes| bytes[22] |= 1), "0", "compressed");
    // The first record says that it is of a negative length.
    assert_fails(resealed(whole, |bytes| bytes[61] = 1), "0", "record");
}

#[test]
fn records_of_types_that_are_not_known_are_passed_over_and_so_are_those_without_a_key() {
    let known = [encoded(&commit(100)), of_unknown_type(), encoded(&commit(200))];
    let expected = vec![(Offset(0), commit(100)), (Offset(2), commit(200))];
    assert_eq!(decoded(batch(&known), 0), Ok(expected));
    let mut builder = highwater_core::record::BatchBuilder::new();
    builder.push(highwater_core::record::NewRecord {
        timestamp: Timestamp(1),
        key: None,
        value: Some(b"?"),
        headers: &[],
    });
    assert_eq!(decoded(builder.build().to_vec(), 0), Ok(vec![]));
}

#[test]
fn what_lies_below_where_reading_goes_on_is_not_looked_at() {
    let records = batch(&[newer_commit(100), encoded(&commit(200))]);
    assert_eq!(decoded(records, 1), Ok(vec![(Offset(1), commit(200))]));
}
