//! The transport door over TCP: at most two connections to each other broker, made when they are
//! first needed, and one listener for those of the others.
//!
//! Nothing here tries a call twice. A call that finds no connection makes one, within its own
//! deadline; whether to call again is decided by whoever called.

mod link;
mod listener;
#[cfg(test)]
mod tests;

use super::{
    PeerService,
    handshake::Lane,
    messages::{PeerReply, PeerRequest},
};
use crate::{
    config::HostPort,
    env::{BoxFuture, Clock, Transport, TransportError},
    tasks::{TaskHandle, Tasks},
};
use highwater_core::{metadata::Endpoint, time::Instant, types::BrokerId};
use link::{CallError, Link, before};
use listener::Server;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who this broker is among its peers.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// This broker.
    pub node: BrokerId,
    /// Its cluster. A broker of another one is refused.
    pub cluster_id: String,
    /// Where it listens for its peers. Port 0 lets the system pick one.
    pub listen: HostPort,
}

/// Calls other brokers over TCP.
pub struct TcpTransport {
    dialer: Arc<Dialer>,
    tasks: Tasks,
    peers: Mutex<BTreeMap<BrokerId, Peer>>,
    serving: Arc<Mutex<Option<Serving>>>,
}

/// What every new connection needs.
struct Dialer {
    options: TcpOptions,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

struct Serving {
    address: SocketAddr,
    server: Arc<Server>,
    listener: TaskHandle<()>,
}

/// Another broker.
struct Peer {
    endpoint: Endpoint,
    control: Arc<LaneTo>,
    records: Arc<LaneTo>,
}

/// The connection of one lane to one address.
struct LaneTo {
    lane: Lane,
    to: BrokerId,
    endpoint: Endpoint,
    /// Held while connecting, so that calls at the same time make one connection.
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// The reason that was logged last, so that it is logged once.
    refused: Mutex<Option<String>>,
}

impl TcpTransport {
    /// Knows `voters` and connects to nobody yet.
    #[must_use]
    pub fn new(
        options: TcpOptions,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        voters: BTreeMap<BrokerId, Endpoint>,
    ) -> Self {
        let peers = voters.into_iter().map(|(id, endpoint)| (id, Peer::at(id, endpoint))).collect();
        let dialer = Arc::new(Dialer { options, clock, tasks: tasks.clone() });
        Self { dialer, tasks, peers: Mutex::new(peers), serving: Arc::default() }
    }

    /// Where this broker listens for its peers; `None` before [`Transport::listen`].
    #[must_use]
    pub fn listen_address(&self) -> Option<SocketAddr> {
        lock(&self.serving).as_ref().map(|serving| serving.address)
    }

    /// Listens no longer and closes every connection, once the calls under way have ended. For a
    /// process that goes on after its broker.
    pub fn close(&self) {
        if let Some(serving) = lock(&self.serving).take() {
            serving.listener.abort();
            serving.server.close();
        }
        lock(&self.peers).clear();
    }

    fn lane(&self, to: BrokerId, request: &PeerRequest) -> Option<Arc<LaneTo>> {
        let peers = lock(&self.peers);
        let peer = peers.get(&to)?;
        Some(match request {
            PeerRequest::Fetch(_) => peer.records.clone(),
            PeerRequest::Raft(_)
            | PeerRequest::Join { .. }
            | PeerRequest::QuorumProbe
            | PeerRequest::Propose(_)
            | PeerRequest::Heartbeat(_)
            | PeerRequest::Flushed(_)
            | PeerRequest::ChangeVoters(_)
            | PeerRequest::DescribeQuorum
            | PeerRequest::HurryFetch => peer.control.clone(),
        })
    }
}

impl Transport for TcpTransport {
    fn call(
        &self,
        to: BrokerId,
        request: PeerRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<PeerReply, TransportError>> {
        let lane = self.lane(to, &request);
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let lane = lane.ok_or(TransportError::UnknownBroker(to))?;
            let outcome = match lane.connected(&dialer, deadline).await {
                Ok(link) => link.call(request, deadline).await,
                Err(error) => Err(error),
            };
            outcome.map_err(|error| match error {
                CallError::NotSent(reason) => {
                    let address = shown(&lane.endpoint);
                    TransportError::Unreachable { to, address, reason }
                }
                CallError::Refused => {
                    TransportError::Refused { to, address: shown(&lane.endpoint) }
                }
                CallError::NoAnswer(reason) => TransportError::NoAnswer { to, reason },
            })
        })
    }

