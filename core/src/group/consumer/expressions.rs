//! Subscriptions by regular expression: compiled by a linear-time engine, resolved here.
//!
//! An expression matches whole topic names. Kafka's clients leave internal topics out of what
//! their expressions match, since a consumer that commits what it consumed would feed itself from
//! `__consumer_offsets` without end; here the coordinator does.
//! (docs/adr/2026-11-26-regular-expressions-in-core.md)

use super::draft::Draft;
use crate::{
    group::{GroupError, Record, RegularExpressionValue, limits::MATCHES_BYTES_MAX},
    metadata::{Image, is_internal_topic},
    time::Timestamp,
};
use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use regex::{Regex, RegexBuilder};

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 2048;
/// The most distinct expressions of the members of one group.
pub const EXPRESSIONS_PER_GROUP_MAX: usize = 100;
/// How much memory a compiled expression may take, in bytes.
const MAX_COMPILED_BYTES: usize = 512 * 1024;

/// Refuses one expression more than a group may have: each is looked up in the names of all topics.
pub(super) fn refuse_if_too_many(known: usize) -> Result<(), GroupError> {
    if known >= EXPRESSIONS_PER_GROUP_MAX {
        let reason = format!("a group may have {EXPRESSIONS_PER_GROUP_MAX} regular expressions");
        return Err(GroupError::InvalidRegularExpression(reason));
    }
    Ok(())
}

/// Compiles an expression that is to match whole names.
pub(super) fn compile(expression: &str) -> Result<Regex, GroupError> {
    if expression.len() > MAX_EXPRESSION_BYTES {
        let reason = format!("a regular expression may be {MAX_EXPRESSION_BYTES} bytes long");
        return Err(GroupError::InvalidRegularExpression(reason));
    }
    let build = |expression: &str| {
        let built = RegexBuilder::new(expression).size_limit(MAX_COMPILED_BYTES).build();
        built.map_err(|error| GroupError::InvalidRegularExpression(error.to_string()))
    };
    let expression = unquoted(expression);
    // By itself first: an expression like `a)|(b` is none, though it would fit between brackets.
    build(&expression)?;
    build(&format!(r"\A(?:{expression})\z"))
}

/// An expression without the quoting of RE2, `\Q...\E` or `\Q...` up to the end: what was quoted is
/// escaped. Between the brackets of a class nothing is quoted there either.
fn unquoted(expression: &str) -> Cow<'_, str> {
    if !expression.contains(r"\Q") {
        return Cow::Borrowed(expression);
    }
    let mut out = String::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '[' => class_length(rest),
            '\\' => first.len_utf8() + rest[1..].chars().next().map_or(0, char::len_utf8),
            other => other.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        if piece == r"\Q" {
            let (quoted, behind) = rest.split_once(r"\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(quoted));
            rest = behind;
        } else {
            out.push_str(piece);
        }
    }
    Cow::Owned(out)
}

/// The bytes of the class that a text begins with; all of it if the class does not end.
fn class_length(text: &str) -> usize {
    let mut length = 1;
    length += usize::from(text[length..].starts_with('^'));
    // A bracket that comes first is one of the class.
    length += usize::from(text[length..].starts_with(']'));
    while let Some(next) = text[length..].chars().next() {
        let rest = &text[length..];
        length += match next {
            ']' => return length + 1,
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            other => other.len_utf8(),
        };
    }
    length
}

/// The names of the topics that a compiled expression matches, sorted.
pub(super) fn matches(expression: &Regex, image: &Image) -> Vec<Arc<str>> {
    let names = image.topics().map(|topic| topic.name.as_str());
    names
        .filter(|name| !is_internal_topic(name) && expression.is_match(name))
        .map(Arc::from)
        .collect()
}

/// Which expressions of a group are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// Those that never were.
    Unresolved,
    /// All: topics may have come and gone.
    All,
}

/// What came of looking expressions up.
pub(super) struct Resolved {
    /// One matches other topics than before.
    pub any_changed: bool,
    /// It was enough for one decision: others are left, and what they match is not known.
    pub is_cut_short: bool,
}

/// Looks up the expressions that the draft's group subscribes with, and decides on a record for
/// each that matches other topics than before, while that is not too much at once.
pub(super) fn resolve(
    draft: &mut Draft<'_>,
    image: &Image,
    at: Timestamp,
    refresh: Refresh,
) -> Resolved {
    let group = draft.group();
    let (mut found, mut bytes, mut is_cut_short) = (Vec::new(), 0, false);
    for expression in group.census.expressions.keys() {
        let known = group.expressions.get(expression);
        if refresh == Refresh::Unresolved && known.is_some() {
            continue;
        }
        if bytes > MATCHES_BYTES_MAX {
            is_cut_short = true;
            break;
        }
        // One that an older version accepted and this one does not matches nothing.
        let topics = compile(expression).map(|compiled| matches(&compiled, image));
        let topics = topics.unwrap_or_default();
        if known.is_none_or(|known| known.topics != topics) {
            bytes += topics.iter().map(|name| name.len()).sum::<usize>();
            found.push((expression.clone(), topics));
        }
    }
    let any_changed = !found.is_empty();
    for (expression, topics) in found {
        let value = RegularExpressionValue { topics, version: image.applied().0, at };
        let group = draft.id.clone();
        draft.push(Record::RegularExpression { group, expression, value: Some(value) });
    }
    Resolved { any_changed, is_cut_short }
}

/// Decides to forget expressions that nobody subscribes with any more.
pub(super) fn forget_unused(draft: &mut Draft<'_>) {
    let group = draft.group();
    let unused: Vec<Arc<str>> = group
        .expressions
        .keys()
        .filter(|expression| !group.census.expressions.contains_key(*expression))
        .cloned()
        .collect();
    for expression in unused {
        let group = draft.id.clone();
        draft.push(Record::RegularExpression { group, expression, value: None });
    }
}
