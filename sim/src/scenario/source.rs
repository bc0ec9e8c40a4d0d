//! The text of a scenario file, and what is wrong with it: where, what, and what would be right.

use std::ops::Range;

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ScenarioError {
    /// The file, as it is to be shown.
    pub file: String,
    /// The line, from one.
    pub line: usize,
    /// The character in the line, from one.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A mistake by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Bytes of the text.
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

impl Mistake {
    pub(super) fn new(at: &Range<usize>, message: impl Into<String>) -> Self {
        Self { at: at.clone(), message: message.into() }
    }

    /// With the line and the column that people count.
    pub(super) fn in_file(self, file: &str, text: &str) -> ScenarioError {
        let mut start = self.at.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ScenarioError { file: file.to_owned(), line, column, message: self.message }
    }
}

/// The text of a file without the mark of byte order that some editors put before it; the error says
/// where it is no text.
pub(super) fn decode(file: &str, bytes: &[u8]) -> Result<String, ScenarioError> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(without_mark(text).to_owned()),
        Err(error) => {
            let at = error.valid_up_to();
            let before = String::from_utf8_lossy(&bytes[..at]);
            let message = format!(
                "not UTF-8: the byte 0x{:02x} begins no character; save the file as UTF-8",
                bytes[at]
            );
            Err(Mistake::new(&(at..at), message).in_file(file, &before))
        }
    }
}

/// Without the mark of byte order, which is no part of the first line.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The known name that is most like one that is unknown, if one is so like it that it may be meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (far, found) = known
        .iter()
        .map(|candidate| (distance(candidate, name), *candidate))
        .min_by_key(|it| it.0)?;
    // A third of the letters: behind that, more of the name is another one than is the same.
    let near = (name.chars().count().max(found.chars().count()) / 3).max(1);
    (far <= near).then_some(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_that_has_most_letters_of_another() {
        let known = ["racks", "brokers", "min_insync", "t0"];
        for (name, meant) in [
            ("rack", Some("racks")),
            ("min_isnync", Some("min_insync")),
            ("t1", Some("t0")),
            ("millis", None),
            ("xy", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        assert_eq!(nearest("any", &[]), None);
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        assert_eq!(decode("x.toml", "\u{feff}# One.".as_bytes()).unwrap(), "# One.");
        let error = decode("x.toml", b"# One.\nwhy = \"\xff\"\n").unwrap_err();
        assert_eq!((error.line, error.column), (2, 8));
        assert!(error.message.contains("save the file as UTF-8"), "{error}");
    }
}
