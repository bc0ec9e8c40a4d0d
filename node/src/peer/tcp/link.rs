//! One connection to another broker, shared by the calls that it carries.
//!
//! A task owns the socket: one half writes what is queued, the other gives each reply to the call
//! with its correlation id. What the callers and that task share is the table of calls, which knows
//! for each whether any of it may have been sent: that is the difference between a call that was
//! certainly not served and one that may have been.

use super::{Dialer, lock};
use crate::{
    env::Clock,
    peer::{
        frame::{self, FrameError},
        handshake::{Hello, HelloReply, Lane, Refusal},
        messages::{PeerReply, PeerRequest},
    },
    wire::frame::write_frame,
};
use bytes::Bytes;
use highwater_core::{metadata::Endpoint, time::Instant, types::BrokerId};
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc, oneshot},
};

/// Calls of one connection under way; more wait for their turn.
pub const CALLS_MAX: usize = 64;
/// A connection on which nothing came for that long, not even the answer to a call that has reached
/// its deadline, leads nowhere: the next call makes a new one. Otherwise a peer that came back
/// after its machine was cut off would be reached only when TCP sends again, which may take longer
/// than all timeouts above.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the connection was closed before it was answered")]
    Closed,
    #[error("refused: {0}")]
    Refused(Refusal),
}

/// Why a call has no answer.
pub enum CallError {
    /// None of it was sent.
    NotSent(String),
    /// None of it was sent: nobody listens there.
    Refused,
    /// Some or all of it was sent.
    NoAnswer(String),
}

/// A connection that the other side has welcomed.
pub struct Link {
    clock: Arc<dyn Clock>,
    places: Semaphore,
    /// Its end ends the connection.
    outgoing: mpsc::Sender<Outgoing>,
    calls: Arc<Mutex<Calls>>,
}

struct Outgoing {
    correlation: u64,
    chunks: Vec<Bytes>,
}

/// The calls under way.
struct Calls {
    next: u64,
    /// Invariant: empty once `broken` is set.
    waiting: BTreeMap<u64, Waiting>,
    broken: Option<String>,
    /// When something came last.
    heard: Instant,
}

struct Waiting {
    /// Some of the request may have been sent.
    begun: bool,
    answer: oneshot::Sender<Result<PeerReply, CallError>>,
}

/// Takes the call out of the table when its caller goes away.
struct Registered<'a> {
    link: &'a Link,
    correlation: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.link.calls).waiting.remove(&self.correlation);
    }
}

impl Link {
    /// Connects and waits to be welcomed.
    pub async fn connect(
        dialer: &Dialer,
        endpoint: &Endpoint,
        to: BrokerId,
        lane: Lane,
    ) -> Result<Arc<Self>, ConnectError> {
        let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        // Latency matters more than the number of packets; a failure here harms nothing else.
        let _ = stream.set_nodelay(true);
        let hello = Hello::new(&dialer.options.cluster_id, dialer.options.node, to, lane);
        write_frame(&mut stream, &frame::encode(0, hello)?).await?;
        stream.flush().await?;
        match frame::read::<HelloReply>(&mut stream).await?.ok_or(ConnectError::Closed)? {
            (_, HelloReply::Welcome) => {}
            (_, HelloReply::Refused(refusal)) => return Err(ConnectError::Refused(refusal)),
        }
        let clock = dialer.clock.clone();
        let (outgoing, queued) = mpsc::channel(CALLS_MAX);
        let heard = clock.now().monotonic;
        let calls = Calls { next: 1, waiting: BTreeMap::new(), broken: None, heard };
        let calls = Arc::new(Mutex::new(calls));
        dialer.tasks.spawn("peer-link", run(stream, queued, calls.clone(), clock.clone()));
        Ok(Arc::new(Self { clock, places: Semaphore::new(CALLS_MAX), outgoing, calls }))
    }

    /// Whether it can carry no more calls.
    pub fn is_broken(&self) -> bool {
        lock(&self.calls).broken.is_some()
    }

