//! The choices of a run by name. What is not named is left out of the run (a strike, a client, an
//! operation) or drawn anew (a value).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a run chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// The shape of the run: brokers, topics, configuration, what becomes of the brokers at its end.
    pub run: Drawn,
    /// What goes wrong, by names such as `power-cut#2`.
    pub strikes: BTreeMap<String, Drawn>,
    /// Who asks, by names such as `producer 3`.
    pub clients: BTreeMap<String, Client>,
}

/// One client and what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// What it is like.
    pub drawn: Drawn,
    /// Its operations by number: `producer 3 op 17` is number 17 of `producer 3`.
    pub operations: BTreeMap<u32, Drawn>,
}

/// What one strike, client or operation drew: for each name the values in the order in which they
/// were drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn(BTreeMap<String, Draws>);

/// One value that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number, a position in a list, or 0 and 1 for no and yes.
    Number(i64),
    /// A name, or several with spaces between them.
    Text(String),
}

/// Written as a bare value when there is one, which is nearly always so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Draws {
    One(Value),
    Many(Vec<Value>),
}

impl Draws {
    fn values(&self) -> &[Value] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    fn push(&mut self, value: Value) {
        let mut values = self.values().to_vec();
        values.push(value);
        *self = Self::Many(values);
    }
}

impl Drawn {
    /// What was drawn under this name as number `index`, counted from zero.
    #[must_use]
    pub fn get(&self, name: &str, index: usize) -> Option<&Value> {
        self.0.get(name)?.values().get(index)
    }

    /// The only or first number drawn under this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name, 0)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }

    /// The only or first text drawn under this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name, 0)? {
            Value::Number(_) => None,
            Value::Text(text) => Some(text),
        }
    }

    /// Every number drawn under this name, in order.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Vec<i64> {
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        };
        self.0
            .get(name)
            .map_or_else(Vec::new, |draws| draws.values().iter().filter_map(number).collect())
    }

    /// Writes one more value down.
    pub fn push(&mut self, name: &str, value: Value) {
        match self.0.get_mut(name) {
            Some(draws) => draws.push(value),
            None => {
                self.0.insert(name.to_owned(), Draws::One(value));
            }
        }
    }

    /// Puts these values in the place of all that were drawn under this name; none removes it.
    pub fn set(&mut self, name: &str, values: Vec<Value>) {
        match <[Value; 1]>::try_from(values) {
            Ok([value]) => self.0.insert(name.to_owned(), Draws::One(value)),
            Err(none) if none.is_empty() => self.0.remove(name),
            Err(many) => self.0.insert(name.to_owned(), Draws::Many(many)),
        };
    }

    /// The names under which something was drawn, with the values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.0.iter().map(|(name, draws)| (name.as_str(), draws.values()))
    }

    /// Whether nothing was drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Decisions {
    /// How many operations the clients do.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.clients.values().map(|client| client.operations.len()).sum()
    }

    /// How much goes wrong: every strike, and what stops brokers when everything is healed.
    #[must_use]
    pub fn fault_events(&self) -> usize {
        self.strikes.len() + self.stops_at_the_end()
    }

    /// What kinds of things go wrong, each once: those of [`Self::fault_events`].
    #[must_use]
    pub fn fault_kinds(&self) -> BTreeSet<&str> {
        let mut kinds: BTreeSet<&str> = self.strikes.keys().map(|name| kind_of(name)).collect();
        if self.is_cut_at_the_end() {
            kinds.insert("power-cut at the end");
        }
        if !self.killed_at_the_end().is_empty() {
            kinds.insert("process-kill at the end");
        }
        kinds
    }

    fn stops_at_the_end(&self) -> usize {
        usize::from(self.is_cut_at_the_end()) + self.killed_at_the_end().split_whitespace().count()
    }

    fn is_cut_at_the_end(&self) -> bool {
        self.run.number("power_cut_at_the_end") == Some(1)
    }

    fn killed_at_the_end(&self) -> &str {
        self.run.text("killed_at_the_end").unwrap_or_default()
    }
}

/// The kind of fault that a strike's name tells.
#[must_use]
pub fn kind_of(strike: &str) -> &str {
    strike.split_once('#').map_or(strike, |(kind, _)| kind)
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, values)) in self.iter().enumerate() {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            let space = if index == 0 { "" } else { ", " };
            write!(formatter, "{space}{name} {}", values.join("/"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_in_the_order_in_which_they_were_drawn() {
        let mut drawn = Drawn::default();
        drawn.push("records", Value::Number(3));
        assert_eq!(serde_json::to_string(&drawn).unwrap(), r#"{"records":3}"#);
        drawn.push("records", Value::Number(5));
        drawn.push("how", Value::Text("rename".into()));
        assert_eq!(drawn.numbers("records"), [3, 5]);
        assert_eq!((drawn.number("records"), drawn.text("how")), (Some(3), Some("rename")));
        assert_eq!(drawn.get("records", 2), None);
        let text = serde_json::to_string(&drawn).unwrap();
        assert_eq!(text, r#"{"how":"rename","records":[3,5]}"#);
        assert_eq!(serde_json::from_str::<Drawn>(&text).unwrap(), drawn);
        drawn.set("records", Vec::new());
        assert_eq!(drawn.to_string(), "how rename");
    }

    #[test]
    fn what_stops_brokers_at_the_end_counts_as_a_fault() {
        let mut decisions = Decisions::default();
        decisions.strikes.insert("power-cut#0".into(), Drawn::default());
        assert_eq!(decisions.fault_events(), 1);
        decisions.run.push("killed_at_the_end", Value::Text("1 3".into()));
        assert_eq!(decisions.fault_events(), 3);
    }

    #[test]
    fn the_kinds_of_faults_are_told_once_each() {
        let mut decisions = Decisions::default();
        for strike in ["power-cut#0", "power-cut#7", "isolation#1"] {
            decisions.strikes.insert(strike.into(), Drawn::default());
        }
        decisions.run.push("killed_at_the_end", Value::Text("1 3".into()));
        let kinds: Vec<&str> = decisions.fault_kinds().into_iter().collect();
        assert_eq!(kinds, ["isolation", "power-cut", "process-kill at the end"]);
    }
}
