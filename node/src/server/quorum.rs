//! The metadata quorum that this broker's configuration asks for.

use super::StartError;
use crate::{
    config::BrokerConfig,
    env::Doors,
    peer::PeerService,
    quorum::{LocalQuorum, Quorum, RaftOptions, RaftQuorum},
    tasks::Tasks,
};
use highwater_core::metadata::Endpoint;
use std::sync::Arc;

/// The longest election timeout is so many times the shortest.
const ELECTION_TIMEOUT_SPREAD: u32 = 2;

/// An open quorum.
pub struct OpenQuorum {
    /// The metadata log.
    pub metadata: Arc<dyn Quorum>,
    /// What this node does for the other nodes; `None` when it stands alone.
    pub peer: Option<Arc<dyn PeerService>>,
}

/// Opens the metadata log: a file of this broker's, or its part of the replicated one.
pub async fn open(
    config: &BrokerConfig,
    doors: &Doors,
    tasks: &Tasks,
) -> Result<OpenQuorum, StartError> {
    let dir = config.data_dir.join("metadata");
    if config.voters.is_empty() {
        let quorum = LocalQuorum::open(config.node_id, doors.disk.clone(), tasks, &dir).await?;
        return Ok(OpenQuorum { metadata: Arc::new(quorum), peer: None });
    }
    let endpoint = config.peer_advertised.as_ref();
    let options = RaftOptions {
        node: config.node_id,
        endpoint: endpoint.map_or_else(Endpoint::default, |at| at.endpoint()),
        voters: config.voters.clone(),
        cluster_id: config.cluster_id.clone().unwrap_or_default(),
        dir,
        election_timeout_min: config.quorum_election_timeout,
        election_timeout_max: config.quorum_election_timeout * ELECTION_TIMEOUT_SPREAD,
        heartbeat_interval: config.quorum_heartbeat_interval,
        snapshots: config.metadata_snapshots,
    };
    let quorum = RaftQuorum::open(options, doors, doors.transport.clone(), tasks).await?;
    Ok(OpenQuorum { metadata: quorum.clone(), peer: Some(quorum) })
}
