//! The log file: what was answered is there after a power cut.

use super::super::{
    log_file::{LogFile, WRITES_MAX},
    log_state::{LogState, Record},
    runtime::QuorumRuntime,
    storage::{Log, LogStore},
    types::{EntryRecord, LogId, PayloadRecord, Position, Types, Vote, VoteRecord},
};
use crate::{
    config::MetadataSnapshots, env::Disk, internal, log::tests::disk::MemoryDisk,
    quorum::OpenError, tasks::Tasks,
};
use highwater_core::{
    metadata::{Command, ConfigUpdate},
    types::BrokerId,
};
use openraft::{
    async_runtime::{AsyncRuntime, Oneshot},
    storage::{IOFlushed, RaftLogStorage},
};
use std::{collections::BTreeMap, io, path::Path, sync::Arc};

const FILE: &str = "/data/quorum.log";

fn header() -> Record {
    Record::Header { cluster: "cluster".into(), node: BrokerId(1) }
}

async fn open(disk: &MemoryDisk) -> Result<LogStore, OpenError> {
    let dir = Path::new("/data");
    disk.create_dir(dir).await.unwrap();
    disk.sync_dir(Path::new("/")).await.unwrap();
    let least = MetadataSnapshots::default().rewrite_bytes_min;
    let (file, state) = LogFile::open(Arc::new(disk.clone()), dir, header(), least).await?;
    let (writes, incoming) = tokio::sync::mpsc::channel(WRITES_MAX);
    Tasks::default().spawn("quorum", file.run(incoming));
    Ok(LogStore { log: Log::new(state), writes })
}

fn entry(term: u64, index: u64, payload: PayloadRecord) -> EntryRecord {
    EntryRecord { at: Position { term, index }, payload }
}

async fn append(store: &mut LogStore, entries: Vec<EntryRecord>) -> io::Result<()> {
    let (sender, flushed) = <QuorumRuntime as AsyncRuntime>::Oneshot::channel();
    let entries: Vec<_> = entries.into_iter().map(|entry| entry.into_entry().unwrap()).collect();
    store.append(entries, IOFlushed::<Types>::signal(sender)).await?;
    flushed.await.unwrap()
}

async fn last(store: &mut LogStore) -> Option<Position> {
    store.get_log_state().await.unwrap().last_log_id.map(Position::from)
}

#[test]
fn the_bytes_of_a_round_never_change() {
    let vote = VoteRecord { term: 3, node: BrokerId(2), committed: true };
    let round = vec![
        header(),
        Record::Vote(vote),
        Record::Entry(Arc::new(entry(3, 7, PayloadRecord::Blank))),
        Record::Truncate(None),
        Record::Purge(Position { term: 3, index: 6 }),
    ];
    let frame = internal::encode(1, &round);
    #[rustfmt::skip]
    assert_eq!(frame[17..], [
        5, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'c', b'l', b'u', b's', b't', b'e', b'r', 1, 0, 0, 0,
        1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1,
        3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        4, 0, 0, 0, 0,
        5, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ]);
    assert_eq!(internal::decode::<Vec<Record>>(&frame).unwrap().message, round);
}

#[tokio::test]
async fn votes_and_entries_that_were_answered_survive_a_power_cut_at_any_call() {
    for seed in 0..200 {
        let disk = MemoryDisk::default();
        let mut store = open(&disk).await.unwrap();
        disk.die_after(seed % 23);
        let (mut voted, mut stored) = (0, None);
        for term in 1..10 {
            if store.save_vote(&Vote::new(term, BrokerId(1))).await.is_err() {
                break;
            }
            voted = term;
            let next = stored.map_or(0, |at: Position| at.index + 1);
            let entries = vec![
                entry(term, next, PayloadRecord::Blank),
                entry(term, next + 1, PayloadRecord::Blank),
            ];
            if append(&mut store, entries).await.is_err() {
                break;
            }
            stored = Some(Position { term, index: next + 1 });
        }
        assert!(store.save_vote(&Vote::new(99, BrokerId(1))).await.is_err() || voted == 9);
        drop(store);
        disk.power_cut(seed);
        let mut store = open(&disk).await.unwrap();
        let vote = openraft::RaftLogReader::<Types>::read_vote(&mut store.log).await.unwrap();
        assert!(vote.map_or(0, |vote| vote.leader_id.term) >= voted, "seed {seed}");
        let found = last(&mut store).await;
        assert!(found.map(|at| at.index) >= stored.map(|at| at.index), "seed {seed}: {found:?}");
    }
}

