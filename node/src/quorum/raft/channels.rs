//! The consensus crate's channels and mutex: tokio's, whose waiters are served in their order.

use openraft::async_runtime::{
    Mpsc as MpscTrait, MpscReceiver, MpscSender, MpscWeakSender, Mutex as MutexTrait,
    Oneshot as OneshotTrait, OneshotSender, SendError, TryRecvError,
};
use tokio::sync::{mpsc, oneshot};

/// Bounded queues with one consumer.
pub(super) struct Mpsc;

impl MpscTrait for Mpsc {
    type Sender<T: Send> = Sender<T>;
    type Receiver<T: Send> = Receiver<T>;
    type WeakSender<T: Send> = WeakSender<T>;

    fn channel<T: Send>(buffer: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel(buffer);
        (Sender(sender), Receiver(receiver))
    }
}

pub(super) struct Sender<T>(mpsc::Sender<T>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send> MpscSender<Mpsc, T> for Sender<T> {
    async fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.0.send(message).await.map_err(|error| SendError(error.0))
    }

    fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.downgrade())
    }
}

pub(super) struct Receiver<T>(mpsc::Receiver<T>);

impl<T: Send> MpscReceiver<T> for Receiver<T> {
    async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|error| match error {
            mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
            mpsc::error::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

pub(super) struct WeakSender<T>(mpsc::WeakSender<T>);

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send> MpscWeakSender<Mpsc, T> for WeakSender<T> {
    fn upgrade(&self) -> Option<Sender<T>> {
        self.0.upgrade().map(Sender)
    }
}

/// Channels for one value.
pub(super) struct Oneshot;

impl OneshotTrait for Oneshot {
    type Sender<T: Send> = Once<T>;
    type Receiver<T: Send> = oneshot::Receiver<T>;
    type ReceiverError = oneshot::error::RecvError;

    fn channel<T: Send>() -> (Once<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Once(sender), receiver)
    }
}

pub(super) struct Once<T>(oneshot::Sender<T>);

impl<T: Send> OneshotSender<T> for Once<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// A mutex that is held across awaits.
pub(super) struct Mutex<T>(tokio::sync::Mutex<T>);

impl<T: Send + 'static> MutexTrait<T> for Mutex<T> {
    type Guard<'a> = tokio::sync::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(tokio::sync::Mutex::new(value))
    }

    async fn lock(&self) -> Self::Guard<'_> {
        self.0.lock().await
    }
}
