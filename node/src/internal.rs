//! Highwater's own persistent messages: serde and bincode 1.3 behind one frame format.
//!
//! A frame is `length: u32 | crc: u32 | version: u8 | position: u64 | payload`, little-endian.
//! `length` counts what follows `crc`; `crc` is the CRC-32C of what it counts. `position` is the
//! writer's sequence number, so that a frame found in the wrong place is recognised. Messages
//! between brokers have a frame of their own (`peer::frame`) around the same payloads. bincode is
//! named in this module only.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// The format this build writes; an unknown one is refused, never guessed at.
const VERSION: u8 = 1;
/// `length` and `crc`.
const PREFIX_BYTES: usize = 8;
/// `version` and `position`.
const FIXED_BYTES: usize = 9;
/// The largest payload a frame may claim.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than the frame claims: the end of the file, or a torn write.
    #[error("the frame is cut short")]
    Short,
    /// The length or the checksum is wrong.
    #[error("the frame's checksum does not match")]
    Corrupt,
    /// Written by a newer build.
    #[error("frame version {0} is unknown to this build")]
    Version(u8),
    /// The checksum is right but the payload is not a message of this type.
    #[error("the frame's payload does not decode: {0}")]
    Payload(String),
}

/// A decoded frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<T> {
    /// The writer's sequence number.
    pub position: u64,
    /// The message.
    pub message: T,
    /// Bytes the frame takes, prefix included.
    pub size: usize,
}

/// Encodes a message as one frame.
///
/// Panics when the message is larger than [`PAYLOAD_BYTES_MAX`]: the callers bound what they store.
pub fn encode<T: Serialize>(position: u64, message: &T) -> Bytes {
    let payload = encode_payload(message);
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "internal message of {} bytes", payload.len());
    let mut body = BytesMut::with_capacity(FIXED_BYTES + payload.len());
    body.put_u8(VERSION);
    body.put_u64_le(position);
    body.extend_from_slice(&payload);
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    frame.put_u32_le(u32::try_from(body.len()).expect("bounded above"));
    frame.put_u32_le(checksum(&body));
    frame.extend_from_slice(&body);
    frame.freeze()
}

/// Encodes a message without a frame, for those who have one of their own.
pub fn encode_payload<T: Serialize>(message: &T) -> Bytes {
    bincode::serialize(message).expect("a message in memory always serialises").into()
}

/// Decodes what [`encode_payload`] encoded; all of `payload` must be the message. A hostile length
/// inside of it is refused and not allocated.
pub fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    use bincode::Options;
    // The limit keeps a hostile length inside the payload from becoming an allocation.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(payload.len() as u64)
        .deserialize(payload)
        .map_err(|error| FrameError::Payload(error.to_string()))
}

/// Bytes of a message's payload in a frame.
///
/// Unbounded: [`encode`] refuses what is larger than [`PAYLOAD_BYTES_MAX`].
pub fn encoded_size<T: Serialize>(message: &T) -> u64 {
    bincode::serialized_size(message).expect("a message in memory always serialises")
}

/// Decodes the frame at the start of `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Frame<T>, FrameError> {
    let prefix = bytes.get(..PREFIX_BYTES).ok_or(FrameError::Short)?;
    let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let crc = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    if !(FIXED_BYTES..=FIXED_BYTES + PAYLOAD_BYTES_MAX).contains(&length) {
        return Err(FrameError::Corrupt);
    }
    let body = bytes.get(PREFIX_BYTES..PREFIX_BYTES + length).ok_or(FrameError::Short)?;
    if checksum(body) != crc {
        return Err(FrameError::Corrupt);
    }
    if body[0] != VERSION {
        return Err(FrameError::Version(body[0]));
    }
    let position = u64::from_le_bytes(body[1..FIXED_BYTES].try_into().expect("eight bytes"));
    let message = decode_payload(&body[FIXED_BYTES..])?;
    Ok(Frame { position, message, size: PREFIX_BYTES + length })
}

/// Whether a whole frame of a later position begins anywhere in `bytes`: what lies before it is
/// then damage in the middle of a file, not a torn tail.
pub fn later_frame_in(bytes: &[u8], position: u64) -> Option<usize> {
    (0..bytes.len().saturating_sub(PREFIX_BYTES + FIXED_BYTES)).find(|&start| {
        let rest = &bytes[start..];
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let crc = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]);
        length >= FIXED_BYTES
            && rest.get(PREFIX_BYTES..PREFIX_BYTES.saturating_add(length)).is_some_and(|body| {
                body[0] == VERSION
                    && u64::from_le_bytes(body[1..FIXED_BYTES].try_into().expect("eight bytes"))
                        > position
                    && checksum(body) == crc
            })
    })
}

/// The CRC-32C (Castagnoli) of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    small(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes))
}

/// The CRC-32C of some chunks, one behind the other.
pub fn checksum_of(chunks: &[Bytes]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for chunk in chunks {
        digest.update(chunk);
    }
    small(digest.finalize())
}

fn small(checksum: u64) -> u32 {
    u32::try_from(checksum).expect("CRC-32C has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_decodes_to_what_was_encoded() {
        let frame = encode(7, &("topic".to_string(), 3_u32));
        let decoded: Frame<(String, u32)> = decode(&frame).unwrap();
        assert_eq!(decoded, Frame { position: 7, message: ("topic".into(), 3), size: frame.len() });
    }

    #[test]
    fn the_bytes_of_a_frame_never_change() {
        let frame = encode(1, &2_u16);
        assert_eq!(frame[..4], [11, 0, 0, 0]);
        assert_eq!(frame[8..], [1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let frame = encode(7, &vec![1_u64, 2, 3]);
        for length in 0..frame.len() {
            assert_eq!(decode::<Vec<u64>>(&frame[..length]), Err(FrameError::Short));
        }
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Vec<u64>>(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_hostile_length_inside_a_payload_allocates_nothing() {
        let frame = encode(0, &u64::MAX);
        assert!(matches!(decode::<Vec<u64>>(&frame), Err(FrameError::Payload(_))));
    }

    #[test]
    fn a_later_frame_behind_damage_is_found() {
        let mut file = encode(3, &1_u8).to_vec();
        let second = file.len();
        file.extend_from_slice(&encode(4, &2_u8));
        file[0] ^= 0xff;
        assert_eq!(later_frame_in(&file, 3), Some(second));
        assert_eq!(later_frame_in(&file[..second], 3), None);
    }
}
