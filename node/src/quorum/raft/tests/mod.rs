//! Tests of the replicated quorum: nodes in one process, on disks that forget, in virtual time.

mod cluster;
mod failures;
mod files;
mod membership;
mod replication;
mod succession;
mod wiped;
