//! Every relative link in a document leads to a file, and its anchor to a heading.

use super::Violation;
use super::tree::{SourceFile, Tree};

pub fn resolve(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for document in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(document) {
            if let Err(message) = check(tree, document, &target) {
                found.push(Violation { path: document.path.clone(), line, message });
            }
        }
    }
    found
}

fn check(tree: &Tree, document: &SourceFile, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        document.path.clone()
    } else {
        let directory = document.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        join(directory, path).ok_or_else(|| format!("`{target}` leaves the repository"))?
    };
    if !tree.has(&path) {
        return Err(format!("`{target}` leads nowhere"));
    }
    match tree.get(&path) {
        Some(file) if !anchor.is_empty() && path.ends_with(".md") => {
            let known = headings(file).any(|heading| slug(heading) == anchor);
            if known { Ok(()) } else { Err(format!("`{target}` names no heading")) }
        }
        _ => Ok(()),
    }
}

/// The targets of `[text](target)` outside code, with their lines.
fn links(document: &SourceFile) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(document) {
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            let Some(end) = rest.find(')') else { continue };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// The lines outside fenced code blocks, with inline code taken out.
fn prose(document: &SourceFile) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    document.lines().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        let outside = |(index, part): (usize, &'_ str)| (index % 2 == 0).then(|| part.to_owned());
        (!fenced).then(|| (number, line.split('`').enumerate().filter_map(outside).collect()))
    })
}

fn headings(document: &SourceFile) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    document.text.lines().filter_map(move |line| {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        (!fenced && line.starts_with('#') && title.starts_with(' ')).then(|| title.trim())
    })
}

/// The anchor that a heading gets when it is rendered.
fn slug(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// `path` seen from `directory`, with `.` and `..` resolved; `None` above the root.
fn join(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("README.md", "# Highwater\n## How to run, twice\n"),
            ("core/src/lib.rs", ""),
            ("docs/guide.md", text),
        ]);
        resolve(&tree).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn links_to_files_directories_and_headings_resolve() {
        let text = "# Here\n[a](../README.md) [b](../core/src) [c](#here) [d](../ \"root\")\n\
                    [e](https://example.com) [f](../README.md#how-to-run-twice)\n";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn broken_links_are_found() {
        for (text, message) in [
            ("[a](missing.md)", "leads nowhere"),
            ("[a](../../README.md)", "leaves the repository"),
            ("[a](../README.md#nothing)", "names no heading"),
            ("[a](#nothing)", "names no heading"),
        ] {
            let found = found(text);
            assert!(found.len() == 1 && found[0].contains(message), "{text}: {found:?}");
        }
    }

    #[test]
    fn code_is_not_searched_for_links() {
        assert_eq!(
            found("```\n[a](missing.md)\n```\nand `[b](missing.md)`\n"),
            Vec::<String>::new()
        );
    }
}
