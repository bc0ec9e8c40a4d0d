//! Every situation that is worth reaching is marked where it comes about, and there are enough.

use super::Violation;
use super::tree::{SourceFile, Tree};

/// Where situations are declared.
const TABLE: &str = "core/src/situation.rs";

/// The fewest situations that a campaign is judged by.
const FEWEST: usize = 100;

/// A situation that no code marks would count as one that no run ever reaches.
pub fn marked(tree: &Tree) -> Vec<Violation> {
    let Some(table) = tree.get(TABLE) else { return Vec::new() };
    let marks: Vec<String> = tree
        .files
        .iter()
        .filter(|file| file.is_written_rust() && file.path != TABLE)
        .filter(|file| ["core/src/", "node/src/"].iter().any(|room| file.path.starts_with(room)))
        .flat_map(marks_of)
        .collect();
    let declared: Vec<(usize, &str)> = table
        .code_lines()
        .filter_map(|(number, code)| Some((number, declared_situation(code)?)))
        .collect();
    let violation = |line, message| Violation { path: TABLE.to_owned(), line, message };
    let mut found: Vec<Violation> = declared
        .iter()
        .filter(|(_, name)| !marks.iter().any(|mark| mark == name))
        .map(|(line, name)| violation(*line, format!("no `sometimes!` marks `{name}`")))
        .collect();
    if declared.len() < FEWEST {
        let message = format!("has {} situations; {FEWEST} at least", declared.len());
        found.push(violation(0, message));
    }
    found
}

/// The variant of a line `Variant = "its-name",`.
fn declared_situation(code: &str) -> Option<&str> {
    let (variant, name) = code.split_once('=')?;
    let (variant, name) = (variant.trim(), name.trim());
    let is_name = !variant.is_empty() && variant.chars().all(char::is_alphanumeric);
    let is_quoted = name.starts_with('"') && name.ends_with("\",");
    (is_name && is_quoted).then_some(variant)
}

/// The situations that a file marks.
fn marks_of(file: &SourceFile) -> Vec<String> {
    let code: String = file.code_lines().flat_map(|(_, code)| code.split_whitespace()).collect();
    let rest = code.split("sometimes!(").skip(1);
    rest.map(|rest| rest.chars().take_while(|letter| letter.is_alphanumeric()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: usize) -> String {
        let lines = (0..count).map(|number| format!("    S{number} = \"s-{number}\",\n"));
        format!("//! Situations.\nsituations! {{\n{}}}\n", lines.collect::<String>())
    }

    fn found(table: &str, code: &str) -> Vec<usize> {
        let files = [(TABLE, table), ("core/src/a.rs", code), ("core/tests/b.rs", "S2")];
        marked(&Tree::of(&files)).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_situation_that_nothing_marks_is_found() {
        let all: String = (0..FEWEST).map(|number| format!("sometimes!(S{number});\n")).collect();
        assert_eq!(found(&table(FEWEST), &all), [0usize; 0]);
        let broken = all.replace("(S3)", "(\n    S3,\n    a > b\n)");
        assert_eq!(found(&table(FEWEST), &broken), [0usize; 0]);
        let commented = all.replace("sometimes!(S3)", "// sometimes!(S3)");
        assert_eq!(found(&table(FEWEST), &commented), [6]);
        assert_eq!(found(&table(FEWEST), &all.replace("(S3)", "(S33)")), [6]);
    }

    #[test]
    fn too_few_situations_are_found() {
        assert_eq!(found(&table(2), "sometimes!(S0); sometimes!(S1, true);"), [0]);
    }
}
