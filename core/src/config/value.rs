//! Types and rules of values.

use super::{
    ConfigError,
    table::{BROKER_ONLY_CONFIGS, ConfigDefinition, TOPIC_CONFIGS, definition},
};
use alloc::{string::ToString, vec::Vec};

/// The type of a configuration, as DescribeConfigs reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A 32-bit integer.
    Int,
    /// A 64-bit integer.
    Long,
    /// A floating-point number.
    Double,
    /// Items separated by commas.
    List,
}

/// Which values are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// An integer from `min` to `max`, both inclusive.
    Integer { min: i64, max: i64 },
    /// A number from 0 to 1, both inclusive.
    Ratio,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any of these, at least one, separated by commas.
    AnyOf(&'static [&'static str]),
    /// `*`, or pairs `partition:broker` separated by commas, or nothing.
    ThrottledReplicas,
}

/// Checks a topic's configuration by name.
pub fn validate_topic_config(name: &str, value: &str) -> Result<(), ConfigError> {
    let Some(definition) = definition(name) else {
        return Err(unknown(name, TOPIC_CONFIGS.iter().map(|known| known.name)));
    };
    definition.check(name, value, 1)
}

/// Checks a broker's default for topics by its broker-level name.
pub fn validate_broker_config(name: &str, value: &str) -> Result<(), ConfigError> {
    for definition in TOPIC_CONFIGS.iter().chain(BROKER_ONLY_CONFIGS) {
        for synonym in definition.synonyms {
            if synonym.name == name {
                return definition.check(name, value, synonym.scale);
            }
        }
    }
    let synonyms = TOPIC_CONFIGS.iter().chain(BROKER_ONLY_CONFIGS).flat_map(|known| known.synonyms);
    Err(unknown(name, synonyms.map(|synonym| synonym.name)))
}

impl ConfigDefinition {
    /// Checks a value that counts in units of `scale` times the definition's own.
    pub(super) fn check(&self, name: &str, value: &str, scale: i64) -> Result<(), ConfigError> {
        if self.rule.allows(value.trim(), scale) {
            return Ok(());
        }
        Err(ConfigError::InvalidValue {
            name: name.to_string(),
            value: value.to_string(),
            rule: self.expected.into(),
        })
    }
}

impl Rule {
    fn allows(self, value: &str, scale: i64) -> bool {
        match self {
            Self::Integer { min, max } => value
                .parse()
                .ok()
                .and_then(|number| scaled(number, scale))
                .is_some_and(|number| (min..=max).contains(&number)),
            Self::Ratio => value.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)),
            Self::OneOf(allowed) => allowed.contains(&value),
            Self::AnyOf(allowed) => value.split(',').all(|item| allowed.contains(&item.trim())),
            Self::ThrottledReplicas => {
                value.is_empty() || value == "*" || value.split(',').all(is_throttled_replica)
            }
        }
    }
}

/// Converts to the definition's own unit. Negative values are sentinels and stay.
pub(super) fn scaled(number: i64, scale: i64) -> Option<i64> {
    if number < 0 { Some(number) } else { number.checked_mul(scale) }
}

fn is_throttled_replica(item: &str) -> bool {
    item.trim().split_once(':').is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> ConfigError {
    ConfigError::UnknownName {
        name: name.to_string(),
        nearest: nearest(name, known).map(Into::into),
    }
}

/// The known name with the smallest edit distance to `name`, if that is at most a third of it.
pub fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    /// Longer input is not a typing error, and the distance costs its length squared.
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return None;
    }
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= name.len().max(3) / 3)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements of bytes between two names.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, from) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (index, to) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[right.len()]
}
