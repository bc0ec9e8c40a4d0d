//! What goes wrong between machines for a while: cuts and weather.

use super::Nemesis;
use crate::{
    network::{Direction, Weather},
    scenario::{FaultKind, Target},
};
use highwater_core::types::BrokerId;
use madsim::time;
use std::{collections::BTreeSet, time::Duration};

/// Milliseconds of late messages when the plan does not say.
const TAIL_MILLIS: u64 = 60;

impl Nemesis {
    /// Links are cut for a while.
    pub(super) async fn cut_links(&mut self) {
        let links = match self.plan.kind {
            FaultKind::NetworkPartition => self.halves(),
            FaultKind::PartialPartition => self.pair_in_plan().map(both_ways).unwrap_or_default(),
            FaultKind::OneWayCut => self.one_way(),
            _ => self.all_of_one(),
        };
        self.cluster.network.cut(&links);
        self.pause().await;
        self.cluster.network.mend(&links);
    }

    /// A link breaks and works again, each for as long as the plan says, until the pause is over.
    pub(super) async fn flap(&mut self) {
        let both = self.dice.chance(0.5);
        let Some(pair) = self.pair_in_plan() else { return };
        let links = if both { both_ways(pair) } else { vec![pair] };
        let mut left = self.drawn_pause().unwrap_or(0) as i64;
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
        let is_local = self.dice.chance(0.5) || self.plan.from.is_some() || self.plan.to.is_some();
        if is_local {
            let Some(link) = self.pair_in_plan() else { return };
            self.cluster.network.set(link, Some(weather));
            self.pause().await;
            self.cluster.network.set(link, None);
        } else {
            self.cluster.network.set_everywhere(weather);
            self.pause().await;
            self.cluster.network.set_everywhere(Weather::default());
        }
    }

    /// Every link between two halves of the machines, each with one at least.
    fn halves(&mut self) -> Vec<Direction> {
        let ids: Vec<BrokerId> = self.cluster.machines.iter().map(|machine| machine.id).collect();
        if self.plan.target != Target::Any {
            let half: Vec<BrokerId> = self.half().into_iter().collect();
            let rest = ids.iter().filter(|id| !half.contains(id));
            return rest.flat_map(|id| half.iter().flat_map(|of| both_ways((*of, *id)))).collect();
        }
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

    /// The half of the machines that the plan names.
    fn half(&mut self) -> BTreeSet<BrokerId> {
        match &self.plan.target {
            Target::Named(named) => {
                named.brokers(&self.cluster).into_iter().map(BrokerId).collect()
            }
            _ => self.target().map(|machine| machine.id).into_iter().collect(),
        }
    }

    /// One link, from the machine that the plan wants or to it.
    fn one_way(&mut self) -> Vec<Direction> {
        if self.plan.target == Target::Any {
            if self.plan.from.is_some() || self.plan.to.is_some() {
                return self.links_in_plan();
            }
            return vec![self.pair()];
        }
        let Some(hub) = self.target().map(|machine| machine.id) else { return Vec::new() };
        let others = self.others(hub);
        let other = *self.dice.pick(&others);
        let link = if self.dice.chance(0.5) { (hub, other) } else { (other, hub) };
        vec![link]
    }

    fn all_of_one(&mut self) -> Vec<Direction> {
        let Some(hub) = self.target().map(|machine| machine.id) else { return Vec::new() };
        self.others(hub).into_iter().flat_map(|other| both_ways((hub, other))).collect()
    }

    fn others(&self, hub: BrokerId) -> Vec<BrokerId> {
        let ids = self.cluster.machines.iter().map(|machine| machine.id);
        ids.filter(|id| *id != hub).collect()
    }

    /// Two machines, as the plan says from whom to whom; `None` when it names nobody now.
    fn pair_in_plan(&mut self) -> Option<Direction> {
        if self.plan.from.is_none() && self.plan.to.is_none() {
            return Some(self.pair());
        }
        let links = self.links_in_plan();
        (!links.is_empty()).then(|| *self.dice.pick(&links))
    }

    /// Every link from those that the plan names to those that it names.
    fn links_in_plan(&self) -> Vec<Direction> {
        let (from, to) = (self.named(&self.plan.from), self.named(&self.plan.to));
        let ids: Vec<BrokerId> = self.cluster.machines.iter().map(|machine| machine.id).collect();
        let is_end =
            |end: &Option<BTreeSet<BrokerId>>, id| end.as_ref().is_none_or(|end| end.contains(id));
        let links = |from_id: &BrokerId| {
            let others = ids.iter().filter(|id| *id != from_id && is_end(&to, id));
            others.map(|id| (*from_id, *id)).collect::<Vec<Direction>>()
        };
        ids.iter().filter(|id| is_end(&from, id)).flat_map(links).collect()
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
