//! Reading one table of a scenario file by the description of its keys. Whatever is not described
//! is an error, and every error has the place in the file.

use super::{
    Bounds,
    source::{Mistake, nearest},
};
use crate::condition;
use std::{collections::BTreeMap, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A key of a table in scenario files: what the parser takes, and what the reference says.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it means, with its unit.
    pub text: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// An integer or `[least, most]`, both included, from which every seed draws.
    Bounds {
        /// What holds without the key, if that is a number.
        default: Option<(i64, i64)>,
        /// The least and the most that make sense, both included.
        within: (i64, i64),
    },
    /// One integer between these, both included, and what holds without the key.
    Integer(Option<i64>, (i64, i64)),
    /// A number between 0.0 and 1.0, and what holds without the key.
    Fraction(f64),
    /// `true` or `false`; `false` without the key.
    Flag,
    /// A text of this form.
    Text(&'static str),
    /// One of these words.
    One(&'static [&'static str]),
    /// A list of some of these words.
    Some(fn() -> Vec<&'static str>),
    /// A list of integers.
    Integers,
    /// A table of its own.
    Table,
}

/// One value with its place.
pub(super) struct Entry<'a> {
    pub(super) key_at: Range<usize>,
    pub(super) at: Range<usize>,
    value: DeValue<'a>,
}

/// The keys of one table: those that are there are known.
pub(super) struct Keys<'a> {
    /// Where the table is, in names.
    pub(super) path: String,
    /// Where the table is, in bytes.
    pub(super) at: Range<usize>,
    described: &'static [Key],
    entries: BTreeMap<String, Entry<'a>>,
    text: &'a str,
}

/// A word and its place in the file.
type Placed = (String, Range<usize>);

impl<'a> Keys<'a> {
    /// A table whose keys must be among those described and allowed.
    pub(super) fn new(
        (path, at): (&str, Range<usize>),
        table: DeTable<'a>,
        described: &'static [Key],
        allowed: impl Fn(&str) -> bool,
        text: &'a str,
    ) -> Result<Self, Mistake> {
        let mut entries = BTreeMap::new();
        let mut unknown: Option<Mistake> = None;
        for (key, value) in table {
            let (key_at, at) = (key.span(), value.span());
            let name = key.into_inner().into_owned();
            let is_known = described.iter().any(|key| key.name == name) && allowed(&name);
            let is_first = unknown.as_ref().is_none_or(|first| first.at.start > key_at.start);
            if !is_known && is_first {
                let names = described.iter().map(|key| key.name).filter(|name| allowed(name));
                unknown = Some(unknown_key(path, (&name, &key_at), &names.collect::<Vec<_>>()));
            }
            entries.insert(name, Entry { key_at, at, value: value.into_inner() });
        }
        let keys = Self { path: path.to_owned(), at, described, entries, text };
        unknown.map_or(Ok(keys), Err)
    }

    pub(super) fn empty(path: &str, described: &'static [Key], text: &'a str) -> Self {
        let entries = BTreeMap::new();
        Self { path: path.to_owned(), at: 0..0, described, entries, text }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where a key stands, or its table when it is not there.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or_else(|| self.at.clone(), |entry| entry.key_at.clone())
    }

    /// A mistake about a key.
    pub(super) fn wrong(&self, key: &str, message: impl AsRef<str>) -> Mistake {
        let name = self.named(key);
        Mistake::new(&self.place(key), format!("{name}: {}", message.as_ref()))
    }

    /// A mistake about the table as a whole.
    pub(super) fn wrong_altogether(&self, message: &str) -> Mistake {
        Mistake::new(&self.at, format!("{}: {message}", self.path))
    }

    pub(super) fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Two keys of which one is too much.
    pub(super) fn not_both(&self, one: &str, other: &str, why: &str) -> Result<(), Mistake> {
        if self.has(one) && self.has(other) {
            let message = format!("contradicts `{other}`: {why}; leave one of them out");
            return Err(self.wrong(one, message));
        }
        Ok(())
    }

    fn described(&self, key: &str) -> Takes {
        let found = self.described.iter().find(|described| described.name == key);
        found.map(|found| found.takes).expect("the parser asks for keys that are described")
    }

    /// A mistake about the value of a key.
    fn wrong_value(&self, key: &str, entry: &Entry<'_>, message: &str) -> Mistake {
        Mistake::new(&entry.at, format!("{}: {message}", self.named(key)))
    }

    /// The bounds of a key, or its default.
    pub(super) fn bounds(&self, key: &str) -> Result<Bounds, Mistake> {
        let given = self.optional_bounds(key)?;
        let Takes::Bounds { default, .. } = self.described(key) else {
            unreachable!("{key} is described as bounds");
        };
        let (least, most) = default.unwrap_or((0, 0));
        Ok(given.unwrap_or(least..=most))
    }

