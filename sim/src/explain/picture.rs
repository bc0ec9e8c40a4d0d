//! Everything that the page and the text of a failed run tell.

use super::{
    causes, chain,
    chain::Focus,
    copies::{self, CopySeen},
    event::{Event, EventId, Kind, Lane, Slot, slot_of},
    log::Kept,
    text,
};
use crate::{
    history::History,
    oracle::{CHECKS, Evidence},
    report::Report,
};
use std::collections::BTreeSet;

/// One step of the chain behind a violation.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened.
    pub event: EventId,
    /// What each broker then had at the offset in question; empty where there is none, or where
    /// nothing has changed since the step before.
    pub copies: Vec<CopySeen>,
}

/// A run, ready to be shown.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What the run reported.
    pub report: Report,
    /// The planted bug.
    pub mutant: Option<String>,
    /// What the violated check claims.
    pub claim: Option<&'static str>,
    /// The state that it saw: names and values.
    pub facts: Vec<(String, String)>,
    /// The events, linked, the violation last.
    pub kept: Kept,
    /// What the check points at.
    pub focus: Focus,
    /// The chain behind it, in order of time, the violation last.
    pub chain: Vec<Step>,
    /// The brokers, in order.
    pub brokers: Vec<i32>,
}

impl Picture {
    /// Puts a picture together from a run that kept its events.
    #[must_use]
    pub fn new(
        report: Report,
        mutant: Option<String>,
        (history, evidence): (&History, Evidence),
        mut kept: Kept,
    ) -> Self {
        kept.names.extend(history.topics.iter().map(|topic| (topic.id, topic.name.clone())));
        causes::link(&mut kept.events);
        let focus = focus(&report, history, &evidence, &kept);
        let mut picture = Self {
            claim: report.failure.as_ref().and_then(|failure| {
                CHECKS.iter().find(|check| check.name == failure.check).map(|check| check.claim)
            }),
            report,
            mutant,
            facts: evidence.facts,
            focus,
            chain: Vec::new(),
            brokers: (1..=history.promise.brokers).collect(),
            kept,
        };
        picture.judge();
        picture
    }

    /// The run in one line.
    #[must_use]
    pub fn title(&self) -> String {
        let Report { scenario, seed, .. } = &self.report;
        let mutant = self.mutant.as_ref().map_or(String::new(), |name| format!(" with {name}"));
        format!("{scenario} seed {seed}{mutant}")
    }

    /// Adds the violation and the chain behind it.
    fn judge(&mut self) {
        let Some(failure) = self.report.failure.clone() else { return };
        let events = &mut self.kept.events;
        let mut steps = chain::steps(events, &self.focus);
        let at = events.last().map_or(0, |event| event.at);
        let text = format!("{}: {}", failure.check, failure.message);
        let roots = chain::roots(events, &self.focus);
        let roots =
            if roots.is_empty() { steps.last().copied().into_iter().collect() } else { roots };
        let violation = Event::new(at, Lane::Network, Kind::Violation, text).caused_by(roots);
        steps.push(events.len());
        events.push(violation);
        let place = self.focus.slot.zip(self.focus.offsets.first().copied());
        let mut before = Vec::new();
        for event in steps {
            let now = place.map(|place| copies::at(&self.kept, place, &self.brokers, event));
            let now = now.unwrap_or_default();
            let copies = if without_ends(&now) == before { Vec::new() } else { now.clone() };
            before = without_ends(&now);
            self.chain.push(Step { event, copies });
        }
    }
}

/// How far a log without the record reaches is no news.
fn without_ends(copies: &[CopySeen]) -> Vec<CopySeen> {
    let same = |seen: &CopySeen| match seen {
        CopySeen::Nothing { .. } => CopySeen::Nothing { end: 0 },
        other => *other,
    };
    copies.iter().map(same).collect()
}

fn focus(report: &Report, history: &History, evidence: &Evidence, kept: &Kept) -> Focus {
    let pointed = evidence.partition.and_then(|partition| slot_of(&history.topics, partition));
    let message = report.failure.as_ref().map_or("", |failure| failure.message.as_str());
    let calls = history.calls.iter().enumerate();
    let calls = calls.filter(|(_, call)| evidence.calls.contains(&call.invoked));
    let calls: BTreeSet<usize> = calls.map(|(at, _)| at).collect();
    Focus {
        slot: pointed.or_else(|| named_in(message, kept)),
        offsets: evidence.offsets.iter().copied().collect(),
        brokers: evidence.brokers.clone(),
        group: evidence.group.clone(),
        calls,
    }
}

/// The partition that a message begins with, for checks that only say it.
fn named_in(message: &str, kept: &Kept) -> Option<Slot> {
    let (first, _) = message.split_once(": ")?;
    let slots: BTreeSet<Slot> = kept.samples.iter().map(|sample| sample.slot).collect();
    slots.into_iter().find(|slot| text::name(&kept.names, *slot) == first)
}
