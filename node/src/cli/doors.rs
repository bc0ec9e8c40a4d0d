//! The doors of this machine.

use highwater_node::{
    config::{BrokerConfig, HostPort},
    env::{Disk, Doors, NoTransport, OsClock, OsEntropy, Transport},
    peer::{TcpOptions, TcpTransport},
    tasks::Tasks,
};
use std::sync::Arc;

/// The doors for one broker: its cluster's other brokers by TCP, if it has any.
pub fn doors_for(config: &BrokerConfig, disk: Arc<dyn Disk>) -> Doors {
    let clock = Arc::new(OsClock::new());
    let transport: Arc<dyn Transport> = match (&config.peer_listen, &config.cluster_id) {
        (Some(listen), Some(cluster_id)) => {
            let options = TcpOptions {
                node: config.node_id,
                cluster_id: cluster_id.clone(),
                listen: HostPort::clone(listen),
            };
            let voters = config.voters.clone();
            Arc::new(TcpTransport::new(options, clock.clone(), Tasks::default(), voters))
        }
        _ => Arc::new(NoTransport),
    };
    Doors { clock, entropy: Arc::new(OsEntropy), disk, transport }
}
