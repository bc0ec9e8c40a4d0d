//! A value that changes, with waiters woken in the order in which they came.
//!
//! tokio's own watch wakes waiters in an order that differs between runs of one seed.

use crate::env::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::oneshot;

/// The current value and its version.
#[derive(Debug)]
pub struct Watch<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    version: u64,
    value: Arc<T>,
    waiters: BTreeMap<u64, (u64, oneshot::Sender<()>)>,
    next_waiter: u64,
}

impl<T: Send + Sync + 'static> Watch<T> {
    /// A value at a version.
    pub fn new(version: u64, value: T) -> Self {
        let state =
            State { version, value: Arc::new(value), waiters: BTreeMap::new(), next_waiter: 0 };
        Self { state: Mutex::new(state) }
    }

    /// The current value.
    pub fn value(&self) -> Arc<T> {
        self.lock().value.clone()
    }

    /// The current version.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Replaces the value. Versions only grow.
    pub fn publish(&self, version: u64, value: T) {
        assert!(self.advance(version, value), "a watched value went back to version {version}");
    }

    /// Replaces the value unless it has that version already. Whether it did.
    pub fn advance(&self, version: u64, value: T) -> bool {
        let due = {
            let mut state = self.lock();
            if version <= state.version {
                return false;
            }
            state.version = version;
            state.value = Arc::new(value);
            let waiting = std::mem::take(&mut state.waiters);
            let (due, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
                waiting.into_iter().partition(|(_, (after, _))| *after < version);
            state.waiters = rest;
            due
        };
        for (_, (_, waiter)) in due {
            // A waiter that has gone away needs no waking.
            let _ = waiter.send(());
        }
        true
    }

    /// Completes when the version is past `after`.
    pub fn changed(self: &Arc<Self>, after: u64) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.version > after {
                return Box::pin(std::future::ready(()));
            }
            state.waiters.retain(|_, (_, waiter)| !waiter.is_closed());
            let key = state.next_waiter;
            state.next_waiter += 1;
            state.waiters.insert(key, (after, sender));
        }
        Box::pin(async move {
            // The sender lives in the watch: an error means that the watch itself is gone.
            let _ = receiver.await;
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_waiter_is_woken_only_by_a_later_version() {
        let watch = Arc::new(Watch::new(3, "three"));
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = watch.changed(4);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        watch.publish(4, "four");
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        watch.publish(5, "five");
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(*watch.value(), "five");
        assert_eq!(watch.changed(4).as_mut().poll(&mut context), Poll::Ready(()));
    }
}
