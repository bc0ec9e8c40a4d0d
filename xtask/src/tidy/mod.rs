//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! A rule is a function from the repository's files to what it found wrong, so that every rule
//! has a test in which a planted violation is found.

mod layout;
mod links;
mod scenarios;
mod situations;
mod source;
mod text;
mod tree;

use std::fmt;

use crate::counts::Counts;
use crate::workspace;
use tree::Tree;

/// One thing that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// The file, relative to the root.
    path: String,
    /// The line, from 1; 0 when the whole file is meant.
    line: usize,
    /// What is wrong and what to do.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

type Rule = (&'static str, fn(&Tree) -> Vec<Violation>);

/// Every rule, with the sentence that it enforces.
const RULES: &[Rule] = &[
    ("the top level holds only what is agreed", layout::top_level),
    ("no large file is committed", layout::no_large_files),
    ("a source file is shorter than 600 lines", source::length),
    ("a source file opens with what it is for", source::module_comment),
    ("nothing is left unfinished", source::nothing_unfinished),
    ("names say what a thing is", source::names),
    ("the simulation build differs in at most two files of node", source::simulation_switches),
    ("no container whose order differs between processes", source::ordered_containers),
    ("every select! is biased", source::biased_select),
    ("no banned words", text::banned_words),
    ("no machine of our own and no registry is named", text::places),
    ("every link in the documents leads somewhere", links::resolve),
    ("every scenario says what it is and why", scenarios::explained),
    ("every situation worth reaching is marked", situations::marked),
];

/// Checks every rule; one count per rule.
pub fn run() -> anyhow::Result<Counts> {
    let tree = Tree::read(&workspace::root())?;
    let mut counts = Counts::default();
    for (sentence, rule) in RULES {
        let mut violations = rule(&tree);
        violations.sort();
        counts += Counts::one(violations.is_empty());
        if !violations.is_empty() {
            println!("FAILED tidy: {sentence}");
            for violation in violations {
                println!("  {violation}");
            }
        }
    }
    println!("tidy: {} rules over {} files", RULES.len(), tree.files.len());
    for path in source::files_with_simulation_switches(&tree) {
        println!("tidy: {path} has code for the simulation build");
    }
    Ok(counts)
}
