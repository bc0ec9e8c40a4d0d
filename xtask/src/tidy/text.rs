//! Rules about words, in every file that a person wrote.

use super::Violation;
use super::source::has_word;
use super::tree::Tree;

/// Words that mark something unfinished or say a thing in two ways, each in two pieces so that
/// this list does not break its own rule, with what to do instead.
const BANNED: [(&str, &str, &str); 9] = [
    ("FIX", "ME", "fix it or file an issue"),
    ("TO", "DO", "do it or file an issue"),
    ("XX", "X", "fix it or file an issue"),
    ("HA", "CK", "explain why it has to be so"),
    ("hw", "m", "write high watermark"),
    ("hw_", "mark", "write high watermark"),
    ("is", "rs", "write ISR"),
    ("commit_", "offset", "the glossary's word is committed offset"),
    ("black", "list", "write deny list"),
];

/// Parts of host names and paths that exist only on somebody's machine or network: what is
/// installed comes through the ordinary clients, which know where from.
const PLACES: [(&str, &str); 12] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("pypi", ".org"),
    ("files.pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("registry.yarnpkg", ".com"),
    ("repo1.maven", ".org"),
    ("repo.maven.apache", ".org"),
    ("proxy.golang", ".org"),
    ("deb.debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("/work", "/"),
];

pub fn banned_words(tree: &Tree) -> Vec<Violation> {
    let words = BANNED.map(|(head, tail, instead)| (format!("{head}{tail}"), instead));
    each_line(tree, |line| {
        let (word, instead) = words.iter().find(|(word, _)| has_word(line, word))?;
        Some(format!("`{word}`: {instead}"))
    })
}

pub fn places(tree: &Tree) -> Vec<Violation> {
    let places = PLACES.map(|(head, tail)| format!("{head}{tail}"));
    each_line(tree, |line| {
        let place = places.iter().find(|place| names_place(line, place))?;
        Some(format!("`{place}` exists only on some machines; leave it out"))
    })
}

/// A path counts only from the root: `frame/work/` is another folder.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !place.starts_with('/') || !before.is_some_and(|letter| letter.is_alphanumeric())
    })
}

fn each_line(tree: &Tree, check: impl Fn(&str) -> Option<String>) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| !file.is_generated()) {
        for (line, text) in file.lines() {
            if let Some(message) = check(text) {
                found.push(Violation { path: file.path.clone(), line, message });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_banned_word_is_found_and_longer_words_are_not() {
        for (head, tail, _) in BANNED {
            let text = format!("fine\nsay {head}{tail} here\nsay {head}{tail}y here\n");
            let found = banned_words(&Tree::of(&[("docs/a.md", &text)]));
            assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [2], "{text}");
        }
    }

    #[test]
    fn every_place_is_found_outside_lock_files() {
        for (head, tail) in PLACES {
            let text =
                format!("curl https:/{}{head}{tail}x", if head == "/work" { "" } else { "/" });
            assert_eq!(places(&Tree::of(&[(".ci/run", &text)])).len(), 1, "{text}");
            assert_eq!(places(&Tree::of(&[("Cargo.lock", &text)])), []);
        }
    }

    #[test]
    fn a_folder_of_that_name_elsewhere_is_fine() {
        let text = format!("see frame{}{}more", "/work", "/");
        assert_eq!(places(&Tree::of(&[("docs/a.md", &text)])), []);
    }
}
