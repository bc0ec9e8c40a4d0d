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

/// The kinds of nodes that a client may mean (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

/// Describes the brokers; the fenced ones when they are asked for (KIP-1073). A controller that is
/// no broker describes itself alone: the others' listeners for clients are not in the metadata.
pub async fn handle(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let shared = &context.shared;
    let (served, reason) = match shared.config.is_broker {
        true => (ENDPOINT_BROKERS, "this node is a broker: ask it for brokers"),
        false => (ENDPOINT_CONTROLLERS, "this node is no broker: ask it for controllers"),
    };
    if request.endpoint_type != served {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType as i16,
            error_message: Some(Str::from(reason)),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    if !shared.config.is_broker {
        return this_controller(&context);
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

fn this_controller(context: &Context) -> DescribeClusterResponse {
    let shared = &context.shared;
    let id = shared.config.node_id.0;
    let at = shared.config.advertised.iter().map(|at| DescribeClusterBroker {
        broker_id: id,
        host: Str::from(at.host.as_str()),
        port: i32::from(at.port),
        ..Default::default()
    });
    DescribeClusterResponse {
        endpoint_type: ENDPOINT_CONTROLLERS,
        cluster_id: Str::from(shared.cluster_id.clone()),
        controller_id: id,
        brokers: at.collect(),
        ..Default::default()
    }
}
