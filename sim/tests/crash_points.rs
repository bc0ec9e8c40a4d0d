//! Crash points of the log engine: it is stopped between any two disk operations of a workload,
//! loses its power, and recovers; and recovery itself is stopped between any two of its operations.
#![cfg(madsim)]

use bytes::Bytes;
use highwater_core::{
    partition::SideState,
    record::{Batch, BatchHeader, Origin, PlacedBatch},
    time::{Instant, Now, Timestamp},
    types::{LeaderEpoch, Offset, WriteId},
};
use highwater_node::{
    log::{Log, LogEvent, LogOptions},
    tasks::Tasks,
};
use highwater_sim::{
    batch::{Producer, Sent, decode_all, encode},
    disk::{CutStyle, DiskFaults, SimDisk, TrapOn},
    trace::Trace,
};
use madsim::{
    runtime::{Handle, NodeHandle, Runtime},
    time,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

const DIR: &str = "/data/topics/t/0.id";
const BATCHES: u64 = 24;
const RECORDS_IN_BATCH: u64 = 3;
/// The workload moves the log start here when half of it is written.
const NEW_START: Offset = Offset(9);
const STYLES: [CutStyle; 4] =
    [CutStyle::LoseAll, CutStyle::Prefix, CutStyle::Scatter, CutStyle::KeepAll];

/// What the log told its user before the crash.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// Batches reported as flushed.
    batches: u64,
    /// A log start that was reported as durable.
    start: Offset,
    /// A log start that was asked for.
    asked: Offset,
}

/// What a recovery found.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    start: Offset,
    end: Offset,
    side: SideState,
    numbers: Vec<u64>,
}

#[test]
fn a_crash_between_any_two_operations_keeps_what_was_promised() {
    let operations = run(0, async |world| world.count_operations().await);
    assert!(operations > 100, "the workload makes only {operations} disk operations");
    for crash in 0..=operations {
        for style in STYLES {
            run(crash, async |world| {
                let promised = world.work_until(crash).await;
                world.lose_power(style);
                let found = world.recover().await;
                check(&promised, &found, &format!("crash at {crash}, {style:?}"));
            });
        }
    }
}

#[test]
fn a_crash_between_any_two_operations_of_recovery_changes_nothing() {
    for crash in (5..120).step_by(7) {
        for style in STYLES {
            let mut within = 0;
            loop {
                let finished = run(crash + 1_000 * within, async |world| {
                    let promised = world.work_until(crash).await;
                    world.lose_power(style);
                    let finished = world.recover_until(within).await;
                    world.lose_power(style);
                    let found = world.recover().await;
                    let place = format!("crash at {crash} and at {within} of recovery, {style:?}");
                    check(&promised, &found, &place);
                    assert_eq!(world.recover().await, found, "{place}: recovered again");
                    finished
                });
                if finished {
                    break;
                }
                within += 1;
            }
        }
    }
}

#[test]
fn what_a_recovery_took_from_the_page_cache_after_a_failed_sync_is_durable() {
    for style in STYLES {
        run(1, async |world| {
            let promised = world.work_until_syncs_fail_after(40).await;
            assert!(promised.batches > 0, "the workload got nowhere");
            world.kill_process();
            let from_page_cache = world.recover().await;
            let flushed = Offset(promised.batches * RECORDS_IN_BATCH);
            assert!(from_page_cache.end > flushed, "nothing was in the page cache only");
            world.lose_power(style);
            assert_eq!(world.recover().await, from_page_cache, "{style:?}");
            check(&promised, &from_page_cache, &format!("{style:?}"));
        });
    }
}

