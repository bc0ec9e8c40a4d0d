//! Groups end to end: real sockets, real files, the project's own client.

mod apis;
mod cluster;
mod coordinators;
mod offsets;
mod support;
