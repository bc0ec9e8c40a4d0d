//! Tests of the log engine against a disk that forgets.

pub(super) mod batches;
