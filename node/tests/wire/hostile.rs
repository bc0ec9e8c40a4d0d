//! Hostile bytes: whatever arrives, decoding ends in a message or in an error, and allocates no
//! more than it was allowed.
//!
//! `HIGHWATER_FUZZ_FRAMES` sets how many frames are tried, `HIGHWATER_FUZZ_SEED` where they start.

use crate::{
    allocation::counted,
    codecs::{REQUESTS, RESPONSES},
    samples::{Sampler, apis, put_varint},
    schema::Api,
};
use bytes::{BufMut, Bytes};
use highwater_node::wire::{
    ApiKey, Reader, RequestHeader, ResponseHeader,
    frame::{self, FrameError},
};
use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Frames in an ordinary test run.
const DEFAULT_FRAMES: u64 = 300_000;

/// Hostile frames made from each valid one.
const FRAMES_PER_SAMPLE: u64 = 16;

/// What the reference count of a shared frame may take, on top of the budget.
pub const SHARING_BYTES: usize = 64;

/// Lengths and counts as an attacker would have them.
const LENGTHS: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0, 0xff, 0xff, 0xff],
    &[0, 0, 0xff, 0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff],
    &[0x80, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0x7f],
    &[0xff, 0x7f],
    &[0],
];

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Request,
    Response,
}

/// Decodes a frame as the broker or a client does, and says whether that went well.
fn decode(reader: &mut Reader, direction: Direction, api: usize, version: i16) -> bool {
    match direction {
        Direction::Request => {
            let Ok(header) = RequestHeader::decode(reader) else { return false };
            let codec = REQUESTS.iter().find(|codec| codec.key == header.api_key).unwrap();
            (codec.ours_decode)(reader, header.api_version).is_ok()
        }
        Direction::Response => {
            let codec = &RESPONSES[api];
            ResponseHeader::decode(reader, codec.key, version).is_ok()
                && (codec.ours_decode)(reader, version).is_ok()
        }
    }
}

/// A valid frame, from the header on.
fn sample(api: &Api, direction: Direction, version: i16, random: &mut ChaCha8Rng) -> Vec<u8> {
    let key = ApiKey::from_i16(api.key).unwrap();
    let mut frame = Vec::new();
    let body = match direction {
        Direction::Request => {
            frame.put_i16(api.key);
            frame.put_i16(version);
            frame.put_i32(random.random());
            frame.put_i16(2);
            frame.put_slice(b"me");
            if key.request_header_version(version) == 2 {
                frame.put_u8(0);
            }
            &api.request
        }
        Direction::Response => {
            frame.put_i32(random.random());
            if key.response_header_version(version) == 1 {
                frame.put_u8(0);
            }
            &api.response
        }
    };
    let flexible = version >= api.flexible_from;
    Sampler { random, version, flexible, unknown_tags: true }.structure(body, &mut frame);
    frame
}

