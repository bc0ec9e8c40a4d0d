//! The wire codec against an independent implementation, against hostile bytes, and against frames
//! whose bytes were written down by hand.

mod agreement;
mod allocation;
mod codecs;
mod golden;
mod golden_groups;
mod golden_records;
mod hostile;
mod record_batches;
mod records;
mod samples;
#[path = "../../../xtask/src/codegen/schema.rs"]
mod schema;
