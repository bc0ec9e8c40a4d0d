//! Groups end to end: real sockets, real files, the project's own client.

mod apis;
mod cluster;
mod consumer;
mod coordinators;
mod offsets;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/ports.rs"]
mod ports;
mod refusals;
mod support;
