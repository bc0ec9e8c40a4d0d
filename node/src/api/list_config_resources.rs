//! ListConfigResources (key 74): what has a configuration that can be described (KIP-1142).

use super::{
    Context,
    configs::{TYPE_BROKER, TYPE_TOPIC},
};
use crate::wire::{
    ErrorCode, Str,
    generated::list_config_resources::{
        ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
    },
};

const TYPE_BROKER_LOGGER: i8 = 8;
const TYPE_CLIENT_METRICS: i8 = 16;
const TYPE_GROUP: i8 = 32;

/// The types that clients may ask for since version 1. Version 0 is about client metrics alone.
const KNOWN_TYPES: [i8; 5] =
    [TYPE_TOPIC, TYPE_BROKER, TYPE_BROKER_LOGGER, TYPE_CLIENT_METRICS, TYPE_GROUP];

/// Lists the topics and brokers, or those of the two that are asked for. Loggers, client metrics and
/// groups have no configuration here: asking for them yields nothing.
pub async fn handle(
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let mut response = ListConfigResourcesResponse::default();
    if request.resource_types.iter().any(|kind| !KNOWN_TYPES.contains(kind)) {
        response.error_code = ErrorCode::UnsupportedVersion as i16;
        return response;
    }
    let asked = |kind| {
        let all = request.resource_types.is_empty();
        context.version >= 1 && (all || request.resource_types.contains(&kind))
    };
    let image = context.shared.quorum.image();
    if asked(TYPE_BROKER) {
        let live = image.brokers().filter(|(_, broker)| !broker.fenced);
        response.config_resources.extend(live.map(|(id, _)| ConfigResource {
            resource_name: Str::from(id.to_string()),
            resource_type: TYPE_BROKER,
        }));
    }
    if asked(TYPE_TOPIC) {
        response.config_resources.extend(image.topics().map(|topic| ConfigResource {
            resource_name: Str::from(topic.name.as_str()),
            resource_type: TYPE_TOPIC,
        }));
    }
    response
}
