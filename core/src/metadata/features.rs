//! Features of the cluster: what all its brokers have agreed to use (KIP-584).

use super::{Image, MetadataError, Reply};
use alloc::string::ToString;

/// The features that this build knows, with the highest level of each; the lowest is 0, which means
/// that a feature is not in use.
pub const SUPPORTED_FEATURES: &[(&str, u16)] = &[("metadata.version", 1)];

impl Image {
    /// The finalized level of a feature; 0 when it is not in use.
    #[must_use]
    pub fn feature(&self, name: &str) -> u16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Every feature in use with its level, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, u16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    pub(super) fn update_feature(
        &mut self,
        name: &str,
        level: u16,
    ) -> Result<Reply, MetadataError> {
        let known = SUPPORTED_FEATURES.iter().find(|(known, _)| *known == name);
        let highest = known.map_or(0, |(_, highest)| *highest);
        if known.is_none() || level > highest {
            let name = name.to_string();
            return Err(MetadataError::UnsupportedFeature { name, level, highest });
        }
        match level {
            0 => self.features.remove(name),
            _ => self.features.insert(name.to_string(), level),
        };
        Ok(Reply::Done)
    }
}
