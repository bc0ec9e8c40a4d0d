//! The bytes that members of the classic protocol bring and get.

use super::*;
use crate::group::consumer::protocol::{assignment, by_id, encode_assignment, subscription};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A ConsumerProtocolSubscription: topics, what is owned of topic `t` since generation 7, and the
/// rack.
pub(super) fn subscribe(
    version: i16,
    topics: &[&str],
    owned: &[u32],
    rack: Option<&str>,
) -> Vec<u8> {
    subscribe_since(version, topics, (owned, 7), rack)
}

/// The same, with the generation in which it was owned; -1 is none.
pub(super) fn subscribe_since(
    version: i16,
    topics: &[&str],
    (owned, generation): (&[u32], i32),
    rack: Option<&str>,
) -> Vec<u8> {
    let mut out = version.to_be_bytes().to_vec();
    out.extend((topics.len() as u32).to_be_bytes());
    topics.iter().for_each(|topic| string(&mut out, topic));
    out.extend((-1_i32).to_be_bytes());
    if version >= 1 {
        if owned.is_empty() {
            out.extend(0_u32.to_be_bytes());
        } else {
            out.extend(1_u32.to_be_bytes());
            string(&mut out, "t");
            out.extend((owned.len() as u32).to_be_bytes());
            owned.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
        }
    }
    if version >= 2 {
        out.extend(generation.to_be_bytes());
    }
    if version >= 3 {
        match rack {
            None => out.extend((-1_i16).to_be_bytes()),
            Some(rack) => string(&mut out, rack),
        }
    }
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

#[test]
fn subscriptions_of_every_version_are_read() {
    for version in 0..6_i16 {
        let read =
            subscription(&subscribe(version, &["t", "u"], &[0, 2], Some("r"))).expect("whole");
        assert_eq!(read.version, version.min(3));
        assert_eq!(read.topics, names(&["t", "u"]));
        let owned = if version == 0 { vec![] } else { vec![PartitionIndex(0), PartitionIndex(2)] };
        assert_eq!(read.owned.first().map(|(_, of)| of.clone()).unwrap_or_default(), owned);
        assert_eq!(read.generation, (version >= 2).then_some(7));
        assert_eq!(read.rack.as_deref(), (version >= 3).then_some("r"));
    }
}

#[test]
fn assignments_are_written_as_golden_bytes_and_read_again() {
    let world = World::with_topics(&[("t", 3), ("u", 1)]);
    let owned = partitions(&[(1, &[0, 2]), (9, &[0])]);
    let bytes = encode_assignment(1, &owned, &world.image);
    let golden: &[u8] =
        &[0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 255, 255, 255, 255];
    assert_eq!(&bytes[..], golden);
    let read = assignment(&bytes).expect("whole");
    assert_eq!(by_id(&read.partitions, &world.image), partitions(&[(1, &[0, 2])]));
    assert!(!read.has_user_data);
    let read = assignment(&[]).expect("nothing");
    assert_eq!(read.partitions, []);
}

#[test]
fn an_assignment_with_user_data_is_told_apart() {
    let mut bytes = encode_assignment(0, &partitions(&[]), &World::new().image).to_vec();
    let end = bytes.len() - 4;
    bytes.truncate(end);
    bytes.extend([0, 0, 0, 1, 9]);
    assert!(assignment(&bytes).expect("whole").has_user_data);
}

#[test]
fn whatever_a_member_sends_is_read_or_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let whole = subscribe(3, &["t", "u"], &[0, 1], Some("rack"));
    for cut in 0..whole.len() {
        assert!(subscription(&whole[..cut]).is_none(), "{cut} bytes of it");
    }
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random_range(0..=255) as u8;
        }
        let _ = (subscription(&bytes), assignment(&bytes));
    }
    assert!(subscription(&[255, 255]).is_none(), "no version is below zero");
}
