//! When everything has converged, clients are answered at once: whoever waits for a record has it
//! when it is committed, and whoever goes by another leadership is refused.

use super::{
    ClientNumber, Clients,
    finale::{LATEST, probe},
    session::Session,
};
use crate::history::Partition;
use highwater_core::types::LeaderEpoch;
use madsim::{task, time};
use std::time::Duration;

/// Writes records whose numbers nobody else has.
const WRITER: ClientNumber = ClientNumber(1);
/// Writes nothing.
const READER: ClientNumber = ClientNumber(98);
/// How long a reader waits for a record. Longer than anything else that could wake it, and shorter
/// than a client waits for an answer.
const WAIT: Duration = Duration::from_millis(1_200);
/// By then a fetch waits at its leader.
const PARKED_BY: Duration = Duration::from_millis(40);
const FETCH_BYTES: i32 = 4_096;

/// Of each partition one reader waits at the end for the next record, and one record is written;
/// then it is read by older and newer leadership than there is. What came of it is judged by oracles.
pub async fn ask_promptly(clients: &Clients) {
    let mut reader = Session::new(clients.clone(), READER);
    let mut writer = Session::new(clients.clone(), WRITER);
    for partition in clients.partitions.iter().copied() {
        // Who connects and looks for the leader takes time for that.
        let _ = writer.list_offset(partition, LATEST).await;
        let Some(Ok((end, _))) = reader.list_offset(partition, LATEST).await else { continue };
        let waiting = task::spawn(async move {
            reader.fetch(partition, end, WAIT, FETCH_BYTES).await;
            reader
        });
        time::sleep(PARKED_BY).await;
        probe(&mut writer, partition).await;
        let Ok(back) = waiting.await else { return };
        reader = back;
        go_by_another_epoch(&mut reader, partition, end).await;
    }
}

/// Reads by the leadership before this one, and by the one behind it (KIP-320).
async fn go_by_another_epoch(reader: &mut Session, partition: Partition, end: i64) {
    let Some(LeaderEpoch(present)) = reader.epoch_of(partition) else { return };
    let older = present.checked_sub(1);
    for other in older.into_iter().chain([present + 1]) {
        if reader.towards(partition).await {
            reader.believe(partition, LeaderEpoch(other));
            reader.fetch(partition, end, Duration::ZERO, FETCH_BYTES).await;
        }
        if reader.towards(partition).await {
            reader.believe(partition, LeaderEpoch(other));
            reader.list_offset(partition, LATEST).await;
        }
    }
}
