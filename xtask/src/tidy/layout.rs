//! Rules about where files are and how large they may be.

use std::collections::BTreeSet;

use super::Violation;
use super::tree::Tree;

/// What may stand at the top level; anything new belongs into one of the folders.
const TOP_LEVEL: [&str; 21] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "clippy.toml",
    "core",
    "deny.toml",
    "docs",
    "node",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scenarios",
    "sim",
    "xtask",
];

/// The largest file, in bytes.
const MAX_FILE_BYTES: usize = 512 * 1024;

pub fn top_level(tree: &Tree) -> Vec<Violation> {
    let entries: BTreeSet<&str> =
        tree.files.iter().filter_map(|file| file.path.split('/').next()).collect();
    entries
        .into_iter()
        .filter(|entry| !TOP_LEVEL.contains(entry))
        .map(|entry| Violation {
            path: entry.to_owned(),
            line: 0,
            message: "does not belong at the top level".to_owned(),
        })
        .collect()
}

pub fn no_large_files(tree: &Tree) -> Vec<Violation> {
    tree.files
        .iter()
        .filter(|file| file.text.len() > MAX_FILE_BYTES)
        .map(|file| Violation {
            path: file.path.clone(),
            line: 0,
            message: format!("has {} bytes; at most {MAX_FILE_BYTES}", file.text.len()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_file_at_the_top_is_found() {
        let tree = Tree::of(&[("README.md", ""), ("core/src/lib.rs", ""), ("notes.txt", "")]);
        let found = top_level(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "notes.txt");
    }

    #[test]
    fn a_large_file_is_found() {
        let large = "x".repeat(MAX_FILE_BYTES + 1);
        let tree = Tree::of(&[("docs/dump.txt", &large), ("docs/a.md", "small")]);
        assert_eq!(no_large_files(&tree).len(), 1);
    }
}
