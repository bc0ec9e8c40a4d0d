//! C7: power loss at every disk call of a compaction, and of the recovery after it.

use super::{
    super::model::settle,
    bench::{Bench, Sent, open_log},
};
use highwater_core::{record::Compression, types::Offset};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A log with several closed segments, some of them compacted before.
async fn prepared(seed: u64) -> Bench {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut bench = Bench::new().await;
    bench.map_bytes = 24 * rng.random_range(4..40);
    let rounds = rng.random_range(3..6);
    for round in 0..rounds {
        for _ in 0..rng.random_range(2..12) {
            append_any(&mut bench, &mut rng);
        }
        settle().await;
        bench.roll().await;
        if round == 1 {
            bench.compact(0).await;
        }
    }
    append_any(&mut bench, &mut rng);
    settle().await;
    bench
}

pub(super) fn append_any(bench: &mut Bench, rng: &mut ChaCha8Rng) {
    let (end, count) = (bench.end().0 as i64, rng.random_range(1..4));
    let records: Vec<_> = (0..count)
        .map(|at| {
            let key = KEYS[rng.random_range(0..KEYS.len())];
            let value = rng.random_bool(0.8).then_some(["one", "two", "three"][at as usize]);
            (Some(key), value, end * 10 + rng.random_range(-20..20))
        })
        .collect();
    let compression =
        [Compression::None, Compression::Lz4, Compression::Snappy][rng.random_range(0..3)];
    let producer = rng.random_bool(0.5).then(|| (rng.random_range(0..3), end as i32));
    bench.append(Sent { producer, compression, records: &records });
}

/// The producers' last batches are in the log or in its checkpoint.
async fn check_recovered(bench: &mut Bench, seed: u64) {
    let recovered = bench.power_cut(seed).await;
    assert_eq!(recovered.log_end_offset, bench.end(), "all of it was flushed");
    let side = bench.side();
    assert_eq!(recovered.side.epochs, side.epochs);
    for (id, state) in side.producers.iter() {
        let found = recovered.side.producers.get(id).expect("a producer is known");
        assert_eq!(found.last(), state.last(), "its last batch");
    }
    let active = bench.batches.last().expect("there are batches").header.base_offset;
    bench.check(active).await;
}

#[tokio::test]
async fn every_crash_point_leaves_the_old_segments_or_the_new_ones() {
    for seed in 0..8 {
        let mut calls = 0;
        loop {
            let mut bench = prepared(seed).await;
            bench.memory.die_after(calls);
            let finished = bench.try_compact(500, bench.bounds()).await.is_ok();
            settle().await;
            check_recovered(&mut bench, seed ^ calls).await;
            // What a compaction after the crash does is as good.
            bench.compact(5_000).await;
            check_recovered(&mut bench, seed ^ calls ^ 77).await;
            if finished {
                break;
            }
            calls += 1;
        }
        assert!(calls > 20, "a compaction makes calls to crash at: {calls}");
    }
}

#[tokio::test]
async fn every_crash_point_of_the_recovery_after_it_recovers() {
    for seed in 0..30 {
        let mut calls = 0;
        loop {
            let mut bench = prepared(seed).await;
            bench.memory.die_after(15 + seed * 3);
            let _ = bench.try_compact(500, bench.bounds()).await;
            settle().await;
            bench.memory.power_cut(seed);
            bench.memory.die_after(calls);
            let finished = open_log(&bench.disk).await.is_ok();
            check_recovered(&mut bench, seed ^ calls).await;
            if finished {
                break;
            }
            calls += 1;
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_without_a_crash_leaves_a_log_that_can_be_cut_and_compacted() {
    for seed in 0..6 {
        let mut calls = 0;
        loop {
            let mut bench = prepared(seed).await;
            bench.memory.die_after(calls);
            let finished = bench.try_compact(500, bench.bounds()).await.is_ok();
            settle().await;
            // The disk works again, and nothing was lost.
            bench.memory.die_after(u64::MAX / 2);
            let count = bench.batches.len() - 1;
            bench.batches.truncate(count);
            let (to, side, write) = (bench.end(), bench.side(), bench.write_id());
            bench.log.truncate(super::super::model::at(0), write, to, side);
            settle().await;
            assert!(!bench.has_failed(), "the log goes on");
            bench.check(to).await;
            bench.put(&[("z", Some("more"))]).await;
            check_recovered(&mut bench, seed ^ calls).await;
            bench.roll().await;
            bench.compact(5_000).await;
            bench.check(Offset(u64::MAX)).await;
            if finished {
                break;
            }
            calls += 1;
        }
    }
}
