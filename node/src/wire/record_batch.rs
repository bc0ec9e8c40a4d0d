//! Batches of the records of `__consumer_offsets`: built when a coordinator appends, read when one
//! loads.

use super::{GroupRecord, RecordError};
use bytes::Bytes;
use highwater_core::{
    record::{
        BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchError, BatchHeader, NewRecord, Origin,
        records,
    },
    time::Timestamp,
    types::Offset,
};

/// A record in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// What it says. Its strings keep the batch in memory.
    pub record: Result<GroupRecord, RecordError>,
}

/// The batches of a run of them, as a log gives it; ends after the first error.
#[derive(Debug)]
pub struct StoredBatches {
    rest: Bytes,
}

/// One uncompressed batch of keys and values, all with one timestamp. A value of `None` is a
/// tombstone.
///
/// # Panics
/// There is no record, or the batch is larger than 2 GiB.
#[must_use]
pub fn build(records: &[(Bytes, Option<Bytes>)], timestamp: Timestamp) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        let (key, value) = (Some(&**key), value.as_deref());
        builder.push(NewRecord { timestamp, key, value, headers: &[] });
    }
    builder.build()
}

/// The batches in a run of them. A batch that is cut off at the end is left out, as in the answer
/// to a fetch.
#[must_use]
pub fn batches(run: Bytes) -> StoredBatches {
    StoredBatches { rest: run }
}

/// The records of a batch in the order of their offsets; none for a transaction marker. After a
/// compaction offsets have gaps, and the batch may reach further than its last record.
///
/// # Errors
/// The batch is compressed. An item is an error, and the last one, if the batch's bytes are no
/// records.
pub fn stored_records(
    batch: &Batch,
) -> Result<impl Iterator<Item = Result<StoredRecord, BatchError>>, BatchError> {
    let is_control = batch.header.is_control;
    let found = if is_control { None } else { Some(records(&batch.bytes)?) };
    Ok(found.into_iter().flatten().map(|record| {
        let record = record?;
        let shared = |bytes: &[u8]| batch.bytes.slice_ref(bytes);
        let decoded = match record.key {
            Some(key) => GroupRecord::decode(shared(key), record.value.map(shared)),
            None => Err(RecordError::NoKey),
        };
        Ok(StoredRecord { offset: record.offset, timestamp: record.timestamp, record: decoded })
    }))
}

impl Iterator for StoredBatches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < BATCH_HEADER_BYTES {
            return None;
        }
        let size = match BatchHeader::parse(&self.rest) {
            Ok(header) => header.size_in_bytes,
            Err(error) => {
                self.rest.clear();
                return Some(Err(error));
            }
        };
        if size > self.rest.len() {
            self.rest.clear();
            return None;
        }
        let parsed = Batch::parse(self.rest.split_to(size), size, Origin::Log);
        if parsed.is_err() {
            self.rest.clear();
        }
        Some(parsed)
    }
}
