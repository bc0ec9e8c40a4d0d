//! Record batches, format version 2: parsed and checked by their header, opaque otherwise.
//!
//! A batch travels from the socket to the disk and back as the producer sent it. Only its header
//! is read, its CRC-32C checked, and its base offset and leader epoch patched, which lie outside
//! the CRC. Nothing is decompressed here; compaction, which needs the keys, brings the plain records
//! and takes those that stay.

mod batch;
mod builder;
mod error;
mod header;
mod records;
mod retained;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Origin, PlacedBatch};
pub use builder::{BatchBuilder, NewRecord};
pub use error::BatchError;
pub use header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, Compression, ProducerIdentity,
    TimestampType, crc_of, verify_crc,
};
pub use records::{Header, Headers, Record, RecordBytes, Records, records};
pub use retained::{RetainedRecords, emptied};