    /// One call.
    pub async fn call(
        &self,
        request: PeerRequest,
        deadline: Instant,
    ) -> Result<PeerReply, CallError> {
        let too_many = || CallError::NotSent("too many calls are under way".to_owned());
        let place = before(&*self.clock, deadline, self.places.acquire()).await;
        let _place = place.and_then(Result::ok).ok_or_else(too_many)?;
        let (registered, answered) = self.register()?;
        let correlation = registered.correlation;
        let encoded = frame::encode(correlation, request);
        let chunks = encoded.map_err(|error| CallError::NotSent(error.to_string()))?;
        let calling = async {
            // When the connection's task has ended it has answered every call.
            let _ = self.outgoing.send(Outgoing { correlation, chunks }).await;
            let stopped = |_| Err(CallError::NoAnswer("this process stops".to_owned()));
            answered.await.unwrap_or_else(stopped)
        };
        let outcome = before(&*self.clock, deadline, calling).await;
        outcome.unwrap_or_else(|| Err(self.give_up(&registered)))
    }

    fn register(
        &self,
    ) -> Result<(Registered<'_>, oneshot::Receiver<Result<PeerReply, CallError>>), CallError> {
        let mut calls = lock(&self.calls);
        if let Some(reason) = &calls.broken {
            return Err(CallError::NotSent(reason.clone()));
        }
        let correlation = calls.next;
        calls.next += 1;
        let (answer, answered) = oneshot::channel();
        calls.waiting.insert(correlation, Waiting { begun: false, answer });
        Ok((Registered { link: self, correlation }, answered))
    }

    /// What becomes of a call at its deadline. From here on it is not sent any more.
    fn give_up(&self, call: &Registered<'_>) -> CallError {
        let mut calls = lock(&self.calls);
        let begun = calls.waiting.remove(&call.correlation).is_none_or(|waiting| waiting.begun);
        if !begun {
            return CallError::NotSent("it could not be sent before the deadline".to_owned());
        }
        if self.clock.now().monotonic.since(calls.heard) >= SILENCE_MAX {
            calls.break_with("nothing came on the connection any more");
        }
        CallError::NoAnswer("none before the deadline".to_owned())
    }
}

impl Calls {
    /// Answers every call, each by whether it was sent, and takes no more.
    fn break_with(&mut self, reason: &str) {
        self.broken.get_or_insert_with(|| reason.to_owned());
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let reason = reason.to_owned();
            let error = match waiting.begun {
                true => CallError::NoAnswer(reason),
                false => CallError::NotSent(reason),
            };
            // A caller that has gone away needs no answer.
            let _ = waiting.answer.send(Err(error));
        }
    }
}

/// Moves frames both ways until the connection breaks, or nobody can call on it any more.
async fn run(
    stream: TcpStream,
    queued: mpsc::Receiver<Outgoing>,
    calls: Arc<Mutex<Calls>>,
    clock: Arc<dyn Clock>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let reason = tokio::select! {
        biased;
        reason = read_replies(reader, &calls, &*clock) => reason,
        reason = write_requests(writer, queued, &calls) => reason,
    };
    tracing::debug!(reason, "the connection to another broker has ended");
    lock(&calls).break_with(&reason);
}

async fn read_replies(
    mut reader: impl AsyncRead + Unpin,
    calls: &Mutex<Calls>,
    clock: &dyn Clock,
) -> String {
    loop {
        let (correlation, reply) = match frame::read::<PeerReply>(&mut reader).await {
            Ok(Some(reply)) => reply,
            Ok(None) => return "the other broker closed the connection".to_owned(),
            Err(error) => return format!("the connection failed: {error}"),
        };
        let mut calls = lock(calls);
        calls.heard = clock.now().monotonic;
        // Nobody waits for a reply that comes behind its deadline.
        if let Some(waiting) = calls.waiting.remove(&correlation) {
            let _ = waiting.answer.send(Ok(reply));
        }
    }
}

async fn write_requests(
    mut writer: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Outgoing>,
    calls: &Mutex<Calls>,
) -> String {
    while let Some(Outgoing { correlation, chunks }) = queued.recv().await {
        match lock(calls) {
            calls if calls.broken.is_some() => break,
            mut calls => match calls.waiting.get_mut(&correlation) {
                Some(waiting) => waiting.begun = true,
                None => continue,
            },
        }
        let written = match write_frame(&mut writer, &chunks).await {
            Ok(()) => writer.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return format!("the connection failed: {error}");
        }
    }
    "the connection is not used any more".to_owned()
}

/// The outcome of `future`, or `None` if the clock reaches `deadline` before.
pub async fn before<T>(
    clock: &dyn Clock,
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        outcome = future => Some(outcome),
        () = clock.sleep_until(deadline) => None,
    }
}
