//! UnregisterBroker (key 64): forgets a broker that will not come back (KIP-631).

use super::{Context, errors};
use crate::wire::{
    ErrorCode,
    generated::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse},
};
use highwater_core::{metadata::Command, types::BrokerId};

/// Unregisters the broker, unless it is alive or holds replicas.
pub async fn handle(
    context: Context,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let command = Command::UnregisterBroker { broker: BrokerId(request.broker_id) };
    let mut response = UnregisterBrokerResponse::default();
    if let Err(error) = context.shared.change(command).await {
        response.error_code = errors::of_proposal(&error) as i16;
        response.error_message = Some(errors::text(error.to_string()));
    } else {
        response.error_code = ErrorCode::None as i16;
    }
    response
}
