//! The metadata quorum that this broker's configuration asks for.

use super::StartError;
use crate::{
    config::BrokerConfig,
    env::Doors,
    quorum::{LocalQuorum, Quorum, QuorumPeer},
    tasks::Tasks,
};
use std::sync::Arc;

/// An open quorum.
pub struct OpenQuorum {
    /// The metadata log.
    pub metadata: Arc<dyn Quorum>,
    /// What this node does for the other nodes; `None` when it stands alone.
    pub peer: Option<Arc<dyn QuorumPeer>>,
}

/// Opens the metadata log.
pub async fn open(
    config: &BrokerConfig,
    doors: &Doors,
    tasks: &Tasks,
) -> Result<OpenQuorum, StartError> {
    let dir = config.data_dir.join("metadata");
    let quorum = LocalQuorum::open(config.node_id, doors.disk.clone(), tasks, &dir).await?;
    Ok(OpenQuorum { metadata: Arc::new(quorum), peer: None })
}
