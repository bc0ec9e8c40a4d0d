//! Batches of the records of `__consumer_offsets`.

use crate::{allocation::counted, hostile::damage};
use bytes::Bytes;
use highwater_core::{
    record::{BatchBuilder, BatchError, NewRecord, crc_of},
    time::Timestamp,
    types::Offset,
};
use highwater_node::wire::{
    GroupRecord, RecordError,
    generated::records::{
        consumer_group_metadata::{ConsumerGroupMetadataKey, ConsumerGroupMetadataValue},
        group_metadata::GroupMetadataKey,
    },
    record_batch::{StoredRecord, batches, build, stored_records},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Where the fields of a batch's header lie.
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;

fn epoch(group: &str, epoch: i32) -> GroupRecord {
    GroupRecord::ConsumerGroupMetadata(
        ConsumerGroupMetadataKey { group_id: group.into() },
        Some(ConsumerGroupMetadataValue { epoch, metadata_hash: 0 }),
    )
}

fn tombstone(group: &str) -> GroupRecord {
    GroupRecord::GroupMetadata(GroupMetadataKey { group: group.into() }, None)
}

fn batch_of(records: &[GroupRecord], timestamp: i64) -> Bytes {
    let records: Vec<_> = records.iter().map(|record| record.encode().unwrap()).collect();
    build(&records, Timestamp(timestamp))
}

/// Sets attributes of a batch, and its CRC anew.
fn with_attributes(batch: &Bytes, attributes: i16) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc_of(&bytes[ATTRIBUTES..]);
    bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_batch_gives_back_its_records_in_order_with_offset_and_timestamp() {
    let batch = batch_of(&[epoch("g", 7), tombstone("g"), epoch("h", 1)], 500);
    let batch = batches(batch).next().unwrap().unwrap();
    assert_eq!(batch.header.record_count, 3);
    assert_eq!(batch.header.producer, None);
    let found: Vec<_> = stored_records(&batch).unwrap().map(Result::unwrap).collect();
    let expected: Vec<_> = [epoch("g", 7), tombstone("g"), epoch("h", 1)]
        .into_iter()
        .zip(0..)
        .map(|(record, offset)| StoredRecord {
            offset: Offset(offset),
            timestamp: Timestamp(500),
            record: Ok(record),
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_batch_of_one_record_is_kafkas_byte_for_byte() {
    let batch = batch_of(&[epoch("g", 7)], 0x0102_0304);
    let expected = [
        &[0; 8][..],                 // base offset
        b"\0\0\0\x44",               // length behind it
        b"\xff\xff\xff\xff\x02",     // no leader epoch, format 2
        &batch[CRC..ATTRIBUTES],     // the CRC, which reading it below checks
        b"\0\0\0\0\0\0",             // attributes, last offset delta
        b"\0\0\0\0\x01\x02\x03\x04", // base timestamp
        b"\0\0\0\0\x01\x02\x03\x04", // newest timestamp
        &[0xff; 8],                  // no producer id
        b"\xff\xff\xff\xff\xff\xff", // epoch and sequence
        b"\0\0\0\x01",               // one record
        b"\x24\0\0\0",               // 18 bytes: attributes, timestamp and offset delta
        b"\x0a\0\x03\0\x01g",        // a key of 5 bytes
        b"\x0e\0\0\0\0\0\x07\0\0",   // a value of 7 bytes, no headers
    ];
    assert_eq!(batch, expected.concat());
    assert!(batches(batch).next().unwrap().is_ok());
}

#[test]
fn a_run_of_batches_is_split_and_its_cut_off_end_left_out() {
    let [one, two] = [batch_of(&[epoch("g", 1)], 1), batch_of(&[tombstone("g")], 2)];
    let run = Bytes::from([&one[..], &two[..]].concat());
    let sizes =
        |run: Bytes| batches(run).map(|batch| batch.unwrap().bytes.len()).collect::<Vec<_>>();
    assert_eq!(sizes(run.clone()), [one.len(), two.len()]);
    assert_eq!(sizes(run.slice(..run.len() - 1)), [one.len()]);
    assert_eq!(sizes(run.slice(..one.len() + 30)), [one.len()]);
    assert_eq!(sizes(Bytes::new()), [0; 0]);
}

#[test]
fn damage_ends_the_run() {
    let batch = batch_of(&[epoch("g", 1)], 1);
    let mut damaged = [&batch[..], &batch[..]].concat();
    damaged[batch.len() - 1] ^= 1;
    let mut run = batches(damaged.into());
    assert!(matches!(run.next(), Some(Err(BatchError::CrcMismatch { .. }))));
    assert!(run.next().is_none());
}

#[test]
fn what_is_no_record_of_ours_does_not_hide_the_next_one() {
    let mut builder = BatchBuilder::new();
    let (key, _) = epoch("g", 1).encode().unwrap();
    for key in [None, Some(&b"\0\x63"[..]), Some(&key)] {
        builder.push(NewRecord { key, ..NewRecord::default() });
    }
    let batch = batches(builder.build()).next().unwrap().unwrap();
    let found: Vec<_> =
        stored_records(&batch).unwrap().map(|record| record.unwrap().record).collect();
    assert_eq!(found[0], Err(RecordError::NoKey));
    assert_eq!(found[1], Err(RecordError::UnknownType(99)));
    assert!(matches!(found[2], Ok(GroupRecord::ConsumerGroupMetadata(_, None))));
}

#[test]
fn a_transaction_marker_has_no_records_and_a_compressed_batch_is_refused() {
    let batch = batch_of(&[epoch("g", 1)], 1);
    let marker = batches(with_attributes(&batch, 0x30)).next().unwrap().unwrap();
    assert!(marker.header.is_control);
    assert_eq!(stored_records(&marker).unwrap().count(), 0);
    let compressed = batches(with_attributes(&batch, 2)).next().unwrap().unwrap();
    assert!(matches!(stored_records(&compressed).err(), Some(BatchError::Compressed { .. })));
}

#[test]
fn hostile_runs_of_batches_neither_panic_nor_allocate_without_bound() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut records_found = 0;
    for _ in 0..20_000 {
        let records = [epoch("g", random.random()), tombstone("gg"), epoch("h", 1)];
        let mut run = [batch_of(&records, 1), batch_of(&records[..1], 2)].concat();
        damage(&mut run, &mut random);
        // An attacker who has the disk mends the CRC of the first batch.
        if run.len() > ATTRIBUTES && random.random_bool(0.7) {
            let claimed = u32::from_be_bytes([run[8], run[9], run[10], run[11]]) as usize + 12;
            let end = claimed.clamp(ATTRIBUTES, run.len());
            let crc = crc_of(&run[ATTRIBUTES..end]);
            run[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        }
        let most = 64 * run.len() + 256;
        let run = Bytes::from(run);
        let (found, allocated) = counted(|| {
            let whole = batches(run.clone()).map_while(Result::ok);
            whole.filter_map(|batch| Some(stored_records(&batch).ok()?.count())).sum::<usize>()
        });
        assert!(allocated <= most, "{allocated} for {run:02x?}");
        records_found += found;
    }
    assert!(records_found > 20_000, "only {records_found} records could be read");
}
