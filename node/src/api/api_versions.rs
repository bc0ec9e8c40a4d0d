//! ApiVersions (key 18): what this broker serves, and nothing else.

use super::{Context, controllers};
use crate::wire::{
    ApiKey, ErrorCode, Str,
    generated::api_versions::{
        ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey,
        SupportedFeatureKey,
    },
};
use highwater_core::metadata::SUPPORTED_FEATURES;

/// Names every served API and its versions, and what the cluster's brokers have agreed to use
/// (KIP-584).
pub async fn handle(context: Context, _request: ApiVersionsRequest) -> ApiVersionsResponse {
    let image = context.shared.quorum.image();
    // Clients of version 3 cannot read a range that begins at 0 (KAFKA-17011).
    let lowest_level = if context.version >= 4 { 0 } else { 1 };
    let finalized = image.features().map(|(name, level)| FinalizedFeatureKey {
        name: Str::from(name),
        max_version_level: level_number(level),
        min_version_level: level_number(level),
    });
    ApiVersionsResponse {
        api_keys: ApiKey::all()
            .filter(|key| controllers::serves(&context, *key))
            .map(advertised)
            .collect(),
        supported_features: SUPPORTED_FEATURES
            .iter()
            .map(|feature| SupportedFeatureKey {
                name: Str::from(feature.name),
                min_version: lowest_level,
                max_version: level_number(feature.highest),
            })
            .collect(),
        finalized_features_epoch: i64::try_from(image.applied().0).unwrap_or(i64::MAX),
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

/// The answer to a version that is not served: this API's own range (KIP-511).
pub fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion as i16,
        api_keys: vec![advertised(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn level_number(level: u16) -> i16 {
    i16::try_from(level).unwrap_or(i16::MAX)
}

fn advertised(key: ApiKey) -> ApiVersion {
    let range = key.advertised_versions();
    ApiVersion { api_key: key as i16, min_version: range.first, max_version: range.last }
}
