//! The bytes of a message between brokers.
//!
//! A frame is `magic: "HWPR" | version: u8 | length: u32 | crc: u32 | kind: u8 | correlation: u64 |
//! message length: u32 | message | records`, little-endian. `length` counts what follows `crc`;
//! `crc` is the CRC-32C of what it counts. The message is the pair (lengths of the records, message)
//! as `internal` encodes it. The records of a fetch stand behind it one after the other, so that
//! neither side copies them: they are written from where they are and are slices of the frame that
//! was received.

use super::{
    handshake::{Hello, HelloReply},
    messages::{FetchedRecords, PeerReply, PeerRequest},
};
use crate::{
    internal,
    wire::frame::{FIRST_RESERVATION_BYTES, fill},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest request, all of its frame included.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;
/// The longest reply, all of its frame included.
pub const REPLY_BYTES_MAX: usize = 128 << 20;
/// The longest message of a handshake.
const HANDSHAKE_BYTES_MAX: usize = 4096;
const MAGIC: [u8; 4] = *b"HWPR";
/// The layout that this build speaks; an unknown one is refused, never guessed at.
const VERSION: u8 = 1;
/// `magic`, `version`, `length` and `crc`.
const PREFIX_BYTES: usize = 13;
/// `kind`, `correlation` and `message length`.
const FIXED_BYTES: usize = 13;

/// Why bytes are not a message between brokers. The connection they came from is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended inside a frame.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error("what was received is no message between brokers")]
    Magic,
    /// The other side speaks another layout.
    #[error("frame version {0} is unknown to this build, which speaks version {VERSION}")]
    Version(u8),
    /// The length is out of bounds.
    #[error("a message of {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// All of the frame.
        length: usize,
        /// The bound of its kind.
        limit: usize,
    },
    /// The length does not fit what was received.
    #[error("the message is cut short or has bytes behind it")]
    Length,
    /// The checksum is wrong.
    #[error("the message's checksum does not match")]
    Checksum,
    /// The message is sound and not of the kind that must come here.
    #[error("a message of kind {0} where another one must come")]
    Kind(u8),
    /// The checksum is right but this is no message of that kind.
    #[error("the message does not decode: {0}")]
    Message(internal::FrameError),
    /// The records do not fit the message.
    #[error("the records do not fit their message")]
    Records,
}

/// What a frame can carry.
pub trait PeerMessage: Serialize + DeserializeOwned {
    /// Its number in the frame's header.
    const KIND: u8;
    /// The longest frame, in bytes.
    const FRAME_BYTES_MAX: usize;

    /// The records that travel behind the message, in order.
    fn records(&mut self) -> Vec<&mut Bytes> {
        Vec::new()
    }
}

impl PeerMessage for Hello {
    const KIND: u8 = 1;
    const FRAME_BYTES_MAX: usize = HANDSHAKE_BYTES_MAX;
}

impl PeerMessage for HelloReply {
    const KIND: u8 = 2;
    const FRAME_BYTES_MAX: usize = HANDSHAKE_BYTES_MAX;
}

impl PeerMessage for PeerRequest {
    const KIND: u8 = 3;
    const FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX;
}

impl PeerMessage for PeerReply {
    const KIND: u8 = 4;
    const FRAME_BYTES_MAX: usize = REPLY_BYTES_MAX;

    fn records(&mut self) -> Vec<&mut Bytes> {
        let PeerReply::Fetched(fetched) = self else { return Vec::new() };
        let partitions = fetched.partitions.iter_mut();
        let outcomes = partitions.filter_map(|partition| partition.outcome.as_mut().ok());
        outcomes.map(|FetchedRecords { records, .. }| records).collect()
    }
}

/// The chunks of a message's frame: to be written one behind the other.
///
/// # Errors
/// [`FrameError::TooLong`] when the message is longer than its kind may be.
pub fn encode<M: PeerMessage>(correlation: u64, mut message: M) -> Result<Vec<Bytes>, FrameError> {
    let records: Vec<Bytes> = message.records().into_iter().map(std::mem::take).collect();
    let total: usize = records.iter().map(Bytes::len).sum();
    let limit = M::FRAME_BYTES_MAX;
    if total > limit {
        return Err(FrameError::TooLong { length: total, limit });
    }
    let lengths: Vec<u32> = records.iter().map(|bytes| small(bytes.len())).collect();
    let payload = internal::encode_payload(&(lengths, message));
    let length = PREFIX_BYTES + FIXED_BYTES + payload.len() + total;
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    let mut fixed = BytesMut::with_capacity(FIXED_BYTES);
    fixed.put_u8(M::KIND);
    fixed.put_u64_le(correlation);
    fixed.put_u32_le(small(payload.len()));
    let mut chunks = vec![Bytes::new(), fixed.freeze(), payload];
    chunks.extend(records.into_iter().filter(|bytes| !bytes.is_empty()));
    let mut prefix = BytesMut::with_capacity(PREFIX_BYTES);
    prefix.put_slice(&MAGIC);
    prefix.put_u8(VERSION);
    prefix.put_u32_le(small(length - PREFIX_BYTES));
    prefix.put_u32_le(internal::checksum_of(&chunks));
    chunks[0] = prefix.freeze();
    Ok(chunks)
}