#[tokio::test]
async fn a_truncation_is_durable_before_what_replaces_the_entries() {
    for seed in 0..100 {
        let disk = MemoryDisk::default();
        let mut store = open(&disk).await.unwrap();
        let old = (0..5).map(|index| entry(1, index, PayloadRecord::Blank)).collect();
        append(&mut store, old).await.unwrap();
        disk.die_after(seed % 7);
        let keep = LogId::from(Position { term: 1, index: 2 });
        let cut = store.truncate_after(Some(keep)).await;
        let new = entry(2, 3, PayloadRecord::Blank);
        let replaced = cut.is_ok() && append(&mut store, vec![new]).await.is_ok();
        drop(store);
        disk.power_cut(seed);
        let mut store = open(&disk).await.unwrap();
        let found = last(&mut store).await.unwrap();
        let allowed = [(1, 4), (1, 2), (2, 3)];
        let from = if replaced { 2 } else { usize::from(cut.is_ok()) };
        assert!(allowed[from..].contains(&(found.term, found.index)), "seed {seed}: {found:?}");
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_damage_before_it_is_not() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk).await.unwrap();
    append(&mut store, vec![entry(1, 0, PayloadRecord::Blank)]).await.unwrap();
    let first = disk.contents(Path::new(FILE)).unwrap().len();
    append(&mut store, vec![entry(1, 1, PayloadRecord::Blank)]).await.unwrap();
    let whole = disk.contents(Path::new(FILE)).unwrap().len();
    drop(store);
    disk.flip_bit(Path::new(FILE), whole - 1, 0);
    let mut store = open(&disk).await.unwrap();
    assert_eq!(last(&mut store).await, Some(Position { term: 1, index: 0 }));
    append(&mut store, vec![entry(1, 1, PayloadRecord::Blank)]).await.unwrap();
    append(&mut store, vec![entry(1, 2, PayloadRecord::Blank)]).await.unwrap();
    drop(store);
    disk.flip_bit(Path::new(FILE), first, 0);
    assert!(matches!(open(&disk).await, Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_answered_any_more() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk).await.unwrap();
    disk.fail_sync(io::ErrorKind::Other);
    assert!(store.save_vote(&Vote::new(1, BrokerId(1))).await.is_err());
    assert!(store.save_vote(&Vote::new(2, BrokerId(1))).await.is_err());
    assert!(append(&mut store, vec![entry(2, 0, PayloadRecord::Blank)]).await.is_err());
}

#[tokio::test]
async fn a_large_log_is_rewritten_without_what_is_purged() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk).await.unwrap();
    store.save_vote(&Vote::new(1, BrokerId(1))).await.unwrap();
    let configs = BTreeMap::from([("name".to_string(), "x".repeat(1 << 20))]);
    let command =
        Command::SetBrokerConfigs { broker: None, update: ConfigUpdate::Replace(configs) };
    let payload = PayloadRecord::Command(Arc::new(command));
    for index in 0..6 {
        append(&mut store, vec![entry(1, index, payload.clone())]).await.unwrap();
    }
    store.purge(LogId::from(Position { term: 1, index: 4 })).await.unwrap();
    // The next answered write is behind the purge.
    store.save_vote(&Vote::new(2, BrokerId(1))).await.unwrap();
    let size = disk.contents(Path::new(FILE)).unwrap().len();
    assert!(size < 3 << 20, "{size}");
    append(&mut store, vec![entry(2, 6, PayloadRecord::Blank)]).await.unwrap();
    drop(store);
    disk.power_cut(1);
    let mut store = open(&disk).await.unwrap();
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id.map(|at| at.index), Some(4));
    assert_eq!(state.last_log_id.map(|at| at.index), Some(6));
}

#[test]
fn records_add_up_in_any_state_to_what_to_records_says() {
    let mut state = LogState::default();
    let records = [
        Record::Vote(VoteRecord { term: 1, node: BrokerId(1), committed: false }),
        Record::Entry(Arc::new(entry(1, 0, PayloadRecord::Blank))),
        Record::Entry(Arc::new(entry(1, 1, PayloadRecord::Blank))),
        Record::Entry(Arc::new(entry(1, 2, PayloadRecord::Blank))),
        Record::Committed(Position { term: 1, index: 1 }),
        Record::Truncate(Some(Position { term: 1, index: 1 })),
        Record::Purge(Position { term: 1, index: 0 }),
        Record::Purge(Position { term: 4, index: 9 }),
        Record::Entry(Arc::new(entry(4, 10, PayloadRecord::Blank))),
    ];
    for record in &records {
        state.apply(record).unwrap();
        let mut again = LogState::default();
        state.to_records().iter().for_each(|record| again.apply(record).unwrap());
        assert_eq!(again, state);
    }
    let gap = Record::Entry(Arc::new(entry(4, 12, PayloadRecord::Blank)));
    assert!(state.apply(&gap).is_err());
}
