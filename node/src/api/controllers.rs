//! What a controller that is no broker answers: the cluster's administration, and nothing of
//! records or groups (KIP-919).

use super::{Context, RequestError};
use crate::{broker::Shared, wire::ApiKey};

/// The APIs of controllers, as Kafka's messages name them.
const SERVED: [ApiKey; 16] = [
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// Whether this node serves an API at all.
pub fn serves(context: &Context, key: ApiKey) -> bool {
    context.shared.config.is_broker || SERVED.contains(&key)
}

/// Refuses what only brokers serve.
pub fn check(shared: &Shared, key: ApiKey) -> Result<(), RequestError> {
    if shared.config.is_broker || SERVED.contains(&key) {
        return Ok(());
    }
    Err(RequestError::NotABroker { api: key.name() })
}
