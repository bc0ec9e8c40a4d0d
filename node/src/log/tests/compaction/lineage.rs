//! Compacted logs that are cut, emptied, shortened from the front or copied.

use super::{
    super::model::{at, settle},
    bench::{Bench, Sent, check, read_all},
};
use highwater_core::{
    partition::SideState,
    producers::ProducerStates,
    record::{BATCH_HEADER_BYTES, Batch, Compression, Origin, PlacedBatch},
    types::Offset,
};

/// Three compacted segments in one, of which 2, 5 and 6 are left, and an active one from 7 on.
async fn compacted() -> Bench {
    let mut bench = Bench::new().await;
    for keys in [&["a", "b", "c"][..], &["a", "b", "d"], &["a"]] {
        for key in keys {
            bench.put(&[(key, Some("value"))]).await;
        }
        bench.roll().await;
    }
    bench.compact(0).await;
    bench.put(&[("e", Some("value")), ("f", Some("value"))]).await;
    assert_eq!(bench.headers_only().await, [2, 4, 5, 6, 7, 8]);
    bench
}

async fn truncate(bench: &mut Bench, to: u64) {
    bench.batches.retain(|batch| batch.header.base_offset.0 < to);
    let (side, write) = (bench.side(), bench.write_id());
    bench.log.truncate(at(0), write, Offset(to), side);
    settle().await;
    assert!(!bench.has_failed(), "cut at {to}");
}

#[tokio::test]
async fn a_compacted_log_can_be_cut_anywhere() {
    for to in 0..=8 {
        for crash in [false, true] {
            let mut bench = compacted().await;
            truncate(&mut bench, to).await;
            let left: Vec<u64> = [2, 4, 5, 6, 7, 8].into_iter().filter(|at| *at < to).collect();
            assert_eq!(bench.headers_only().await, left, "cut at {to}");
            if crash {
                let recovered = bench.power_cut(to).await;
                assert!(recovered.log_end_offset <= Offset(to));
                let end = left.last().map_or(0, |last| last + 1);
                assert!(recovered.log_end_offset >= Offset(end), "nothing more is lost");
            }
            // It goes on, is closed, compacted and recovered again.
            for _ in 0..2 {
                bench.put(&[("g", Some("value")), ("g", Some("newer"))]).await;
                bench.roll().await;
            }
            bench.compact(0).await;
            let end = bench.end().0;
            let mut expected = left.clone();
            expected.push(end - 1);
            assert_eq!(bench.headers_only().await, expected, "cut at {to}, crash {crash}");
            let recovered = bench.power_cut(to + 100).await;
            assert_eq!(recovered.log_end_offset, Offset(end));
            assert_eq!(bench.headers_only().await, expected);
        }
    }
}

#[tokio::test]
async fn a_reset_leaves_nothing_of_a_compacted_log() {
    let mut bench = compacted().await;
    let write = bench.write_id();
    bench.log.reset(at(0), write, Offset(100), ProducerStates::default());
    settle().await;
    let recovered = bench.power_cut(3).await;
    assert_eq!((recovered.log_start_offset, recovered.log_end_offset), (Offset(100), Offset(100)));
    let entries = bench.disk.list(bench.log.dir()).await.expect("readable");
    let segments = entries.iter().filter(|entry| entry.name.ends_with(".log")).count();
    assert_eq!(segments, 1);
}

#[tokio::test]
async fn the_log_start_may_lie_in_a_gap() {
    let mut bench = compacted().await;
    bench.log.advance_start(Offset(3), bench.side()).await.expect("stored");
    for crash in [false, true] {
        if crash {
            assert_eq!(bench.power_cut(1).await.log_start_offset, Offset(3));
        }
        let (headers, _) = read_all(&bench.log, Offset(3), bench.end()).await;
        assert_eq!(headers[0].base_offset, Offset(4));
        assert!(bench.log.read(Offset(2), bench.end(), 1, true).await.is_err());
    }
    bench.put(&[("c", Some("newer"))]).await;
    bench.roll().await;
    bench.compact(0).await;
    assert_eq!(bench.log.closed_segments()[0].base_offset, Offset(0));
    let (headers, _) = read_all(&bench.log, Offset(3), bench.end()).await;
    assert_eq!(headers[0].base_offset, Offset(4));
    bench.log.advance_start(Offset(7), bench.side()).await.expect("stored");
    let recovered = bench.power_cut(2).await;
    assert_eq!(recovered.log_start_offset, Offset(7));
}

