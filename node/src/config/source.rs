//! From a file's text to a flat list of dotted keys: TOML and Java properties.
//!
//! In TOML a dotted key and a table are the same thing, so both `log.retention.ms = 1` and
//! `[log.retention]` with `ms = 1`, and the quoted `"log.retention.ms" = 1`, give the one entry
//! `log.retention.ms`.

use super::{
    error::{ConfigError, Origin, Problem},
    value::Raw,
};
use std::sync::Arc;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The flattened, dotted key.
    pub key: String,
    /// The value as written.
    pub value: Raw,
    /// Where it stands.
    pub origin: Origin,
}

/// Reads a file's text; a name that ends in `.properties` is read as Java properties, any other
/// as TOML.
pub fn read(text: &str, file: &str) -> Result<Vec<Entry>, ConfigError> {
    if file.ends_with(".properties") { read_properties(text, file) } else { read_toml(text, file) }
}

fn read_toml(text: &str, file: &str) -> Result<Vec<Entry>, ConfigError> {
    let file: Arc<str> = file.into();
    let table = DeTable::parse(text).map_err(|error| ConfigError {
        origin: Origin::File {
            name: file.clone(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
        },
        problem: Problem::Syntax { format: "TOML", message: error.message().to_owned() },
    })?;
    let mut entries = Vec::new();
    flatten(text, &file, "", table.get_ref(), &mut entries);
    entries.sort_by_key(|(position, _)| *position);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The parser bounds how deep tables nest, and so this recursion.
fn flatten(
    text: &str,
    file: &Arc<str>,
    prefix: &str,
    table: &DeTable<'_>,
    entries: &mut Vec<(usize, Entry)>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(text, file, &key, inner, entries);
            continue;
        }
        let position = name.span().start;
        let origin = Origin::File { name: file.clone(), line: line_of(text, position) };
        entries.push((position, Entry { key, value: raw(value), origin }));
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Raw::Number(number.as_str().to_owned()),
        DeValue::Float(number) => Raw::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Integer(number) => Some(number.as_str().to_owned()),
                _ => None,
            });
            texts.collect::<Option<_>>().map_or(Raw::Other("array"), Raw::List)
        }
        DeValue::Integer(_) => Raw::Other("number that is not decimal"),
        other => Raw::Other(other.type_str()),
    }
}

fn line_of(text: &str, position: usize) -> usize {
    let position = position.min(text.len());
    1 + text.as_bytes()[..position].iter().filter(|byte| **byte == b'\n').count()
}

/// Java's properties: `key=value`, `key: value` or `key value`; `#` and `!` open a comment; a
/// backslash at the end of a line joins it with the next.
fn read_properties(text: &str, file: &str) -> Result<Vec<Entry>, ConfigError> {
    let file: Arc<str> = file.into();
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let origin = Origin::File { name: file.clone(), line: index + 1 };
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_with_lone_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split_property(&logical);
        let unescaped = unescape(key).zip(unescape(value.trim_end()));
        let Some((key, value)) = unescaped else {
            let message = "an escape that Java properties do not have".to_owned();
            let problem = Problem::Syntax { format: "properties", message };
            return Err(ConfigError { origin, problem });
        };
        entries.push(Entry { key, value: Raw::Text(value), origin });
    }
    Ok(entries)
}

fn ends_with_lone_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split_property(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let Some(end) = end else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next()? {
            't' => out.push('\t'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            'f' => out.push('\u{c}'),
            'u' => {
                let digits: String = characters.by_ref().take(4).collect();
                out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str, file: &str) -> Vec<(String, Raw, String)> {
        let entries = read(text, file).expect("the text is valid");
        entries.into_iter().map(|e| (e.key, e.value, e.origin.to_string())).collect()
    }

    #[test]
    fn dotted_quoted_and_nested_keys_are_the_same_key() {
        let number = |line| ("log.retention.ms".to_owned(), Raw::Number("5".into()), line);
        assert_eq!(flat("log.retention.ms = 5", "a.toml"), [number("a.toml:1".to_owned())]);
        assert_eq!(flat("\n\"log.retention.ms\" = 5", "a.toml"), [number("a.toml:2".to_owned())]);
        assert_eq!(
            flat("[log.retention]\n# days\nms = 5", "a.toml"),
            [number("a.toml:3".to_owned())]
        );
        assert_eq!(flat("log = { retention.ms = 5 }", "a.toml"), [number("a.toml:1".to_owned())]);
    }

    #[test]
    fn entries_come_in_the_order_of_the_file() {
        let keys: Vec<_> = flat("z = 1\n[b]\ny = 2\na = 3\n", "a.toml")
            .into_iter()
            .map(|(key, _, origin)| format!("{origin} {key}"))
            .collect();
        assert_eq!(keys, ["a.toml:1 z", "a.toml:3 b.y", "a.toml:4 b.a"]);
    }

    #[test]
    fn broken_toml_names_file_and_line() {
        let error = read("node.id = 1\nbroken = = 2\n", "x.toml").expect_err("it is broken");
        assert!(error.to_string().starts_with("x.toml:2: not valid TOML: "), "{error}");
    }

    #[test]
    fn properties_take_javas_separators_comments_and_continuations() {
        let text = "# comment\n! too\n\nnode.id=1\nlog.dirs : /a,\\\n   /b\nbroker.rack eu\\u0021\nempty=\n";
        let expect = |key: &str, value: &str, line: usize| {
            (key.to_owned(), Raw::Text(value.to_owned()), format!("server.properties:{line}"))
        };
        assert_eq!(
            flat(text, "server.properties"),
            [
                expect("node.id", "1", 4),
                expect("log.dirs", "/a,/b", 5),
                expect("broker.rack", "eu!", 7),
                expect("empty", "", 8),
            ]
        );
        let error = read("a=\\u00zz", "p.properties").expect_err("it is no escape");
        assert!(error.to_string().contains("p.properties:1"), "{error}");
    }
}
