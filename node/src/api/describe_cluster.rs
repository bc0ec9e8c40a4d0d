//! DescribeCluster (key 60).

use super::Context;
use crate::wire::{
    ErrorCode, Str,
    generated::describe_cluster::{
        DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    },
};

/// Brokers, as against controllers (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;

/// Describes the cluster's one broker.
pub async fn handle(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let shared = &context.shared;
    if request.endpoint_type != ENDPOINT_BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType as i16,
            error_message: Some(Str::from("this listener serves brokers, not controllers")),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_BROKERS,
        cluster_id: Str::from(shared.cluster_id.clone()),
        controller_id: shared.config.node_id.0,
        brokers: vec![DescribeClusterBroker {
            broker_id: shared.config.node_id.0,
            host: Str::from(shared.advertised.host.clone()),
            port: i32::from(shared.advertised.port),
            rack: shared.config.rack.clone().map(Str::from),
            is_fenced: false,
        }],
        ..Default::default()
    }
}
