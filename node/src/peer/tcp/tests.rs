//! Brokers that talk over loopback.

use super::*;
use crate::{
    env::OsClock,
    peer::{
        frame,
        handshake::{Hello, HelloReply},
        messages::{
            AnswerStamp, FetchedPartition, FetchedRecords, HeartbeatReply, ReplicaFetch,
            ReplicaFetched, ReplicaFlushed,
        },
    },
};
use highwater_core::{
    replica_session::{SessionId, SessionTurn},
    time::Instant,
    types::{BrokerEpoch, LeaderEpoch, Offset, PartitionIndex, TopicId},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Answers a Raft call with its bytes and those of the caller; one that begins with 0 only after
/// `release`, and one that begins with 255 never. A fetch is answered with `max_bytes` records.
#[derive(Default)]
struct Echo {
    release: Arc<Notify>,
}

impl PeerService for Echo {
    fn serve(&self, from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        let release = self.release.clone();
        Box::pin(async move {
            match request {
                PeerRequest::Raft(mut bytes) => {
                    match bytes.first() {
                        Some(0) => release.notified().await,
                        Some(255) => std::future::pending().await,
                        _ => {}
                    }
                    bytes.push(u8::try_from(from.0).unwrap());
                    PeerReply::Raft(bytes)
                }
                PeerRequest::Fetch(fetch) => fetched(fetch.max_bytes as usize),
                PeerRequest::Flushed(_) => PeerReply::Flushed,
                _ => PeerReply::Heartbeat(HeartbeatReply::Stale),
            }
        })
    }
}

fn fetched(length: usize) -> PeerReply {
    let partition = |index: u32| FetchedPartition {
        topic: TopicId([1; 16]),
        index: PartitionIndex(index),
        leader_epoch: LeaderEpoch(1),
        fetch_offset: Offset(0),
        outcome: Ok(FetchedRecords {
            high_watermark: Offset(1),
            log_start_offset: Offset(0),
            diverging: None,
            records: vec![u8::try_from(index).unwrap() + 1; length / 2].into(),
        }),
    };
    let stamp = AnswerStamp { broker_epoch: BrokerEpoch(1), at: Instant(7) };
    let id = SessionId { leader: BrokerEpoch(1), number: 1 };
    let session = SessionTurn { id, turn: 1 };
    let partitions = vec![partition(0), partition(1)];
    PeerReply::Fetched(ReplicaFetched { partitions, session, stamp })
}

fn broker(node: i32, cluster_id: &str) -> TcpTransport {
    let options = TcpOptions {
        node: BrokerId(node),
        cluster_id: cluster_id.to_owned(),
        listen: HostPort::new("127.0.0.1", 0),
    };
    TcpTransport::new(options, Arc::new(OsClock::new()), Tasks::default(), BTreeMap::new())
}

async fn serving(node: i32) -> (TcpTransport, Endpoint, Arc<Notify>) {
    let transport = broker(node, "c");
    let echo = Echo::default();
    let release = echo.release.clone();
    transport.listen(Arc::new(echo)).await.expect("a free port");
    let port = transport.listen_address().expect("it listens").port();
    (transport, local(port), release)
}

fn local(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

/// A broker that knows where broker 2 is.
fn caller(node: i32, of_two: Endpoint) -> TcpTransport {
    let transport = broker(node, "c");
    transport.learn(BrokerId(2), of_two);
    transport
}

async fn call(
    transport: &TcpTransport,
    request: PeerRequest,
    within: Duration,
) -> Result<PeerReply, TransportError> {
    let deadline = transport.dialer.clock.now().monotonic.after(within);
    transport.call(BrokerId(2), request, deadline).await
}

fn raft(bytes: &[u8]) -> PeerRequest {
    PeerRequest::Raft(bytes.to_vec())
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_call_is_answered_and_the_service_knows_who_called() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])));
    let flushed = ReplicaFlushed { broker_epoch: BrokerEpoch(1), partitions: Vec::new() };
    assert_eq!(call(&one, PeerRequest::Flushed(flushed), LONG).await, Ok(PeerReply::Flushed));
}