/// All that was promised is there, nothing else is, and the side state is that of the batches.
fn check(promised: &Promised, found: &Found, place: &str) {
    let flushed = Offset(promised.batches * RECORDS_IN_BATCH);
    assert!(found.end >= flushed, "{place}: {flushed} was flushed, {found:?}");
    assert!(found.start >= promised.start, "{place}: {promised:?}, {found:?}");
    assert!(found.start <= promised.asked, "{place}: {promised:?}, {found:?}");
    let first = found.start.0 / RECORDS_IN_BATCH * RECORDS_IN_BATCH;
    assert_eq!(found.numbers, (first..found.end.0).collect::<Vec<_>>(), "{place}");
    let mut side = SideState::starting_at(Offset(0));
    for number in 0..found.end.0 / RECORDS_IN_BATCH {
        side.replay(&header(number)).expect("the workload's batches follow one another");
    }
    assert_eq!(found.side.producers, side.producers, "{place}");
    assert_eq!(found.side.offset, found.end, "{place}");
}

/// Runs one world on simulated time.
fn run<T>(seed: u64, body: impl AsyncFnOnce(&World) -> T) -> T {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.block_on(async {
        let node = Handle::current().create_node().name("log").build();
        let disk = SimDisk::new(seed, &Trace::default());
        {
            // The broker makes its data directory durable before it opens any log.
            let mut model = disk.model();
            model.create_dir(Path::new("/data")).expect("an empty disk");
            model.sync_dir(Path::new("/")).expect("a healthy disk");
        }
        body(&World { disk, node }).await
    })
}

struct World {
    disk: SimDisk,
    node: NodeHandle,
}

impl World {
    async fn count_operations(&self) -> u64 {
        let count = 1_000_000;
        let all = self.disk.halt_after(count);
        self.start_work();
        time::sleep(Duration::from_secs(5)).await;
        drop(all);
        count - self.disk.operations_left()
    }

    /// Works until that many disk operations have happened, or all of them.
    async fn work_until(&self, crash: u64) -> Promised {
        let halted = self.disk.halt_after(crash);
        let promised = self.start_work();
        if crash > 0 {
            let _ = time::timeout(Duration::from_secs(5), halted).await;
        }
        // Operations that were complete before the crash may still be told about.
        time::sleep(Duration::from_millis(20)).await;
        promised.lock().expect("nobody panics").clone()
    }

    fn start_work(&self) -> Arc<Mutex<Promised>> {
        let promised = Arc::new(Mutex::new(Promised::default()));
        self.node.spawn(work(self.disk.clone(), promised.clone()));
        promised
    }

    fn lose_power(&self, style: CutStyle) {
        Handle::current().kill(self.node.id());
        let mut model = self.disk.model();
        model.cut_styles = (Some(style), Some(style));
        model.cut_power();
        drop(model);
        self.disk.resume();
        Handle::current().restart(self.node.id());
    }

    /// Works; after that many disk operations every sync of a segment fails for a while.
    async fn work_until_syncs_fail_after(&self, operations: u64) -> Promised {
        let sprung = self.disk.trap(TrapOn::Any, operations);
        let promised = self.start_work();
        sprung.await.expect("the workload makes more operations than that");
        let faults =
            DiskFaults { sync_error: 1.0, only: Some(".log".to_owned()), ..DiskFaults::default() };
        self.disk.model().faults = faults;
        time::sleep(Duration::from_millis(50)).await;
        self.disk.model().faults = DiskFaults::default();
        promised.lock().expect("nobody panics").clone()
    }

    fn kill_process(&self) {
        Handle::current().kill(self.node.id());
        self.disk.model().kill_process();
        Handle::current().restart(self.node.id());
    }

    async fn recover(&self) -> Found {
        let disk = self.disk.clone();
        let node = Handle::current().get_node(self.node.id()).expect("the node exists");
        node.spawn(recover(disk)).await.expect("recovery ends")
    }

    /// Recovers until that many disk operations have happened; whether it came to its end.
    async fn recover_until(&self, within: u64) -> bool {
        let halted = self.disk.halt_after(within);
        let node = Handle::current().get_node(self.node.id()).expect("the node exists");
        let recovering = node.spawn(recover(self.disk.clone()));
        let ended = time::timeout(Duration::from_secs(1), recovering).await.is_ok();
        drop(halted);
        ended
    }
}

