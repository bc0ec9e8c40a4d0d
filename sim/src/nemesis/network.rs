//! What goes wrong between machines for a while: cuts and weather.

use super::Nemesis;
use crate::{
    dice::Dice,
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
            FaultKind::PartialPartition => {
                let planned = self.links_in_plan();
                self.links(&with_back(&planned), |dice| with_back(&one_of(dice, &planned)))
            }
            FaultKind::OneWayCut => self.one_way(),
            _ => self.all_of_one(),
        };
        self.cluster.network.cut(&links);
        self.pause().await;
        self.cluster.network.mend(&links);
    }

    /// A link breaks and works again, each for as long as the plan says, until the pause is over.
    pub(super) async fn flap(&mut self) {
        let planned = self.links_in_plan();
        let links = self.links(&with_back(&planned), |dice| {
            let both = dice.chance(0.5);
            let link = one_of(dice, &planned);
            if both { with_back(&link) } else { link }
        });
        if links.is_empty() {
            return;
        }
        let mut left = self.drawn_pause().unwrap_or(0) as i64;
        while left > 0 {
            let broken = self.draw.within("broken", &self.plan.millis);
            let whole = self.draw.within("whole", &self.plan.millis);
            self.cluster.network.cut(&links);
            time::sleep(Duration::from_millis(broken.max(1) as u64)).await;
            self.cluster.network.mend(&links);
            time::sleep(Duration::from_millis(whole.max(1) as u64)).await;
            left -= broken.max(1) + whole.max(1);
        }
    }

    /// Connections break: all that the plan names, or else one, or all.
    pub(super) fn reset_connections(&mut self) {
        let planned = self.links_in_plan();
        let is_planned = self.plan.from.is_some() || self.plan.to.is_some();
        let links = self.links(&planned, |dice| {
            let takes_all = is_planned || dice.chance(0.5);
            if takes_all { planned.clone() } else { one_of(dice, &planned) }
        });
        self.cluster.network.reset(&links);
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
        let is_planned = self.plan.from.is_some() || self.plan.to.is_some();
        if is_planned || self.draw.chance("one_link", 0.5) {
            let planned = self.links_in_plan();
            let links = self.links(&planned, |dice| one_of(dice, &planned));
            let Some(link) = links.first().copied() else { return };
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
        let ids = self.ids();
        if self.plan.target != Target::Any {
            let crossing = crossing(&ids, &self.half());
            return self.links(&crossing, |_| crossing.clone());
        }
        self.links(&all_links(&ids), |dice| {
            let (mut half, mut rest) = (BTreeSet::new(), ids.clone());
            for _ in 0..dice.between(1..=ids.len().max(2) as u64 - 1) {
                let at = dice.index(rest.len());
                half.insert(rest.swap_remove(at));
            }
            crossing(&ids, &half)
        })
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

    /// One link, from the machine that the plan wants or to it; or all that the plan names.
    fn one_way(&mut self) -> Vec<Direction> {
        if self.plan.target != Target::Any {
            let of_hub = self.links_of_target();
            return self.links(&of_hub, |dice| one_of(dice, &of_hub));
        }
        let planned = self.links_in_plan();
        let is_planned = self.plan.from.is_some() || self.plan.to.is_some();
        self.links(
            &planned,
            |dice| if is_planned { planned.clone() } else { one_of(dice, &planned) },
        )
    }

    fn all_of_one(&mut self) -> Vec<Direction> {
        let of_hub = self.links_of_target();
        self.links(&of_hub, |_| of_hub.clone())
    }

    /// Every link from the machine that the plan wants, and to it.
    fn links_of_target(&mut self) -> Vec<Direction> {
        let hub: BTreeSet<BrokerId> = self.target().map(|machine| machine.id).into_iter().collect();
        crossing(&self.ids(), &hub)
    }

    /// Every link from those that the plan names to those that it names.
    fn links_in_plan(&self) -> Vec<Direction> {
        let (from, to) = (self.named(&self.plan.from), self.named(&self.plan.to));
        let is_end =
            |end: &Option<BTreeSet<BrokerId>>, id| end.as_ref().is_none_or(|end| end.contains(&id));
        let mut links = all_links(&self.ids());
        links.retain(|(one, other)| is_end(&from, *one) && is_end(&to, *other));
        links
    }

    fn ids(&self) -> Vec<BrokerId> {
        self.cluster.machines.iter().map(|machine| machine.id).collect()
    }

    /// Draws some of the possible links.
    fn links(
        &mut self,
        possible: &[Direction],
        draw: impl FnOnce(&mut Dice) -> Vec<Direction>,
    ) -> Vec<Direction> {
        let named = |name: &str| possible.iter().copied().find(|link| name_of(*link) == name);
        let text = self.draw.text(
            "links",
            |dice| draw(dice).into_iter().map(name_of).collect::<Vec<_>>().join(" "),
            |text| text.split_whitespace().all(|name| named(name).is_some()),
        );
        text.split_whitespace().filter_map(named).collect()
    }
}

/// The name of a link in scripts, such as `1>3`.
fn name_of((from, to): Direction) -> String {
    format!("{from}>{to}")
}

/// Every link, in both directions.
fn all_links(ids: &[BrokerId]) -> Vec<Direction> {
    let from = |from: &BrokerId| {
        let from = *from;
        ids.iter().filter(move |to| **to != from).map(move |to| (from, *to))
    };
    ids.iter().flat_map(from).collect()
}

/// Every link between those in the half and the others.
fn crossing(ids: &[BrokerId], half: &BTreeSet<BrokerId>) -> Vec<Direction> {
    let mut links = all_links(ids);
    links.retain(|(from, to)| half.contains(from) != half.contains(to));
    links
}

/// One of the links, if there is one.
fn one_of(dice: &mut Dice, links: &[Direction]) -> Vec<Direction> {
    if links.is_empty() { Vec::new() } else { vec![*dice.pick(links)] }
}

/// The links and the ways back.
fn with_back(links: &[Direction]) -> Vec<Direction> {
    links.iter().flat_map(|(from, to)| [(*from, *to), (*to, *from)]).collect()
}
