//! UpdateFeatures (key 57): finalizes what the cluster's brokers have agreed to use (KIP-584).

use super::{Context, create_partitions::carry_out, errors, timeout};
use crate::wire::{
    ErrorCode,
    generated::update_features::{
        FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
    },
};
use highwater_core::metadata::Command;

type Refusal = (ErrorCode, String);

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Updates each feature on its own. From version 2 on there are no results by feature: the first
/// refusal is that of the request.
pub async fn handle(context: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let mut response = UpdateFeaturesResponse::default();
    for update in &request.feature_updates {
        let outcome = match command(&context, update) {
            Ok(command) => {
                let work = carry_out(&context, command, request.validate_only);
                let reason = || (ErrorCode::RequestTimedOut, "the quorum is slow".to_string());
                let done = timeout::within(&context, request.timeout_ms, work).await;
                done.unwrap_or_else(|| Err(reason()))
            }
            Err(refused) => Err(refused),
        };
        let mut result =
            UpdatableFeatureResult { feature: update.feature.clone(), ..Default::default() };
        if let Err((code, reason)) = outcome {
            result.error_code = code as i16;
            result.error_message = Some(errors::text(reason));
            if context.version >= 2 && response.error_code == 0 {
                response.error_code = result.error_code;
                response.error_message.clone_from(&result.error_message);
            }
        }
        response.results.push(result);
    }
    response
}

/// A level below the finalized one needs the client's word that it means it.
fn command(context: &Context, update: &FeatureUpdateKey) -> Result<Command, Refusal> {
    let refused = |reason: &str| Err((ErrorCode::InvalidUpdateVersion, reason.to_string()));
    let downgrades = match (context.version, update.upgrade_type) {
        (0, _) => update.allow_downgrade,
        (_, UPGRADE) => false,
        (_, SAFE_DOWNGRADE | UNSAFE_DOWNGRADE) => true,
        _ => return refused("the upgrade type is none of 1, 2 and 3"),
    };
    let Ok(level) = u16::try_from(update.max_version_level) else {
        return refused("a level is at least 0");
    };
    let current = context.shared.quorum.image().feature(&update.feature);
    if level < current && !downgrades {
        return refused("it would be a downgrade, which the request does not allow");
    }
    Ok(Command::UpdateFeatures { name: update.feature.to_string(), level })
}
