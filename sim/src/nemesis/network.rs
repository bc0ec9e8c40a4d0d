//! What goes wrong between machines: cuts, weather, held messages.

use super::Nemesis;
use crate::{
    dice::Dice,
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
            FaultKind::PartialPartition => self.links(|dice, ids| both_ways(pair(dice, ids))),
            FaultKind::OneWayCut => self.one_way(),
            _ => self.all_of_one(),
        };
        self.cluster.network.cut(&links);
        self.pause().await;
        self.cluster.network.mend(&links);
    }

    /// A link breaks and works again, each for as long as the plan says, until the pause is over.
    pub(super) async fn flap(&mut self) {
        let links = self.links(|dice, ids| match dice.chance(0.5) {
            true => both_ways(pair(dice, ids)),
            false => vec![pair(dice, ids)],
        });
        let mut left = self.draw.within("pause", &self.plan.pause).max(0);
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
        if self.draw.chance("one_link", 0.5) {
            let link = self.links(|dice, ids| vec![pair(dice, ids)])[0];
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
            message: self.draw.named("message", &Message::NAMES),
            is_reply: self.draw.chance("is_reply", 0.5),
        });
        let held = self.cluster.network.hold(kind);
        self.pause().await;
        held.release();
    }

    /// Every link between two halves of the machines, each with one at least.
    fn halves(&mut self) -> Vec<Direction> {
        self.links(|dice, ids| {
            let (mut one, mut other) = (Vec::new(), ids.to_vec());
            for _ in 0..dice.between(1..=ids.len().max(2) as u64 - 1) {
                let at = dice.index(other.len());
                one.push(other.swap_remove(at));
            }
            let crossing = |from: BrokerId| other.iter().flat_map(move |to| both_ways((from, *to)));
            one.into_iter().flat_map(crossing).collect()
        })
    }

    /// One link, from the machine that the plan wants or to it.
    fn one_way(&mut self) -> Vec<Direction> {
        if self.plan.target == Target::Any {
            return self.links(|dice, ids| vec![pair(dice, ids)]);
        }
        let hub = self.target().id;
        self.links(|dice, ids| {
            let other = *dice.pick(&others(hub, ids));
            vec![if dice.chance(0.5) { (hub, other) } else { (other, hub) }]
        })
    }

    fn all_of_one(&mut self) -> Vec<Direction> {
        let hub = self.target().id;
        self.links(|_, ids| {
            others(hub, ids).into_iter().flat_map(|id| both_ways((hub, id))).collect()
        })
    }

    /// Draws links between the machines, of which there are two at least.
    fn links(
        &mut self,
        draw: impl FnOnce(&mut Dice, &[BrokerId]) -> Vec<Direction>,
    ) -> Vec<Direction> {
        let ids: Vec<BrokerId> = self.cluster.machines.iter().map(|machine| machine.id).collect();
        let text = self.draw.text(
            "links",
            |dice| {
                let names = draw(dice, &ids).into_iter().map(|(from, to)| format!("{from}>{to}"));
                names.collect::<Vec<_>>().join(" ")
            },
            |text| !text.is_empty() && text.split(' ').all(|name| link(name, &ids).is_some()),
        );
        text.split(' ').filter_map(|name| link(name, &ids)).collect()
    }
}

/// The link of that name, such as `1>3`.
fn link(name: &str, ids: &[BrokerId]) -> Option<Direction> {
    let (from, to) = name.split_once('>')?;
    let known = |text: &str| ids.iter().copied().find(|id| id.to_string() == text);
    known(from).zip(known(to)).filter(|(from, to)| from != to)
}

fn others(hub: BrokerId, ids: &[BrokerId]) -> Vec<BrokerId> {
    ids.iter().copied().filter(|id| *id != hub).collect()
}

/// Two machines.
fn pair(dice: &mut Dice, ids: &[BrokerId]) -> Direction {
    let first = *dice.pick(ids);
    (first, *dice.pick(&others(first, ids)))
}

fn both_ways((from, to): Direction) -> Vec<Direction> {
    vec![(from, to), (to, from)]
}
