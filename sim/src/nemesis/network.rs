//! What goes wrong between machines: cuts, weather, held messages.

use super::Nemesis;
use crate::{
    network::{Direction, Message, MessageKind, Weather},
    scenario::{FaultKind, Target},
};
use highwater_core::types::BrokerId;
use madsim::time;
use std::time::Duration;

/// Milliseconds of late messages when the plan does not say.
const TAIL_MILLIS: u64 = 60;

impl Nemesis {
    /// Links are cut for a while.
    pub(super) async fn cut_links(&mut self) {
        let links = match self.plan.kind {
            FaultKind::NetworkPartition => self.halves(),
            FaultKind::PartialPartition => both_ways(self.pair()),
            FaultKind::OneWayCut => self.one_way(),
            _ => self.all_of_one(),
        };
        self.cluster.network.cut(&links);
        self.pause().await;
        self.cluster.network.mend(&links);
    }

    /// A link breaks and works again, each for as long as the plan says, until the pause is over.
    pub(super) async fn flap(&mut self) {
        let links = match self.dice.chance(0.5) {
            true => both_ways(self.pair()),
            false => vec![self.pair()],
        };
        let mut left = self.dice.within(&self.plan.pause).max(0);
        while left > 0 {
            let (broken, whole) =
                (self.dice.within(&self.plan.millis), self.dice.within(&self.plan.millis));
            self.cluster.network.cut(&links);
            time::sleep(Duration::from_millis(broken.max(1) as u64)).await;
            self.cluster.network.mend(&links);
            time::sleep(Duration::from_millis(whole.max(1) as u64)).await;
            left -= broken.max(1) + whole.max(1);
        }
    }

    /// Every link, or one, loses, repeats or delays messages for a while.
    pub(super) async fn change_weather(&mut self) {
        let chance = self.plan.chance;
        let weather = match self.plan.kind {
            FaultKind::MessageLoss => Weather { loss: chance, ..Weather::default() },
            FaultKind::MessageDuplication => Weather { duplication: chance, ..Weather::default() },
            _ => {
                let most = (*self.plan.millis.end()).max(TAIL_MILLIS as i64) as u64;
                let tail = (*self.plan.millis.start()).max(1) as u64..=most;
                Weather { tail_chance: chance, tail, reordering: 0.5, ..Weather::default() }
            }
        };
        if self.dice.chance(0.5) {
            let link = self.pair();
            self.cluster.network.set(link, Some(weather));
            self.pause().await;
            self.cluster.network.set(link, None);
        } else {
            self.cluster.network.set_everywhere(weather);
            self.pause().await;
            self.cluster.network.set_everywhere(Weather::default());
        }
    }

    /// One message stays under way for a while.
    pub(super) async fn hold_a_message(&mut self) {
        let kind = self.plan.message.unwrap_or_else(|| MessageKind {
            message: self.dice.pick(&Message::NAMES).1,
            is_reply: self.dice.chance(0.5),
        });
        let held = self.cluster.network.hold(kind);
        self.pause().await;
        held.release();
    }

    /// Every link between two halves of the machines, each with one at least.
    fn halves(&mut self) -> Vec<Direction> {
        let ids: Vec<BrokerId> = self.cluster.machines.iter().map(|machine| machine.id).collect();
        let mut one = Vec::new();
        let mut other = ids;
        let count = self.dice.between(1..=other.len().max(2) as u64 - 1);
        for _ in 0..count {
            let at = self.dice.index(other.len());
            one.push(other.swap_remove(at));
        }
        let crossing = |from: BrokerId| other.iter().flat_map(move |to| both_ways((from, *to)));
        one.into_iter().flat_map(crossing).collect()
    }

    /// One link, from the machine that the plan wants or to it.
    fn one_way(&mut self) -> Vec<Direction> {
        if self.plan.target == Target::Any {
            return vec![self.pair()];
        }
        let hub = self.target().id;
        let others = self.others(hub);
        let other = *self.dice.pick(&others);
        let link = if self.dice.chance(0.5) { (hub, other) } else { (other, hub) };
        vec![link]
    }

    fn all_of_one(&mut self) -> Vec<Direction> {
        let hub = self.target().id;
        self.others(hub).into_iter().flat_map(|other| both_ways((hub, other))).collect()
    }

    fn others(&self, hub: BrokerId) -> Vec<BrokerId> {
        let ids = self.cluster.machines.iter().map(|machine| machine.id);
        ids.filter(|id| *id != hub).collect()
    }

    /// Two machines.
    fn pair(&mut self) -> Direction {
        let first = self.dice.pick(&self.cluster.machines).id;
        let others = self.others(first);
        (first, *self.dice.pick(&others))
    }
}

fn both_ways((from, to): Direction) -> Vec<Direction> {
    vec![(from, to), (to, from)]
}
