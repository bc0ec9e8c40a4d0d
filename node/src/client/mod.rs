//! A small asynchronous Kafka client: for the command line, the simulator's workloads and the
//! bench.
//!
//! [`Connection`] is one connection to one broker. It negotiates versions, sends a request and
//! waits for its answer, or pipelines: [`Connection::submit`] many, then [`Connection::receive`]
//! in the same order. [`Cluster`] holds one for each broker and knows who leads. Neither retries nor
//! hides an error code: that is the caller's. The conveniences in `calls` build the requests that
//! every caller needs; record batches are built with `highwater_core::record::BatchBuilder`.

mod calls;
mod cluster;
mod connection;
mod error;
mod groups;

pub use calls::{PartitionRef, ProducerGrant, Reader, produce_request};
pub use cluster::Cluster;
pub use connection::{Connection, InFlight};
pub use error::ClientError;
pub use groups::{Committer, Coordinator, GroupOffset};

#[cfg(test)]
mod tests;
