//! Tests of the log engine against a disk that forgets.

pub(super) mod batches;
mod crash;
pub(crate) mod disk;
mod faults;
mod model;
mod reads;
