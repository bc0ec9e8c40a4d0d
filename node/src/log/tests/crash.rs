//! Power loss at every disk call of a workload, and at every disk call of the recovery after it.

use super::{
    super::{Log, LogError},
    disk::MemoryDisk,
    model::{Events, Model, at, dir, open, settle},
};
use crate::env::Disk;
use highwater_core::types::Offset;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

const BATCHES: usize = 60;

/// Appends, checkpoints and moves the log start until it is done or the power is gone.
async fn work(disk: &Arc<dyn Disk>, model: &mut Model, seed: u64) -> Result<(), LogError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (log, recovered, events) = open(disk).await?;
    model.accept(&recovered);
    while model.batches.len() < BATCHES {
        for _ in 0..rng.random_range(1..6) {
            let (write, batch) = model.next_batch(&mut rng);
            log.append(at(0), write, batch);
        }
        for _ in 0..rng.random_range(0..12) {
            tokio::task::yield_now().await;
        }
        keep_house(&log, model, &events, &mut rng).await?;
    }
    settle().await;
    model.observe(&events);
    let side = model.side(model.flushed);
    log.close(|| side).await
}

async fn keep_house(
    log: &Log,
    model: &mut Model,
    events: &Events,
    rng: &mut ChaCha8Rng,
) -> Result<(), LogError> {
    let due = model.observe(events);
    let side = model.side(model.flushed);
    if rng.random_bool(0.1) && side.offset > model.start_asked {
        let to = Offset(rng.random_range(model.start_asked.0..=side.offset.0));
        model.start_asked = to;
        log.advance_start(to, side).await?;
        model.start_promised = to;
    } else if due || rng.random_bool(0.1) {
        log.checkpoint(side).await?;
    }
    Ok(())
}

/// Recovers and checks, and with `twice` recovers again; then goes on appending.
async fn check(disk: &Arc<dyn Disk>, model: &mut Model, twice: bool) {
    let (mut log, recovered, mut events) = open(disk).await.expect("recovers from a power cut");
    model.accept(&recovered);
    model.check_reads(&log).await;
    if twice {
        drop(log);
        let again;
        (log, again, events) = open(disk).await.expect("a log recovers twice");
        assert_eq!(
            (again.log_start_offset, again.log_end_offset, &again.side),
            (recovered.log_start_offset, recovered.log_end_offset, &recovered.side),
            "recovering twice is recovering once"
        );
        assert_eq!(again.cut_bytes, 0, "the torn tail was cut by the first recovery");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..10 {
        let (write, batch) = model.next_batch(&mut rng);
        log.append(at(0), write, batch);
    }
    settle().await;
    model.observe(&events);
    assert_eq!(model.flushed, model.batches.len(), "the log goes on");
    model.check_reads(&log).await;
    let side = model.side(model.flushed);
    log.checkpoint(side).await.expect("a checkpoint can be written");
}

async fn crash_at(calls: u64, seed: u64) -> (Arc<dyn Disk>, MemoryDisk, Model, bool) {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut model = Model::default();
    memory.die_after(calls);
    let finished = work(&disk, &mut model, seed).await.is_ok();
    settle().await;
    memory.power_cut(seed ^ calls);
    (disk, memory, model, finished)
}

#[tokio::test]
async fn every_crash_point_recovers_a_prefix_with_all_that_was_flushed() {
    for seed in 0..6 {
        let mut calls = 0;
        loop {
            let (disk, _, mut model, finished) = crash_at(calls, seed).await;
            check(&disk, &mut model, (calls + seed) % 2 == 0).await;
            if finished {
                break;
            }
            calls += 1;
        }
        assert!(calls > 100, "the workload makes calls to crash at: {calls}");
    }
}

#[tokio::test]
async fn every_crash_point_of_a_recovery_recovers() {
    for seed in 0..40 {
        let crashes = 20 + seed * 4;
        let mut calls = 0;
        loop {
            let (disk, memory, mut model, _) = crash_at(crashes, seed).await;
            memory.die_after(calls);
            let recovered = open(&disk).await;
            let finished = recovered.is_ok();
            drop(recovered);
            memory.power_cut(seed ^ calls);
            check(&disk, &mut model, seed % 2 == 0).await;
            if finished {
                break;
            }
            calls += 1;
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_without_power_loss_loses_nothing_that_was_written() {
    for seed in 0..20 {
        let memory = MemoryDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let mut model = Model::default();
        work(&disk, &mut model, seed).await.expect("the disk works");
        let (log, recovered, _) = open(&disk).await.expect("opens");
        assert!(recovered.clean, "it was closed");
        assert_eq!(recovered.log_end_offset, model.end_of(model.batches.len()));
        model.accept(&recovered);
        model.check_reads(&log).await;
        assert!(memory.contents(&dir().join("checkpoint")).is_some());
    }
}
