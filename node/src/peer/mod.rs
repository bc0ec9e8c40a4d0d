//! What brokers say to each other: the messages, their bytes, and who serves them.

pub mod frame;
mod handshake;
pub mod messages;
mod tcp;

pub use tcp::{TcpOptions, TcpTransport};

use crate::env::BoxFuture;
use highwater_core::types::BrokerId;
use messages::{PeerReply, PeerRequest};

/// Serves the requests of other brokers.
pub trait PeerService: Send + Sync {
    /// Serves one request. `from` is who the other side says it is; the connection's handshake has
    /// checked that it belongs to the same cluster.
    fn serve(&self, from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply>;
}
