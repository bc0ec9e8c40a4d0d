//! The consensus crate's watched values, with waiters woken in the order in which they came.
//!
//! tokio's own watch wakes waiters in an order that differs between runs of one seed.

use openraft::async_runtime::{
    Watch as WatchTrait, WatchReceiver, WatchSender,
    watch::{RecvError, SendError},
};
use std::{
    collections::BTreeMap,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    task::{Context, Poll, Waker},
};

/// Channels that keep the last value only.
pub(super) struct Channels;

impl WatchTrait for Channels {
    type Sender<T: Send + Sync> = Sender<T>;
    type Receiver<T: Send + Sync> = Receiver<T>;
    type Ref<'a, T: Send + 'a> = Ref<'a, T>;

    fn channel<T: Send + Sync>(value: T) -> (Sender<T>, Receiver<T>) {
        let ends = Ends { wakers: BTreeMap::new(), next_waiter: 0, senders: 1, receivers: 1 };
        let channel = Arc::new(Channel {
            current: RwLock::new(Current { version: 0, value }),
            ends: Mutex::new(ends),
        });
        (Sender(channel.clone()), Receiver { channel, seen: 0 })
    }
}

struct Channel<T> {
    current: RwLock<Current<T>>,
    /// Never locked while `current` is locked by the same thread.
    ends: Mutex<Ends>,
}

struct Current<T> {
    version: u64,
    value: T,
}

struct Ends {
    /// By the order in which they began to wait.
    wakers: BTreeMap<u64, Waker>,
    next_waiter: u64,
    senders: usize,
    receivers: usize,
}

impl<T> Channel<T> {
    fn read(&self) -> RwLockReadGuard<'_, Current<T>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn modify(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if !modify(&mut current.value) {
                return false;
            }
            current.version += 1;
        }
        self.wake();
        true
    }

    fn wake(&self) {
        let due = std::mem::take(&mut self.ends().wakers);
        due.into_values().for_each(Waker::wake);
    }
}

/// The current value, locked: nobody can change it meanwhile.
pub(super) struct Ref<'a, T>(RwLockReadGuard<'a, Current<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

pub(super) struct Sender<T>(Arc<Channel<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.ends().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let last = {
            let mut ends = self.0.ends();
            ends.senders -= 1;
            ends.senders == 0
        };
        if last {
            self.0.wake();
        }
    }
}

impl<T: Send + Sync> WatchSender<Channels, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.ends().receivers == 0 {
            return Err(SendError(value));
        }
        self.0.modify(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.modify(modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.ends().receivers += 1;
        let seen = self.0.read().version;
        Receiver { channel: self.0.clone(), seen }
    }
}

pub(super) struct Receiver<T> {
    channel: Arc<Channel<T>>,
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.ends().receivers += 1;
        Self { channel: self.channel.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.ends().receivers -= 1;
    }
}

impl<T: Send + Sync> WatchReceiver<Channels, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        Changed { receiver: self, waiter: None }.await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.channel.read())
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let current = self.channel.read();
        self.seen = current.version;
        Ref(current)
    }
}

struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    waiter: Option<u64>,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { receiver, waiter } = &mut *self;
        // Under this lock no change can slip in between looking and waiting.
        let mut ends = receiver.channel.ends();
        let version = receiver.channel.read().version;
        if version != receiver.seen {
            receiver.seen = version;
            return Poll::Ready(Ok(()));
        }
        if ends.senders == 0 {
            return Poll::Ready(Err(RecvError(())));
        }
        let key = match *waiter {
            Some(key) if ends.wakers.contains_key(&key) => key,
            _ => {
                ends.next_waiter += 1;
                ends.next_waiter
            }
        };
        *waiter = Some(key);
        ends.wakers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.waiter {
            self.receiver.channel.ends().wakers.remove(&key);
        }
    }
}
