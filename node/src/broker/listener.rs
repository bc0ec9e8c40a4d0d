//! The client listener: accepts connections up to `max.connections`.

use super::{Shared, StartError, connection};
use crate::config::{BrokerConfig, HostPort};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// A pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds the listener's address.
pub async fn bind(config: &BrokerConfig) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = config.listen.to_string();
    let at = |error| StartError::Listen { address: address.clone(), error };
    let socket =
        TcpListener::bind((config.listen.host.as_str(), config.listen.port)).await.map_err(at)?;
    let bound = socket.local_addr().map_err(at)?;
    Ok((socket, bound))
}

/// What clients are told to connect to: port 0 stands for the port that was bound.
pub fn advertised(config: &BrokerConfig, bound: SocketAddr) -> HostPort {
    let mut advertised = config.advertised.clone();
    if advertised.port == 0 {
        advertised.port = bound.port();
    }
    advertised
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
