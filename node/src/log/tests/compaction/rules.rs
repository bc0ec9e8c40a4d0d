//! Which records stay, rule by rule.

use super::{
    super::model::{at, settle},
    bench::{Bench, Sent, read_all, reseal, roomy},
};
use highwater_core::{
    partition::SideState,
    record::{Compression, PlacedBatch},
    time::Timestamp,
    types::Offset,
};
use std::{io, time::Duration};

fn offsets(records: &[super::bench::Stored]) -> Vec<u64> {
    records.iter().map(|record| record.0).collect()
}

#[tokio::test]
async fn the_newest_record_of_each_key_stays_with_offset_timestamp_and_batch() {
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut bench = Bench::new().await;
        bench.append(Sent {
            producer: Some((7, 0)),
            compression,
            records: &[
                (Some("a"), Some("1"), 10),
                (Some("b"), Some("2"), 30),
                (Some("a"), Some("3"), 20),
            ],
        });
        bench.append(Sent {
            producer: Some((7, 3)),
            compression,
            records: &[(Some("c"), Some("4"), 40), (Some("d"), Some("5"), 50)],
        });
        bench.append(Sent {
            producer: Some((7, 5)),
            compression,
            records: &[(Some("c"), Some("6"), 60), (Some("b"), Some("7"), 70)],
        });
        settle().await;
        bench.roll().await;
        let before = bench.headers().await;
        bench.put(&[("z", Some("active"))]).await;
        let report = bench.compact(1000).await;
        assert_eq!((report.passes, report.records_removed, report.complete), (1, 3, true));
        assert_eq!(offsets(&bench.records().await), [2, 4, 5, 6, 7], "{compression:?}");
        bench.check(Offset(7)).await;
        let after = bench.headers().await;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(
                (after.base_offset, after.next_offset(), after.producer, after.leader_epoch),
                (before.base_offset, before.next_offset(), before.producer, before.leader_epoch)
            );
            assert_eq!(after.compression, before.compression);
        }
        assert_eq!(after[2], before[2], "a batch that keeps every record stays as it is");
    }
}

#[tokio::test]
async fn the_active_segment_and_what_is_not_committed_stay() {
    let mut bench = Bench::new().await;
    for round in 0..4 {
        bench.put(&[("a", Some("1")), ("b", Some("2")), ("a", Some("3"))]).await;
        if round < 3 {
            bench.roll().await;
        }
    }
    let mut bounds = bench.bounds();
    bounds.cleanable_end = Offset(5);
    bench.try_compact(0, bounds).await.expect("compacts");
    bench.check(Offset(3)).await;
    assert_eq!(offsets(&bench.records().await)[..2], [1, 2], "the segment below the bound");
    bench.compact(0).await;
    bench.check(Offset(9)).await;
    assert_eq!(offsets(&bench.records().await), [7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn young_segments_wait_for_min_compaction_lag() {
    let mut bench = Bench::new().await;
    bench.policy.min_lag = Duration::from_millis(100);
    for _ in 0..3 {
        bench.put(&[("a", Some("1")), ("a", Some("2"))]).await;
        bench.roll().await;
    }
    bench.put(&[("b", Some("1"))]).await;
    // The newest timestamps of the segments are 1, 3 and 5.
    assert_eq!(bench.compact(101).await.passes, 1);
    bench.check(Offset(2)).await;
    assert_eq!(offsets(&bench.records().await), [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.compact(101).await.passes, 0, "nothing more is old enough");
    bench.compact(105).await;
    assert_eq!(offsets(&bench.records().await), [5, 6]);
}

#[tokio::test]
async fn a_log_is_due_by_its_dirty_share_or_when_a_record_has_waited_too_long() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("b", Some("2"))]).await;
    bench.roll().await;
    let end = bench.end();
    let look = async |bench: &Bench, now| {
        bench.log.dirtiness(Timestamp(now), bench.end(), &bench.policy).await.expect("readable")
    };
    let dirtiness = look(&bench, 0).await;
    assert_eq!((dirtiness.ratio_millionths(), dirtiness.clean_bytes), (1_000_000, 0));
    assert!(dirtiness.is_due(&bench.policy));
    bench.compact(0).await;
    let dirtiness = look(&bench, 0).await;
    assert_eq!((dirtiness.ratio_millionths(), dirtiness.dirty_bytes), (0, 0));
    assert!(!dirtiness.is_due(&bench.policy));
    bench.put(&[("c", Some("1"))]).await;
    bench.roll().await;
    let dirtiness = look(&bench, 10_000).await;
    assert!(dirtiness.dirty_bytes > 0 && !dirtiness.is_due(&bench.policy), "a third is dirty");
    bench.policy.max_lag = Some(Duration::from_millis(500));
    let timestamp = end.0 as i64;
    assert!(!look(&bench, timestamp + 500).await.overdue);
    // Timestamps of 0 and below say nothing.
    assert!(look(&bench, timestamp + 501).await.overdue);
    assert!(look(&bench, timestamp + 501).await.is_due(&bench.policy));
}

#[tokio::test]
async fn a_tombstone_stays_for_delete_retention_after_the_pass_that_came_upon_it() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("a", None), ("b", Some("2"))]).await;
    bench.roll().await;
    bench.compact(5_000).await;
    assert_eq!(offsets(&bench.records().await), [1, 2], "the value is gone, its deletion is not");
    let horizon = bench.headers().await[0].delete_horizon;
    assert_eq!(horizon, Some(Timestamp(6_000)), "counted from the pass, not from the record");
    // Only a log with something dirty is compacted.
    for (now, stays) in [(5_999, true), (5_999, true), (6_000, false)] {
        bench.put(&[("c", Some("3"))]).await;
        bench.roll().await;
        bench.compact(now).await;
        let has_it = bench.records().await.iter().any(|record| record.3.is_none());
        assert_eq!(has_it, stays, "at {now}");
        bench.check(Offset(u64::MAX)).await;
    }
}

