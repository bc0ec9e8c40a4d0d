//! What makes faults strike at the moment that a scenario asks for, and what ends them.

use super::Nemesis;
use crate::{
    condition::{Change, Expression, Value},
    recorder::now_nanos,
    scenario::Trigger,
};
use madsim::time;
use std::time::Duration;

/// How often conditions are looked at, in simulated time.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a trigger remembers between two strikes.
#[derive(Default)]
pub(super) struct Watched {
    /// Whether the condition was true when it was last looked at.
    was_true: bool,
    value: Option<Value>,
    changes: u64,
}

impl Nemesis {
    /// Strikes whenever the plan's trigger says so, and as often as the plan says. What a script leaves
    /// out, it leaves out when its turn comes: the others keep theirs.
    pub(super) async fn strike_when_triggered(&mut self, times: u32) {
        let mut watched = Watched::default();
        for number in 0..times {
            if !self.wait_for_trigger(&mut watched).await {
                return;
            }
            let journal = &self.cluster.recorder.journal;
            let Some(draw) = journal.triggered(&self.plan.name(), number) else { continue };
            self.draw = draw;
            let delay = self.draw.within("delay", &self.plan.delay).max(0) as u64;
            time::sleep(Duration::from_millis(delay)).await;
            self.draw.note("at", now_nanos() / 1_000_000);
            self.strike().await;
        }
    }

    /// Whether the trigger came before the time under faults was over.
    async fn wait_for_trigger(&self, watched: &mut Watched) -> bool {
        match &self.plan.trigger {
            Trigger::Drawn | Trigger::At(_) => true,
            Trigger::When(condition) => self.becomes_true(condition, watched).await,
            Trigger::After(change) => self.has_changed(change, watched).await,
        }
    }

    async fn becomes_true(&self, condition: &Expression, watched: &mut Watched) -> bool {
        while !self.is_over() {
            let is_true = condition.holds(&self.cluster);
            let becomes_true = is_true && !watched.was_true;
            watched.was_true = is_true;
            if becomes_true {
                self.cluster.recorder.note(format_args!("now {condition}"));
                return true;
            }
            time::sleep(LOOK_EVERY).await;
        }
        false
    }

    async fn has_changed(&self, change: &Change, watched: &mut Watched) -> bool {
        while !self.is_over() {
            if let Some(value) = change.value(&self.cluster) {
                let before = watched.value.replace(value);
                let has_changed = before.is_some() && before != watched.value;
                watched.changes += u64::from(has_changed);
                if has_changed && change.nth.is_none_or(|nth| nth == watched.changes) {
                    self.cluster.recorder.note(format_args!("now {}", change.text));
                    return true;
                }
            }
            time::sleep(LOOK_EVERY).await;
        }
        false
    }

    /// Lets the fault last as long as the plan says.
    pub(super) async fn pause(&mut self) {
        let millis = self.drawn_pause();
        let Some(until) = self.plan.until.clone() else {
            time::sleep(Duration::from_millis(millis.unwrap_or(0))).await;
            return;
        };
        let patience = millis.map(|millis| now_nanos() + millis * 1_000_000);
        while !self.is_over() && patience.is_none_or(|end| now_nanos() < end) {
            if until.holds(&self.cluster) {
                self.cluster.recorder.note(format_args!("now {until}"));
                return;
            }
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// Milliseconds that the plan says; `None` when it does not.
    pub(super) fn drawn_pause(&mut self) -> Option<u64> {
        let pause = self.plan.pause.clone()?;
        Some(self.draw.within("pause", &pause).max(0) as u64)
    }

    fn is_over(&self) -> bool {
        now_nanos() >= self.ends_at
    }
}
