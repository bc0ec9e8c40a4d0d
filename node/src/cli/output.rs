//! Printing results, for people or as JSON.

use super::arguments::Format;
use highwater_node::config::{BrokerConfig, ConfigEntry, ConfigError, ConfigErrors, Origin};
use serde_json::{Value, json};
use std::io::{self, Write};
use thiserror::Error;

/// Where results go: standard output, in the format asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

/// Standard output could not be written.
#[derive(Debug, Error)]
#[error("cannot write to standard output")]
pub struct StdoutClosed(#[from] pub io::Error);

impl Output {
    /// Results in that format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: `document` as one line of JSON, or what `human` writes.
    pub fn print(
        self,
        document: impl FnOnce() -> Value,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self.format {
            Format::Json => writeln!(out, "{}", document()),
            Format::Human => human(&mut out),
        };
        written.and_then(|()| out.flush()).map_err(|error| StdoutClosed(error).into())
    }

    /// Prints what a configuration puts in force: for people, only what differs from the defaults
    /// is marked with its origin.
    pub fn config(self, config: &BrokerConfig) -> anyhow::Result<()> {
        let entries: Vec<_> = config.entries().collect();
        let document = || {
            let entry = |entry: &ConfigEntry| {
                let origin = entry.origin.to_string();
                json!({ "name": entry.name, "value": entry.value, "origin": origin })
            };
            json!({ "valid": true, "config": entries.iter().map(entry).collect::<Vec<_>>() })
        };
        self.print(document, |out| {
            for entry in &entries {
                let Some(value) = &entry.value else { continue };
                match &entry.origin {
                    Origin::Default => writeln!(out, "  {} = {value}", entry.name)?,
                    origin => writeln!(out, "* {} = {value}    ({origin})", entry.name)?,
                }
            }
            writeln!(out, "valid; * marks what is not the default")
        })
    }

    /// Prints what is wrong with a configuration as JSON; people read it on standard error.
    pub fn config_errors(self, errors: &ConfigErrors) -> anyhow::Result<()> {
        let error = |error: &ConfigError| json!({ "origin": error.origin.to_string(), "problem": error.problem.to_string() });
        let errors: Vec<_> = errors.0.iter().map(error).collect();
        self.print(|| json!({ "valid": false, "errors": errors }), |_| Ok(()))
    }
}

/// Bytes as JSON: a string when they are UTF-8, otherwise an object with their hexadecimal digits.
pub fn json_bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": digits })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_string_or_hexadecimal() {
        assert_eq!(json_bytes(None), Value::Null);
        assert_eq!(json_bytes(Some(b"caf\xc3\xa9")), json!("café"));
        assert_eq!(json_bytes(Some(b"\xff\x00")), json!({ "hex": "ff00" }));
    }
}
