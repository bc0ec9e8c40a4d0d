//! What can be wrong with a configuration.

use alloc::{borrow::Cow, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a configuration was refused: INVALID_CONFIG, with this text for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigError {
    /// No configuration has this name.
    UnknownName {
        /// The name.
        name: String,
        /// The known name that resembles it most, if any does.
        nearest: Option<Cow<'static, str>>,
    },
    /// The value cannot be used.
    InvalidValue {
        /// The configuration's name.
        name: String,
        /// The value.
        value: String,
        /// What it must be.
        rule: Cow<'static, str>,
    },
    /// Items were appended to or taken from a configuration that is not a list.
    NotAList {
        /// The configuration's name.
        name: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { name, nearest: Some(nearest) } => {
                write!(formatter, "unknown configuration {name:?}; did you mean {nearest:?}?")
            }
            Self::UnknownName { name, nearest: None } => {
                write!(formatter, "unknown configuration {name:?}")
            }
            Self::InvalidValue { name, value, rule } => {
                write!(formatter, "invalid value {value:?} for {name}: it must be {rule}")
            }
            Self::NotAList { name } => {
                write!(formatter, "{name} is not a list, so it can only be set or deleted")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
