//! Rules about Rust source.

use super::Violation;
use super::tree::{SourceFile, Tree};

/// A source file has fewer lines than this.
const MAX_LINES: usize = 600;

/// In so many files of node the simulation build may differ.
const MAX_FILES_WITH_SWITCHES: usize = 2;

/// The packages whose every run must be repeatable.
const DETERMINISTIC: [&str; 3] = ["core/", "node/", "sim/"];

/// Endings of type names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["Manager", "Helper", "Helpers", "Util", "Utils"];

pub fn length(tree: &Tree) -> Vec<Violation> {
    rust(tree)
        .filter_map(|file| {
            let lines = file.text.lines().count();
            (lines >= MAX_LINES).then(|| whole(file, format!("has {lines} lines; split it")))
        })
        .collect()
}

pub fn module_comment(tree: &Tree) -> Vec<Violation> {
    let all = tree.files.iter().filter(|file| file.path.ends_with(".rs"));
    all.filter(|file| !file.text.starts_with("//!"))
        .map(|file| whole(file, "does not open with `//!` and what it is for".to_owned()))
        .collect()
}

pub fn nothing_unfinished(tree: &Tree) -> Vec<Violation> {
    // Put together here, so that this file does not break its own rule.
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    let ignored = format!("#[{}", "ignore");
    let mut found = Vec::new();
    for file in rust(tree) {
        for (number, code) in file.code_lines() {
            if let Some(name) = macros.iter().find(|name| has_word(code, name)) {
                found.push(at(file, number, format!("`{name}` is left over")));
            }
            if code.contains(&ignored) {
                found.push(at(file, number, "a test that never runs; fix or delete it".into()));
            }
        }
    }
    found
}

pub fn names(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in rust(tree) {
        for (number, code) in file.code_lines() {
            let Some(name) = declared_type(code) else { continue };
            if let Some(ending) = EMPTY_NAMES.iter().find(|ending| name.ends_with(**ending)) {
                let message = format!("`{name}`: `{ending}` says nothing; name what it does");
                found.push(at(file, number, message));
            }
        }
    }
    found
}

/// The files of node that contain code for the simulation build.
pub fn files_with_simulation_switches(tree: &Tree) -> Vec<String> {
    rust(tree)
        .filter(|file| file.path.starts_with("node/"))
        .filter(|file| {
            file.code_lines().any(|(_, code)| {
                let code: String = code.split_whitespace().collect();
                (code.contains("cfg") || code.contains("any(") || code.contains("all("))
                    && has_word(&code, "madsim")
            })
        })
        .map(|file| file.path.clone())
        .collect()
}

pub fn simulation_switches(tree: &Tree) -> Vec<Violation> {
    let paths = files_with_simulation_switches(tree);
    if paths.len() <= MAX_FILES_WITH_SWITCHES {
        return Vec::new();
    }
    let message = format!("one of {} files with cfg(madsim); at most two", paths.len());
    paths.into_iter().map(|path| Violation { path, line: 0, message: message.clone() }).collect()
}

pub fn ordered_containers(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let bound = |file: &&SourceFile| DETERMINISTIC.iter().any(|room| file.path.starts_with(room));
    for file in rust(tree).filter(bound) {
        for (number, code) in file.code_lines() {
            if let Some(name) = ["HashMap", "HashSet"].iter().find(|name| has_word(code, name)) {
                let message = format!("`{name}` has no fixed order; use the BTree one");
                found.push(at(file, number, message));
            }
        }
    }
    found
}

pub fn biased_select(tree: &Tree) -> Vec<Violation> {
    let opening = format!("{}! {{", "select");
    let mut found = Vec::new();
    for file in rust(tree) {
        let lines: Vec<(usize, &str)> = file.code_lines().collect();
        for (index, (number, code)) in lines.iter().enumerate() {
            let Some((_, rest)) = code.split_once(&opening) else { continue };
            let next = std::iter::once(rest)
                .chain(lines[index + 1..].iter().map(|(_, code)| *code))
                .map(str::trim)
                .find(|code| !code.is_empty());
            if !next.is_some_and(|code| code.starts_with("biased;")) {
                let message = "its first line must be `biased;`, or runs cannot be repeated";
                found.push(at(file, *number, message.to_owned()));
            }
        }
    }
    found
}

