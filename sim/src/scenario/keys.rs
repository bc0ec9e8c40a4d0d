//! Reading scenario files: strict tables whose unknown keys are errors that name the nearest.

use super::{Bounds, GroupProtocol, Target};
use crate::{
    disk::CutStyle,
    network::{Message, MessageKind},
    trace::Effect,
};
use toml::{Table, Value};

/// The keys of one table: each is taken once, and what is left over is an error.
pub(super) struct Keys {
    pub(super) path: String,
    pub(super) table: Table,
    asked: Vec<&'static str>,
}

impl Keys {
    pub(super) fn new(path: &str, table: Table) -> Self {
        Self { path: path.to_owned(), table, asked: Vec::new() }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    pub(super) fn table(&mut self, key: &'static str) -> Result<Keys, String> {
        match self.take(key) {
            None => Ok(Keys::new(key, Table::new())),
            Some(Value::Table(table)) => Ok(Keys::new(key, table)),
            Some(_) => Err(format!("{key}: must be a table")),
        }
    }

    pub(super) fn bounds(&mut self, key: &'static str, default: Bounds) -> Result<Bounds, String> {
        let place = format!("{}{key}", self.prefix());
        let wrong = || format!("{place}: must be an integer or [least, most]");
        match self.take(key) {
            None => Ok(default),
            Some(Value::Integer(value)) => Ok(value..=value),
            Some(Value::Array(values)) => match values[..] {
                [Value::Integer(least), Value::Integer(most)] if least <= most => Ok(least..=most),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }

    pub(super) fn optional_bounds(&mut self, key: &'static str) -> Result<Option<Bounds>, String> {
        let given = self.has(key);
        let bounds = self.bounds(key, 0..=0)?;
        Ok(given.then_some(bounds))
    }

    pub(super) fn message(&mut self) -> Result<Option<MessageKind>, String> {
        let Some(text) = self.text("message")? else { return Ok(None) };
        match MessageKind::named(&text) {
            Some(kind) => Ok(Some(kind)),
            None => {
                let names: Vec<_> = Message::NAMES.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Err(format!("{}message: must be one of {names}, or a reply to one", self.prefix()))
            }
        }
    }

    pub(super) fn target(&mut self) -> Result<Target, String> {
        let target = self.choice(
            "target",
            &[
                ("any", Target::Any),
                ("leader", Target::Leader),
                ("controller", Target::Controller),
                ("coordinator", Target::Coordinator),
                ("all", Target::All),
            ],
        )?;
        Ok(target.unwrap_or(Target::Any))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(_) => Err(format!("{}{key}: must be true or false", self.prefix())),
        }
    }

    pub(super) fn fraction(&mut self, key: &'static str, default: f64) -> Result<f64, String> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Float(value)) if (0.0..=1.0).contains(&value) => Ok(value),
            Some(_) => Err(format!("{}{key}: must be between 0.0 and 1.0", self.prefix())),
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{}{key}: must be a string", self.prefix())),
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let text = value.as_str().unwrap_or_default();
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(format!("{}{key}: must be one of {}", self.prefix(), names.join(", "))),
        }
    }

    pub(super) fn cut_style(&mut self, key: &'static str) -> Result<Option<CutStyle>, String> {
        self.choice(
            key,
            &[
                ("lose-all", CutStyle::LoseAll),
                ("prefix", CutStyle::Prefix),
                ("scatter", CutStyle::Scatter),
                ("keep-all", CutStyle::KeepAll),
            ],
        )
    }

    pub(super) fn effects(&mut self, default: &[Effect]) -> Result<Vec<Effect>, String> {
        let mut effects = default.to_vec();
        let Some(value) = self.take("effects") else { return Ok(effects) };
        for name in value.as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = name.as_str().unwrap_or_default();
            let names: Vec<_> = Effect::ALL.iter().map(|effect| effect.name()).collect();
            let found = Effect::ALL.iter().find(|effect| effect.name() == name);
            effects.push(*found.ok_or_else(|| unknown(&self.path, name, &names))?);
        }
        Ok(effects)
    }

    /// The protocols of groups, all when none is named.
    pub(super) fn group_protocols(&mut self) -> Result<Vec<GroupProtocol>, String> {
        const ALL: [(&str, GroupProtocol); 3] = [
            ("classic", GroupProtocol::Classic),
            ("consumer", GroupProtocol::Consumer),
            ("mixed", GroupProtocol::Mixed),
        ];
        let Some(value) = self.take("group_protocols") else {
            return Ok(ALL.map(|(_, protocol)| protocol).to_vec());
        };
        let named = |name: &Value| {
            let known = ALL.iter().find(|(known, _)| name.as_str() == Some(known));
            known.map(|(_, protocol)| *protocol)
        };
        let protocols = value.as_array().filter(|names| !names.is_empty());
        let protocols = protocols.and_then(|names| names.iter().map(named).collect());
        protocols.ok_or_else(|| {
            let names = ALL.map(|(name, _)| name).join(", ");
            format!("{}group_protocols: must be a list of some of {names}", self.prefix())
        })
    }

    pub(super) fn finish(self) -> Result<(), String> {
        let asked = self.asked.clone();
        self.finish_knowing(&asked)
    }

    pub(super) fn finish_knowing(self, known: &[&str]) -> Result<(), String> {
        match self.table.keys().next() {
            Some(key) => Err(unknown(&self.path, key, known)),
            None => Ok(()),
        }
    }

    pub(super) fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}.", self.path) }
    }
}

pub(super) fn unknown(path: &str, key: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|name| distance(name, key));
    let hint = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
    format!("unknown key `{key}`{place}{hint}")
}

/// Edit distance: insertions, deletions and replacements.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[right.len()]
}
