//! Loading: a partition's log is read piece by piece, up to its end as it was when this began.

use super::records;
use crate::{
    broker::PartitionDriver,
    env::BoxFuture,
    log::LogError,
    wire::{RecordError, record_batch},
};
use highwater_core::{
    group::Record,
    partition::Partition,
    record::Batch,
    time::Instant,
    types::{LeaderEpoch, Offset, WriteId},
};
use std::sync::Arc;

/// Bytes read at one time: a piece is decoded within one poll of the coordinator's task.
const PIECE_BYTES: usize = 1 << 20;

/// A log being loaded.
pub struct Loading {
    /// Names the load.
    pub attempt: WriteId,
    /// When it began.
    pub started: Instant,
    partition: Arc<PartitionDriver>,
    next: Offset,
    /// Exclusive.
    end: Offset,
    /// `None` while nothing can be read: what follows is not in the file yet.
    reading: Option<BoxFuture<'static, Result<Piece, LogError>>>,
    decoded: u64,
}

/// What came next in the log.
pub enum Piece {
    /// Records and their offsets, up to an end that is exclusive.
    Records(Vec<(Offset, Record)>, Offset),
    /// Nothing more: this is its end, exclusive.
    End(Offset),
    /// What comes next is not in the file yet. [`Loading::resume`] when more may be.
    NotYet,
}

impl Loading {
    /// Begins to load the log of a partition; `None` unless it is led in this epoch.
    pub fn begin(
        partition: &Arc<PartitionDriver>,
        epoch: LeaderEpoch,
        attempt: WriteId,
        now: Instant,
    ) -> Option<Self> {
        let bounds = |machine: &Partition| {
            let is_led = machine.is_leader() && machine.leader_epoch() == epoch;
            is_led.then(|| (machine.log_start_offset(), machine.log_end_offset()))
        };
        let (next, end) = partition.inspect(bounds)?;
        let partition = partition.clone();
        let mut loading =
            Self { attempt, started: now, partition, next, end, reading: None, decoded: 0 };
        loading.resume();
        Some(loading)
    }

    /// Reads on, unless it does.
    pub fn resume(&mut self) {
        if self.reading.is_none() {
            let (partition, next, end) = (self.partition.clone(), self.next, self.end);
            self.reading = Some(Box::pin(read(partition, next, end)));
        }
    }

    /// The next piece. Nothing is lost when this is dropped before it completes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn next(&mut self) -> Result<Piece, LogError> {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let piece = reading.await;
        self.reading = None;
        if let Ok(Piece::Records(records, end)) = &piece {
            self.next = *end;
            self.decoded += records.len() as u64;
            self.resume();
        }
        piece
    }

    /// How many records were decoded.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }
}

async fn read(
    partition: Arc<PartitionDriver>,
    next: Offset,
    end: Offset,
) -> Result<Piece, LogError> {
    if next >= end {
        return Ok(Piece::End(end));
    }
    let bytes = partition.log().read(next, end, PIECE_BYTES, true).await?;
    if bytes.is_empty() {
        return Ok(Piece::NotYet);
    }
    let (mut decoded, mut at) = (Vec::new(), next);
    for batch in record_batch::batches(bytes) {
        // The log has checked that these are whole batches, one behind the other.
        let batch =
            batch.map_err(|error| LogError::corrupt(partition.log().dir(), at, 0, error))?;
        at = batch.header.next_offset();
        decode(&partition, &batch, next, &mut decoded);
    }
    Ok(Piece::Records(decoded, at))
}

/// Decodes the records of a batch from `from` on. What cannot be read is told and left out: the
/// groups that it is about would be lost otherwise together with all others.
fn decode(
    partition: &PartitionDriver,
    batch: &Batch,
    from: Offset,
    decoded: &mut Vec<(Offset, Record)>,
) {
    let offset = batch.header.base_offset;
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(partition = %partition.id, %offset, %error, "records passed over");
    };
    let stored = match record_batch::stored_records(batch) {
        Ok(stored) => stored,
        Err(error) => return unreadable(&error),
    };
    for stored in stored {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => return unreadable(&error),
        };
        match stored.record {
            _ if stored.offset < from => {}
            Ok(known) => {
                decoded.extend(records::from_wire(known).map(|known| (stored.offset, known)));
            }
            Err(RecordError::UnknownType(kind)) => {
                tracing::warn!(
                    partition = %partition.id, offset = %stored.offset, kind,
                    "a record of a type that this version does not know was passed over"
                );
            }
            Err(error) => unreadable(&error),
        }
    }
}
