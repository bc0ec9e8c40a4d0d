//! DescribeCluster (key 60).

use super::{
    Context,
    authorized_operations::{self, OF_CLUSTER},
    leader_hints,
};
use crate::wire::{
    ErrorCode, Str,
    generated::describe_cluster::{
        DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    },
};

/// Brokers, as against controllers (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;

/// Describes the brokers; the fenced ones when they are asked for (KIP-1073).
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
    let image = shared.quorum.image();
    let described = image.brokers().filter(|(_, broker)| {
        !broker.fenced || (context.version >= 2 && request.include_fenced_brokers)
    });
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_BROKERS,
        cluster_id: Str::from(shared.cluster_id.clone()),
        controller_id: leader_hints::controller_id(&context, &image),
        brokers: described
            .map(|(id, broker)| {
                let node = leader_hints::node(id, broker);
                DescribeClusterBroker {
                    broker_id: node.id,
                    host: node.host,
                    port: node.port,
                    rack: node.rack,
                    is_fenced: broker.fenced,
                }
            })
            .collect(),
        cluster_authorized_operations: authorized_operations::when(
            request.include_cluster_authorized_operations,
            OF_CLUSTER,
        ),
        ..Default::default()
    }
}
