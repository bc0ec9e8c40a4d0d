//! The links between single clients and brokers. All clients share a machine, so what is between one
//! of them and the brokers is kept here, by client and by broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One of the two directions of a link between a client and a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// What the client sends.
    ToBroker,
    /// What the broker sends.
    FromBroker,
}

impl Way {
    /// Both.
    pub const BOTH: &'static [Way] = &[Way::ToBroker, Way::FromBroker];
}

/// The links between clients and brokers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ClientLinks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The number of each client, by its name.
    clients: BTreeMap<String, u32>,
    /// How many faults cut a link, if any does: by client, broker and direction.
    cuts: BTreeMap<(u32, i32, Way), u32>,
}

impl ClientLinks {
    /// A client is there, and may be struck by this name, such as `producer 2`.
    pub fn join(&self, name: &str, number: u32) {
        self.lock().clients.insert(name.to_owned(), number);
    }

    /// The names of the clients whose name begins with this word, or of all.
    #[must_use]
    pub fn names(&self, kind: Option<&str>) -> Vec<String> {
        let is_one = |name: &&String| {
            kind.is_none_or(|kind| name.split_once(' ').is_some_and(|(of, _)| of == kind))
        };
        self.lock().clients.keys().filter(is_one).cloned().collect()
    }

    /// Cuts the links between a client and some brokers in these directions, until they are mended
    /// as often. Nothing happens when there is no such client.
    pub fn cut(&self, name: &str, brokers: &[i32], ways: &[Way]) {
        let mut state = self.lock();
        for link in state.links(name, brokers, ways) {
            *state.cuts.entry(link).or_default() += 1;
        }
    }

    /// Mends links that were cut.
    pub fn mend(&self, name: &str, brokers: &[i32], ways: &[Way]) {
        let mut state = self.lock();
        for link in state.links(name, brokers, ways) {
            let left = state.cuts.get(&link).copied().unwrap_or(0).saturating_sub(1);
            match left {
                0 => state.cuts.remove(&link),
                left => state.cuts.insert(link, left),
            };
        }
    }

    /// Mends all of them.
    pub fn heal(&self) {
        self.lock().cuts.clear();
    }

    /// Whether nothing passes from a client to a broker, or back.
    #[must_use]
    pub fn is_cut(&self, client: u32, broker: i32, way: Way) -> bool {
        self.lock().cuts.contains_key(&(client, broker, way))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn links(&self, name: &str, brokers: &[i32], ways: &[Way]) -> Vec<(u32, i32, Way)> {
        let Some(client) = self.clients.get(name).copied() else { return Vec::new() };
        let of = |broker: &i32| {
            let broker = *broker;
            ways.iter().map(move |way| (client, broker, *way))
        };
        brokers.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> ClientLinks {
        let links = ClientLinks::default();
        links.join("producer 2", 2);
        links.join("consumer 3", 3);
        links
    }

    #[test]
    fn one_client_is_cut_off_from_one_broker_one_way() {
        let links = links();
        links.cut("producer 2", &[1], &[Way::FromBroker]);
        assert!(links.is_cut(2, 1, Way::FromBroker));
        for (client, broker, way) in
            [(2, 1, Way::ToBroker), (2, 2, Way::FromBroker), (3, 1, Way::FromBroker)]
        {
            assert!(!links.is_cut(client, broker, way), "{client} {broker} {way:?}");
        }
    }

    #[test]
    fn a_link_that_two_faults_cut_is_mended_twice() {
        let links = links();
        links.cut("producer 2", &[1, 2], Way::BOTH);
        links.cut("producer 2", &[2], &[Way::ToBroker]);
        links.mend("producer 2", &[1, 2], Way::BOTH);
        assert!(!links.is_cut(2, 1, Way::ToBroker));
        assert!(links.is_cut(2, 2, Way::ToBroker));
        assert!(!links.is_cut(2, 2, Way::FromBroker));
        links.mend("producer 2", &[2], &[Way::ToBroker]);
        assert!(!links.is_cut(2, 2, Way::ToBroker));
        links.mend("producer 2", &[2], &[Way::ToBroker]);
        links.cut("producer 2", &[2], &[Way::ToBroker]);
        assert!(links.is_cut(2, 2, Way::ToBroker), "a cut too many that was mended is forgotten");
    }

    #[test]
    fn healing_mends_everything_and_strangers_are_not_cut() {
        let links = links();
        links.cut("producer 2", &[1], Way::BOTH);
        links.cut("producer 9", &[1], Way::BOTH);
        assert!(!links.is_cut(9, 1, Way::ToBroker));
        links.heal();
        assert!(!links.is_cut(2, 1, Way::ToBroker));
    }

    #[test]
    fn clients_are_found_by_their_kind() {
        let links = links();
        assert_eq!(links.names(Some("consumer")), ["consumer 3"]);
        assert_eq!(links.names(None), ["consumer 3", "producer 2"]);
        assert!(links.names(Some("member")).is_empty());
    }
}