    fn learn(&self, broker: BrokerId, endpoint: Endpoint) {
        let mut peers = lock(&self.peers);
        if peers.get(&broker).is_none_or(|peer| peer.endpoint != endpoint) {
            // Calls under way keep the old connection until they have ended.
            peers.insert(broker, Peer::at(broker, endpoint));
        }
    }

    fn listen(&self, service: Arc<dyn PeerService>) -> BoxFuture<'static, io::Result<()>> {
        let (dialer, serving, tasks) =
            (self.dialer.clone(), self.serving.clone(), self.tasks.clone());
        Box::pin(async move {
            let socket = listener::bind(&dialer.options.listen).await?;
            let address = socket.local_addr()?;
            let server = Server::new(&dialer.options, dialer.clock.clone(), tasks.clone(), service);
            let listener = tasks.spawn("peer-listener", listener::accept(server.clone(), socket));
            *lock(&serving) = Some(Serving { address, server, listener });
            Ok(())
        })
    }
}

impl Peer {
    fn at(to: BrokerId, endpoint: Endpoint) -> Self {
        let lane = |lane| {
            let endpoint = endpoint.clone();
            let (link, refused) = (tokio::sync::Mutex::new(None), Mutex::new(None));
            Arc::new(LaneTo { lane, to, endpoint, link, refused })
        };
        let (control, records) = (lane(Lane::Control), lane(Lane::Records));
        Self { endpoint, control, records }
    }
}

impl LaneTo {
    /// The connection, made now if there is none that works. The error is a reason.
    async fn connected(&self, dialer: &Dialer, deadline: Instant) -> Result<Arc<Link>, CallError> {
        let connecting = async {
            let mut link = self.link.lock().await;
            if let Some(link) = link.as_ref().filter(|link| !link.is_broken()) {
                return Ok(link.clone());
            }
            // Nobody may take the broken one while this connects, or after it failed.
            *link = None;
            let outcome = Link::connect(dialer, &self.endpoint, self.to, self.lane).await;
            self.log(outcome.as_ref().err());
            let made = outcome.map_err(not_connected)?;
            Ok(link.insert(made).clone())
        };
        let outcome = before(&*dialer.clock, deadline, connecting).await;
        let late = || CallError::NotSent("no connection before the deadline".to_owned());
        outcome.unwrap_or_else(|| Err(late()))
    }

    /// Logs a refusal once, until it changes.
    fn log(&self, error: Option<&link::ConnectError>) {
        let refusal = match error {
            None => None,
            Some(error @ link::ConnectError::Refused(_)) => Some(error.to_string()),
            // Says nothing about what a broker there would answer.
            Some(_) => return,
        };
        let mut logged = lock(&self.refused);
        if *logged == refusal {
            return;
        }
        if let Some(reason) = &refusal {
            let address = shown(&self.endpoint);
            tracing::warn!(to = %self.to, address, reason, "another broker refuses this one");
        }
        *logged = refusal;
    }
}

fn not_connected(error: link::ConnectError) -> CallError {
    match error {
        link::ConnectError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            CallError::Refused
        }
        error => CallError::NotSent(error.to_string()),
    }
}

fn shown(endpoint: &Endpoint) -> String {
    HostPort::new(endpoint.host.clone(), endpoint.port).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