fn rust(tree: &Tree) -> impl Iterator<Item = &SourceFile> {
    tree.files.iter().filter(|file| file.is_written_rust())
}

fn whole(file: &SourceFile, message: String) -> Violation {
    at(file, 0, message)
}

fn at(file: &SourceFile, line: usize, message: String) -> Violation {
    Violation { path: file.path.clone(), line, message }
}

/// The name after `struct`, `enum`, `trait` or `type`.
fn declared_type(code: &str) -> Option<&str> {
    let mut words = code.split_whitespace();
    words.find(|word| ["struct", "enum", "trait", "type"].contains(word))?;
    let name = words.next()?;
    let end = name.find(|letter: char| !is_name(letter)).unwrap_or(name.len());
    Some(&name[..end])
}

/// Whether `word` stands in `code` and is not part of a longer name.
pub fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn found(rule: fn(&Tree) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)])).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_file_of_600_lines_is_too_long_unless_generated() {
        let text = "//! Long.\n".repeat(MAX_LINES);
        assert_eq!(found(length, "core/src/a.rs", &text), [0]);
        assert_eq!(found(length, "node/src/wire/generated/a.rs", &text), NONE);
        let text = "//! Long.\n".repeat(MAX_LINES - 1);
        assert_eq!(found(length, "core/src/a.rs", &text), NONE);
    }

    #[test]
    fn a_file_without_an_opening_comment_is_found() {
        assert_eq!(found(module_comment, "core/src/a.rs", "use b;\n"), [0]);
        assert_eq!(found(module_comment, "core/src/a.rs", "//! A.\nuse b;\n"), NONE);
    }

    #[test]
    fn leftovers_are_found_in_code_but_not_in_comments() {
        for name in ["todo", "unimplemented", "dbg"] {
            let planted = format!("//! A.\nfn a() {{ {name}!(1) }}\n");
            assert_eq!(found(nothing_unfinished, "core/src/a.rs", &planted), [2], "{name}");
            let comment = format!("//! A.\n// never {name}!\n");
            assert_eq!(found(nothing_unfinished, "core/src/a.rs", &comment), NONE);
        }
        let planted = format!("//! A.\n#[{}]\n", "ignore");
        assert_eq!(found(nothing_unfinished, "core/src/a.rs", &planted), [2]);
    }

    #[test]
    fn empty_names_are_found() {
        let text = "//! A.\npub struct LogManager<T>(T);\nenum Kind {}\ntype StringUtils = ();\n";
        assert_eq!(found(names, "core/src/a.rs", text), [2, 4]);
    }

    #[test]
    fn two_files_of_node_may_have_switches_and_no_more() {
        let switch = "#[cfg(madsim)]\n";
        let two = [("node/a.rs", switch), ("node/b.rs", switch), ("sim/c.rs", switch)];
        assert!(simulation_switches(&Tree::of(&two)).is_empty());
        let three = [
            ("node/a.rs", switch),
            ("node/b.rs", "#[cfg_attr(not( madsim ), x)]"),
            ("node/c.rs", "if cfg!(madsim) {}"),
            ("node/d.rs", "use madsim_tokio; // cfg(madsim)"),
        ];
        assert_eq!(simulation_switches(&Tree::of(&three)).len(), 3);
    }

    #[test]
    fn containers_without_order_are_found_where_order_matters() {
        let text = "//! A.\nuse std::collections::HashMap;\n// no HashMap\nlet a = MyHashMap;\n";
        assert_eq!(found(ordered_containers, "sim/src/a.rs", text), [2]);
        assert_eq!(found(ordered_containers, "xtask/src/a.rs", text), NONE);
    }

    #[test]
    fn a_select_without_bias_is_found() {
        let open = format!("tokio::{}! {{", "select");
        let biased = format!("//! A.\n{open}\n    // why\n    biased;\n    a = b => {{}}\n}}\n");
        assert_eq!(found(biased_select, "node/src/a.rs", &biased), NONE);
        let unbiased = format!("//! A.\n{open}\n    a = b => {{}}\n}}\n");
        assert_eq!(found(biased_select, "node/src/a.rs", &unbiased), [2]);
    }

    #[test]
    fn a_word_is_not_part_of_a_longer_one() {
        assert!(has_word("a HashMap<b>", "HashMap"));
        assert!(!has_word("a HashMapper", "HashMap"));
        assert!(!has_word("a_HashMap", "HashMap"));
    }
}
