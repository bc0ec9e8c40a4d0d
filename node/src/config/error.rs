//! What is wrong with a configuration: always with the place, the key and what would be right.

use std::{fmt, sync::Arc};
use thiserror::Error;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the embedded default.
    Default,
    /// A line of a file, counted from one.
    File {
        /// The file's name, as it was given.
        name: Arc<str>,
        /// The line, counted from one.
        line: usize,
    },
    /// Outside of a file: a command-line option, an administrator's request.
    Given(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { name, line } => write!(formatter, "{name}:{line}"),
            Origin::Given(by) => formatter.write_str(by),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong, and what to write instead.
    pub problem: Problem,
}

/// What is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The file is not what its name says it is.
    #[error("not valid {format}: {message}")]
    Syntax {
        /// TOML or properties.
        format: &'static str,
        /// What the parser says.
        message: String,
    },
    /// No key has that name.
    #[error("unknown key `{key}`{}", suggestion(.nearest))]
    UnknownKey {
        /// The key as it was written, flattened to its dotted name.
        key: String,
        /// The known key that it resembles most, when there is one.
        nearest: Option<&'static str>,
    },
    /// The key is known, its value is not of the right type or out of bounds.
    #[error("`{key}` is {found}, expected {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value as it was written.
        found: String,
        /// What a right value looks like.
        expected: String,
    },
    /// The same key twice in one file, possibly under two of its names.
    #[error("`{key}` was already set at {first}; keep one of the two")]
    Duplicate {
        /// The key.
        key: &'static str,
        /// Where it was set first.
        first: Origin,
    },
    /// The key needs something that this broker does not do.
    #[error("`{key}`: {reason}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// What is not supported, and what to do instead.
        reason: String,
    },
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; docs/configuration.md lists every key".to_owned(),
    }
}

/// Everything that is wrong with a configuration, in the order of the sources. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{error}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
