//! InitProducerId (key 22) for idempotent producers (KIP-98, KIP-360).
//!
//! Ids come from blocks granted by the metadata log, so an id is never granted twice, not even
//! across a power cut in the middle of a block.

use super::{Context, errors};
use crate::wire::{
    ErrorCode,
    generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
};

/// Grants a fresh producer id with epoch 0.
pub async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refusal = |code: ErrorCode| InitProducerIdResponse {
        error_code: code as i16,
        producer_epoch: -1,
        ..Default::default()
    };
    if request.transactional_id.is_some() {
        // A transactional producer needs a coordinator, which this broker does not serve.
        return refusal(ErrorCode::CoordinatorNotAvailable);
    }
    match context.shared.producer_ids.next(&*context.shared.quorum).await {
        Ok(id) => InitProducerIdResponse {
            producer_id: errors::producer_id(id),
            producer_epoch: 0,
            ..Default::default()
        },
        Err(error) => {
            tracing::warn!(%error, "no block of producer ids to be had");
            // Whatever the reason, asking again is safe and helps, and this is what every producer
            // takes for that: Java's older ones give up for ever at any other code.
            refusal(ErrorCode::CoordinatorLoadInProgress)
        }
    }
}
