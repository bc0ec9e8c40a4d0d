//! Shrinking a script while the same check fails: fewer strikes, fewer clients and operations, a
//! shorter run, a smaller cluster.
//!
//! A smaller run has other latencies, and what the failure needs may not come together in it. So a
//! candidate is tried with a few seeds for what has no name, and with strikes at other moments,
//! before it is given up.

use crate::{
    Script,
    ddmin::{minimise, without},
    edit::{self, Operation},
};
use std::ops::Range;

/// How many candidates are made at once: each is as large as the script.
const BATCH: usize = 16;

/// Who runs candidates.
pub trait Laboratory {
    /// Runs candidates, best first, until one fails the check that is to fail. The script that was
    /// written down while it ran; it is never larger than the candidate. `None` when none does, or
    /// when time is over.
    fn first_red(&mut self, candidates: &[Script]) -> Option<Script>;

    /// Whether no more candidates are to be tried.
    fn is_over(&self) -> bool;

    /// Hears how far it has come.
    fn progress(&mut self, what: &str, best: &Script);
}

/// How small a script is: less is better.
#[must_use]
pub fn size(script: &Script) -> (usize, usize) {
    (script.decisions.fault_events(), script.decisions.operations())
}

/// Shrinks a script as far as the laboratory has time. Each candidate that does not fail as it is
/// is tried in up to `tries` variants in the end.
#[must_use]
pub fn shrink(script: &Script, laboratory: &mut dyn Laboratory, tries: u32) -> Script {
    let mut shrinker = Shrinker { best: script.clone(), laboratory, tries: 1 };
    loop {
        let before = size(&shrinker.best);
        shrinker.sweep();
        let is_stuck = size(&shrinker.best) == before;
        if shrinker.laboratory.is_over() || (is_stuck && shrinker.tries >= tries) {
            break;
        }
        shrinker.tries = (shrinker.tries * 2).min(tries.max(1));
    }
    shrinker.best
}

struct Shrinker<'a> {
    best: Script,
    laboratory: &'a mut dyn Laboratory,
    tries: u32,
}

