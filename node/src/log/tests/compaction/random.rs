//! Random logs, compacted, cut and crashed at random, against a plain map.

use super::{
    super::model::{at, settle},
    bench::Bench,
    crash::append_any,
};
use highwater_core::types::Offset;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[tokio::test]
async fn whatever_happens_the_newest_values_are_there() {
    let (mut removed, mut cuts) = (0, 0);
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new().await;
        bench.map_bytes = 24 * rng.random_range(2..60);
        // What compaction was told is committed, and the clock.
        let (mut committed, mut now) = (Offset(0), 0);
        for step in 0..50_u64 {
            now += rng.random_range(0..600);
            match rng.random_range(0..12) {
                0..=4 => {
                    for _ in 0..rng.random_range(1..8) {
                        append_any(&mut bench, &mut rng);
                    }
                    settle().await;
                }
                5..=6 => bench.roll().await,
                7..=8 => {
                    let mut bounds = bench.bounds();
                    let count = rng.random_range(0..=bench.batches.len());
                    let end =
                        bench.batches.get(count).map_or(bench.end(), |it| it.header.base_offset);
                    committed = committed.max(end);
                    bounds.cleanable_end = committed;
                    bounds.tombstones_end = committed;
                    removed +=
                        bench.try_compact(now, bounds).await.expect("compacts").records_removed;
                }
                9 => {
                    let kept =
                        bench.batches.iter().filter(|it| it.header.next_offset() <= committed);
                    let count = rng.random_range(kept.count()..=bench.batches.len());
                    bench.batches.truncate(count);
                    let (to, side, write) = (bench.end(), bench.side(), bench.write_id());
                    bench.log.truncate(at(0), write, to, side);
                    bench.epoch += 1;
                    settle().await;
                    cuts += 1;
                }
                10 => bench.log.checkpoint(bench.side()).await.expect("written"),
                _ => {
                    let recovered = bench.power_cut(seed ^ step).await;
                    assert_eq!(recovered.log_end_offset, bench.end(), "all of it was flushed");
                }
            }
            assert!(!bench.has_failed(), "seed {seed}, step {step}");
            if step % 3 == 0 {
                bench.check(committed).await;
            }
        }
    }
    assert!(removed > 500 && cuts > 50, "{removed} records were removed, {cuts} cuts made");
}