#[tokio::test]
async fn calls_at_the_same_time_are_answered_in_any_order() {
    let (_two, endpoint, release) = serving(2).await;
    let one = caller(1, endpoint);
    let slow = call(&one, raft(&[0]), LONG);
    let fast = async {
        for byte in 1..=200 {
            let answer = call(&one, raft(&[byte]), LONG).await;
            assert_eq!(answer, Ok(PeerReply::Raft(vec![byte, 1])));
        }
        release.notify_one();
    };
    let (slow, ()) = tokio::join!(slow, fast);
    assert_eq!(slow, Ok(PeerReply::Raft(vec![0, 1])), "the first call got the last answer");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_the_connection_goes_on() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])), "connects");
    let late = call(&one, raft(&[255]), SHORT).await;
    assert!(matches!(late, Err(TransportError::NoAnswer { .. })), "it may be served: {late:?}");
    let link = |one: &TcpTransport| lock(&one.peers)[&BrokerId(2)].control.clone();
    let before = link(&one).link.lock().await.clone().expect("it is connected");
    assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])));
    let after = link(&one).link.lock().await.clone().expect("it is connected");
    assert!(Arc::ptr_eq(&before, &after));
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_given_up() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    let within = Duration::from_millis(1_100);
    let (silent, other) = tokio::join!(call(&one, raft(&[255]), within), async {
        call(&one, raft(&[255]), LONG).await
    });
    for outcome in [silent, other] {
        assert!(matches!(outcome, Err(TransportError::NoAnswer { .. })), "{outcome:?}");
    }
    let answer = call(&one, raft(&[7]), LONG).await;
    assert_eq!(answer, Ok(PeerReply::Raft(vec![7, 1])), "over a new connection");
}

#[tokio::test]
async fn calls_beyond_the_bound_wait_and_are_not_sent_when_their_time_is_over() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    let calls = (0..link::CALLS_MAX).map(|_| call(&one, raft(&[255]), LONG));
    let mut held: Vec<_> = calls.map(Box::pin).collect();
    for call in &mut held {
        let started = Duration::from_millis(20);
        let until = one.dialer.clock.now().monotonic.after(started);
        assert!(before(&*one.dialer.clock, until, call).await.is_none());
    }
    let beyond = call(&one, raft(&[7]), SHORT).await;
    assert!(matches!(beyond, Err(TransportError::Unreachable { .. })), "{beyond:?}");
    drop(held);
    assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])));
}

#[tokio::test]
async fn a_dead_peer_fails_what_is_under_way_and_is_reached_again_when_it_is_back() {
    let (two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint.clone());
    let (under_way, ()) = tokio::join!(call(&one, raft(&[255]), LONG), async {
        assert!(call(&one, raft(&[7]), LONG).await.is_ok());
        two.close();
    });
    assert!(matches!(under_way, Err(TransportError::NoAnswer { .. })), "{under_way:?}");
    let dead = call(&one, raft(&[7]), LONG).await;
    assert!(matches!(dead, Err(TransportError::Refused { .. })), "{dead:?}");

    let (_back, endpoint, _) = serving(2).await;
    one.learn(BrokerId(2), endpoint);
    assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])));
}

