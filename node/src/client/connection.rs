//! One connection to one broker.

use super::error::ClientError;
use crate::{
    env::Clock,
    wire::{
        ApiKey, Message, Request, RequestHeader, Str, VersionRange,
        frame::{self, FrameError},
        generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    },
};
use bytes::{Buf, Bytes};
use core::{future::Future, marker::PhantomData, time::Duration};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// How long a call may take unless [`Connection::set_timeout`] says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, without its length prefix.
const MAX_RESPONSE_BYTES: usize = 256 << 20;
/// Memory that decoding one answer may take for its arrays.
const DECODE_BUDGET_BYTES: usize = 64 << 20;
/// Small answers that are in the socket together are read together.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Requests submitted and not yet received.
const MAX_IN_FLIGHT: usize = 1024;
/// `UNSUPPORTED_VERSION`, which an old broker answers to a new ApiVersions.
const UNSUPPORTED_VERSION: i16 = 35;

/// A connection to a broker, with the versions negotiated.
///
/// A call that fails or is dropped before its end leaves the connection unusable, since the stream
/// may stand in the middle of a frame; every later call answers [`ClientError::Unusable`].
pub struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
    client_id: Str,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    next_correlation: i32,
    /// What was submitted and not yet received, oldest first.
    ///
    /// Invariant: at most [`MAX_IN_FLIGHT`].
    in_flight: VecDeque<i32>,
    /// What the broker serves.
    served: BTreeMap<i16, VersionRange>,
    /// Whether the stream stands between two frames in both directions.
    usable: bool,
}

/// A request that was submitted: what [`Connection::receive`] takes for its answer.
#[must_use = "its answer has to be received before those of later requests"]
#[derive(Debug)]
pub struct InFlight<R> {
    correlation: i32,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to `HOST:PORT` and asks for the versions that the broker serves.
    ///
    /// # Errors
    /// Nobody listens there, or it is no Kafka broker.
    pub async fn connect(
        address: &str,
        client_id: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let refused = |source| ClientError::Connect { address: address.to_owned(), source };
        let connecting = before(&*clock, DEFAULT_TIMEOUT, TcpStream::connect(address.to_owned()));
        let stream = connecting.await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let mut connection = Self {
            stream: BufReader::with_capacity(READ_BUFFER_BYTES, stream),
            address: address.to_owned(),
            client_id: client_id.into(),
            clock,
            timeout: DEFAULT_TIMEOUT,
            next_correlation: 0,
            in_flight: VecDeque::new(),
            served: BTreeMap::new(),
            usable: true,
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    /// Gives every later call this long.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Whether the next call can go out: no earlier one has failed or was dropped half way.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// The broker's address, as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The newest version of an API that both sides know.
    ///
    /// # Errors
    /// There is none.
    pub fn version(&self, api: ApiKey) -> Result<i16, ClientError> {
        let known = api.valid_versions();
        let served = self.served.get(&(api as i16));
        served
            .map(|served| served.last.min(known.last))
            .filter(|newest| served.is_some_and(|served| served.contains(*newest)))
            .filter(|newest| known.contains(*newest))
            .ok_or_else(|| ClientError::Unserved { address: self.address.clone(), api, known })
    }

    /// Sends a request in a version and waits for its answer. No request may be in flight.
    ///
    /// # Errors
    /// The answer did not come. A code in the answer is not an error here.
    pub async fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let submitted = self.submit(request, version).await?;
        self.receive(submitted).await
    }

    /// As [`Connection::send`], in the newest version that both sides know.
    ///
    /// # Errors
    /// There is no such version, or the answer did not come.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version(R::KEY)?;
        self.send(request, version).await
    }

    /// Sends a request and returns without waiting for its answer. Panics with more than 1024
    /// requests in flight: nobody would be reading the answers.
    ///
    /// # Errors
    /// It could not be sent whole.
    pub async fn submit<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<InFlight<R>, ClientError> {
        let correlation = self.submit_unanswered(request, version).await?;
        assert!(self.in_flight.len() < MAX_IN_FLIGHT, "{MAX_IN_FLIGHT} answers are unread");
        self.in_flight.push_back(correlation);
        Ok(InFlight { correlation, version, request: PhantomData })
    }

    /// Sends a request that is never answered, a produce with `acks` 0, and returns its
    /// correlation id.
    ///
    /// # Errors
    /// It could not be sent whole.
    pub async fn submit_unanswered<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<i32, ClientError> {
        let correlation = self.next_correlation;
        let frame = self.frame(request, version, correlation)?;
        self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(0);
        self.start()?;
        let deadline = self.timeout;
        let clock = self.clock.clone();
        let written = before(&*clock, deadline, write(&mut self.stream, &frame)).await;
        self.settle(written)?;
        Ok(correlation)
    }

