//! What is served of each API: one table, generated from the schema.

use super::generated::{APIS, ApiKey};
use std::fmt;

/// A range of versions of a message, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest version.
    pub first: i16,
    /// The newest version.
    pub last: i16,
}

/// One row of the table of APIs.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// The API.
    pub key: ApiKey,
    /// Its name in the protocol.
    pub name: &'static str,
    /// The versions that requests may have.
    pub versions: VersionRange,
    /// The versions that an ApiVersions response shows.
    pub advertised: VersionRange,
    /// The first version with tagged fields (KIP-482).
    pub flexible_from: i16,
    /// The longest request frame in bytes, without its four bytes of length.
    pub request_limit: usize,
}

impl VersionRange {
    /// The versions from `first` to `last`, both inclusive.
    #[must_use]
    pub const fn new(first: i16, last: i16) -> Self {
        Self { first, last }
    }

    /// Whether the range holds `version`.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// Every version from the oldest to the newest.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.first..=self.last
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to {}", self.first, self.last)
    }
}

impl ApiKey {
    /// Every API that is served, in the order of the keys.
    pub fn all() -> impl Iterator<Item = Self> {
        APIS.iter().map(|api| api.key)
    }

    /// The API of that number, if it is served.
    #[must_use]
    pub fn from_i16(key: i16) -> Option<Self> {
        let index = APIS.binary_search_by_key(&key, |api| api.key as i16).ok()?;
        Some(APIS[index].key)
    }

    /// The API's row in the table.
    #[must_use]
    pub fn api(self) -> &'static Api {
        let index = APIS
            .binary_search_by_key(&(self as i16), |api| api.key as i16)
            .expect("the table has a row for every variant");
        &APIS[index]
    }

    /// The name in the protocol, as `Fetch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().name
    }

    /// The versions that requests may have.
    #[must_use]
    pub fn valid_versions(self) -> VersionRange {
        self.api().versions
    }

    /// The versions that an ApiVersions response shows. For Produce it reaches below the valid
    /// ones, because librdkafka gives up compression when version 0 is missing (KAFKA-18659).
    #[must_use]
    pub fn advertised_versions(self) -> VersionRange {
        self.api().advertised
    }

    /// The first version with tagged fields (KIP-482).
    #[must_use]
    pub fn flexible_from(self) -> i16 {
        self.api().flexible_from
    }

    /// The longest request frame in bytes, without its four bytes of length.
    #[must_use]
    pub fn request_limit(self) -> usize {
        self.api().request_limit
    }

    /// The version of the header before a request of that version.
    #[must_use]
    pub fn request_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() { 2 } else { 1 }
    }

    /// The version of the header before a response of that version. ApiVersions keeps the old
    /// header, because a client cannot know yet what the broker understands (KIP-511).
    #[must_use]
    pub fn response_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() && self != Self::ApiVersions { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
        for key in ApiKey::all() {
            assert_eq!(ApiKey::from_i16(key as i16), Some(key));
            assert_eq!(key.api().key, key);
        }
        assert_eq!(ApiKey::from_i16(4), None);
        assert_eq!(ApiKey::from_i16(-1), None);
    }

    #[test]
    fn produce_is_advertised_from_version_zero_but_valid_from_three() {
        assert_eq!(ApiKey::Produce.advertised_versions(), VersionRange::new(0, 13));
        assert_eq!(ApiKey::Produce.valid_versions(), VersionRange::new(3, 13));
    }

    #[test]
    fn the_response_header_of_api_versions_is_never_flexible() {
        assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
        assert_eq!(ApiKey::ApiVersions.request_header_version(4), 2);
        assert_eq!(ApiKey::Fetch.response_header_version(12), 1);
        assert_eq!(ApiKey::Fetch.response_header_version(11), 0);
    }
}
