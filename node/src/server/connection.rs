//! One client connection: frames in, answers out in the order of the requests.
//!
//! The connection is one task. Its reading half takes a frame, starts the request and queues the
//! answer to come; its writing half awaits the answers in turn. The queue between them is the
//! bound on requests in flight: when it is full nothing more is read, and the client's socket
//! fills up.

use crate::{
    api::{self, Answer, Encoded},
    broker::{MemoryPermit, Shared, holding},
    wire::frame,
};
use bytes::Bytes;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer sent what is not a frame of a served request.
    #[error("{0}")]
    Frame(#[from] frame::FrameError),
    /// The frame is not a request that this broker can read.
    #[error("{0}")]
    Request(#[from] api::RequestError),
    /// Nothing came for `connections.max.idle.ms`.
    #[error("nothing was received for the idle time of the configuration")]
    Idle,
    /// The client does not read its answers.
    #[error("an answer could not be written for {} s: the client does not read", WRITE_TIMEOUT.as_secs())]
    NotReading,
    /// A request gets no answer.
    #[error("{0}")]
    Answer(#[from] api::AnswerError),
}

/// How long one answer may take to be written: a client that does not read must not keep the
/// memory of its answers from others.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

struct Queued {
    answer: Answer,
    /// Dropped when the answer has been written.
    written: oneshot::Sender<()>,
}

/// Why a connection reads no further, though nothing is wrong with it.
enum End {
    PeerLeft,
    BrokerCloses,
}

/// Serves a connection until the peer leaves or sends something unreadable.
pub async fn serve(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Latency matters more than the number of packets; a failure here harms nothing else.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = tokio::io::split(stream);
    let (queue, queued) = mpsc::channel(shared.config.max_in_flight_per_connection);
    let mut writing = std::pin::pin!(write_answers(shared, writer, queued));
    let read = tokio::select! {
        biased;
        outcome = &mut writing => outcome.map(|()| End::PeerLeft),
        outcome = read_requests(shared, reader, peer, queue) => outcome,
    };
    let outcome = match read {
        // What was taken in is answered still.
        Ok(End::BrokerCloses) => writing.await,
        Ok(End::PeerLeft) => Ok(()),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(ConnectionError::Io(error)) => tracing::debug!(%peer, %error, "connection lost"),
        Err(ConnectionError::Idle) => {
            shared.metrics.network.idle_closed.increment();
            tracing::debug!(%peer, "idle connection closed");
        }
        Err(error) => {
            shared.metrics.network.malformed.increment();
            tracing::warn!(%peer, %error, "connection closed");
        }
    }
}

async fn read_requests(
    shared: &Arc<Shared>,
    mut reader: impl AsyncRead + Unpin,
    peer: SocketAddr,
    queue: mpsc::Sender<Queued>,
) -> Result<End, ConnectionError> {
    let limit = |key| frame::request_limit(key).min(shared.config.socket_request_max_bytes);
    loop {
        // A place in the queue first, so that no request is started that could not be queued.
        let Ok(place) = queue.reserve().await else { return Ok(End::PeerLeft) };
        let frame = tokio::select! {
            biased;
            () = shared.closing() => return Ok(End::BrokerCloses),
            frame = read_frame(shared, &mut reader, limit) => frame?,
        };
        let Some(frame) = frame else { return Ok(End::PeerLeft) };
        shared.metrics.network.bytes_in.add(frame.len() as u64 + 4);
        let memory = take_memory(shared, frame.len()).await;
        let may_wait = api::may_wait(&frame);
        let frame = holding(frame, memory);
        let answer = api::start(shared, peer, frame)?;
        let (written, when_written) = oneshot::channel();
        place.send(Queued { answer, written });
        if may_wait {
            // Requests behind one that waits would only hold memory. The sender is never used: its
            // end is the message.
            let _ = when_written.await;
        }
    }
}

/// The next request, or `None` when the peer has left. It must be here whole within the idle time.
async fn read_frame(
    shared: &Shared,
    reader: &mut (impl AsyncRead + Unpin),
    limit: impl Fn(i16) -> usize,
) -> Result<Option<Bytes>, ConnectionError> {
    let reading = async {
        match frame::read_frame_start(reader, limit).await? {
            Some(start) => Ok(Some(start.read(reader).await?)),
            None => Ok(None),
        }
    };
    let Some(idle) = shared.config.connections_max_idle else { return reading.await };
    let until = shared.doors.clock.now().monotonic.after(idle);
    tokio::select! {
        biased;
        frame = reading => frame,
        () = shared.doors.clock.sleep_until(until) => Err(ConnectionError::Idle),
    }
}

/// Waits for room in the memory budget, and counts those who had to.
async fn take_memory(shared: &Shared, bytes: usize) -> MemoryPermit {
    if let Some(permit) = shared.memory.try_take(bytes) {
        return permit;
    }
    let started = shared.doors.clock.now().monotonic;
    let permit = shared.memory.take(bytes).await;
    let metrics = &shared.metrics.memory;
    metrics.waits.increment();
    metrics.wait_latency.observe(shared.doors.clock.now().monotonic.since(started));
    permit
}

async fn write_answers(
    shared: &Shared,
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Queued>,
) -> Result<(), ConnectionError> {
    while let Some(Queued { answer, written }) = queue.recv().await {
        let Encoded { chunks, memory } = answer.await?;
        if !chunks.is_empty() {
            let until = shared.doors.clock.now().monotonic.after(WRITE_TIMEOUT);
            tokio::select! {
                biased;
                result = write_chunks(&mut writer, &chunks) => result?,
                () = shared.doors.clock.sleep_until(until) => {
                    return Err(ConnectionError::NotReading);
                }
            }
            let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            shared.metrics.network.bytes_out.add(bytes);
        }
        drop((memory, written));
    }
    Ok(())
}

async fn write_chunks(writer: &mut (impl AsyncWrite + Unpin), chunks: &[Bytes]) -> io::Result<()> {
    frame::write_frame(writer, chunks).await?;
    writer.flush().await
}
