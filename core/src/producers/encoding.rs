//! The stable encoding of producer states, big-endian.
//!
//! A 32-bit count, then by ascending id: id (64 bits), epoch (16), number of batches (8), and of
//! each batch, oldest first: base and last sequence (32 each), base and last offset (64 each) and
//! timestamp (64).

use super::{BatchRange, ProducerState, ProducerStates, RETAINED_BATCHES};
use crate::{
    encoding::{DecodeError, Decoder, put_count},
    time::{Instant, Timestamp},
    types::{Offset, ProducerEpoch, ProducerId, Sequence},
};
use alloc::vec::Vec;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

const PRODUCER_BYTES: usize = 11;
const RANGE_BYTES: usize = 32;

/// As the stable encoding, between brokers.
impl Serialize for ProducerStates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        self.encode(&mut bytes);
        bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ProducerStates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::deserialize(deserializer)?;
        let mut decoder = Decoder::new(&bytes);
        let states = Self::decode(&mut decoder).map_err(D::Error::custom)?;
        decoder.finish().map_err(D::Error::custom)?;
        Ok(states)
    }
}

impl ProducerStates {
    /// How many bytes [`ProducerStates::encode`] appends.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let ranges: usize = self.iter().map(|(_, state)| state.batches().len()).sum();
        size_of::<u32>() + self.len() * PRODUCER_BYTES + ranges * RANGE_BYTES
    }

    /// Appends the stable encoding. Ages are not part of it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        for (id, state) in self.iter() {
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&state.epoch().0.to_be_bytes());
            out.push(state.batches().len() as u8);
            state.batches().iter().for_each(|range| encode_range(range, out));
        }
    }

    /// Reads what [`ProducerStates::encode`] wrote. Every age starts at the clock's origin.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut states = Self::default();
        let mut previous = None;
        for _ in 0..decoder.count(PRODUCER_BYTES)? {
            let id = ProducerId(decoder.u64()?);
            if previous.is_some_and(|previous| previous >= id) {
                return Err(DecodeError::Invalid { rule: "producer ids must strictly increase" });
            }
            previous = Some(id);
            states.producers.insert(id, decode_state(decoder)?);
        }
        Ok(states)
    }
}

fn encode_range(range: &BatchRange, out: &mut Vec<u8>) {
    out.extend_from_slice(&range.base_sequence.0.to_be_bytes());
    out.extend_from_slice(&range.last_sequence.0.to_be_bytes());
    out.extend_from_slice(&range.base_offset.0.to_be_bytes());
    out.extend_from_slice(&range.last_offset.0.to_be_bytes());
    out.extend_from_slice(&range.timestamp.0.to_be_bytes());
}

fn decode_state(decoder: &mut Decoder<'_>) -> Result<ProducerState, DecodeError> {
    let epoch = decoder.i16()?;
    if epoch < 0 {
        return Err(DecodeError::Invalid { rule: "a producer epoch must not be negative" });
    }
    let epoch = ProducerEpoch(epoch);
    let count = usize::from(decoder.u8()?);
    if count == 0 || count > RETAINED_BATCHES {
        return Err(DecodeError::Invalid { rule: "a producer has one to five batches" });
    }
    let mut state = ProducerState::new(epoch, Instant::default());
    for _ in 0..count {
        let range = decode_range(decoder)?;
        if state.last().is_some_and(|last| range.base_offset <= last.last_offset) {
            return Err(DecodeError::Invalid { rule: "a producer's offsets must increase" });
        }
        state.append(Instant::default(), epoch, range);
    }
    Ok(state)
}

fn decode_range(decoder: &mut Decoder<'_>) -> Result<BatchRange, DecodeError> {
    let range = BatchRange {
        base_sequence: Sequence(decoder.i32()?),
        last_sequence: Sequence(decoder.i32()?),
        base_offset: Offset(decoder.u64()?),
        last_offset: Offset(decoder.u64()?),
        timestamp: Timestamp(decoder.i64()?),
    };
    if range.base_sequence.0 < 0 || range.last_sequence.0 < 0 {
        return Err(DecodeError::Invalid { rule: "a sequence number must not be negative" });
    }
    if range.last_offset < range.base_offset || range.last_offset.0 > i64::MAX as u64 {
        return Err(DecodeError::Invalid { rule: "a batch's offsets must not decrease" });
    }
    Ok(range)
}
