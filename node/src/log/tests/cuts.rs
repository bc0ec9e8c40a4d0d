//! Truncations and resets: in any mixture with appends, checkpoints and moves of the log start,
//! with power loss at every disk call and at every disk call of the recovery behind it.

use super::{
    super::{Log, LogError},
    disk::MemoryDisk,
    history::History,
    model::{Events, at, open, settle},
};
use crate::env::Disk;
use highwater_core::types::Offset;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Appends, cuts, checkpoints and moves the log start until it is done or the power is gone.
async fn work(
    disk: &Arc<dyn Disk>,
    history: &mut History,
    seed: u64,
    cuts: usize,
) -> Result<(), LogError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (log, recovered, events) = open(disk).await?;
    history.accept(&log, &recovered).await;
    while history.cuts < cuts {
        for _ in 0..rng.random_range(1..12) {
            let (write, batch) = history.next_batch(&mut rng);
            log.append(at(0), write, batch);
        }
        pause(&mut rng).await;
        for _ in 0..rng.random_range(0..3) {
            history.observe(&events);
            cut(&log, history, &mut rng);
            if rng.random_bool(0.5) {
                pause(&mut rng).await;
            }
        }
        if rng.random_bool(0.2) {
            log.roll();
        }
        keep_house(&log, history, &events, &mut rng).await?;
    }
    settle().await;
    settle().await;
    history.observe(&events);
    let side = history.side();
    history.gave(&side);
    log.close(|| side).await
}

async fn pause(rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(0..25) {
        tokio::task::yield_now().await;
    }
}

fn cut(log: &Log, history: &mut History, rng: &mut ChaCha8Rng) {
    if rng.random_bool(0.75) {
        let (write, to, side) = history.truncate(rng);
        log.truncate(at(0), write, to, side);
    } else {
        let (write, to, producers) = history.reset(rng);
        log.reset(at(0), write, to, producers);
    }
}

async fn keep_house(
    log: &Log,
    history: &mut History,
    events: &Events,
    rng: &mut ChaCha8Rng,
) -> Result<(), LogError> {
    let due = history.observe(events);
    let side = history.side();
    if rng.random_bool(0.15) && side.offset > history.start() {
        let to = Offset(rng.random_range(history.start().0..=side.offset.0));
        history.start_asked(to);
        history.gave(&side);
        match log.advance_start(to, side).await {
            Ok(()) => history.start_promised(to),
            Err(LogError::OffsetOutOfRange { .. }) => {}
            Err(error) => return Err(error),
        }
    } else if due || rng.random_bool(0.3) {
        history.gave(&side);
        log.checkpoint(side).await?;
    }
    Ok(())
}

/// Recovers and checks, and with `twice` recovers again; then goes on appending and cutting.
async fn check(disk: &Arc<dyn Disk>, history: &mut History, seed: u64) {
    let (mut log, recovered, mut events) = open(disk).await.expect("recovers from a power cut");
    history.accept(&log, &recovered).await;
    if seed.is_multiple_of(2) {
        drop(log);
        let again;
        (log, again, events) = open(disk).await.expect("a log recovers twice");
        assert_eq!(
            (again.log_start_offset, again.log_end_offset, again.high_watermark, &again.side),
            (
                recovered.log_start_offset,
                recovered.log_end_offset,
                recovered.high_watermark,
                &recovered.side
            ),
            "recovering twice is recovering once"
        );
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..2 {
        for _ in 0..5 {
            let (write, batch) = history.next_batch(&mut rng);
            log.append(at(0), write, batch);
        }
        settle().await;
        history.observe(&events);
        history.check(&log, seed.is_multiple_of(8)).await;
        cut(&log, history, &mut rng);
        settle().await;
        history.observe(&events);
        history.check(&log, false).await;
    }
    let side = history.side();
    log.checkpoint(side).await.expect("a checkpoint can be written");
}

async fn crash_at(calls: u64, seed: u64) -> (Arc<dyn Disk>, MemoryDisk, History, bool) {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut history = History::new();
    memory.die_after(calls);
    let finished = work(&disk, &mut history, seed, 10).await.is_ok();
    settle().await;
    memory.power_cut(seed ^ calls);
    (disk, memory, history, finished)
}

#[tokio::test]
async fn what_is_left_after_any_cuts_is_what_was_appended_and_not_dropped() {
    for seed in 0..60 {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let mut history = History::new();
        work(&disk, &mut history, seed, 12).await.expect("the disk works");
        let (log, recovered, _) = open(&disk).await.expect("opens");
        assert!(recovered.clean, "it was closed");
        assert_eq!(recovered.log_end_offset, history.end());
        history.check(&log, true).await;
        check(&disk, &mut history, seed).await;
    }
}

#[tokio::test]
async fn every_crash_point_around_a_cut_recovers_the_log_before_or_behind_it() {
    for seed in 0..12 {
        let mut calls = 0;
        loop {
            let (disk, _, mut history, finished) = crash_at(calls, seed).await;
            check(&disk, &mut history, calls + seed).await;
            if finished {
                break;
            }
            calls += 1;
        }
        assert!(calls > 60, "the workload makes calls to crash at: {calls}");
    }
}

#[tokio::test]
async fn every_crash_point_of_a_recovery_behind_a_cut_recovers() {
    for seed in 0..30 {
        let crashes = 20 + seed * 5;
        let mut calls = 0;
        loop {
            let (disk, memory, mut history, _) = crash_at(crashes, seed).await;
            memory.die_after(calls);
            let recovered = open(&disk).await;
            let finished = recovered.is_ok();
            drop(recovered);
            memory.power_cut(seed ^ calls);
            check(&disk, &mut history, seed).await;
            if finished {
                break;
            }
            calls += 1;
        }
    }
}
