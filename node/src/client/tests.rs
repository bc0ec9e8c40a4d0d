//! The connection against brokers that are right, old, silent and hostile.

use super::*;
use crate::{
    env::OsClock,
    tasks::Tasks,
    wire::{
        ApiKey, Message, Reader, RequestHeader,
        frame::{encode_response, read_frame, write_frame},
        generated::{
            api_versions::{ApiVersion, ApiVersionsResponse},
            metadata::{MetadataRequest, MetadataResponse},
        },
    },
};
use bytes::Bytes;
use highwater_core::{
    record::{BatchBuilder, NewRecord},
    time::Timestamp,
    types::{ProducerEpoch, ProducerId, Sequence},
};
use kafka_protocol::records::RecordBatchDecoder;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// What a broker sends back for a request: any bytes, or nothing.
type Answer = fn(&RequestHeader) -> Option<Vec<Bytes>>;

/// Starts a broker for one connection and answers its address.
async fn broker(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(Tasks::default().spawn("broker", async move {
        let (stream, _) = listener.accept().await?;
        serve(stream, answer).await
    }));
    address
}

async fn serve(mut stream: TcpStream, answer: Answer) -> io::Result<()> {
    while let Ok(Some(frame)) = read_frame(&mut stream, 1 << 20).await {
        let header = RequestHeader::decode(&mut Reader::new(frame, 1 << 20));
        if let Some(chunks) = answer(&header.expect("the client sends valid headers")) {
            write_frame(&mut stream, &chunks).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}

async fn connect(answer: Answer) -> Result<Connection, ClientError> {
    Connection::connect(&broker(answer).await, "test", Arc::new(OsClock::new())).await
}

fn respond<M: Message>(header: &RequestHeader, version: i16, message: &M) -> Vec<Bytes> {
    encode_response(header.api_key, version, header.correlation_id, message)
        .expect("the version carries it")
}

/// Serves ApiVersions in all versions and Metadata up to version 4.
fn versions(header: &RequestHeader) -> Vec<Bytes> {
    let api =
        |key: ApiKey, max_version| ApiVersion { api_key: key as i16, min_version: 0, max_version };
    let api_keys = vec![api(ApiKey::ApiVersions, 4), api(ApiKey::Metadata, 4)];
    respond(header, header.api_version, &ApiVersionsResponse { api_keys, ..Default::default() })
}

fn metadata(header: &RequestHeader) -> Vec<Bytes> {
    let controller_id = header.correlation_id;
    let response = MetadataResponse { controller_id, ..Default::default() };
    respond(header, header.api_version, &response)
}

fn right(header: &RequestHeader) -> Option<Vec<Bytes>> {
    Some(if header.api_key == ApiKey::ApiVersions { versions(header) } else { metadata(header) })
}

#[tokio::test]
async fn the_newest_version_that_both_know_is_used() {
    let mut connection = connect(right).await.expect("it answers");
    assert_eq!(connection.version(ApiKey::Metadata).expect("both know it"), 4);
    connection.metadata(None, false).await.expect("it answers in version 4");
    let error = connection.version(ApiKey::Produce).expect_err("it is not served");
    assert!(matches!(error, ClientError::Unserved { api: ApiKey::Produce, .. }), "{error}");
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_version_zero() {
    // Version 0 has no tagged fields, and an old broker answers nothing else (KIP-511).
    fn old(header: &RequestHeader) -> Option<Vec<Bytes>> {
        if header.api_key == ApiKey::ApiVersions && header.api_version > 0 {
            let refusal = ApiVersionsResponse { error_code: 35, ..Default::default() };
            return Some(respond(header, 0, &refusal));
        }
        right(header)
    }
    let connection = connect(old).await.expect("it falls back");
    assert_eq!(connection.version(ApiKey::Metadata).expect("both know it"), 4);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let mut connection = connect(right).await.expect("it answers");
    let request = MetadataRequest::default();
    let mut in_flight = Vec::new();
    for _ in 0..100 {
        in_flight.push(connection.submit(&request, 4).await.expect("it is sent"));
    }
    let mut answered = Vec::new();
    for submitted in in_flight {
        answered.push(connection.receive(submitted).await.expect("it answers").controller_id);
    }
    assert!(answered.is_sorted());
    assert_eq!(answered.len(), 100);
}

#[tokio::test]
async fn an_answer_to_another_request_makes_the_connection_unusable() {
    fn crossed(header: &RequestHeader) -> Option<Vec<Bytes>> {
        let other = RequestHeader { correlation_id: 77, ..header.clone() };
        if header.api_key == ApiKey::ApiVersions { right(header) } else { right(&other) }
    }
    let mut connection = connect(crossed).await.expect("it answers");
    let error = connection.metadata(None, false).await.expect_err("crossed");
    assert!(matches!(error, ClientError::Misbehaved { .. }), "{error}");
    let error = connection.metadata(None, false).await.expect_err("the stream is lost");
    assert!(matches!(error, ClientError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_claimed_length_is_bounded_and_not_allocated() {
    fn huge(_: &RequestHeader) -> Option<Vec<Bytes>> {
        Some(vec![Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0])])
    }
    let error = connect(huge).await.err().expect("no broker says that");
    assert!(matches!(error, ClientError::Misbehaved { .. }), "{error}");

    // The frame is short, the array in it claims two billion elements.
    fn long_array(header: &RequestHeader) -> Option<Vec<Bytes>> {
        if header.api_key == ApiKey::ApiVersions {
            return right(header);
        }
        let mut frame = 12_i32.to_be_bytes().to_vec();
        frame.extend(header.correlation_id.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        Some(vec![frame.into()])
    }
    let mut connection = connect(long_array).await.expect("it answers");
    let error = connection.metadata(None, false).await.expect_err("no such array");
    assert!(matches!(error, ClientError::Malformed { version: 4, .. }), "{error}");
}

#[tokio::test]
async fn silence_times_out_and_a_lost_call_is_not_mistaken_for_an_answer() {
    fn silent(header: &RequestHeader) -> Option<Vec<Bytes>> {
        (header.api_key == ApiKey::ApiVersions).then(|| versions(header))
    }
    let mut connection = connect(silent).await.expect("it answers the first request");
    connection.set_timeout(Duration::from_millis(30));
    let error = connection.metadata(None, false).await.expect_err("nothing comes");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    let error = connection.metadata(None, false).await.expect_err("the stream is lost");
    assert!(matches!(error, ClientError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let connecting = Connection::connect(&address, "test", Arc::new(OsClock::new()));
    let error = connecting.await.err().expect("nobody listens").to_string();
    assert!(error.starts_with(&format!("cannot connect to {address}: ")), "{error}");
}

#[test]
fn another_implementation_reads_the_batches_that_are_sent() {
    let mut builder = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(3), Sequence(40));
    let long = vec![b'x'; 300];
    builder.push(NewRecord {
        timestamp: Timestamp(5_000),
        key: None,
        value: Some(&long),
        headers: &[(b"trace", Some(b"1")), (b"empty", None)],
    });
    builder.push(NewRecord {
        timestamp: Timestamp(4_000),
        key: Some(b""),
        value: None,
        headers: &[],
    });
    let mut bytes = builder.build();
    let records = RecordBatchDecoder::decode(&mut bytes).expect("it is a valid batch").records;
    let [first, second] = &records[..] else { panic!("two records were put in") };
    assert_eq!((first.producer_id, first.producer_epoch, first.sequence), (7, 3, 40));
    assert_eq!((first.timestamp, first.offset, first.headers.len()), (5_000, 0, 2));
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (None, Some(long.as_slice())));
    assert_eq!((second.timestamp, second.offset, second.sequence), (4_000, 1, 41));
    assert_eq!((second.key.as_deref(), second.value.as_deref()), (Some(&b""[..]), None));
}