    pub(super) fn optional_bounds(&self, key: &str) -> Result<Option<Bounds>, Mistake> {
        let Takes::Bounds { default, within } = self.described(key) else {
            unreachable!("{key} is described as bounds");
        };
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        let (least, most) = default.unwrap_or((within.0.max(1), within.1.min(4)));
        let example = if least == most { format!("{least}") } else { format!("[{least}, {most}]") };
        let wrong = |what: String| {
            let remedy = format!("write `{key} = {example}`, or another integer or [least, most]");
            self.wrong_value(key, entry, &format!("{what}; {remedy}"))
        };
        let numbers: Vec<i64> = match &entry.value {
            DeValue::Integer(_) => vec![
                integer(&entry.value).ok_or_else(|| wrong("this integer is too large".into()))?,
            ],
            DeValue::Array(values) => {
                let all = values.iter().map(|value| integer(value.get_ref())).collect();
                let all: Option<Vec<i64>> = all;
                all.ok_or_else(|| wrong("a range has integers only".into()))?
            }
            other => return Err(wrong(format!("this is {}", kind_of(other)))),
        };
        let bounds = match numbers[..] {
            [one] if matches!(entry.value, DeValue::Integer(_)) => one..=one,
            [least, most] if least <= most => least..=most,
            [least, most] => {
                let message = format!("the range is reversed; write `{key} = [{most}, {least}]`");
                return Err(self.wrong_value(key, entry, &message));
            }
            [] => return Err(wrong("the range is empty".into())),
            _ => return Err(wrong(format!("a range has two ends, not {}", numbers.len()))),
        };
        self.within(key, entry, *bounds.start(), within)?;
        self.within(key, entry, *bounds.end(), within)?;
        Ok(Some(bounds))
    }

    fn within(
        &self,
        key: &str,
        entry: &Entry<'_>,
        value: i64,
        (least, most): (i64, i64),
    ) -> Result<(), Mistake> {
        let message = match value {
            _ if value < least => format!("{value} is too little; it must be {least} at least"),
            _ if value > most => format!("{value} is too much; it must be {most} at most"),
            _ => return Ok(()),
        };
        Err(self.wrong_value(key, entry, &message))
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Mistake> {
        let Takes::Integer(default, within) = self.described(key) else {
            unreachable!("{key} is described as an integer");
        };
        let Some(entry) = self.entries.get(key) else { return Ok(default) };
        let Some(value) = integer(&entry.value) else {
            let example = default.unwrap_or(within.0.max(1));
            let message = format!(
                "this is {}; write an integer, such as `{key} = {example}`",
                kind_of(&entry.value)
            );
            return Err(self.wrong_value(key, entry, &message));
        };
        self.within(key, entry, value, within)?;
        Ok(Some(value))
    }

    pub(super) fn integers(&self, key: &str) -> Result<(), Mistake> {
        let Some(entry) = self.entries.get(key) else { return Ok(()) };
        let seeds = match &entry.value {
            DeValue::Array(values) => values.iter().map(|value| integer(value.get_ref())).collect(),
            _ => None,
        };
        let seeds: Option<Vec<i64>> = seeds;
        if seeds.is_some_and(|seeds| !seeds.is_empty() && seeds.iter().all(|seed| *seed >= 0)) {
            return Ok(());
        }
        let message = format!("must be a list of seeds, such as `{key} = [7, 11]`");
        Err(self.wrong_value(key, entry, &message))
    }

    pub(super) fn fraction(&self, key: &str) -> Result<f64, Mistake> {
        let Takes::Fraction(default) = self.described(key) else {
            unreachable!("{key} is described as a fraction");
        };
        let Some(entry) = self.entries.get(key) else { return Ok(default) };
        let value = match &entry.value {
            DeValue::Float(value) => value.as_str().parse::<f64>().ok(),
            DeValue::Integer(_) => integer(&entry.value).map(|value| value as f64),
            _ => None,
        };
        value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| {
            let message = format!("must be between 0.0 and 1.0; write `{key} = {default}`");
            self.wrong_value(key, entry, &message)
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Mistake> {
        let Some(entry) = self.entries.get(key) else { return Ok(false) };
        entry.value.as_bool().ok_or_else(|| {
            let found = kind_of(&entry.value);
            let message = format!("this is {found}; write `{key} = true`, or leave it out");
            self.wrong_value(key, entry, &message)
        })
    }

    /// A text and where it stands.
    pub(super) fn text(&self, key: &str) -> Result<Option<(String, Range<usize>)>, Mistake> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        match &entry.value {
            DeValue::String(text) => Ok(Some((text.clone().into_owned(), entry.at.clone()))),
            other => {
                let form = match self.described(key) {
                    Takes::Text(form) => form,
                    _ => "...",
                };
                let message =
                    format!("this is {}; write a text: `{key} = \"{form}\"`", kind_of(other));
                Err(self.wrong_value(key, entry, &message))
            }
        }
    }

    /// One of the words that are described, by its position.
    pub(super) fn one(&self, key: &str) -> Result<Option<usize>, Mistake> {
        let Takes::One(words) = self.described(key) else {
            unreachable!("{key} is described as one of some words");
        };
        let Some((text, at)) = self.text(key)? else { return Ok(None) };
        let found = words.iter().position(|word| *word == text);
        let known = || unknown_word(&self.named(key), (&text, &at), words);
        found.map(Some).ok_or_else(known)
    }

    /// Some of the words that are described.
    pub(super) fn some(&self, key: &str) -> Result<Option<Vec<Placed>>, Mistake> {
        let Takes::Some(known) = self.described(key) else {
            unreachable!("{key} is described as some of some words");
        };
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        let known = known();
        let example = known.first().copied().unwrap_or_default();
        let wrong = |what: &str| {
            let message = format!("{what}; write a list, such as `{key} = [\"{example}\"]`");
            self.wrong_value(key, entry, &message)
        };
        let DeValue::Array(values) = &entry.value else {
            return Err(wrong(&format!("this is {}", kind_of(&entry.value))));
        };
        if values.is_empty() {
            return Err(wrong("the list is empty"));
        }
        let mut words: Vec<Placed> = Vec::new();
        for value in values {
            let DeValue::String(word) = value.get_ref() else {
                return Err(wrong(&format!("{} is in the list", kind_of(value.get_ref()))));
            };
            if !known.contains(&&**word) {
                return Err(unknown_word(&self.named(key), (word, &value.span()), &known));
            }
            if words.iter().any(|(before, _)| *before == **word) {
                let message =
                    format!("{}: `{word}` is there twice; leave one out", self.named(key));
                return Err(Mistake::new(&value.span(), message));
            }
            words.push((word.clone().into_owned(), value.span()));
        }
        Ok(Some(words))
    }

    /// An expression, parsed by `parse`; its mistakes are told by their place in the file.
    pub(super) fn expression<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, condition::Mistake>,
    ) -> Result<Option<T>, Mistake> {
        let Some((text, at)) = self.text(key)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|mistake| {
            let raw = self.text.get(at.clone()).unwrap_or_default();
            let start = start_of(&text, raw);
            let start = at.start + start.map_or(0, |start| start + mistake.at.start);
            let message = format!("{}: {}", self.named(key), mistake.message);
            Mistake::new(&(start..start), message)
        })
    }

