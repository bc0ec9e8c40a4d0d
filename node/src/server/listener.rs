//! The client listener: accepts connections up to `max.connections`.

use super::{StartError, connection};
use crate::{
    broker::Shared,
    config::{BrokerConfig, HostPort},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// A pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds the listener's address, if clients are served. Brings the configuration up to date: port 0
/// of what they are told to connect to stands for the port that was bound.
pub async fn bind(
    config: &mut BrokerConfig,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(HostPort { host, port }) = config.listen.clone() else { return Ok(None) };
    let at = |error| {
        let address = HostPort::new(host.clone(), port).to_string();
        StartError::Listen { address, error }
    };
    let socket = TcpListener::bind((host.as_str(), port)).await.map_err(at)?;
    let bound = socket.local_addr().map_err(at)?;
    if let Some(advertised) = config.advertised.as_mut().filter(|told| told.port == 0) {
        advertised.port = bound.port();
    }
    Ok(Some((socket, bound)))
}

/// Accepts connections for ever, each served by a task of its own.
pub async fn accept(shared: Arc<Shared>, socket: TcpListener) {
    let network = &shared.metrics.network;
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let retry = shared.doors.clock.now().monotonic.after(ACCEPT_RETRY);
                shared.doors.clock.sleep_until(retry).await;
                continue;
            }
        };
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            network.refused.increment();
            tracing::warn!(%peer, "connection refused: max.connections are open");
            continue;
        };
        network.accepted.increment();
        let served = shared.clone();
        shared.tasks.spawn("connection", async move {
            served.metrics.network.connections.add(1);
            connection::serve(&served, stream, peer).await;
            served.metrics.network.connections.add(-1);
            drop(place);
        });
    }
}
