//! A scenario opens with a sentence and says why it exists.

use super::Violation;
use super::tree::{SourceFile, Tree};

pub fn explained(tree: &Tree) -> Vec<Violation> {
    let scenario =
        |file: &&SourceFile| file.path.starts_with("scenarios/") && file.path.ends_with(".toml");
    let mut found = Vec::new();
    for file in tree.files.iter().filter(scenario) {
        let mut complain = |message: &str| {
            let message = message.to_owned();
            found.push(Violation { path: file.path.clone(), line: 0, message });
        };
        let opening = file.text.lines().next().and_then(|line| line.strip_prefix("# "));
        if opening.is_none_or(|sentence| sentence.len() < 10) {
            complain("does not open with a sentence in a comment");
        }
        if !file.text.contains("Why:") {
            complain("does not say `Why:`");
        }
        if let Err(error) = file.text.parse::<toml::Table>() {
            complain(&format!("is not valid TOML: {}", error.message()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        explained(&Tree::of(&[("scenarios/a.toml", text), ("scenarios/README.md", "")])).len()
    }

    #[test]
    fn an_explained_scenario_passes() {
        assert_eq!(found("# The power goes while records arrive.\n# Why: it happens.\na = 1\n"), 0);
    }

    #[test]
    fn what_is_missing_is_found() {
        assert_eq!(found("# The power goes while records arrive.\na = 1\n"), 1);
        assert_eq!(found("# Short.\nwhy = \"Why: it happens.\"\n"), 1);
        assert_eq!(found("a = 1\n"), 2);
        assert_eq!(found("# The power goes while records arrive.\n# Why: it does.\na = \n"), 1);
    }
}
