//! One client connection: frames in, answers out in the order of the requests.
//!
//! The connection is one task. Its reading half takes a frame, starts the request and queues the
//! answer to come; its writing half awaits the answers in turn. The queue between them is the
//! bound on requests in flight: when it is full nothing more is read, and the client's socket
//! fills up.

use super::{Shared, memory::MemoryPermit};
use crate::{
    api::{self, Answer, Encoded},
    wire::frame,
};
use bytes::Bytes;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
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
    /// A produce with acks=0 failed; closing is the only way to say so.
    #[error("a produce that asked for no answer failed")]
    UnansweredFailure,
}

struct Queued {
    answer: Answer,
    memory: MemoryPermit,
}

/// Serves a connection until the peer leaves or sends something unreadable.
pub async fn serve(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Latency matters more than the number of packets; a failure here harms nothing else.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = tokio::io::split(stream);
    let (queue, queued) = mpsc::channel(shared.config.max_in_flight_per_connection);
    let outcome = tokio::select! {
        biased;
        outcome = write_answers(shared, writer, queued) => outcome,
        outcome = read_requests(shared, reader, peer, queue) => outcome,
    };
    match outcome {
        Ok(()) => tracing::debug!(%peer, "connection closed by the peer"),
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
) -> Result<(), ConnectionError> {
    let limit = |key| frame::request_limit(key).min(shared.config.socket_request_max_bytes);
    loop {
        // A place in the queue first, so that no request is started that could not be queued.
        let Ok(place) = queue.reserve().await else { return Ok(()) };
        let Some(frame) = read_frame(shared, &mut reader, limit).await? else { return Ok(()) };
        shared.metrics.network.bytes_in.add(frame.len() as u64 + 4);
        let memory = take_memory(shared, frame.len()).await;
        let answer = api::start(shared, peer, frame)?;
        place.send(Queued { answer, memory });
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
    while let Some(Queued { answer, memory }) = queue.recv().await {
        let Encoded { chunks, memory: read } = answer.await?;
        if !chunks.is_empty() {
            frame::write_frame(&mut writer, &chunks).await?;
            writer.flush().await?;
            let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            shared.metrics.network.bytes_out.add(bytes);
        }
        drop((memory, read));
    }
    Ok(())
}
