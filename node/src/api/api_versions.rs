//! ApiVersions (key 18): what this broker serves, and nothing else.

use super::Context;
use crate::wire::{
    ApiKey, ErrorCode,
    generated::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse},
};

/// Names every served API and its versions.
pub async fn handle(_context: Context, _request: ApiVersionsRequest) -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: ApiKey::all().map(advertised).collect(),
        finalized_features_epoch: 0,
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

fn advertised(key: ApiKey) -> ApiVersion {
    let range = key.advertised_versions();
    ApiVersion { api_key: key as i16, min_version: range.first, max_version: range.last }
}