    /// The table of a key, by its own description.
    pub(super) fn table(
        &mut self,
        key: &str,
        described: &'static [Key],
    ) -> Result<Keys<'a>, Mistake> {
        let Some(entry) = self.entries.remove(key) else {
            return Ok(Keys::empty(key, described, self.text));
        };
        let at = entry.key_at.clone();
        match entry.value {
            DeValue::Table(table) => Keys::new((key, at), table, described, |_| true, self.text),
            other => {
                let message = format!("{key}: this is {}; write `[{key}]`", kind_of(&other));
                Err(Mistake::new(&entry.at, message))
            }
        }
    }

    /// The tables of a key that may have several: `[a.b]` or `[[a.b]]`.
    pub(super) fn tables(&mut self, key: &str) -> Result<Vec<Spanned<DeTable<'a>>>, Mistake> {
        let Some(entry) = self.entries.remove(key) else { return Ok(Vec::new()) };
        let name = self.named(key);
        let wrong = |at: &Range<usize>, found: &DeValue<'_>| {
            let found = kind_of(found);
            Mistake::new(at, format!("{name}: this is {found}; write `[{name}]` or `[[{name}]]`"))
        };
        match entry.value {
            DeValue::Table(table) => Ok(vec![Spanned::new(entry.key_at, table)]),
            DeValue::Array(values) => {
                let mut tables = Vec::new();
                for value in values {
                    let at = value.span();
                    match value.into_inner() {
                        DeValue::Table(table) => tables.push(Spanned::new(at, table)),
                        other => return Err(wrong(&at, &other)),
                    }
                }
                Ok(tables)
            }
            other => Err(wrong(&entry.at, &other)),
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn unknown_key(path: &str, (key, at): (&str, &Range<usize>), known: &[&str]) -> Mistake {
    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
    Mistake::new(at, format!("unknown key `{key}`{place}; {}", hint(key, known)))
}

pub(super) fn unknown_word(
    named: &str,
    (word, at): (&str, &Range<usize>),
    known: &[&str],
) -> Mistake {
    Mistake::new(at, format!("{named}: `{word}` is unknown; {}", hint(word, known)))
}

/// What may be meant, and what there is, as far as that is soon said.
fn hint(name: &str, known: &[&str]) -> String {
    let all = || known.join(", ");
    match nearest(name, known) {
        Some(meant) if known.len() <= 8 => format!("did you mean `{meant}`? There are {}", all()),
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.len() <= 24 => format!("there are {}", all()),
        None => "scenarios/README.md lists what there is".to_owned(),
    }
}

/// Where a text begins in the quotes that it is written in, if every byte of it stands for itself.
fn start_of(text: &str, raw: &str) -> Option<usize> {
    ["\"\"\"", "'''", "\"", "'"].into_iter().find_map(|quotes| {
        let inside = raw.strip_prefix(quotes)?.strip_suffix(quotes)?;
        // The first line of a long text may be empty, and is no part of it then.
        let inside =
            if quotes.len() == 3 { inside.strip_prefix('\n').unwrap_or(inside) } else { inside };
        (inside == text).then(|| raw.len() - quotes.len() - inside.len())
    })
}
