//! The listening side: it takes the connections of other brokers and serves their requests.
//!
//! A connection is one task with two halves. The reading half starts a task for each request, since
//! a fetch may wait for records while others are answered; the writing half writes replies as they
//! come. What does not decode ends its connection and nothing else.

use super::{TcpOptions, link::before, lock};
use crate::{
    config::HostPort,
    env::Clock,
    peer::{
        PeerService,
        frame::{self, FrameError},
        handshake::{Hello, HelloReply, Lane, Refusal},
        messages::{PeerReply, PeerRequest},
    },
    tasks::Tasks,
    wire::frame::write_frame,
};
use bytes::Bytes;
use highwater_core::types::BrokerId;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};

/// Connections at one time, those that have not said hello yet included.
const CONNECTIONS_MAX: usize = 256;
/// Requests of one connection under way; reading waits beyond it.
const REQUESTS_MAX: usize = 128;
/// Brokers whose refusal is remembered, so that it is logged once.
const REFUSALS_MAX: usize = 64;
/// How long a new connection may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one reply may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What all connections share.
pub struct Server {
    node: BrokerId,
    cluster_id: String,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    service: Arc<dyn PeerService>,
    places: Arc<Semaphore>,
    sessions: Mutex<Sessions>,
    refused: Mutex<BTreeMap<BrokerId, Refusal>>,
}

/// The connections that were welcomed.
#[derive(Default)]
struct Sessions {
    closed: bool,
    /// The end of a sender ends its connection. A broker that connects anew has given up its old
    /// connection, even if nothing told this side so.
    by_lane: BTreeMap<(BrokerId, Lane), oneshot::Sender<()>>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no hello within {} s", HELLO_TIMEOUT.as_secs())]
    NoHello,
    #[error("a reply could not be written for {} s", WRITE_TIMEOUT.as_secs())]
    NotReading,
    #[error("{0}")]
    Refused(Refusal),
    #[error("the other broker has connected anew, or this one closes")]
    Replaced,
}

/// A reply on its way, with the place of its request.
struct Outgoing {
    chunks: Vec<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Server {
    pub fn new(
        options: &TcpOptions,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        service: Arc<dyn PeerService>,
    ) -> Arc<Self> {
        Arc::new(Self {
            node: options.node,
            cluster_id: options.cluster_id.clone(),
            clock,
            tasks,
            service,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            sessions: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// Ends every connection and welcomes no other.
    pub fn close(&self) {
        let mut sessions = lock(&self.sessions);
        sessions.closed = true;
        sessions.by_lane.clear();
    }

    /// The session of a connection: completes when it is to end.
    fn open_session(&self, from: BrokerId, lane: Lane) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        let mut sessions = lock(&self.sessions);
        if !sessions.closed {
            sessions.by_lane.insert((from, lane), end);
        }
        ended
    }

    /// Logs a refusal once, until it changes.
    fn log_refusal(&self, from: BrokerId, peer: SocketAddr, refusal: Option<&Refusal>) {
        let mut refused = lock(&self.refused);
        let Some(refusal) = refusal else {
            refused.remove(&from);
            return;
        };
        if refused.get(&from) == Some(refusal) {
            return;
        }
        if refused.len() >= REFUSALS_MAX {
            refused.clear();
        }
        refused.insert(from, refusal.clone());
        tracing::warn!(%from, %peer, reason = %refusal, "refused another broker");
    }
}

/// Binds the address for peers; no host is every address of the machine.
pub async fn bind(listen: &HostPort) -> io::Result<TcpListener> {
    let host = if listen.host.is_empty() { "0.0.0.0" } else { &listen.host };
    TcpListener::bind((host, listen.port)).await
}

/// Accepts connections for ever, each served by a task of its own.
pub async fn accept(server: Arc<Server>, socket: TcpListener) {
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of a broker could not be accepted");
                let retry = server.clock.now().monotonic.after(ACCEPT_RETRY);
                server.clock.sleep_until(retry).await;
                continue;
            }
        };
        let Ok(place) = server.places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: {CONNECTIONS_MAX} of brokers are open");
            continue;
        };
        let served = server.clone();
        server.tasks.spawn("peer-connection", async move {
            match serve(&served, stream, peer).await {
                Ok(()) => tracing::debug!(%peer, "connection of a broker closed"),
                // Logged where it was refused.
                Err(Ended::Refused(_)) => {}
                Err(Ended::Frame(FrameError::Io(reason)) | Ended::Io(reason)) => {
                    tracing::debug!(%peer, %reason, "connection of a broker lost");
                }
                Err(reason @ Ended::Replaced) => tracing::debug!(%peer, %reason, "closed"),
                Err(reason) => tracing::warn!(%peer, %reason, "connection of a broker closed"),
            }
            drop(place);
        });
    }
}

