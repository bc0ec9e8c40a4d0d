//! How messages fare on directed links: pure, and drawn from one seed in the order in which they
//! are sent.

use crate::{
    dice::Dice,
    trace::{Effect, Trace},
};
use highwater_core::types::BrokerId;
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Longer than any message takes on a healthy network, in milliseconds.
pub const LATE_MILLIS: u64 = 50;
/// Messages in order arrive this far apart at least, in nanoseconds: tasks that are woken together
/// run in any order.
const APART: u64 = 50_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// How messages fare while it lasts. The default is a healthy network.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Milliseconds that most messages take.
    pub latency: RangeInclusive<u64>,
    /// How often a message takes longer.
    pub tail_chance: f64,
    /// Milliseconds that it takes then.
    pub tail: RangeInclusive<u64>,
    /// How often a message is lost.
    pub loss: f64,
    /// How often a message arrives twice.
    pub duplication: f64,
    /// How often a message may overtake those that were sent before it.
    pub reordering: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency: 1..=3,
            tail_chance: 0.01,
            tail: 4..=LATE_MILLIS - 10,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
        }
    }
}

impl Weather {
    /// What is wrong with it, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let healthy = Self::default();
        let percent = |chance: f64| (chance * 100.0).round();
        let mut words = Vec::new();
        if self.loss > 0.0 {
            words.push(format!("loses {} %", percent(self.loss)));
        }
        if self.duplication > 0.0 {
            words.push(format!("repeats {} %", percent(self.duplication)));
        }
        if self.tail_chance > healthy.tail_chance {
            let (chance, most) = (percent(self.tail_chance), self.tail.end());
            words.push(format!("delays {chance} % by up to {most} ms"));
        }
        if words.is_empty() { "healthy again".into() } else { words.join(", ") }
    }
}

/// One direction between two brokers.
pub type Direction = (BrokerId, BrokerId);

