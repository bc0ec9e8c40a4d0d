//! The file: what a run was told, what it chose, and what came of it.

use crate::{Checkpoints, Decisions};
use serde::{Deserialize, Serialize};

/// The version of the format that is written and read.
pub const FORMAT: u32 = 1;
/// The most bytes of a script.
pub const MOST_BYTES: usize = 1_000_000;
/// Up to so many operations a script is written for people to read.
const READABLE_OPERATIONS: usize = 200;

/// One failure of the simulator that can be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The version of the format.
    pub format: u32,
    /// The version of the simulator that wrote it.
    pub simulator: String,
    /// The scenario, in full.
    pub scenario: Source,
    /// From which everything is drawn that the decisions do not say.
    pub seed: u64,
    /// From which everything is drawn that has no name: latencies, the order in which tasks run.
    pub network_seed: u64,
    /// The bug that was planted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// What the run chose.
    pub decisions: Decisions,
    /// What came of it; absent from a script that was changed and not run since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, without the extension.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What failed; a run that passed may be kept, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The hash of the trace, as 32 hexadecimal digits.
    pub hash: String,
    /// How many events the trace has.
    pub events: u64,
    /// Where the trace stood on its way.
    pub checkpoints: Checkpoints,
}

/// A check that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The check's id and name, or `panic`.
    pub check: String,
    /// What was found, where.
    pub message: String,
}

/// Why a text is not a script that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It is not JSON, or lacks or has what a script does not.
    #[error("not a script: {0}")]
    Malformed(String),
    /// Another version wrote it.
    #[error(
        "the script has format {found}, and this simulator reads format {FORMAT}: replay it with \
         the version that wrote it, {simulator}"
    )]
    UnknownFormat {
        /// Its format.
        found: u64,
        /// The simulator that wrote it, as it says itself.
        simulator: String,
    },
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let malformed = |error: serde_json::Error| ScriptError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(malformed)?;
        let said = value.get("format");
        let format = said.and_then(serde_json::Value::as_u64);
        match format {
            Some(found) if found == u64::from(FORMAT) => {
                serde_json::from_value(value).map_err(malformed)
            }
            Some(found) => {
                let simulator = value.get("simulator").and_then(serde_json::Value::as_str);
                let simulator = simulator.unwrap_or("which it does not name").to_owned();
                Err(ScriptError::UnknownFormat { found, simulator })
            }
            None => Err(ScriptError::Malformed(match said {
                Some(said) => format!("its `format` is {said}, which is no format"),
                None => "it has no `format`".to_owned(),
            })),
        }
    }

    /// Writes it, with fewer checkpoints when it would be too large otherwise.
    #[must_use]
    pub fn to_text(&self) -> String {
        let is_readable = self.decisions.operations() <= READABLE_OPERATIONS;
        let write = |script: &Self| match is_readable {
            true => serde_json::to_string_pretty(script),
            false => serde_json::to_string(script),
        };
        let text = write(self).expect("a script is plain data");
        if text.len() < MOST_BYTES {
            return text + "\n";
        }
        let mut smaller = self.clone();
        if let Some(recorded) = &mut smaller.recorded {
            recorded.checkpoints = Checkpoints::default();
        }
        write(&smaller).expect("a script is plain data") + "\n"
    }

    /// The check that failed.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        let failure = self.recorded.as_ref()?.failure.as_ref()?;
        Some(&failure.check)
    }

    /// The same script without what came of it, to be changed and run.
    #[must_use]
    pub fn unrecorded(&self) -> Self {
        Self { recorded: None, ..self.clone() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Client, Drawn, Value};

    /// A script with some strikes and clients with operations.
    pub fn example(strikes: usize, operations: &[(&str, u32)]) -> Script {
        let mut decisions = Decisions::default();
        decisions.run.push("millis", Value::Number(2_000));
        for number in 0..strikes {
            let mut drawn = Drawn::default();
            drawn.push("at", Value::Number(number as i64 * 100));
            drawn.push("pause", Value::Number(200));
            decisions.strikes.insert(format!("power-cut#{number}"), drawn);
        }
        for (client, count) in operations {
            let mut of = Client::default();
            for number in 0..*count {
                let mut drawn = Drawn::default();
                drawn.push("at", Value::Number(i64::from(number) * 10_000_000));
                of.operations.insert(number, drawn);
            }
            decisions.clients.insert((*client).to_owned(), of);
        }
        let failure = Failure { check: "L3 immutable".into(), message: "offset 4".into() };
        Script {
            format: FORMAT,
            simulator: "0.1.0".into(),
            scenario: Source {
                name: "power-cut".into(),
                text: "# The power goes.\nwhy = \"Why: it does.\"\n[faults.power-cut]\n".into(),
            },
            seed: 7,
            network_seed: 7,
            mutant: Some("ack-before-fsync".into()),
            decisions,
            recorded: Some(Recorded {
                failure: Some(failure),
                hash: "0".repeat(32),
                events: 3,
                checkpoints: Checkpoints::of(&[1, 2, 3]),
            }),
        }
    }

    #[test]
    fn a_script_is_read_as_it_was_written() {
        for operations in [3, 300] {
            let script = example(2, &[("producer 2", operations), ("consumer 3", 4)]);
            let text = script.to_text();
            assert_eq!(Script::parse(&text).unwrap(), script);
            assert!(text.len() < MOST_BYTES);
        }
        assert_eq!(example(0, &[]).check(), Some("L3 immutable"));
    }

    #[test]
    fn another_format_is_refused_with_the_version_that_wrote_it() {
        let text = example(1, &[]).to_text();
        let later = text.replace("\"format\": 1", "\"format\": 2").replace("0.1.0", "0.9.3");
        let error = Script::parse(&later).unwrap_err();
        assert_eq!(error, ScriptError::UnknownFormat { found: 2, simulator: "0.9.3".into() });
        assert!(error.to_string().contains("reads format 1"));
    }

    #[test]
    fn what_is_no_script_is_refused() {
        let text = example(1, &[]).to_text();
        for wrong in [
            "",
            "[]",
            "{}",
            &text[..text.len() - 9],
            &text.replace("\"seed\"", "\"sead\""),
            &text.replace("\"strikes\"", "\"strokes\""),
        ] {
            assert!(matches!(Script::parse(wrong), Err(ScriptError::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn a_script_that_would_be_too_large_goes_without_checkpoints() {
        let mut script = example(1, &[]);
        let many: Vec<u16> = (0..50_000).map(|at| at as u16).collect();
        script.scenario.text.push_str(&"# more\n".repeat(120_000));
        script.recorded.as_mut().unwrap().checkpoints = Checkpoints::of(&many);
        assert!(script.to_text().len() < MOST_BYTES);
    }
}
