//! Loading: a partition's log is read piece by piece, up to its end as it was when this began.
//!
//! A record of a known type that cannot be decoded fails the load, as in Kafka: without it the
//! groups would be what they were before it, and offsets would be told that were committed over. A
//! record of a type that is not known is passed over: it is about something that this version does
//! not have.

use super::records;
use crate::{
    broker::{PartitionDriver, TopicPartition},
    env::BoxFuture,
    log::LogError,
    wire::{RecordError, record_batch},
};
use highwater_core::{
    group::Record,
    mutant::Mutant,
    partition::Partition,
    record::Batch,
    time::Instant,
    types::{LeaderEpoch, Offset, WriteId},
};
use std::{fmt::Display, sync::Arc};

/// Bytes read at one time: a piece is decoded within one poll of the coordinator's task.
const PIECE_BYTES: usize = 1 << 20;

/// Why a log cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("the log that holds them cannot be read: {0}")]
    Log(#[from] LogError),
    /// It can be read, and this version does not know what it says.
    #[error(
        "{partition} has at offset {offset} what this version cannot decode: {reason}; it would \
         take back what was committed if it went on without that: start the version that wrote \
         it, or a newer one, on this broker, or let a broker that runs it lead the partition"
    )]
    Undecodable {
        /// The partition.
        partition: String,
        /// Of the record, or of the first one of a batch that is none.
        offset: Offset,
        /// What is wrong there.
        reason: String,
    },
}

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
    reading: Option<BoxFuture<'static, Result<Piece, LoadError>>>,
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
            let end = match Mutant::LoadsToHighWatermark.is_planted() {
                true => machine.high_watermark(),
                false => machine.log_end_offset(),
            };
            is_led.then(|| (machine.log_start_offset(), end))
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
    /// The log cannot be read or decoded.
    pub async fn next(&mut self) -> Result<Piece, LoadError> {
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
) -> Result<Piece, LoadError> {
    if next >= end {
        return Ok(Piece::End(end));
    }
    // Asked before the read: what is flushed then can be read.
    let is_all_flushed = partition.inspect(Partition::flushed_offset) >= end;
    let bytes = partition.log().read(next, end, PIECE_BYTES, true).await?;
    if bytes.is_empty() {
        // A log that lost its tail to a compaction elsewhere ends in a gap.
        return Ok(if is_all_flushed { Piece::End(end) } else { Piece::NotYet });
    }
    let (mut decoded, mut at) = (Vec::new(), next);
    for batch in record_batch::batches(bytes) {
        // The log has checked that these are whole batches, one behind the other.
        let batch =
            batch.map_err(|error| LogError::corrupt(partition.log().dir(), at, 0, error))?;
        at = batch.header.next_offset();
        decode(&partition.id, &batch, next, &mut decoded)?;
    }
    Ok(Piece::Records(decoded, at))
}

/// Decodes the records of a batch from `from` on.
fn decode(
    partition: &TopicPartition,
    batch: &Batch,
    from: Offset,
    decoded: &mut Vec<(Offset, Record)>,
) -> Result<(), LoadError> {
    let undecodable = |offset, error: &dyn Display| LoadError::Undecodable {
        partition: partition.to_string(),
        offset,
        reason: error.to_string(),
    };
    let first = batch.header.base_offset;
    let stored = record_batch::stored_records(batch).map_err(|error| undecodable(first, &error))?;
    for stored in stored {
        let stored = stored.map_err(|error| undecodable(first, &error))?;
        let offset = stored.offset;
        match stored.record {
            _ if offset < from => {}
            Ok(known) => decoded.extend(records::from_wire(known).map(|known| (offset, known))),
            Err(error @ (RecordError::UnknownType(_) | RecordError::NoKey)) => {
                tracing::warn!(%partition, %offset, %error, "a record was passed over");
            }
            Err(_) if Mutant::UndecodablePassedOver.is_planted() => {}
            Err(error @ (RecordError::Key(_) | RecordError::Value(_))) => {
                return Err(undecodable(offset, &error));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
