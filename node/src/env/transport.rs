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

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    /// Nobody knows where that broker is.
    #[error("the address of broker {0} is not known")]
    UnknownBroker(BrokerId),
    /// The request was certainly not served.
    #[error("broker {to} at {address} cannot be reached: {reason}")]
    Unreachable { to: BrokerId, address: String, reason: String },
    /// The request may have been served.
    #[error("no answer from broker {to}: {reason}")]
    NoAnswer { to: BrokerId, reason: String },
}