/// Every length here is below a frame's bound.
fn small(length: usize) -> u32 {
    u32::try_from(length).expect("bounded by the longest frame")
}

/// Decodes a whole frame: its correlation id and its message, whose records are slices of `frame`.
///
/// # Errors
/// The bytes are not exactly one such message.
pub fn decode<M: PeerMessage>(frame: &Bytes) -> Result<(u64, M), FrameError> {
    let prefix = frame.get(..PREFIX_BYTES).ok_or(FrameError::Length)?;
    let (length, crc) = read_prefix::<M>(prefix)?;
    let mut body = frame.slice(PREFIX_BYTES..);
    if body.len() != length {
        return Err(FrameError::Length);
    }
    if internal::checksum(&body) != crc {
        return Err(FrameError::Checksum);
    }
    let (kind, correlation) = (body.get_u8(), body.get_u64_le());
    let message_length = body.get_u32_le() as usize;
    if kind != M::KIND {
        return Err(FrameError::Kind(kind));
    }
    if message_length > body.len() {
        return Err(FrameError::Length);
    }
    let payload = body.split_to(message_length);
    let (lengths, mut message): (Vec<u32>, M) =
        internal::decode_payload(&payload).map_err(FrameError::Message)?;
    let places = message.records();
    if places.len() != lengths.len() {
        return Err(FrameError::Records);
    }
    for (place, length) in places.into_iter().zip(lengths) {
        if length as usize > body.len() {
            return Err(FrameError::Records);
        }
        *place = body.split_to(length as usize);
    }
    if !body.is_empty() {
        return Err(FrameError::Records);
    }
    Ok((correlation, message))
}

/// What the prefix of a frame says: how many bytes follow it, and their checksum.
fn read_prefix<M: PeerMessage>(mut prefix: &[u8]) -> Result<(usize, u32), FrameError> {
    if prefix[..MAGIC.len()] != MAGIC {
        return Err(FrameError::Magic);
    }
    prefix.advance(MAGIC.len());
    let version = prefix.get_u8();
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let length = prefix.get_u32_le() as usize;
    let limit = M::FRAME_BYTES_MAX;
    if length > limit - PREFIX_BYTES {
        return Err(FrameError::TooLong { length: length.saturating_add(PREFIX_BYTES), limit });
    }
    if length < FIXED_BYTES {
        return Err(FrameError::Length);
    }
    Ok((length, prefix.get_u32_le()))
}

