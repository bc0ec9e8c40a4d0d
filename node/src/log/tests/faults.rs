//! Disks that fail, fill up and rot.

use super::{
    super::{LogError, LogEvent, remove_leftovers},
    batches::{batch, bytes_of},
    disk::MemoryDisk,
    model::{Events, Model, at, dir, open, settle},
};
use crate::{env::Disk, log::Log};
use highwater_core::types::{Offset, WriteId};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{io, sync::Arc};

/// A log with batches that are all flushed.
struct Fixture {
    memory: MemoryDisk,
    disk: Arc<dyn Disk>,
    model: Model,
    log: Log,
    events: Events,
    rng: ChaCha8Rng,
}

impl Fixture {
    async fn with_batches(count: usize) -> Self {
        let memory = MemoryDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let (log, _, events) = open(&disk).await.expect("opens");
        let rng = ChaCha8Rng::seed_from_u64(1);
        let mut fixture = Self { memory, disk, model: Model::default(), log, events, rng };
        fixture.append(count);
        settle().await;
        fixture.model.observe(&fixture.events);
        assert_eq!(fixture.model.flushed, count);
        fixture
    }

    fn append(&mut self, count: usize) {
        for _ in 0..count {
            let (write, batch) = self.model.next_batch(&mut self.rng);
            self.log.append(at(0), write, batch);
        }
    }

