//! Delta debugging (Zeller and Hildebrandt): the smallest part of a list, as far as removing one
//! item at a time goes, with which something still happens.
//!
//! Unlike the original, a test may tell what is left on its own: a run without one part may do
//! without others, too.

use std::ops::Range;

/// Removes items as long as `test` says that it still happens. `test` gets the remaining items and
/// the ranges whose removal is to be tried, best first, and returns what is left when one of them
/// may go; an empty answer is one, too. It returns `None` when none may, or when time is over.
///
/// Returns what remains.
pub fn minimise<T: Clone>(
    items: Vec<T>,
    mut test: impl FnMut(&[T], &[Range<usize>]) -> Option<Vec<T>>,
) -> Vec<T> {
    let mut rest = items;
    let mut parts = 1;
    while !rest.is_empty() {
        let parts_now = parts.min(rest.len());
        let ranges = ranges(rest.len(), parts_now);
        match test(&rest, &ranges) {
            Some(left) if left.len() < rest.len() => {
                rest = left;
                parts = parts_now.saturating_sub(1).max(1);
            }
            _ if parts_now == rest.len() => break,
            _ => parts = parts_now * 2,
        }
    }
    rest
}

/// Cuts a list of `length` items into `parts` of about the same size, the last one first: what
/// comes late matters least.
fn ranges(length: usize, parts: usize) -> Vec<Range<usize>> {
    let bound = |part: usize| part * length / parts;
    (0..parts).rev().map(|part| bound(part)..bound(part + 1)).collect()
}

/// The items without those in the range.
#[must_use]
pub fn without<T: Clone>(items: &[T], range: &Range<usize>) -> Vec<T> {
    items[..range.start].iter().chain(&items[range.end..]).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minimises 0..count while all of `needed` are there; the result and how many tests it took.
    fn minimal(count: u32, needed: &[u32]) -> (Vec<u32>, usize) {
        let mut tests = 0;
        let result = minimise((0..count).collect(), |items, ranges| {
            ranges.iter().find_map(|range| {
                tests += 1;
                let left = without(items, range);
                needed.iter().all(|item| left.contains(item)).then_some(left)
            })
        });
        (result, tests)
    }

    #[test]
    fn only_what_is_needed_remains() {
        for needed in [&[][..], &[0], &[63], &[3, 60], &[10, 11, 12, 40]] {
            let (left, tests) = minimal(64, needed);
            assert_eq!(left, needed);
            assert!(tests <= 150, "{tests} tests for {needed:?}");
        }
    }

    #[test]
    fn nothing_needs_one_test() {
        assert_eq!(minimal(100, &[]), (Vec::new(), 1));
        assert_eq!(minimal(0, &[]), (Vec::new(), 0));
    }

    #[test]
    fn everything_that_is_needed_stays_and_the_search_ends() {
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(minimal(9, &all).0, all);
    }

    #[test]
    fn what_a_test_leaves_out_on_its_own_is_gone() {
        let mut asked = 0;
        let left = minimise((0..32).collect::<Vec<u32>>(), |items, ranges| {
            asked += 1;
            let left = without(items, &ranges[0]);
            // Without its second half, nothing but item 5 remains.
            (items.len() == 32 && left.len() == 16).then(|| vec![5])
        });
        assert_eq!(left, [5]);
        assert!(asked < 6);
    }

    #[test]
    fn the_order_does_not_matter() {
        let left = minimise(vec![9, 1, 8, 2], |items, ranges| {
            let fits = |left: &Vec<i32>| left.contains(&8) && left.contains(&1);
            ranges.iter().map(|range| without(items, range)).find(fits)
        });
        assert_eq!(left, [1, 8]);
    }
}
