//! A fixed number of threads that work through a list of items.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

/// Applies `work` to every item on `jobs` threads and hands each result to `on_result` on the
/// caller's thread, with the item's position in the list; results come in any order.
///
/// After `on_result` breaks, no further item is begun, but those already begun are still handed
/// in: so a caller that looks for the first item of a kind sees every item before it.
pub fn for_each<T: Send, R: Send>(
    jobs: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(&T) -> R + Sync,
    mut on_result: impl FnMut(usize, T, R) -> ControlFlow<()>,
) {
    let items = Mutex::new(items.enumerate());
    let stopped = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, items, stopped, work) = (sender.clone(), &items, &stopped, &work);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let next = items.lock().expect("no thread panics with the list").next();
                    let Some((position, item)) = next else { break };
                    let result = work(&item);
                    if sender.send((position, item, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (position, item, result) in receiver {
            if on_result(position, item, result).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let mut seen = Vec::new();
        for_each(
            3,
            0..100_u64,
            |item| item * 2,
            |position, item, result| {
                seen.push((position, item, result));
                ControlFlow::Continue(())
            },
        );
        seen.sort_unstable();
        let expected: Vec<_> =
            (0..100).map(|item| (usize::try_from(item).unwrap(), item, item * 2)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn after_a_break_every_earlier_item_still_arrives() {
        let mut seen = Vec::new();
        for_each(
            4,
            0..1_000_000,
            |item| *item >= 50,
            |position, _, found| {
                seen.push(position);
                if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        seen.sort_unstable();
        assert!(seen.len() < 1_000_000);
        assert_eq!(seen[..51], (0..51).collect::<Vec<_>>());
    }
}
