//! Tests of the log engine against a disk that forgets.

pub(super) mod batches;
mod crash;
mod cuts;
mod disk;
mod faults;
mod history;
mod model;
mod reads;
