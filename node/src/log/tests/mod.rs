//! Tests of the log engine against a disk that forgets.

pub(super) mod batches;
mod compaction;
mod crash;
mod cuts;
pub(crate) mod disk;
mod faults;
mod history;
mod model;
mod reads;