impl Shrinker<'_> {
    /// Tries everything once. What makes runs quicker comes first.
    fn sweep(&mut self) {
        self.leave_out_clients();
        self.shorten();
        self.leave_out_strikes();
        self.strike_by_time();
        self.simplify();
        self.leave_out_operations();
        self.leave_out_strikes();
        self.shorten();
        self.soften();
    }

    /// Whether one of the candidates fails as it should; the best script is what it did then.
    fn attempt(&mut self, candidates: Vec<Script>) -> bool {
        self.attempt_often(candidates, self.tries)
    }

    fn attempt_often(&mut self, candidates: Vec<Script>, tries: u32) -> bool {
        if candidates.is_empty() || self.laboratory.is_over() {
            return false;
        }
        let seed = self.best.network_seed;
        let others = (1..u64::from(tries)).flat_map(|number| {
            let other = seed.wrapping_add(number);
            candidates.iter().map(move |script| edit::varied(script, other))
        });
        let all: Vec<Script> = candidates.iter().cloned().chain(others).collect();
        match self.laboratory.first_red(&all) {
            Some(red) => {
                self.best = red;
                true
            }
            None => false,
        }
    }

    fn shorten(&mut self) {
        while let Some(millis) = self.best.decisions.run.number("millis") {
            let shorter = [millis / 8, millis / 4, millis / 2, millis * 3 / 4];
            let shorter = shorter.into_iter().filter(|shorter| (50..millis).contains(shorter));
            let candidates = shorter.map(|millis| edit::with_millis(&self.best, millis)).collect();
            if !self.attempt(candidates) {
                break;
            }
        }
        self.laboratory.progress("horizon", &self.best);
    }

    fn leave_out_clients(&mut self) {
        let all = |script: &Script| script.decisions.clients.keys().cloned().collect();
        self.leave_out(all, edit::with_clients);
        self.laboratory.progress("clients", &self.best);
    }

    fn leave_out_strikes(&mut self) {
        self.leave_out(edit::strikes, edit::with_strikes);
        self.laboratory.progress("strikes", &self.best);
    }

    fn strike_by_time(&mut self) {
        while self.attempt_often(edit::strikes_by_time(&self.best), 1) {}
    }

    fn leave_out_operations(&mut self) {
        self.leave_out::<Operation>(edit::operations, edit::with_operations);
        self.laboratory.progress("operations", &self.best);
    }

    fn leave_out<T: Clone>(
        &mut self,
        all: fn(&Script) -> Vec<T>,
        with: fn(&Script, &[T]) -> Script,
    ) {
        let items = all(&self.best);
        minimise(items, |items, ranges: &[Range<usize>]| {
            let is_smaller = ranges.chunks(BATCH).any(|ranges| {
                let smaller = ranges.iter().map(|range| with(&self.best, &without(items, range)));
                let candidates = smaller.collect();
                self.attempt(candidates)
            });
            is_smaller.then(|| all(&self.best))
        });
    }

    fn simplify(&mut self) {
        while self.attempt(edit::simpler_runs(&self.best)) {}
        self.laboratory.progress("cluster", &self.best);
    }

    fn soften(&mut self) {
        // How mild they are counts for less than how many there are.
        while self.attempt_often(edit::milder_strikes(&self.best), 1) {}
        let smaller = edit::smaller_operations(&self.best);
        self.attempt_often(smaller.into_iter().collect(), 1);
        self.laboratory.progress("strength", &self.best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests::example;

    /// A laboratory where a rule says what fails, and how often it may be asked.
    struct Rule<F> {
        fails: F,
        runs: usize,
        most: usize,
    }

    impl<F: FnMut(&Script) -> bool> Laboratory for Rule<F> {
        fn first_red(&mut self, candidates: &[Script]) -> Option<Script> {
            for candidate in candidates {
                if self.is_over() {
                    return None;
                }
                self.runs += 1;
                if (self.fails)(candidate) {
                    return Some(candidate.clone());
                }
            }
            None
        }

        fn is_over(&self) -> bool {
            self.runs >= self.most
        }

        fn progress(&mut self, _what: &str, _best: &Script) {}
    }

    fn has(script: &Script, client: &str, number: u32) -> bool {
        let client = script.decisions.clients.get(client);
        client.is_some_and(|client| client.operations.contains_key(&number))
    }

    #[test]
    fn what_the_failure_needs_is_all_that_remains() {
        let script = example(6, &[("producer 2", 60), ("producer 3", 60), ("consumer 4", 40)]);
        let fails = |script: &Script| {
            script.decisions.strikes.contains_key("power-cut#3")
                && has(script, "producer 3", 17)
                && has(script, "consumer 4", 31)
        };
        let mut rule = Rule { fails, runs: 0, most: 10_000 };
        let least = shrink(&script, &mut rule, 3);
        assert_eq!(size(&least), (1, 2));
        assert!(fails(&least));
        assert_eq!(least.decisions.run.number("millis"), Some(375));
        assert_eq!(least.decisions.strikes["power-cut#3"].number("pause"), Some(2));
        assert!(rule.runs < 400, "{} runs", rule.runs);
    }

    #[test]
    fn a_candidate_gets_more_than_one_seed() {
        let script = example(4, &[("producer 2", 10)]);
        // With few operations left, only every third seed shows the failure.
        let fails = |script: &Script| {
            has(script, "producer 2", 4)
                && (script.decisions.operations() > 5 || script.network_seed.is_multiple_of(3))
        };
        let mut rule = Rule { fails, runs: 0, most: 10_000 };
        assert_eq!(size(&shrink(&script, &mut rule, 1)), (0, 6));
        let mut rule = Rule { fails, runs: 0, most: 10_000 };
        assert_eq!(size(&shrink(&script, &mut rule, 3)), (0, 1));
    }

    #[test]
    fn it_ends_when_time_is_over_with_the_best_so_far() {
        let script = example(6, &[("producer 2", 60), ("producer 3", 60)]);
        let fails = |script: &Script| has(script, "producer 3", 17);
        let mut rule = Rule { fails, runs: 0, most: 8 };
        let least = shrink(&script, &mut rule, 3);
        assert!(fails(&least));
        assert!(size(&least) < size(&script));
        assert_eq!(rule.runs, 8);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let script = example(1, &[("producer 2", 1)]);
        let mut rule = Rule { fails: |_: &Script| false, runs: 0, most: 10_000 };
        assert_eq!(shrink(&script, &mut rule, 2), script);
    }
}
