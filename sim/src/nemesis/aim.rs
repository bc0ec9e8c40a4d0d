//! Whom a fault strikes.

use super::Nemesis;
use crate::{
    condition::Expression,
    dice::Dice,
    history::Partition,
    machine::Machine,
    scenario::{Target, Trigger},
};
use highwater_core::types::BrokerId;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The machines that a fault has stopped, or is about to: no other fault touches them.
#[derive(Clone, Default)]
pub(super) struct Struck(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    machines: BTreeSet<BrokerId>,
    /// Whether a disk was lost and not every replica is in sync again.
    lost_copies: bool,
}

/// Machines are struck until this is gone.
pub(super) struct Claim {
    struck: Struck,
    machines: Vec<BrokerId>,
}

impl Struck {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn claim(&self, machines: &[Machine]) -> Claim {
        let machines: Vec<BrokerId> = machines.iter().map(|machine| machine.id).collect();
        self.lock().machines.extend(&machines);
        Claim { struck: self.clone(), machines }
    }

    pub(super) fn contains(&self, machine: &Machine) -> bool {
        self.lock().machines.contains(&machine.id)
    }

    /// Notes whether copies of records were lost and are not there again.
    pub(super) fn lost_copies(&self, lost: bool) {
        self.lock().lost_copies = lost;
    }

    pub(super) fn has_lost_copies(&self) -> bool {
        self.lock().lost_copies
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut struck = self.struck.lock();
        self.machines.iter().for_each(|machine| {
            struck.machines.remove(machine);
        });
    }
}

impl Nemesis {
    /// Whether a strike must come at its moment, whatever other faults do.
    pub(super) fn is_punctual(&self) -> bool {
        self.plan.trigger != Trigger::Drawn
    }

    /// The machine to strike, if there is one.
    pub(super) fn target(&mut self) -> Option<Machine> {
        let targets = self.targets();
        targets.into_iter().next()
    }

    /// The machines to strike, and to stop: nobody else stops them until the claim is gone.
    pub(super) fn claimed_targets(&mut self) -> (Vec<Machine>, Claim) {
        let mut free = self.cluster.machines.to_vec();
        free.retain(|machine| !self.struck.contains(machine));
        let machines = self.choose(free);
        let claim = self.struck.claim(&machines);
        (machines, claim)
    }

    /// The machines to strike: the one that the plan wants first, and as many others as it says.
    pub(super) fn targets(&mut self) -> Vec<Machine> {
        self.choose(self.cluster.machines.to_vec())
    }

    fn choose(&mut self, mut rest: Vec<Machine>) -> Vec<Machine> {
        if self.cluster.machines.len() == 1 {
            return rest;
        }
        if let Target::Named(expression) = &self.plan.target {
            let named = expression.brokers(&self.cluster);
            rest.retain(|machine| named.contains(&machine.id.0));
        }
        let wanted = self.wanted();
        let (plan, possible) = (&self.plan, rest.clone());
        let draw = |dice: &mut Dice| {
            let count = match plan.target {
                Target::All => rest.len(),
                _ => rest.len().min(dice.within(&plan.nodes).max(1) as usize),
            };
            let mut targets = Vec::new();
            if let Some(at) = rest.iter().position(|machine| Some(machine.id) == wanted) {
                targets.push(rest.swap_remove(at).id.to_string());
            }
            while targets.len() < count {
                let at = dice.index(rest.len());
                targets.push(rest.swap_remove(at).id.to_string());
            }
            targets.join(" ")
        };
        let known = |id: &str| possible.iter().find(|machine| machine.id.to_string() == id);
        let fits = |text: &str| text.split_whitespace().all(|id| known(id).is_some());
        let text = self.draw.text("machines", draw, fits);
        let targets: Vec<Machine> = text.split_whitespace().filter_map(known).cloned().collect();
        if targets.is_empty() {
            self.cluster.recorder.note(format_args!("nobody to strike"));
        }
        targets
    }

    /// The machine of a role that the plan wants struck, if it has one now.
    fn wanted(&mut self) -> Option<BrokerId> {
        let mut dice = self.draw.fork();
        match self.plan.target {
            Target::Leader => self.a_leader(&mut dice),
            Target::Controller => self.cluster.controller(),
            Target::Coordinator => self.cluster.a_coordinator(&mut dice),
            Target::Any | Target::All | Target::Named(_) => None,
        }
    }

    /// The brokers that an expression of the plan names now; `None` when it has none.
    pub(super) fn named(&self, expression: &Option<Expression>) -> Option<BTreeSet<BrokerId>> {
        let named = expression.as_ref()?.brokers(&self.cluster);
        Some(named.into_iter().map(BrokerId).collect())
    }

    /// The leader of some partition of a topic that lives as long as the run.
    fn a_leader(&self, dice: &mut Dice) -> Option<BrokerId> {
        let lasting = |topic: &usize| {
            let history = self.cluster.recorder.history();
            !history.topics[*topic].deleted
        };
        let topics = self.cluster.recorder.history().topics.len();
        let topics: Vec<usize> = (0..topics).filter(lasting).collect();
        if topics.is_empty() {
            return None;
        }
        let topic = *dice.pick(&topics);
        self.cluster.leader_of(Partition { topic, index: 0 })
    }
}