#[tokio::test]
async fn a_tombstone_that_a_replica_may_not_have_stays_whatever_its_age() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", None), ("b", None), ("c", Some("1"))]).await;
    bench.roll().await;
    bench.compact(0).await;
    bench.put(&[("d", Some("1"))]).await;
    bench.roll().await;
    let mut bounds = bench.bounds();
    bounds.tombstones_end = Offset(1);
    bench.try_compact(1_000_000, bounds).await.expect("compacts");
    assert_eq!(offsets(&bench.records().await), [1, 2, 3]);
}

#[tokio::test]
async fn of_a_producer_s_last_batch_the_header_stays() {
    let mut bench = Bench::new().await;
    for (producer, sequence) in [(1, 0), (2, 0), (1, 1)] {
        let records = &[(Some("a"), Some("1"), 5)];
        let (producer, compression) = (Some((producer, sequence)), Compression::Zstd);
        bench.append(Sent { producer, compression, records });
    }
    bench.put(&[("a", Some("2"))]).await;
    bench.roll().await;
    let side = bench.side();
    bench.compact(0).await;
    let headers = bench.headers().await;
    let kept: Vec<_> = headers.iter().map(|it| (it.base_offset.0, it.record_count)).collect();
    assert_eq!(kept, [(1, 0), (2, 0), (3, 1)], "empty batches of both producers, by their offsets");
    let mut replayed = SideState::starting_at(Offset(0));
    headers.iter().for_each(|header| replayed.replay(header).expect("in order"));
    for (id, state) in side.producers.iter() {
        let found = replayed.producers.get(id).expect("it is known");
        assert_eq!(found.last(), state.last(), "what the next sequence number is judged by");
    }
    // Later batches of the producers let the empty ones go.
    for producer in [1, 2] {
        let records = &[(Some("b"), Some("1"), 5)];
        let producer = Some((producer, 2 - i32::from(producer == 2)));
        bench.append(Sent { producer, compression: Compression::None, records });
    }
    settle().await;
    bench.roll().await;
    bench.compact(0).await;
    let kept: Vec<_> =
        bench.headers().await.iter().map(|it| (it.base_offset.0, it.record_count)).collect();
    assert_eq!(kept, [(3, 1), (4, 0), (5, 1)]);
}