#[tokio::test]
async fn nobody_and_nobody_there_are_told_apart() {
    let one = broker(1, "c");
    let nobody = call(&one, raft(&[7]), LONG).await;
    assert_eq!(nobody, Err(TransportError::UnknownBroker(BrokerId(2))));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.learn(BrokerId(2), local(socket.local_addr().unwrap().port()));
    let silent = call(&one, raft(&[7]), SHORT).await;
    assert!(matches!(silent, Err(TransportError::Unreachable { .. })), "no welcome: {silent:?}");
    drop(socket);
    let refused = call(&one, raft(&[7]), LONG).await;
    assert!(matches!(refused, Err(TransportError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn another_cluster_or_another_broker_is_refused_with_the_reason() {
    let (_two, endpoint, _) = serving(2).await;
    let reason_of = |outcome: Result<PeerReply, TransportError>| match outcome {
        Err(TransportError::Unreachable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let stranger = broker(1, "d");
    stranger.learn(BrokerId(2), endpoint.clone());
    for _ in 0..2 {
        let reason = reason_of(call(&stranger, raft(&[7]), LONG).await);
        assert!(reason.contains("belongs to cluster `d` and the other to `c`"), "{reason}");
    }
    let one = broker(1, "c");
    one.learn(BrokerId(3), endpoint.clone());
    let deadline = one.dialer.clock.now().monotonic.after(LONG);
    let reason = reason_of(one.call(BrokerId(3), raft(&[7]), deadline).await);
    assert!(reason.contains("broker 2 was reached where broker 3 was expected"), "{reason}");
    let same = caller(2, endpoint);
    let reason = reason_of(call(&same, raft(&[7]), LONG).await);
    assert!(reason.contains("two brokers have node.id 2"), "{reason}");
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint.clone());
    assert!(call(&one, raft(&[7]), LONG).await.is_ok());
    let hello = Hello::new("c", BrokerId(9), BrokerId(2), Lane::Control);
    let hello = frame::encode(0, hello).unwrap().concat();
    let mut damaged = frame::encode(1, raft(&[7])).unwrap().concat();
    *damaged.last_mut().unwrap() ^= 1;
    for (greeting, garbage) in [
        (&[][..], &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (&[], &[0xff; 64]),
        (&hello, b"POST / HTTP/1.1\r\n\r\n"),
        (&hello, &damaged),
        (&hello, &hello),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port)).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        if !greeting.is_empty() {
            let reply = frame::read::<HelloReply>(&mut stream).await.unwrap();
            assert_eq!(reply, Some((0, HelloReply::Welcome)));
        }
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Closed with or without a reset, and nothing was answered.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{rest:?}");
        assert_eq!(call(&one, raft(&[7]), LONG).await, Ok(PeerReply::Raft(vec![7, 1])));
    }
}

#[tokio::test]
async fn a_broker_that_answers_garbage_is_unreachable_or_gives_no_answer() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = caller(1, local(socket.local_addr().unwrap().port()));
    let garbage = async {
        let (mut stream, _) = socket.accept().await.unwrap();
        stream.write_all(&[b'x'; 100]).await.unwrap();
        let (mut welcoming, _) = socket.accept().await.unwrap();
        frame::read::<Hello>(&mut welcoming).await.unwrap();
        let welcome = frame::encode(0, HelloReply::Welcome).unwrap().concat();
        welcoming.write_all(&welcome).await.unwrap();
        frame::read::<PeerRequest>(&mut welcoming).await.unwrap();
        welcoming.write_all(&welcome).await.unwrap();
        (stream, welcoming)
    };
    let calls = async { (call(&one, raft(&[7]), LONG).await, call(&one, raft(&[7]), LONG).await) };
    let (_streams, (first, second)) = tokio::join!(garbage, calls);
    assert!(matches!(first, Err(TransportError::Unreachable { .. })), "{first:?}");
    assert!(matches!(second, Err(TransportError::NoAnswer { .. })), "{second:?}");
}

#[tokio::test]
async fn a_large_fetch_comes_back_whole_and_delays_no_sign_of_life() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    let length = 24 << 20;
    let fetch = PeerRequest::Fetch(ReplicaFetch {
        broker_epoch: BrokerEpoch(1),
        session: None,
        partitions: Vec::new(),
        forgotten: Vec::new(),
        max_wait_millis: 0,
        max_bytes: length,
        heard: None,
    });
    let (large, small) = tokio::join!(call(&one, fetch, LONG), call(&one, raft(&[7]), LONG));
    assert!(large == Ok(fetched(length as usize)), "every byte is the same");
    assert_eq!(small, Ok(PeerReply::Raft(vec![7, 1])));
}

#[tokio::test]
async fn a_reply_that_no_frame_can_carry_is_answered_by_unavailable() {
    let (_two, endpoint, _) = serving(2).await;
    let one = caller(1, endpoint);
    let fetch = PeerRequest::Fetch(ReplicaFetch {
        broker_epoch: BrokerEpoch(1),
        session: None,
        partitions: Vec::new(),
        forgotten: Vec::new(),
        max_wait_millis: 0,
        max_bytes: u32::try_from(frame::REPLY_BYTES_MAX).unwrap(),
        heard: None,
    });
    let answer = call(&one, fetch, LONG).await;
    assert!(matches!(answer, Ok(PeerReply::Unavailable(_))), "it says why");
    let long = call(&one, raft(&vec![1; frame::REQUEST_BYTES_MAX]), LONG).await;
    assert!(matches!(long, Err(TransportError::Unreachable { .. })), "it was not sent");
}

#[tokio::test]
async fn a_newer_connection_of_a_broker_ends_the_older_one() {
    let (_two, endpoint, _) = serving(2).await;
    let (old, new) = (caller(1, endpoint.clone()), caller(1, endpoint));
    assert!(call(&old, raft(&[7]), LONG).await.is_ok());
    let (under_way, answer) =
        tokio::join!(call(&old, raft(&[255]), LONG), async { call(&new, raft(&[7]), LONG).await });
    assert!(matches!(under_way, Err(TransportError::NoAnswer { .. })), "{under_way:?}");
    assert_eq!(answer, Ok(PeerReply::Raft(vec![7, 1])));
}
