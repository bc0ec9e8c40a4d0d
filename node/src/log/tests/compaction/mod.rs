//! Compaction: what stays, where reading goes on, and what a crash leaves.

mod bench;
mod crash;
mod lineage;
mod random;
mod rules;