#[tokio::test]
async fn the_last_batch_of_a_pass_stays_so_that_readers_can_go_on_from_it() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("a", None)]).await;
    let compression = Compression::Gzip;
    bench.append(Sent { producer: None, compression, records: &[(None, Some("keyless"), 1)] });
    settle().await;
    bench.roll().await;
    let kept = async |bench: &Bench| -> Vec<_> {
        bench.headers().await.iter().map(|it| (it.base_offset.0, it.record_count)).collect()
    };
    bench.compact(0).await;
    assert_eq!(kept(&bench).await, [(1, 1), (2, 0)]);
    bench.check(Offset(3)).await;
    bench.put(&[("b", None)]).await;
    bench.roll().await;
    bench.compact(10_000).await;
    assert_eq!(kept(&bench).await, [(3, 1)], "it is not the last one any more");
    bench.check(Offset(3)).await;
}

#[tokio::test]
async fn small_segments_are_put_together() {
    let mut bench = Bench::new().await;
    for key in ["a", "b", "c", "d", "e", "a"] {
        bench.put(&[(key, Some("1"))]).await;
        bench.roll().await;
    }
    assert_eq!(bench.log.closed_segments().len(), 6);
    let bytes = bench.log.total_bytes();
    bench.compact(0).await;
    let segments = bench.log.closed_segments();
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].base_offset, segments[0].end_offset), (Offset(0), Offset(6)));
    assert_eq!(bench.log.total_bytes(), bytes * 5 / 6);
    assert_eq!(segments[0].max_timestamp, Some(Timestamp(5)));
    bench.check(Offset(6)).await;
    let again = bench.power_cut(1).await;
    assert_eq!(again.log_end_offset, Offset(6));
    bench.check(Offset(6)).await;
    bench.policy.segment_bytes = 100;
    bench.put(&[("f", Some("1")), ("g", Some("2"))]).await;
    bench.roll().await;
    bench.compact(0).await;
    assert_eq!(bench.log.closed_segments().len(), 2, "what is larger than that stays alone");
}

#[tokio::test]
async fn keys_that_do_not_fit_into_the_map_take_another_pass() {
    let mut bench = Bench::new().await;
    bench.map_bytes = 24 * 5;
    for round in 0..3 {
        for key in ["a", "b", "c", "d", "e", "f", "g"] {
            let value = format!("{round}");
            bench.put(&[(key, Some(&value))]).await;
        }
        bench.roll().await;
    }
    let report = bench.compact(0).await;
    assert!(report.passes > 2 && report.complete, "{report:?}");
    bench.check(Offset(21)).await;
    assert_eq!(offsets(&bench.records().await), [14, 15, 16, 17, 18, 19, 20]);
}

#[tokio::test]
async fn a_record_without_a_key_does_not_survive_and_an_unreadable_batch_does() {
    let mut bench = Bench::new().await;
    let compression = Compression::Gzip;
    bench.append(Sent { producer: None, compression, records: &[(None, Some("1"), 1)] });
    bench.append(Sent { producer: None, compression, records: &[(Some("a"), Some("1"), 1)] });
    // Not what its codec makes, though its CRC is right.
    let mut bytes = bench.batches[1].chunks.concat();
    reseal(&mut bytes, |bytes| bytes[61..].fill(0x55));
    let batch = highwater_core::record::Batch::parse(
        bytes.into(),
        usize::MAX,
        highwater_core::record::Origin::Log,
    )
    .expect("sound");
    let header = batch.header;
    let chunks = [batch.bytes.slice(..61), batch.bytes.slice(61..)];
    let batch = PlacedBatch {
        header: highwater_core::record::BatchHeader { base_offset: Offset(2), ..header },
        chunks,
    };
    let mut patched = batch.chunks[0].to_vec();
    patched[..8].copy_from_slice(&2_u64.to_be_bytes());
    let batch = PlacedBatch { chunks: [patched.into(), batch.chunks[1].clone()], ..batch };
    let write = bench.write_id();
    bench.log.append(at(0), write, batch.clone());
    bench.batches.push(batch);
    bench.put(&[("a", Some("2"))]).await;
    bench.roll().await;
    let report = bench.compact(0).await;
    assert_eq!((report.unreadable_batches, report.records_removed), (1, 2));
    let headers = bench.headers_only().await;
    assert_eq!(headers, [2, 3]);
}