/// Every directed link between brokers.
#[derive(Debug)]
pub struct Links {
    dice: Dice,
    trace: Trace,
    everywhere: Weather,
    /// Where the weather is another one.
    local: BTreeMap<Direction, Weather>,
    /// How many faults cut a link at the moment.
    ///
    /// Invariant: no count is zero.
    cuts: BTreeMap<Direction, u32>,
    /// When the last message in order arrives, in nanoseconds.
    last_arrival: BTreeMap<Direction, u64>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives, for this reason.
    Lost(&'static str),
    /// It arrives at these times, in nanoseconds: one, or two when it is duplicated.
    Arrives(Vec<u64>),
}

impl Links {
    /// Healthy links.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self {
            dice: Dice::new(seed, "links"),
            trace,
            everywhere: Weather::default(),
            local: BTreeMap::new(),
            cuts: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
        }
    }

    /// Draws from these dice from now on.
    pub fn draw_from(&mut self, dice: Dice) {
        self.dice = dice;
    }

    /// The weather of every link that has none of its own.
    pub fn set_everywhere(&mut self, weather: Weather) {
        self.everywhere = weather;
    }

    /// The weather of one link, or that of all others again.
    pub fn set(&mut self, link: Direction, weather: Option<Weather>) {
        match weather {
            Some(weather) => self.local.insert(link, weather),
            None => self.local.remove(&link),
        };
    }

    /// Cuts links. A link cut twice must be mended twice.
    pub fn cut(&mut self, links: &[Direction]) {
        for link in links {
            *self.cuts.entry(*link).or_default() += 1;
        }
    }

    /// Takes back what [`Links::cut`] did to these links.
    pub fn mend(&mut self, links: &[Direction]) {
        for link in links {
            if let Some(count) = self.cuts.get_mut(link) {
                *count -= 1;
                if *count == 0 {
                    self.cuts.remove(link);
                }
            }
        }
    }

    /// Everything is healthy again.
    pub fn heal(&mut self) {
        self.everywhere = Weather::default();
        self.local.clear();
        self.cuts.clear();
    }

    /// Whether nothing arrives over a link now.
    #[must_use]
    pub fn is_cut(&self, link: Direction) -> bool {
        self.cuts.contains_key(&link)
    }

    /// Decides about one message that is sent now, in nanoseconds.
    pub fn send(&mut self, link: Direction, now: u64) -> Fate {
        if self.is_cut(link) {
            self.trace.effect(Effect::MessageCut, 1);
            return Fate::Lost("the link is cut");
        }
        let weather = self.local.get(&link).unwrap_or(&self.everywhere).clone();
        if self.dice.chance(weather.loss) {
            self.trace.effect(Effect::MessageLost, 1);
            return Fate::Lost("lost");
        }
        let mut arrivals = vec![self.arrival(link, &weather, now)];
        if self.dice.chance(weather.duplication) {
            self.trace.effect(Effect::MessageDuplicated, 1);
            arrivals.push(self.arrival(link, &weather, now));
        }
        Fate::Arrives(arrivals)
    }

    fn arrival(&mut self, link: Direction, weather: &Weather, now: u64) -> u64 {
        let in_tail = self.dice.chance(weather.tail_chance);
        let bounds = if in_tail { &weather.tail } else { &weather.latency };
        let millis = self.dice.between(bounds.clone());
        if millis >= LATE_MILLIS {
            self.trace.effect(Effect::MessageDelayed, 1);
        }
        let arrival = now + millis * NANOS_PER_MILLI;
        let last = self.last_arrival.get(&link).copied().unwrap_or(0);
        if arrival <= last && self.dice.chance(weather.reordering) {
            self.trace.effect(Effect::MessageReordered, 1);
            return arrival;
        }
        // A late message that may be overtaken holds nobody up.
        if in_tail && self.dice.chance(weather.reordering) {
            return arrival.max(last + APART);
        }
        let arrival = arrival.max(last + APART);
        self.last_arrival.insert(link, arrival);
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Direction = (BrokerId(1), BrokerId(2));
    const BACK: Direction = (BrokerId(2), BrokerId(1));

    fn links() -> (Links, Trace) {
        let trace = Trace::new(false);
        (Links::new(7, trace.clone()), trace)
    }

    fn arrivals(links: &mut Links, count: u64) -> Vec<u64> {
        let mut all = Vec::new();
        for now in 0..count {
            match links.send(LINK, now * NANOS_PER_MILLI / 4) {
                Fate::Arrives(at) => all.extend(at),
                Fate::Lost(_) => {}
            }
        }
        all
    }

    #[test]
    fn a_healthy_link_delivers_everything_once_and_in_order() {
        let (mut links, trace) = links();
        let all = arrivals(&mut links, 500);
        assert_eq!(all.len(), 500);
        assert!(all.is_sorted());
        assert_eq!(trace.effects().len(), 0);
    }

    #[test]
    fn a_cut_is_one_way_and_counted() {
        let (mut links, trace) = links();
        links.cut(&[LINK]);
        links.cut(&[LINK]);
        links.mend(&[LINK]);
        assert_eq!(links.send(LINK, 0), Fate::Lost("the link is cut"));
        assert!(matches!(links.send(BACK, 0), Fate::Arrives(_)));
        links.mend(&[LINK]);
        assert!(matches!(links.send(LINK, 0), Fate::Arrives(_)));
        assert_eq!(trace.effect_count(Effect::MessageCut), 1);
    }

    #[test]
    fn loss_and_duplication_happen_about_as_often_as_asked() {
        let (mut links, trace) = links();
        let weather = Weather { loss: 0.2, duplication: 0.3, ..Weather::default() };
        links.set_everywhere(weather);
        arrivals(&mut links, 1_000);
        assert!((150..250).contains(&trace.effect_count(Effect::MessageLost)));
        assert!((180..300).contains(&trace.effect_count(Effect::MessageDuplicated)));
    }

    #[test]
    fn messages_overtake_each_other_only_where_that_is_asked_for() {
        let (mut links, trace) = links();
        let weather = Weather { latency: 1..=80, ..Weather::default() };
        links.set(LINK, Some(weather.clone()));
        assert!(arrivals(&mut links, 200).is_sorted());
        links.set(LINK, Some(Weather { reordering: 0.5, ..weather }));
        assert!(!arrivals(&mut links, 200).is_sorted());
        assert!(trace.effect_count(Effect::MessageReordered) > 10);
        assert!(trace.effect_count(Effect::MessageDelayed) > 10);
    }
}
