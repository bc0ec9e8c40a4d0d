//! Scripts of runs: writing one down, and following one, with the place at which a run parted from
//! what the script recorded.

use crate::{
    choices::Branch,
    lab::Lab,
    report::{Divergence, Report},
    run::{Course, Ran, follow},
    scenario::Scenario,
};
use highwater_core::mutant::Mutant;
use highwater_script::{Checkpoints, FORMAT, Failure, Recorded, Script, Source};

/// Why a script cannot be followed by this simulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Its scenario is none here.
    #[error("the script's scenario: {0}")]
    Scenario(#[from] crate::scenario::ScenarioError),
    /// The bug that it wants planted is not known here.
    #[error("the script's mutant `{0}` is not known here")]
    UnknownMutant(String),
}

/// Follows a script, with the bug planted that it names. The report says where the run parted from
/// what the script recorded, if it did.
///
/// A bug stays planted until another one is, or the process ends.
pub fn replay(script: &Script, keep_trace: bool, lab: &Lab) -> Result<Ran, ReplayError> {
    follow_script(script, keep_trace || script.recorded.is_some(), None, lab)
}

/// Follows a script up to a point, and draws everything anew from there on.
pub fn leave(script: &Script, branch: Branch, lab: &Lab) -> Result<Ran, ReplayError> {
    follow_script(&script.unrecorded(), false, Some(branch), lab)
}

fn follow_script(
    script: &Script,
    keep_trace: bool,
    branch: Option<Branch>,
    lab: &Lab,
) -> Result<Ran, ReplayError> {
    let (scenario, course) = prepare(script, lab)?;
    let mut ran = follow(&scenario, Course { branch, ..course }, keep_trace);
    ran.report.divergence = divergence(script.recorded.as_ref(), &ran);
    Ok(ran)
}

/// What a script says: its scenario and how the run goes. Plants the bug that it names.
pub fn prepare(script: &Script, lab: &Lab) -> Result<(Scenario, Course), ReplayError> {
    let scenario = Scenario::parse(&script.scenario.name, &script.scenario.text)?;
    if let Some(name) = &script.mutant {
        let mutant = Mutant::named(name);
        mutant.ok_or_else(|| ReplayError::UnknownMutant(name.clone()))?.plant();
    }
    let Script { seed, network_seed, .. } = *script;
    let given = Some(script.decisions.clone());
    let lab = lab.clone();
    Ok((scenario, Course { seed, network_seed, given, branch: None, lab }))
}

/// The script of a run.
#[must_use]
pub fn script_of(source: Source, network_seed: u64, mutant: Option<String>, ran: &Ran) -> Script {
    let Report { seed, failure, hash, events, .. } = &ran.report;
    let failure = failure
        .as_ref()
        .map(|failure| Failure { check: failure.check.clone(), message: failure.message.clone() });
    let checkpoints = Checkpoints::of(&ran.prefixes);
    Script {
        format: FORMAT,
        simulator: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: source,
        seed: *seed,
        network_seed,
        mutant,
        decisions: ran.decisions.clone(),
        recorded: Some(Recorded { failure, hash: hash.clone(), events: *events, checkpoints }),
    }
}

/// The first place at which a run is not what was recorded: a decision that does not apply, or an
/// event.
fn divergence(recorded: Option<&Recorded>, ran: &Ran) -> Option<Divergence> {
    let at = |event: u64, reason: String| {
        let line = ran.lines.get(event as usize).cloned().unwrap_or_default();
        Divergence { event, line, reason }
    };
    let misfit = ran.misfit.as_ref().map(|misfit| at(misfit.event, misfit.message.clone()));
    let Some(recorded) = recorded.filter(|recorded| recorded.hash != ran.report.hash) else {
        return misfit;
    };
    let every = recorded.checkpoints.every.max(1) as u64;
    let event = recorded.checkpoints.first_difference(&ran.prefixes).map(|event| event as u64);
    let shorter = recorded.events.min(ran.report.events);
    let differs = match event {
        Some(event) if every == 1 => at(event, "this event is another one".into()),
        Some(event) => at(event, format!("this event or one of the next {every} is another one")),
        None => at(shorter.saturating_sub(every - 1), "one trace ends here".into()),
    };
    // What does not apply shows where it is asked for, at the latest where the trace differs.
    Some(match misfit {
        Some(misfit) if misfit.event <= differs.event + every => misfit,
        _ => differs,
    })
}