/// Appends a value of `a` in a transaction (bit 4), or a marker (bit 5).
fn append_in_transaction(bench: &mut Bench, bits: u8) {
    let sent = Sent {
        producer: Some((1, 0)),
        compression: Compression::None,
        records: &[(Some("a"), Some("2"), 1)],
    };
    let mut bytes = super::bench::placed(bench.end().0, 0, sent).chunks.concat();
    reseal(&mut bytes, |bytes| bytes[22] |= bits);
    let bytes = bytes::Bytes::from(bytes);
    let header = highwater_core::record::BatchHeader::parse(&bytes).expect("sound");
    let batch = PlacedBatch { header, chunks: [bytes.slice(..61), bytes.slice(61..)] };
    let write = bench.write_id();
    bench.log.append(at(0), write, batch.clone());
    bench.batches.push(batch);
}

#[tokio::test]
async fn transactions_and_their_markers_are_kept_whole_and_outdate_nothing() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1"))]).await;
    for bits in [1 << 4, 1 << 4 | 1 << 5] {
        append_in_transaction(&mut bench, bits);
    }
    settle().await;
    bench.roll().await;
    bench.compact(0).await;
    assert_eq!(bench.headers_only().await, [0, 1, 2]);
}

#[tokio::test]
async fn a_tombstone_stays_as_long_as_a_transaction_below_it_does() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", None)]).await;
    append_in_transaction(&mut bench, 1 << 4);
    bench.put(&[("a", None), ("b", Some("1"))]).await;
    bench.roll().await;
    let has_tombstone = async |bench: &Bench, at: u64| {
        bench.records().await.iter().any(|record| record.0 == at && record.3.is_none())
    };
    bench.compact(0).await;
    for now in [10_000, 1_000_000] {
        bench.put(&[("c", Some("3"))]).await;
        bench.roll().await;
        bench.compact(now).await;
        assert!(has_tombstone(&bench, 2).await, "at {now}: the value in the transaction is back");
    }
    assert!(!has_tombstone(&bench, 0).await, "it is outdated");
}

#[tokio::test]
async fn a_reader_of_a_segment_that_is_replaced_goes_on() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("c", Some("1"))]).await;
    bench.roll().await;
    bench.put(&[("d", Some("1"))]).await;
    let (log, end) = (bench.log.clone(), bench.end());
    let mut readers = Vec::new();
    for yields in 0..60 {
        let log = log.clone();
        #[expect(clippy::disallowed_methods, reason = "a test of readers beside the compaction")]
        readers.push(tokio::spawn(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            read_all(&log, Offset(0), end).await.1
        }));
    }
    bench.compact(0).await;
    let sent = bench.sent();
    for reader in readers {
        let found = reader.await.expect("it reads");
        assert_eq!(super::bench::projected(&found), super::bench::projected(&sent));
    }
}

#[tokio::test]
async fn lookups_by_timestamp_pass_over_what_is_gone() {
    let mut bench = Bench::new().await;
    bench.log.configure(roomy());
    for (key, timestamp) in [("a", 100), ("b", 50), ("a", 60), ("c", 70), ("c", 40)] {
        let records = &[(Some(key), Some("1"), timestamp)];
        let producer = (timestamp == 100).then_some((9, 0));
        bench.append(Sent { producer, compression: Compression::None, records });
    }
    settle().await;
    bench.roll().await;
    bench.compact(0).await;
    let end = bench.end();
    // The record of timestamp 100 is gone; its batch is there, empty, for its producer.
    assert_eq!(bench.headers().await[0].record_count, 0);
    let newest = bench.log.max_timestamp(end).await.expect("readable");
    assert_eq!(newest, Some((Timestamp(60), Offset(2))));
    for (timestamp, expected) in
        [(0, Some(1)), (55, Some(2)), (60, Some(2)), (61, None), (90, None)]
    {
        let found = bench.log.find_by_timestamp(Timestamp(timestamp), end).await.expect("readable");
        assert_eq!(found.map(|(_, offset)| offset.0), expected, "from {timestamp}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_compaction_and_not_the_log() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("a", Some("2"))]).await;
    bench.roll().await;
    bench.log.checkpoint(bench.side()).await.expect("written");
    bench.memory.fail_writes(Some(io::ErrorKind::StorageFull));
    assert!(bench.try_compact(0, bench.bounds()).await.is_err());
    bench.memory.fail_writes(None);
    assert!(!bench.has_failed());
    bench.check(Offset(0)).await;
    bench.put(&[("a", Some("3"))]).await;
    assert_eq!(bench.compact(0).await.records_removed, 1);
    bench.check(Offset(2)).await;
}
