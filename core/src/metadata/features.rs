//! Features of the cluster: what all its brokers have agreed to use (KIP-584).

use super::{Image, MetadataError, Reply};
use alloc::string::ToString;

/// A feature that this build knows; its lowest level is 0, which means that it is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Its highest level, inclusive.
    pub highest: u16,
    /// Its level until it is changed.
    pub initial: u16,
}

/// The feature that consumer groups need (KIP-848): level 1.
pub const GROUP_VERSION: &str = "group.version";

/// The features that this build knows, by name.
pub const SUPPORTED_FEATURES: &[Feature] = &[
    Feature { name: GROUP_VERSION, highest: 1, initial: 1 },
    Feature { name: "metadata.version", highest: 1, initial: 0 },
];

impl Image {
    /// The finalized level of a feature; 0 when it is not in use.
    #[must_use]
    pub fn feature(&self, name: &str) -> u16 {
        let known = SUPPORTED_FEATURES.iter().find(|known| known.name == name);
        known.map_or(0, |known| self.level_of(known))
    }

    /// Every feature in use with its level, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, u16)> {
        let levels = SUPPORTED_FEATURES.iter().map(|known| (known.name, self.level_of(known)));
        levels.filter(|(_, level)| *level > 0)
    }

    fn level_of(&self, feature: &Feature) -> u16 {
        self.features.get(feature.name).copied().unwrap_or(feature.initial)
    }

    pub(super) fn update_feature(
        &mut self,
        name: &str,
        level: u16,
    ) -> Result<Reply, MetadataError> {
        let known = SUPPORTED_FEATURES.iter().find(|known| known.name == name);
        let Some(known) = known.filter(|known| level <= known.highest) else {
            let (name, highest) = (name.to_string(), known.map_or(0, |known| known.highest));
            return Err(MetadataError::UnsupportedFeature { name, level, highest });
        };
        if level == known.initial {
            self.features.remove(name);
        } else {
            self.features.insert(name.to_string(), level);
        }
        Ok(Reply::Done)
    }
}
