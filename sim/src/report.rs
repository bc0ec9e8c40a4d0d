//! What one run reports: one line of JSON that the campaign's runner reads.

use serde::Serialize;
use std::collections::BTreeMap;

/// The outcome of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Whether every check held.
    pub passed: bool,
    /// The 128-bit hash of the whole trace, in hexadecimal.
    pub hash: String,
    /// How long the run took on its own clock.
    pub simulated_seconds: f64,
    /// How many lines its trace has.
    pub events: u64,
    /// What became of the clients' calls.
    pub ops: Ops,
    /// What the faults did. An effect of an enabled fault is listed even when it is zero: a campaign
    /// in which it stays zero did not test that fault.
    pub effects: BTreeMap<&'static str, u64>,
    /// Which situations came about that are worth reaching, and how often; no others.
    pub situations: BTreeMap<&'static str, u64>,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// Why partitions could not be served in the end, where faults may exceed the promise: which
    /// replicas are left, and why none may lead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excuses: Vec<String>,
    /// Where a run that follows a script first differed from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// How long the run took in the real world. Never part of the hash.
    pub wall_ms: u64,
}

/// Counts of calls by outcome.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ops {
    /// Succeeded.
    pub ok: u64,
    /// Answered with an error.
    pub fail: u64,
    /// Never answered.
    pub unknown: u64,
}

/// Where a run parted from its script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The number of the first event that may differ, counted from zero.
    pub event: u64,
    /// That event's line, as it is now; empty when the trace ends there.
    pub line: String,
    /// What does not apply any more, or what is known otherwise.
    pub reason: String,
}

/// A check that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The check's id and name, or `panic`, or `harness`.
    pub check: String,
    /// What was found, where.
    pub message: String,
}