    /// Waits for the answer to the oldest request in flight. Panics when `submitted` is another
    /// one: a broker answers in order.
    ///
    /// # Errors
    /// The answer did not come, or it is not what the API and version say.
    pub async fn receive<R: Request>(
        &mut self,
        submitted: InFlight<R>,
    ) -> Result<R::Response, ClientError> {
        let oldest = self.in_flight.pop_front();
        assert_eq!(oldest, Some(submitted.correlation), "answers are received in order");
        let answer = self.read_answer(submitted.correlation).await?;
        self.decode::<R>(answer, submitted.version)
    }

    async fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "highwater".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let newest = ApiVersionsRequest::VERSIONS.last;
        let submitted = self.submit(&request, newest).await?;
        self.in_flight.clear();
        let answer = self.read_answer(submitted.correlation).await?;
        // A broker that does not know the version asked in answers in version 0 (KIP-511).
        let code = answer.get(4..6).map(|mut code| code.get_i16());
        let version = if code == Some(UNSUPPORTED_VERSION) { 0 } else { newest };
        let mut response: ApiVersionsResponse =
            self.decode::<ApiVersionsRequest>(answer, version)?;
        if response.error_code == UNSUPPORTED_VERSION {
            response = self.send(&ApiVersionsRequest::default(), 0).await?;
        }
        if response.error_code != 0 {
            let what = format!("error code {} to ApiVersions", response.error_code);
            return Err(self.misbehaved(what));
        }
        self.served = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, VersionRange::new(api.min_version, api.max_version)))
            .collect();
        Ok(())
    }

    fn frame<R: Request>(
        &self,
        request: &R,
        version: i16,
        correlation_id: i32,
    ) -> Result<Vec<Bytes>, ClientError> {
        let client_id = Some(self.client_id.clone());
        let header =
            RequestHeader { api_key: R::KEY, api_version: version, correlation_id, client_id };
        frame::encode_request(&header, request).map_err(|source| ClientError::Unwritable {
            api: R::KEY,
            version,
            source,
        })
    }

    /// The frame of the next answer.
    async fn read_answer(&mut self, correlation: i32) -> Result<Bytes, ClientError> {
        self.start()?;
        let clock = self.clock.clone();
        let reading = frame::read_frame(&mut self.stream, MAX_RESPONSE_BYTES);
        let read = before(&*clock, self.timeout, reading).await;
        let read = read.map(|read| match read {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(FrameError::Io(error)) => Err(error),
            Err(other) => Err(io::Error::new(io::ErrorKind::InvalidData, other)),
        });
        let answer = self.settle(read)?;
        let answered = answer.get(..4).map(|mut id| id.get_i32());
        if answered != Some(correlation) {
            self.usable = false;
            let what = format!("an answer to {answered:?} where that to {correlation} was due");
            return Err(self.misbehaved(what));
        }
        Ok(answer)
    }

    fn decode<R: Request>(&self, answer: Bytes, version: i16) -> Result<R::Response, ClientError> {
        let decoded = frame::decode_response::<R>(answer, version, DECODE_BUDGET_BYTES);
        decoded.map(|(_, response)| response).map_err(|source| ClientError::Malformed {
            address: self.address.clone(),
            api: R::KEY,
            version,
            source,
        })
    }

    /// Marks the stream as under way, so that a dropped call leaves it so.
    fn start(&mut self) -> Result<(), ClientError> {
        if !self.usable {
            return Err(ClientError::Unusable { address: self.address.clone() });
        }
        self.usable = false;
        Ok(())
    }

    /// Ends what [`Connection::start`] began: only a success makes the stream usable again.
    fn settle<T>(&mut self, outcome: Option<io::Result<T>>) -> Result<T, ClientError> {
        let address = || self.address.clone();
        match outcome {
            Some(Ok(value)) => {
                self.usable = true;
                Ok(value)
            }
            Some(Err(source)) if source.kind() == io::ErrorKind::InvalidData => {
                Err(ClientError::Misbehaved { address: address(), what: source.to_string() })
            }
            Some(Err(source)) => Err(ClientError::Lost { address: address(), source }),
            None => Err(ClientError::TimedOut { address: address(), after: self.timeout }),
        }
    }

    fn misbehaved(&self, what: String) -> ClientError {
        ClientError::Misbehaved { address: self.address.clone(), what }
    }
}

/// The outcome of `work`, or `None` when it took longer than `timeout`.
async fn before<T>(
    clock: &dyn Clock,
    timeout: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let deadline = clock.now().monotonic.after(timeout);
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = clock.sleep_until(deadline) => None,
    }
}

async fn write(stream: &mut BufReader<TcpStream>, chunks: &[Bytes]) -> io::Result<()> {
    frame::write_frame(stream, chunks).await?;
    stream.flush().await
}