/// Writes batches a few at a time, checkpoints whenever the log asks, and moves the log start once.
async fn work(disk: SimDisk, promised: Arc<Mutex<Promised>>) {
    let (log, due) = open(disk, promised.clone()).await;
    for number in 0..BATCHES {
        let now = Now { monotonic: Instant(number), wall: Timestamp(1_000) };
        log.append(now, WriteId(number), batch(number));
        if number % 3 != 2 {
            continue;
        }
        while promised.lock().expect("nobody panics").batches <= number {
            time::sleep(Duration::from_millis(1)).await;
        }
        if number == BATCHES / 2 - 1 {
            promised.lock().expect("nobody panics").asked = NEW_START;
            log.advance_start(NEW_START, side_of(number + 1)).await.expect("a healthy disk");
            promised.lock().expect("nobody panics").start = NEW_START;
        }
        if std::mem::take(&mut *due.lock().expect("nobody panics")) {
            log.checkpoint(side_of(number + 1)).await.expect("a healthy disk");
        }
    }
}

/// The log, and whether it has asked for a checkpoint.
async fn open(disk: SimDisk, promised: Arc<Mutex<Promised>>) -> (Log, Arc<Mutex<bool>>) {
    let due = Arc::new(Mutex::new(false));
    let (tell, ask) = (promised, due.clone());
    let events = Arc::new(move |event| match event {
        LogEvent::Flushed(write) => tell.lock().expect("nobody panics").batches = write.0 + 1,
        LogEvent::CheckpointDue => *ask.lock().expect("nobody panics") = true,
        LogEvent::Written(_) | LogEvent::Failed(_) => {}
    });
    let options =
        LogOptions { segment_bytes: 1_024, index_interval_bytes: 200, ..LogOptions::default() };
    let dir = PathBuf::from(DIR);
    let now = Now { monotonic: Instant(0), wall: Timestamp(1_000) };
    let opened = Log::open(Arc::new(disk), &Tasks::default(), dir, options, now, events).await;
    let (log, _) = opened.expect("the log opens");
    (log, due)
}

async fn recover(disk: SimDisk) -> Found {
    let events = Arc::new(|_| ());
    let dir = PathBuf::from(DIR);
    let options =
        LogOptions { segment_bytes: 1_024, index_interval_bytes: 200, ..LogOptions::default() };
    let now = Now { monotonic: Instant(0), wall: Timestamp(1_000) };
    let opened = Log::open(Arc::new(disk), &Tasks::default(), dir, options, now, events).await;
    let (log, recovered) = opened.expect("whatever a crash left is opened");
    let (start, end) = (recovered.log_start_offset, recovered.log_end_offset);
    let mut numbers = Vec::new();
    let mut next = start;
    while next < end {
        let bytes = log.read(next, end, 500, true).await.expect("what was recovered is read");
        let (batches, taken, bad) = decode_all(&bytes);
        assert_eq!((taken, bad), (bytes.len(), None), "whole batches are read");
        let records = batches.iter().flat_map(|batch| &batch.records);
        numbers.extend(records.map(|record| record.number.expect("what was sent")));
        next = Offset(batches.last().expect("a batch").last_offset as u64 + 1);
    }
    Found { start, end, side: recovered.side, numbers }
}

/// Batch `number` of the workload, in its place.
fn batch(number: u64) -> PlacedBatch {
    let bytes = encoded(number);
    let size = bytes.len();
    let batch = Batch::parse(bytes, size, Origin::Client).expect("a well-formed batch");
    batch.placed(Offset(number * RECORDS_IN_BATCH), LeaderEpoch(0), None)
}

fn encoded(number: u64) -> Bytes {
    let first = number * RECORDS_IN_BATCH;
    let sent: Vec<_> = (first..first + RECORDS_IN_BATCH)
        .map(|number| Sent { number, timestamp: 1_000 + number as i64 })
        .collect();
    let producer = Producer { id: 5, epoch: 0, base_sequence: first as i32 };
    encode(&sent, Some(producer))
}

fn header(number: u64) -> BatchHeader {
    batch(number).header
}

/// The side state behind that many batches.
fn side_of(batches: u64) -> SideState {
    let mut side = SideState::starting_at(Offset(0));
    for number in 0..batches {
        side.replay(&header(number)).expect("the workload's batches follow one another");
    }
    side
}