/// Appends what is read from a log to another one, as a follower does.
async fn copy(from: &Bench, to: &mut Bench) {
    let mut at_offset = to.end();
    while at_offset < from.end() {
        let mut bytes = from.log.read(at_offset, from.end(), 500, true).await.expect("readable");
        while !bytes.is_empty() {
            let size =
                highwater_core::record::BatchHeader::parse(&bytes).expect("whole").size_in_bytes;
            let batch = Batch::parse(bytes.split_to(size), usize::MAX, Origin::Log).expect("sound");
            let Batch { header, bytes: whole } = batch;
            let chunks = [whole.slice(..BATCH_HEADER_BYTES), whole.slice(BATCH_HEADER_BYTES..)];
            let batch = PlacedBatch { header, chunks };
            let write = to.write_id();
            to.log.append(at(0), write, batch.clone());
            to.batches.push(batch);
            at_offset = header.next_offset();
        }
    }
    settle().await;
}

#[tokio::test]
async fn a_copy_of_a_compacted_log_has_its_gaps_and_recovers_with_them() {
    let mut leader = Bench::new().await;
    for round in 0..30_u32 {
        leader.epoch = round / 4;
        let value = format!("{round}");
        for key in ["a", "b", "c"] {
            let records = &[(Some(key), Some(value.as_str()), i64::from(round))];
            let producer = Some((u64::from(round % 2), leader.end().0 as i32));
            leader.append(Sent { producer, compression: Compression::Zstd, records });
        }
        settle().await;
        if round % 3 == 0 {
            leader.roll().await;
        }
    }
    leader.compact(0).await;
    let mut follower = Bench::new().await;
    copy(&leader, &mut follower).await;
    assert!(!follower.has_failed());
    let (end, sent) = (leader.end(), leader.sent());
    check(&follower.log, &sent, end, Offset(85)).await;
    let recovered = follower.power_cut(5).await;
    assert_eq!(recovered.log_end_offset, end);
    check(&follower.log, &sent, end, Offset(85)).await;
    follower.epoch = leader.epoch;
    let mut replayed = SideState::starting_at(Offset(0));
    for batch in &follower.batches {
        replayed.replay(&batch.header).expect("in order");
    }
    assert_eq!(recovered.side.epochs, replayed.epochs);
    // The replicas compact on their own, and agree (C8).
    for replica in [&mut leader, &mut follower] {
        replica.put(&[("a", Some("last")), ("d", Some("last"))]).await;
        replica.roll().await;
        replica.put(&[("e", Some("active"))]).await;
    }
    follower.compact(100).await;
    let projections = [leader.records().await, follower.records().await]
        .map(|records| super::bench::projected(&records));
    assert_eq!(projections[0], projections[1]);
    follower.power_cut(6).await;
    follower.check(Offset(u64::MAX)).await;
}

#[tokio::test]
async fn a_gap_in_a_log_that_never_had_one_is_damage() {
    let mut bench = Bench::new().await;
    bench.put(&[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]).await;
    // The second batch disappears, and the third takes its place.
    let path = bench.log.dir().join("00000000000000000000.log");
    let size = bench.batches[0].size_in_bytes() as u64;
    let third = bench.batches[2].chunks.concat();
    let file = bench.disk.open(&path, crate::env::OpenMode::Write).await.expect("there");
    file.write_at(size, vec![third.into()]).await.expect("written");
    assert!(bench.log.read(Offset(1), bench.end(), 1, true).await.is_err());
}
