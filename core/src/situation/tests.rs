//! The names and explanations of situations, and what a mark does in each build.

use super::*;
use alloc::collections::BTreeSet;

#[test]
fn names_are_unique_and_kebab_case() {
    let names: BTreeSet<&str> = Situation::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), Situation::ALL.len(), "two situations have one name");
    for name in names {
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_lowercase());
        assert!(name.split('-').all(is_word), "{name}");
        assert_eq!(Situation::named(name).map(Situation::name), Some(name));
    }
    assert_eq!(Situation::named("no-such-situation"), None);
}

#[test]
fn explanations_are_one_line_with_an_end() {
    for situation in Situation::ALL {
        let explanation = situation.explanation();
        let is_line = !explanation.contains(['\n', '\t']) && !explanation.contains("  ");
        assert!(is_line && explanation.ends_with('.'), "{}: {explanation}", situation.name());
    }
}

/// Fails the test wherever a condition must not be looked at.
#[cfg(not(madsim))]
fn never() -> bool {
    panic!("the condition of a mark was evaluated")
}

#[cfg(not(madsim))]
#[test]
fn outside_the_simulation_build_a_mark_does_not_evaluate_its_condition() {
    sometimes!(TornTail, never());
}

#[cfg(madsim)]
#[test]
fn in_the_simulation_build_a_mark_counts_when_its_condition_holds() {
    // Of all situations this one is reached by no other test of this package.
    let before = Situation::TornTail.times_reached();
    sometimes!(TornTail);
    sometimes!(TornTail, before == 0 || before == 1);
    sometimes!(TornTail, before > 1);
    assert_eq!(Situation::TornTail.times_reached(), before + 2);
}
