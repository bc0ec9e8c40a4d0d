//! The transport door: one call to one other broker.

use super::BoxFuture;
use crate::peer::{
    PeerService,
    messages::{PeerReply, PeerRequest},
};
use highwater_core::{metadata::Endpoint, time::Instant, types::BrokerId};
use std::{io, sync::Arc};

/// Calls other brokers. It never retries: whether to try again is decided where the protocol is.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for its answer until `deadline`.
    fn call(
        &self,
        to: BrokerId,
        request: PeerRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<PeerReply, TransportError>>;
    /// Where a broker serves its peers, from now on.
    fn learn(&self, broker: BrokerId, endpoint: Endpoint);
    /// Lets `service` answer the calls of other brokers, until this process ends. An error when the
    /// address for peers cannot be listened on.
    fn listen(&self, service: Arc<dyn PeerService>) -> BoxFuture<'static, io::Result<()>>;
}

/// The transport of a broker that stands alone: nobody can be reached, and nobody calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn call(
        &self,
        to: BrokerId,
        _request: PeerRequest,
        _deadline: Instant,
    ) -> BoxFuture<'static, Result<PeerReply, TransportError>> {
        let reason = "this broker stands alone".to_owned();
        let error = TransportError::Unreachable { to, address: "none".to_owned(), reason };
        Box::pin(core::future::ready(Err(error)))
    }

    fn learn(&self, _broker: BrokerId, _endpoint: Endpoint) {}

    fn listen(&self, _service: Arc<dyn PeerService>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(core::future::ready(Ok(())))
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    /// Nobody knows where that broker is.
    #[error("the address of broker {0} is not known")]
    UnknownBroker(BrokerId),
    /// The request was certainly not served.
    #[error("broker {to} at {address} cannot be reached: {reason}")]
    Unreachable { to: BrokerId, address: String, reason: String },
    /// Nobody listens there: the broker's process is not running.
    #[error("broker {to} at {address} is not running: the connection was refused")]
    Refused { to: BrokerId, address: String },
    /// The request may have been served.
    #[error("no answer from broker {to}: {reason}")]
    NoAnswer { to: BrokerId, reason: String },
}
