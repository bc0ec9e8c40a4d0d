//! The files of the repository, as the rules see them.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// Directories that a checkout without git must not look into.
const NOT_OURS: [&str; 5] = ["target", ".git", "highwater-data", "node_modules", "__pycache__"];

/// Files written by a program, which the rules about writing do not bind.
const GENERATED: [&str; 3] = ["/generated/", "Cargo.lock", "package-lock.json"];

/// Every file that is in the repository or would be added to it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Sorted by path.
    pub files: Vec<SourceFile>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Relative to the root, with `/` between the parts.
    pub path: String,
    /// Its text; what is not UTF-8 is replaced.
    pub text: String,
}

impl SourceFile {
    /// Whether a program wrote it.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        GENERATED.iter().any(|part| self.path.contains(part))
    }

    /// Whether it is Rust that a person wrote.
    #[must_use]
    pub fn is_written_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.is_generated()
    }

    /// Its lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Its lines without comments. A `//` inside a string also ends a line here, which hides
    /// nothing that a rule looks for.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut paths = match listed_by_git(root) {
            Some(paths) => paths,
            None => {
                let mut paths = Vec::new();
                walk(root, root, &mut paths)?;
                paths
            }
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let full = root.join(&path);
            // A file deleted but not yet committed is still listed.
            if !full.is_file() {
                continue;
            }
            let bytes =
                std::fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
            files.push(SourceFile { path, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
        anyhow::ensure!(!files.is_empty(), "{} holds no files", root.display());
        Ok(Self { files })
    }

    /// The file at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file or a directory with files in it; the root is the empty path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let directory = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.files.iter().any(|file| file.path == path || file.path.starts_with(&directory))
    }

    /// A repository of these files, for the tests of rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self { files: files.iter().map(file).collect() }
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let paths: Vec<String> =
        text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walk(root: &Path, directory: &Path, paths: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if NOT_OURS.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &entry.path(), paths)?;
        } else if let Ok(path) = entry.path().strip_prefix(root) {
            paths.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    #[test]
    fn a_checkout_without_git_is_walked() {
        let scratch = ScratchDirectory::new("tree");
        scratch.write("core/src/lib.rs", "//! Core.\n");
        scratch.write("target/debug/junk.rs", "junk");
        let tree = Tree::read(scratch.path()).unwrap();
        assert_eq!(tree.files.len(), 1);
        assert!(tree.has("core/src") && tree.has("core/src/lib.rs") && !tree.has("core/sr"));
    }

    #[test]
    fn comments_are_no_code() {
        let tree = Tree::of(&[("a.rs", "let a = 1; // one\n// two\n")]);
        let code: Vec<_> = tree.files[0].code_lines().collect();
        assert_eq!(code, [(1, "let a = 1; "), (2, "")]);
    }

    #[test]
    fn generated_files_are_known() {
        let tree = Tree::of(&[("node/src/wire/generated/fetch.rs", ""), ("core/src/lib.rs", "")]);
        assert!(tree.files[0].is_generated() && !tree.files[1].is_generated());
    }
}
