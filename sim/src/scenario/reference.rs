//! The reference of the language, made from the descriptions by which it is parsed.

use super::{
    FaultKind,
    faults::{EVERY_STRIKE, FAULT},
    keys::{Key, Takes},
    shapes::{self, id_of},
};
use crate::{condition::FUNCTIONS, network::Message, oracle::CHECKS, trace::Effect};
use std::fmt::Write as _;

/// Where the reference begins and ends in `scenarios/README.md`.
const BEGIN: &str = "<!-- reference: made by `cargo xtask sim reference` -->\n";
const END: &str = "<!-- end of the reference -->\n";

/// The document with its reference made anew; `None` when it has no place for one.
#[must_use]
pub fn with_reference(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", reference()))
}

/// Every key, fault, word and effect, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from("\n");
    keys(&mut text, "Outside of every table", shapes::ROOT);
    keys(&mut text, "`[cluster]`", shapes::CLUSTER);
    keys(&mut text, "`[broker]`", shapes::BROKER);
    keys(&mut text, "`[workload]`", shapes::WORKLOAD);
    keys(&mut text, "`[checks]`", shapes::CHECKS_TABLE);
    keys(&mut text, "`[budget]`", shapes::BUDGET);
    faults(&mut text);
    keys(&mut text, "Keys of faults", FAULT);
    expressions(&mut text);
    messages(&mut text);
    effects(&mut text);
    checks(&mut text);
    text
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn head(text: &mut String, title: &str, columns: &[&str]) {
    let _ = writeln!(text, "### {title}\n");
    row(text, columns);
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
}

fn keys(text: &mut String, title: &str, keys: &[Key]) {
    head(text, title, &["key", "takes", "default", "meaning"]);
    for key in keys {
        let (takes, default) = takes(key.takes);
        row(text, &[&format!("`{}`", key.name), &takes, &default, key.text]);
    }
    text.push('\n');
}

fn takes(takes: Takes) -> (String, String) {
    let range = |(least, most): (i64, i64)| match least == most {
        true => format!("`{least}`"),
        false => format!("`[{least}, {most}]`"),
    };
    let span = |(least, most): (i64, i64)| format!("{least} to {most}");
    let none = String::new;
    match takes {
        Takes::Bounds { default, within } => {
            (format!("integer or range, {}", span(within)), default.map_or_else(none, range))
        }
        Takes::Integer(default, (least, i64::MAX)) => {
            (format!("integer, {least} at least"), default.map_or_else(none, |n| format!("`{n}`")))
        }
        Takes::Integer(default, within) => {
            (format!("integer, {}", span(within)), default.map_or_else(none, |n| format!("`{n}`")))
        }
        Takes::Fraction(default) => ("0.0 to 1.0".into(), format!("`{default:?}`")),
        Takes::Flag => ("`true` or `false`".into(), "`false`".into()),
        Takes::Text(form) => (format!("text, such as `\"{form}\"`"), none()),
        Takes::One(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            (format!("one of {}", words.join(", ")), none())
        }
        Takes::Some(_) => ("list of words".into(), none()),
        Takes::Integers => ("list of integers".into(), none()),
        Takes::Table => ("table".into(), none()),
    }
}

fn faults(text: &mut String) {
    head(text, "`[faults.KIND]`", &["kind", "what happens", "keys", "effects"]);
    for kind in FaultKind::ALL {
        let common =
            if *kind == FaultKind::ConnectionCut { &["effects"][..] } else { EVERY_STRIKE };
        let keys: Vec<String> =
            kind.keys().iter().chain(common).map(|key| format!("`{key}`")).collect();
        let effects: Vec<String> =
            kind.effects().iter().map(|effect| format!("`{}`", effect.name())).collect();
        let name = format!("`{}`", kind.name());
        row(text, &[&name, kind.text().trim(), &keys.join(" "), &effects.join(" ")]);
    }
    text.push('\n');
}

fn expressions(text: &mut String) {
    head(text, "Words of expressions", &["word", "takes", "gives", "meaning"]);
    for function in FUNCTIONS {
        let name = format!("`{}`", function.name);
        row(text, &[&name, function.takes, function.gives_name(), function.text]);
    }
    text.push('\n');
}

fn messages(text: &mut String) {
    head(text, "Messages", &["message", "what it is", "`partition`", "`command`"]);
    for (name, message) in Message::NAMES {
        let partition = if message.names_partitions() { "yes" } else { "" };
        let commands = if message == Message::Propose { Message::COMMANDS } else { &[] };
        let commands: Vec<String> = commands.iter().map(|name| format!("`{name}`")).collect();
        let name = format!("`{name}`, `{name} reply`");
        row(text, &[&name, message.text(), partition, &commands.join(" ")]);
    }
    text.push('\n');
}

fn effects(text: &mut String) {
    head(text, "Effects", &["effect", "what happened"]);
    for effect in Effect::ALL {
        row(text, &[&format!("`{}`", effect.name()), effect.text().trim()]);
    }
    text.push('\n');
}

fn checks(text: &mut String) {
    head(text, "Checks", &["id", "name", "what must hold"]);
    for check in CHECKS {
        let id = id_of(check.name);
        let name = check.name.strip_prefix(id).unwrap_or_default().trim();
        row(text, &[&format!("`{id}`"), name, check.claim]);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_repository_is_the_one_that_the_code_gives() {
        let document = include_str!("../../../scenarios/README.md");
        let renewed = with_reference(document).expect("scenarios/README.md has a place for it");
        assert!(renewed == document, "stale; run `cargo xtask sim reference`");
    }

    #[test]
    fn every_key_of_a_fault_is_described_once_and_used_by_some_fault() {
        for kind in FaultKind::ALL {
            for key in kind.keys().iter().chain(EVERY_STRIKE) {
                let count = FAULT.iter().filter(|described| described.name == *key).count();
                assert_eq!(count, 1, "{key} of {}", kind.name());
            }
        }
        for key in FAULT {
            let is_used = FaultKind::ALL.iter().any(|kind| kind.keys().contains(&key.name));
            assert!(is_used || EVERY_STRIKE.contains(&key.name), "{}", key.name);
        }
    }
}