/// Reads one whole frame that is to be a message `M`, or `None` if the connection ends before it.
/// Memory grows with what arrives, so a peer that only claims a long frame costs little. Not cancel
/// safe.
///
/// # Errors
/// The connection fails, or what came is no such frame.
pub async fn read<M: PeerMessage>(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(u64, M)>, FrameError> {
    let mut prefix = [0; PREFIX_BYTES];
    let arrived = reader.read(&mut prefix).await?;
    if arrived == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut prefix[arrived..]).await?;
    let (length, _) = read_prefix::<M>(&prefix)?;
    let whole = PREFIX_BYTES + length;
    let mut frame = BytesMut::with_capacity(whole.min(FIRST_RESERVATION_BYTES));
    frame.put_slice(&prefix);
    let frame = match fill(reader, frame, whole).await {
        Ok(frame) => frame,
        Err(crate::wire::frame::FrameError::Io(error)) => return Err(FrameError::Io(error)),
        Err(other) => return Err(FrameError::Io(io::Error::other(other))),
    };
    decode(&frame).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::messages::{AnswerStamp, FetchedPartition, ReplicaFetched};
    use highwater_core::{
        encoding::Decoder,
        partition::ReplicaFetchError,
        producers::ProducerStates,
        replica_session::{SessionId, SessionTurn},
        time::Instant,
        types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId},
    };

    fn records(bytes: &'static [u8]) -> Result<FetchedRecords, ReplicaFetchError> {
        Ok(FetchedRecords {
            high_watermark: Offset(7),
            log_start_offset: Offset(1),
            diverging: None,
            records: Bytes::from_static(bytes),
        })
    }

    fn fetched() -> PeerReply {
        let outcomes =
            [records(b"first"), Err(ReplicaFetchError::NotLeader), records(b""), records(b"third")];
        let partition = |(index, outcome)| FetchedPartition {
            topic: TopicId([9; 16]),
            index: PartitionIndex(index),
            leader_epoch: LeaderEpoch(3),
            fetch_offset: Offset(5),
            outcome,
        };
        PeerReply::Fetched(ReplicaFetched {
            partitions: (0..).zip(outcomes).map(partition).collect(),
            session: SessionTurn { id: SessionId { leader: BrokerEpoch(4), number: 6 }, turn: 2 },
            stamp: AnswerStamp { broker_epoch: BrokerEpoch(4), at: Instant(5) },
        })
    }

    fn frame_of<M: PeerMessage>(correlation: u64, message: M) -> Bytes {
        encode(correlation, message).expect("it is short").concat().into()
    }

    #[test]
    fn a_message_decodes_to_what_was_encoded() {
        assert_eq!(decode(&frame_of(3, fetched())).expect("sound"), (3, fetched()));
        let request = PeerRequest::Raft(vec![1, 2]);
        assert_eq!(decode(&frame_of(u64::MAX, request.clone())).unwrap(), (u64::MAX, request));
    }

    #[test]
    fn records_are_written_from_and_read_to_where_they_are() {
        let message = fetched();
        let PeerReply::Fetched(ReplicaFetched { partitions, .. }) = &message else {
            unreachable!()
        };
        let at = partitions[0].outcome.as_ref().unwrap().records.as_ptr();
        let chunks = encode(1, message).unwrap();
        assert_eq!(chunks[3].as_ptr(), at, "no copy on the way out");
        let frame = Bytes::from(chunks.concat());
        let (_, PeerReply::Fetched(ReplicaFetched { partitions, .. })) = decode(&frame).unwrap()
        else {
            unreachable!()
        };
        let records = &partitions[3].outcome.as_ref().unwrap().records;
        assert!(frame.as_ptr_range().contains(&records.as_ptr()), "no copy on the way in");
    }

    #[test]
    fn the_bytes_of_a_frame_never_change() {
        let frame = frame_of(0x0102, PeerRequest::Raft(vec![5, 6]));
        assert_eq!(&frame[..9], [b'H', b'W', b'P', b'R', 1, 35, 0, 0, 0]);
        assert_eq!(frame[9..13], internal::checksum(&frame[13..]).to_le_bytes());
        let body = [
            &[3, 2, 1, 0, 0, 0, 0, 0, 0, 22, 0, 0, 0][..], // kind, correlation, message length
            &[0; 8],                                       // no records
            &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 6],   // Raft, two bytes
        ];
        assert_eq!(frame[13..], body.concat());
    }

    #[test]
    fn the_bytes_of_a_fetch_reply_never_change() {
        let frame = frame_of(1, fetched());
        let lengths = [&[3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0][..]].concat();
        assert_eq!(frame[26..46], lengths);
        assert_eq!(frame[46..58], [8, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0], "Fetched, four partitions");
        assert!(frame.ends_with(b"firstthird"));
        // topic, index, leader epoch, fetch offset, Ok, high watermark, log start, no divergence
        let first = [
            &[9; 16][..],
            &[0, 0, 0, 0],
            &[3, 0, 0, 0],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[0],
        ];
        let first = first.concat();
        assert_eq!(frame[58..58 + first.len()], first);
    }

    #[test]
    fn the_bytes_of_a_log_start_and_its_producers_never_change() {
        let known = [
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 1][..], // producer 7, epoch 2, one batch
            &[0, 0, 0, 0, 0, 0, 0, 1],                          // its sequence numbers
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],  // its offsets
            &[0; 8],                                            // its timestamp
        ];
        let known = known.concat();
        let producers = ProducerStates::decode(&mut Decoder::new(&known)).expect("as encoded");
        let (log_start_offset, log_end_offset) = (Offset(3), Offset(9));
        let error =
            ReplicaFetchError::OffsetOutOfRange { log_start_offset, log_end_offset, producers };
        let PeerReply::Fetched(mut fetched) = fetched() else { unreachable!() };
        fetched.partitions.truncate(1);
        fetched.partitions[0].outcome = Err(error);
        let frame = frame_of(1, PeerReply::Fetched(fetched.clone()));
        // Err, the variant, log start, log end, and the encoding as a string of bytes.
        let outcome = [
            &[1, 0, 0, 0, 4, 0, 0, 0][..],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[47, 0, 0, 0, 0, 0, 0, 0],
            &known,
        ];
        let (outcome, frame_bytes) = (outcome.concat(), frame.to_vec());
        assert!(
            frame_bytes.windows(outcome.len()).any(|bytes| bytes == outcome),
            "{frame_bytes:?}"
        );
        assert_eq!(decode(&frame).expect("sound"), (1, PeerReply::Fetched(fetched)));
    }

    #[test]
    fn every_truncation_every_flipped_bit_and_every_byte_behind_is_refused() {
        let frame = frame_of(7, fetched());
        for length in 0..frame.len() {
            assert!(decode::<PeerReply>(&frame.slice(..length)).is_err(), "{length}");
        }
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<PeerReply>(&damaged.into()).is_err(), "bit {bit}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert!(matches!(decode::<PeerReply>(&longer.into()), Err(FrameError::Length)));
    }

    /// A frame whose checksum is right, whatever its body.
    fn sealed(kind: u8, payload: &[u8], records: &[u8]) -> Bytes {
        let message_length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let body = [&[kind], &[0; 8][..], &message_length, payload, records].concat();
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        let crc = internal::checksum(&body).to_le_bytes();
        [&MAGIC[..], &[VERSION], &length, &crc, &body].concat().into()
    }

    #[test]
    fn records_that_do_not_fit_their_message_are_refused() {
        let PeerReply::Fetched(mut fetched) = fetched() else { unreachable!() };
        fetched.partitions.truncate(1);
        let one = PeerReply::Fetched(fetched);
        let decoded = |lengths: &[u32], records: &[u8]| {
            let payload = internal::encode_payload(&(lengths, &one));
            decode::<PeerReply>(&sealed(PeerReply::KIND, &payload, records))
        };
        assert!(decoded(&[3], b"abc").is_ok());
        for (lengths, records) in [
            (&[3][..], &b"ab"[..]),
            (&[3], b"abcd"),
            (&[], b""),
            (&[1, 2], b"abc"),
            (&[u32::MAX], b""),
        ] {
            let refused = decoded(lengths, records);
            assert!(matches!(refused, Err(FrameError::Records)), "{lengths:?} {refused:?}");
        }
        let payload = internal::encode_payload(&(Vec::<u32>::new(), PeerReply::Joined));
        let behind = sealed(PeerReply::KIND, &payload, b"x");
        assert!(matches!(decode::<PeerReply>(&behind), Err(FrameError::Records)));
    }

    #[test]
    fn a_hostile_length_in_a_message_is_refused_and_another_kind_too() {
        let hostile = [&[0; 8][..], &[0; 4], &[0xff; 8]].concat();
        let frame = sealed(PeerRequest::KIND, &hostile, b"");
        assert!(matches!(decode::<PeerRequest>(&frame), Err(FrameError::Message(_))));
        let reply = frame_of(1, PeerReply::Joined);
        assert!(matches!(decode::<PeerRequest>(&reply), Err(FrameError::Kind(4))));
    }

    #[tokio::test]
    async fn a_frame_beyond_its_bound_is_neither_sent_nor_read() {
        let long = PeerRequest::Raft(vec![0; REQUEST_BYTES_MAX]);
        assert!(matches!(encode(1, long), Err(FrameError::TooLong { .. })));
        let claim = |length: usize| {
            let length = u32::try_from(length).unwrap().to_le_bytes();
            [&MAGIC[..], &[VERSION], &length, &[0; 4]].concat()
        };
        let over = claim(REQUEST_BYTES_MAX - PREFIX_BYTES + 1);
        let read_over = read::<PeerRequest>(&mut &over[..]).await;
        assert!(matches!(read_over, Err(FrameError::TooLong { .. })), "{read_over:?}");
        let allowed = claim(REQUEST_BYTES_MAX - PREFIX_BYTES);
        assert!(matches!(read::<PeerRequest>(&mut &allowed[..]).await, Err(FrameError::Io(_))));
        assert!(matches!(read::<PeerRequest>(&mut &claim(12)[..]).await, Err(FrameError::Length)));
        let mut other_version = claim(20);
        other_version[4] = 2;
        let read_other = read::<PeerRequest>(&mut &other_version[..]).await;
        assert!(matches!(read_other, Err(FrameError::Version(2))));
        let garbage = read::<PeerRequest>(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await;
        assert!(matches!(garbage, Err(FrameError::Magic)));
    }

    #[tokio::test]
    async fn a_connection_may_end_between_messages_only() {
        let frame = frame_of(
            4,
            Hello::new("c", BrokerId(1), BrokerId(2), super::super::handshake::Lane::Control),
        );
        let mut twice = &[&frame[..], &frame[..5]].concat()[..];
        assert!(matches!(read::<Hello>(&mut twice).await, Ok(Some((4, _)))));
        assert!(matches!(read::<Hello>(&mut twice).await, Err(FrameError::Io(_))));
        assert!(matches!(read::<Hello>(&mut &[][..]).await, Ok(None)));
    }
}