    async fn checkpoint(&self) {
        let side = self.model.side(self.model.flushed);
        self.log.checkpoint(side).await.expect("a checkpoint can be written");
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_log_and_keeps_reads() {
    let mut fixture = Fixture::with_batches(20).await;
    fixture.memory.fail_writes(Some(io::ErrorKind::StorageFull));
    fixture.append(3);
    settle().await;
    let events = fixture.events.take();
    assert!(matches!(&events[..], [LogEvent::Failed(LogError::Io(_))]), "{events:?}");
    fixture.model.batches.truncate(20);
    fixture.model.check_reads(&fixture.log).await;
    // Appends to a failed log are dropped: what is in the model is not in the log.
    fixture.memory.fail_writes(None);
    fixture.append(1);
    settle().await;
    assert!(fixture.events.take().is_empty(), "a failed log says so once");
    fixture.model.batches.truncate(20);
    let (log, recovered, _) = open(&fixture.disk).await.expect("the failed round was cut");
    assert_eq!(recovered.log_end_offset, fixture.model.end_of(20));
    fixture.model.accept(&recovered);
    fixture.model.check_reads(&log).await;
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let mut fixture = Fixture::with_batches(5).await;
    fixture.memory.fail_sync(io::ErrorKind::Other);
    fixture.append(2);
    settle().await;
    fixture.append(2);
    settle().await;
    let events = fixture.events.take();
    let [LogEvent::Written(WriteId(7)), LogEvent::Failed(LogError::Io(_))] = &events[..] else {
        panic!("{events:?}");
    };
    fixture.model.batches.truncate(5);
    fixture.model.check_reads(&fixture.log).await;
    assert!(fixture.log.close(|| unreachable!("a failed log has no clean end")).await.is_err());
}

#[tokio::test]
async fn a_failed_checkpoint_leaves_the_log_at_work() {
    let mut fixture = Fixture::with_batches(30).await;
    fixture.checkpoint().await;
    fixture.memory.fail_sync(io::ErrorKind::Other);
    let side = fixture.model.side(30);
    assert!(fixture.log.advance_start(Offset(10), side).await.is_err());
    fixture.append(3);
    settle().await;
    fixture.model.observe(&fixture.events);
    assert_eq!(fixture.model.flushed, 33);
    fixture.model.check_reads(&fixture.log).await;
}

#[tokio::test]
async fn every_flipped_bit_before_the_recovery_point_is_found_and_nothing_is_cut() {
    let fixture = Fixture::with_batches(25).await;
    fixture.checkpoint().await;
    let end = fixture.model.end_of(25);
    let closed = fixture.log.closed_segments();
    let victim = closed[1];
    let path = dir().join(format!("{:020}.log", victim.base_offset.0));
    let sound = fixture.memory.contents(&path).expect("a segment");
    for position in 0..sound.len() {
        fixture.memory.flip_bit(&path, position, (position % 8) as u8);
        let (log, _, _) = open(&fixture.disk).await.expect("closed segments are not scanned");
        let mut at = victim.base_offset;
        let found = loop {
            if at >= victim.end_offset {
                break None;
            }
            match log.read(at, end, 4000, true).await {
                Ok(bytes) => at = at.plus(records_in(&bytes)),
                Err(error) => break Some(error),
            }
        };
        match found {
            Some(LogError::Corrupt { path: found, .. }) => assert_eq!(found, path),
            other => panic!("a flipped bit at {position} was answered with {other:?}"),
        }
        fixture.memory.flip_bit(&path, position, (position % 8) as u8);
    }
    assert_eq!(fixture.memory.contents(&path), Some(sound), "nothing was cut or repaired");
}

/// How many offsets whole batches span.
fn records_in(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let header = highwater_core::record::BatchHeader::parse(bytes).expect("whole batches");
        count += header.offset_count();
        bytes = &bytes[header.size_in_bytes..];
    }
    count
}

#[tokio::test]
async fn damage_in_front_of_the_last_segment_is_corruption_even_behind_the_recovery_point() {
    let fixture = Fixture::with_batches(25).await;
    let first = dir().join("00000000000000000000.log");
    fixture.memory.flip_bit(&first, 300, 3);
    let error = open(&fixture.disk).await.err().expect("it does not open");
    assert!(matches!(&error, LogError::Corrupt { path, .. } if *path == first), "{error}");
    let again = open(&fixture.disk).await.err().expect("nor the second time");
    assert_eq!(again.to_string(), error.to_string(), "and nothing was changed");
}

#[tokio::test]
async fn a_torn_tail_is_cut_with_all_that_was_known_behind_it() {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (log, _, _) = open(&disk).await.expect("opens");
    for number in 0..4 {
        log.append(at(0), WriteId(number), batch(number * 2, 0, None, &[1, 2], 100));
    }
    settle().await;
    // Sound batches follow the torn one, as they do when the device wrote out of order.
    memory.flip_bit(&dir().join("00000000000000000000.log"), 70, 0);
    let (log, recovered, _) = open(&disk).await.expect("the tail is cut");
    assert_eq!(recovered.log_end_offset, Offset(0));
    assert!(recovered.cut_bytes > 800, "{recovered:?}");
    let batches: Vec<_> = (0..8).map(|offset| batch(offset, 0, None, &[9], 30)).collect();
    for batch in &batches {
        log.append(at(0), WriteId(batch.header.base_offset.0), batch.clone());
    }
    settle().await;
    for batch in &batches {
        let read = log.read(batch.header.base_offset, Offset(8), 1, true).await;
        assert_eq!(read.expect("readable"), bytes_of(batch));
    }
}

#[tokio::test]
async fn a_lost_checkpoint_or_segment_is_corruption() {
    let fixture = Fixture::with_batches(25).await;
    fixture.checkpoint().await;
    let middle = fixture.log.closed_segments()[1].base_offset;
    let segment = dir().join(format!("{:020}.log", middle.0));
    let checkpoint = dir().join("checkpoint");
    fixture.memory.flip_bit(&checkpoint, 20, 1);
    assert!(matches!(open(&fixture.disk).await.err(), Some(LogError::Corrupt { .. })));
    fixture.memory.flip_bit(&checkpoint, 20, 1);
    fixture.memory.lose(&segment);
    assert!(matches!(open(&fixture.disk).await.err(), Some(LogError::Corrupt { .. })));
    fixture.memory.lose(&checkpoint);
    assert!(matches!(open(&fixture.disk).await.err(), Some(LogError::Corrupt { .. })));
}

#[tokio::test]
async fn a_missing_or_broken_index_file_is_replaced_by_a_scan() {
    let mut fixture = Fixture::with_batches(40).await;
    fixture.checkpoint().await;
    let closed = fixture.log.closed_segments();
    let index = |number: usize| dir().join(format!("{:020}.index", closed[number].base_offset.0));
    fixture.memory.lose(&index(0));
    fixture.memory.flip_bit(&index(1), 30, 0);
    let (log, recovered, _) = open(&fixture.disk).await.expect("opens");
    fixture.model.start_asked = Offset(0);
    fixture.model.accept(&recovered);
    fixture.model.check_reads(&log).await;
}

#[tokio::test]
async fn a_deleted_log_is_gone_and_an_interrupted_deletion_is_finished() {
    let fixture = Fixture::with_batches(10).await;
    fixture.log.delete().await.expect("deleted");
    assert!(fixture.disk.list(&dir()).await.is_err());
    for calls in 0..8 {
        let fixture = Fixture::with_batches(10).await;
        fixture.memory.die_after(calls);
        let deleted = fixture.log.delete().await.is_ok();
        fixture.memory.power_cut(calls);
        remove_leftovers(&*fixture.disk, "data".as_ref()).await.expect("removed");
        let entries = fixture.disk.list("data".as_ref()).await.expect("there");
        assert!(!deleted || entries.is_empty(), "a deleted log does not come back");
        if !entries.is_empty() {
            let (_, recovered, _) = open(&fixture.disk).await.expect("all of it is there");
            assert_eq!(recovered.log_end_offset, fixture.model.end_of(10));
        }
    }
}

#[tokio::test]
async fn a_power_cut_while_an_interrupted_deletion_is_finished_leaves_all_or_nothing() {
    // The process dies after `calls`, and its successor loses power after `more`, so that what the
    // first one did not sync is still to be lost.
    for (calls, more) in (0..6).flat_map(|calls| (0..12).map(move |more| (calls, more))) {
        let fixture = Fixture::with_batches(10).await;
        fixture.memory.die_after(calls);
        let _ = fixture.log.delete().await;
        fixture.memory.revive();
        fixture.memory.die_after(more);
        let _ = remove_leftovers(&*fixture.disk, "data".as_ref()).await;
        fixture.memory.power_cut(calls * 12 + more);
        let entries = fixture.disk.list("data".as_ref()).await.expect("there");
        if entries.iter().any(|entry| !entry.name.ends_with(".deleted")) {
            let (_, recovered, _) = open(&fixture.disk).await.expect("all of it is there");
            assert_eq!(recovered.log_end_offset, fixture.model.end_of(10));
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_fails_or_is_ignored_does_not_end_checkpoints() {
    let mut fixture = Fixture::with_batches(30).await;
    let due = async |fixture: &mut Fixture| {
        fixture.append(30);
        settle().await;
        fixture.model.observe(&fixture.events)
    };
    assert!(!due(&mut fixture).await, "one was asked for already");
    fixture.memory.fail_writes(Some(io::ErrorKind::StorageFull));
    let side = fixture.model.side(fixture.model.flushed);
    assert!(fixture.log.checkpoint(side).await.is_err());
    fixture.memory.fail_writes(None);
    assert!(due(&mut fixture).await, "another one is asked for after a failure");
    fixture.checkpoint().await;
    assert!(due(&mut fixture).await, "and after a success");
    fixture.log.checkpoint(fixture.model.side(10)).await.expect("ignored");
    assert!(due(&mut fixture).await, "and after one that was ignored");
}

#[tokio::test]
async fn a_closing_log_takes_no_more_and_writes_what_is_queued() {
    let mut fixture = Fixture::with_batches(10).await;
    fixture.append(5);
    let log = fixture.log.clone();
    let events = fixture.events.clone();
    let model = Arc::new(std::sync::Mutex::new(fixture.model.clone()));
    let closing = async {
        log.close(|| {
            let mut model = model.lock().expect("sound");
            model.observe(&events);
            model.side(model.flushed)
        })
        .await
    };
    let appending = async {
        // Somebody who never stops.
        for _ in 0..500 {
            fixture.append(1);
            tokio::task::yield_now().await;
        }
    };
    let (closed, ()) = tokio::join!(closing, appending);
    closed.expect("a busy log is closed");
    let model = model.lock().expect("sound").clone();
    assert_eq!(model.flushed, 15, "what was queued before is durable, and nothing else is");
    let (log, recovered, _) = open(&fixture.disk).await.expect("opens");
    assert!(recovered.clean);
    assert_eq!(recovered.log_end_offset, model.end_of(15));
    model.check_reads(&log).await;
}

#[tokio::test]
async fn a_closed_log_changes_nothing_on_the_disk() {
    let fixture = Fixture::with_batches(10).await;
    let side = fixture.model.side(10);
    fixture.log.close(|| side.clone()).await.expect("closed");
    let calls = fixture.memory.calls();
    assert!(fixture.log.checkpoint(side.clone()).await.is_err());
    assert!(fixture.log.advance_start(Offset(1), side).await.is_err());
    assert_eq!(fixture.memory.calls(), calls);
}
