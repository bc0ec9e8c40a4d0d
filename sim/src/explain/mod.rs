//! Pictures of failed runs: what happened, event by event, with what led to what; the chain behind
//! the check that does not hold; and one page of HTML that shows both.
//!
//! Events are kept only when somebody wants a picture: a run that failed is run again with the same
//! seed to get them, and must end with the same hash.

mod bands;
mod causes;
mod chain;
pub mod client;
mod copies;
pub mod disk;
mod event;
mod log;
pub mod message;
mod page;
mod picture;
mod text;
#[cfg(madsim)]
mod watch;

pub use bands::{Band, Sort};
pub use chain::Focus;
pub use copies::CopySeen;
pub use event::{
    About, Event, EventId, Kind, Lane, LeaderSeen, ReplicaSeen, Role, Sample, Slot, Status, slot_of,
};
pub use log::{EventLog, Found, Kept, Probe};
pub use page::html;
pub use picture::{Picture, Step};
pub use text::chain as as_text;
#[cfg(madsim)]
pub use watch::probe;

/// Runs one course of a scenario and keeps its events for a picture. The run is the same as without.
#[cfg(madsim)]
#[must_use]
pub fn explain(
    scenario: &crate::scenario::Scenario,
    course: crate::run::Course,
    mutant: Option<String>,
) -> Picture {
    let trace = crate::trace::Trace::with_events();
    let (ran, judged) = crate::run::follow_in(scenario, course, &trace);
    Picture::new(ran.report, mutant, (&judged.history, judged.evidence), trace.events.take())
}