/// Damages a frame in one of the ways that bytes get damaged, by chance or on purpose.
pub fn damage(frame: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let position = random.random_range(0..=frame.len());
    match random.random_range(0..7) {
        0 => frame.truncate(position),
        1 => {
            for _ in 0..random.random_range(1..5) {
                if let Some(byte) = frame.get_mut(random.random_range(0..=position)) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        }
        2 => {
            let length = LENGTHS.choose(random).unwrap();
            let end = (position + length.len()).min(frame.len());
            frame.splice(position..end, length.iter().copied());
        }
        3 => {
            let length = LENGTHS.choose(random).unwrap();
            let end = (position + 1).min(frame.len());
            frame.splice(position..end, length.iter().copied());
        }
        4 => {
            let end = (position + random.random_range(0..8)).min(frame.len());
            frame.drain(position..end);
        }
        5 => {
            // An honest count for many of the smallest elements.
            let count = random.random_range(100..2000_usize);
            let mut elements = Vec::new();
            if random.random_bool(0.5) {
                put_varint(&mut elements, count as u32);
            } else {
                elements.put_i32(count as i32);
            }
            elements.put_bytes(random.random_range(0..3), count);
            frame.splice(position.., elements);
        }
        _ => {
            // Keep the start, so that the header survives, and randomise what follows.
            let mut noise = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut noise);
            frame.splice(position.., noise);
        }
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn hostile_frames_neither_panic_nor_allocate_more_than_the_budget() {
    let frames = from_environment("HIGHWATER_FUZZ_FRAMES", DEFAULT_FRAMES);
    let first_seed = from_environment("HIGHWATER_FUZZ_SEED", 0);
    let apis = apis();
    let mut random = ChaCha8Rng::seed_from_u64(first_seed);
    let mut tried = 0;
    let mut survivors = 0;
    let mut most_allocated = 0;
    while tried < frames {
        let api = random.random_range(0..apis.len());
        let versions = apis[api].versions;
        let version = random.random_range(versions.first..=versions.last);
        let direction = *[Direction::Request, Direction::Response].choose(&mut random).unwrap();
        let valid = sample(&apis[api], direction, version, &mut random);
        for _ in 0..FRAMES_PER_SAMPLE {
            let mut frame = valid.clone();
            for _ in 0..random.random_range(1..3) {
                damage(&mut frame, &mut random);
            }
            let frame = Bytes::from(frame);
            let limit = apis[api].request_limit;
            let budget = *[0, 100, 4096, limit].choose(&mut random).unwrap();
            let mut reader = Reader::new(frame.clone(), budget);
            let (survived, allocated) = counted(|| decode(&mut reader, direction, api, version));
            let accounted = reader.allocated();
            survivors += u64::from(survived);
            assert!(
                accounted <= budget && allocated <= accounted + SHARING_BYTES,
                "{} version {version}: accounted {accounted}, allocated {allocated}, budget \
                 {budget}, frame {frame:02x?}",
                apis[api].name
            );
            most_allocated = most_allocated.max(allocated);
            tried += 1;
        }
    }
    println!(
        "{tried} hostile frames, of which {survivors} still were messages; the most that one of \
         them allocated: {most_allocated} bytes"
    );
    assert!(survivors > tried / 50, "too few frames get past the first check");
}

#[test]
fn damaged_bodies_that_still_decode_survive_a_round_trip() {
    let apis = apis();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut survivors = 0;
    for round in 0..20_000 {
        let api = &apis[round % apis.len()];
        let version = random.random_range(api.versions.first..=api.versions.last);
        let flexible = version >= api.flexible_from;
        for (codecs, body) in [(REQUESTS, &api.request), (RESPONSES, &api.response)] {
            let mut frame = Vec::new();
            let random = &mut random;
            Sampler { random, version, flexible, unknown_tags: true }.structure(body, &mut frame);
            damage(&mut frame, random);
            let codec = &codecs[round % apis.len()];
            // The codec itself asserts that the message is the same after encode and decode.
            let reader = Reader::new(Bytes::from(frame), api.request_limit);
            survivors += usize::from((codec.ours)(reader, version).is_ok());
        }
    }
    assert!(survivors > 1000, "only {survivors} damaged bodies could be decoded");
}

#[test]
fn a_frame_that_would_decode_within_its_limit_is_refused_above_it() {
    // DescribeCluster's neighbours are small; a Metadata request of empty topic names is not.
    let count = 50_000_i32;
    let mut body = count.to_be_bytes().to_vec();
    body.put_bytes(0, 2 * count as usize);
    let metadata = REQUESTS.iter().find(|codec| codec.key == ApiKey::Metadata).unwrap();
    let decode = |budget| {
        let mut reader = Reader::new(Bytes::from(body.clone()), budget);
        let (result, allocated) = counted(|| (metadata.ours_decode)(&mut reader, 0));
        assert!(allocated <= budget + SHARING_BYTES);
        result
    };
    assert!(decode(ApiKey::Metadata.request_limit()).is_ok());
    assert!(decode(body.len()).is_err());
}

#[test]
fn a_long_frame_that_is_only_claimed_is_not_reserved() {
    for arrived in [6, 10_000, 3_000_000] {
        let mut stream = (100 * 1024 * 1024_i32).to_be_bytes().to_vec();
        stream.put_i16(ApiKey::Produce as i16);
        stream.put_bytes(1, arrived);
        let mut rest = &stream[..];
        let read = async {
            let start = frame::read_frame_start(&mut rest, frame::request_limit).await?.unwrap();
            start.read(&mut rest).await
        };
        // A slice is always ready, so one poll reaches its end.
        let mut context = Context::from_waker(Waker::noop());
        let (outcome, allocated) = counted(|| pin!(read).as_mut().poll(&mut context));
        assert!(matches!(outcome, Poll::Ready(Err(FrameError::Io(_)))));
        // The buffer doubles from a megabyte on; this counts the outgrown ones too.
        let most = 4 * arrived + (2 << 20);
        assert!(allocated < most, "{arrived} arrived, {allocated} allocated");
    }
}
