//! Clusters end to end: several nodes in this process, real sockets, real files, the project's own
//! client.

mod controllers;
mod follower_reads;
mod leader_hints;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/ports.rs"]
mod ports;
mod replica_fetches;
mod support;
mod throttles;