async fn serve(server: &Arc<Server>, mut stream: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
    // Latency matters more than the number of packets; a failure here harms nothing else.
    let _ = stream.set_nodelay(true);
    let until = server.clock.now().monotonic.after(HELLO_TIMEOUT);
    let greeting = greet(server, &mut stream, peer);
    let greeted = before(&*server.clock, until, greeting).await.ok_or(Ended::NoHello)??;
    let Some((from, lane)) = greeted else { return Ok(()) };
    let ended = server.open_session(from, lane);
    let (reader, writer) = tokio::io::split(stream);
    let (replies, queued) = mpsc::channel(REQUESTS_MAX);
    tokio::select! {
        biased;
        _ = ended => Err(Ended::Replaced),
        outcome = write_replies(server, writer, queued) => outcome,
        outcome = read_requests(server, reader, from, replies) => outcome,
    }
}

/// Who connects and for what, after it was welcomed; `None` when it left without a word.
async fn greet(
    server: &Server,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<Option<(BrokerId, Lane)>, Ended> {
    let Some((correlation, hello)) = frame::read::<Hello>(stream).await? else { return Ok(None) };
    let outcome = hello.check(&server.cluster_id, server.node);
    server.log_refusal(hello.from, peer, outcome.as_ref().err());
    let reply = match &outcome {
        Ok(()) => HelloReply::Welcome,
        Err(refusal) => HelloReply::Refused(refusal.clone()),
    };
    write_frame(stream, &frame::encode(correlation, reply)?).await?;
    stream.flush().await?;
    outcome.map_err(Ended::Refused)?;
    Ok(Some((hello.from, hello.lane)))
}

async fn read_requests(
    server: &Arc<Server>,
    mut reader: impl AsyncRead + Unpin,
    from: BrokerId,
    replies: mpsc::Sender<Outgoing>,
) -> Result<(), Ended> {
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        // A place first, so that no request is read that could not be served.
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let Some((correlation, request)) = frame::read::<PeerRequest>(&mut reader).await? else {
            return Ok(());
        };
        let serving = server.service.serve(from, request);
        let replies = replies.clone();
        server.tasks.spawn("peer-request", async move {
            let chunks = encode(correlation, serving.await);
            // Without a connection nobody waits for it any more.
            let _ = replies.send(Outgoing { chunks, _place: place }).await;
        });
    }
}

/// A reply that no frame can carry is not a reason to keep its caller waiting.
fn encode(correlation: u64, reply: PeerReply) -> Vec<Bytes> {
    frame::encode(correlation, reply).unwrap_or_else(|error| {
        tracing::error!(%error, "a reply to another broker could not be sent");
        let instead = PeerReply::Unavailable(error.to_string());
        frame::encode(correlation, instead).expect("a sentence fits into a frame")
    })
}

async fn write_replies(
    server: &Server,
    mut writer: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Outgoing>,
) -> Result<(), Ended> {
    while let Some(Outgoing { chunks, _place }) = queued.recv().await {
        let until = server.clock.now().monotonic.after(WRITE_TIMEOUT);
        let writing = async {
            write_frame(&mut writer, &chunks).await?;
            writer.flush().await
        };
        before(&*server.clock, until, writing).await.ok_or(Ended::NotReading)??;
    }
    Ok(())
}
