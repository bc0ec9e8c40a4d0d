//! Reads the protocol's primitive types from a frame that nobody has checked.
//!
//! Contract: no length on the wire is believed. A string or byte field is a slice of the frame and
//! allocates nothing. An array is allocated only after its count was compared with the bytes that
//! remain and its size in memory was taken from the reader's budget, so one message never makes the
//! reader allocate more than the budget it was given, whatever its bytes say.

use super::{
    Str, VersionRange,
    error::{DecodeError, DecodeErrorKind},
};
use bytes::Bytes;
use highwater_core::types::TopicId;

/// The longest string on the wire, in bytes.
pub(super) const STRING_MAX_BYTES: usize = i16::MAX as usize;

/// A position in a frame and the memory that decoding may still take.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    /// Invariant: `position <= end <= bytes.len()`.
    position: usize,
    /// Where the current structure must stop: the frame's end, or a tagged field's.
    end: usize,
    /// Invariant: `budget_left <= budget`.
    budget_left: usize,
    budget: usize,
}

impl Reader {
    /// Reads `bytes` from the start, allocating at most `budget` bytes for arrays.
    #[must_use]
    pub fn new(bytes: Bytes, budget: usize) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, budget_left: budget, budget }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Bytes of memory that decoding has taken from the budget.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.budget - self.budget_left
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Bytes are left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingBytes(left))),
        }
    }

    /// Refuses a version that a message does not have.
    pub(super) fn check_version(
        &self,
        known: VersionRange,
        version: i16,
    ) -> Result<(), DecodeError> {
        if known.contains(version) {
            Ok(())
        } else {
            Err(self.error(DecodeErrorKind::UnknownVersion { version, known }))
        }
    }

    fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { offset: self.position, kind }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.position..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.error(DecodeErrorKind::UnexpectedEnd)),
        }
    }

    /// A boolean: every byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.fixed::<1>()?[0] != 0)
    }

    /// A signed byte.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// A 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// An unsigned 16-bit integer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// A 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// A 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        self.fixed().map(TopicId)
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::VarintTooLong))
    }

    /// A string; `flexible` says which of the two encodings of its length is used.
    pub fn string(&mut self, flexible: bool) -> Result<Str, DecodeError> {
        self.nullable_string(flexible)?.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// A string or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        let length = if flexible {
            self.compact_length()?
        } else {
            let length = self.i16()?;
            self.checked_length(i32::from(length))?
        };
        let Some(length) = length else { return Ok(None) };
        if length > STRING_MAX_BYTES {
            return Err(self.error(DecodeErrorKind::StringTooLong(length)));
        }
        match Str::from_utf8(self.slice(length)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error(DecodeErrorKind::NotUtf8)),
        }
    }

    /// Opaque bytes, shared with the frame.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// Opaque bytes (record batches are such) or null, shared with the frame.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible)? {
            Some(length) => self.slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// An array; `element` reads one element.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element)?
            .ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// An array or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(flexible)? else { return Ok(None) };
        // Every element takes at least one byte on the wire.
        if count > self.remaining() {
            return Err(self.past_end(count));
        }
        self.take_from_budget(count.saturating_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// A structure or null.
    pub fn nullable<T>(
        &mut self,
        structure: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.i8()? {
            -1 => Ok(None),
            1 => structure(self).map(Some),
            other => Err(self.error(DecodeErrorKind::PresenceMarker(other))),
        }
    }

    /// A structure or null inside a tagged field, whose marker is an unsigned variable-length
    /// integer: zero stands for null.
    pub fn tagged_nullable<T>(
        &mut self,
        structure: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.unsigned_varint()? {
            0 => Ok(None),
            _ => structure(self).map(Some),
        }
    }

    /// The tagged fields at the end of a structure (KIP-482). `field` reads the field of a tag it
    /// knows and answers whether it knew it; fields of other tags are skipped.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        let mut previous = None;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if previous.is_some_and(|previous| previous >= tag) {
                return Err(self.error(DecodeErrorKind::TagOrder(tag)));
            }
            previous = Some(tag);
            let size = self.unsigned_varint()? as usize;
            if size > self.remaining() {
                return Err(self.past_end(size));
            }
            let outer_end = std::mem::replace(&mut self.end, self.position + size);
            if !field(self, tag)? {
                self.position = self.end;
            } else if self.remaining() > 0 {
                return Err(self.error(DecodeErrorKind::TagSize(tag)));
            }
            self.end = outer_end;
        }
        Ok(())
    }

    /// The length of an array or of bytes.
    fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            self.compact_length()
        } else {
            let length = self.i32()?;
            self.checked_length(length)
        }
    }

    /// A length plus one, where zero stands for null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    /// A signed length, where -1 stands for null.
    fn checked_length(&self, length: i32) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(DecodeErrorKind::NegativeLength(length))),
        }
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.past_end(length));
        }
        let slice = self.bytes.slice(self.position..self.position + length);
        self.position += length;
        Ok(slice)
    }

    fn take_from_budget(&mut self, needed: usize) -> Result<(), DecodeError> {
        match self.budget_left.checked_sub(needed) {
            Some(left) => {
                self.budget_left = left;
                Ok(())
            }
            None => {
                let left = self.budget_left;
                Err(self.error(DecodeErrorKind::OverBudget { needed, left }))
            }
        }
    }

    fn past_end(&self, claimed: usize) -> DecodeError {
        let remaining = self.remaining();
        self.error(DecodeErrorKind::LengthPastEnd { claimed: claimed as u64, remaining })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes), 64)
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> DecodeErrorKind {
        result.unwrap_err().kind
    }

    #[test]
    fn a_varint_may_take_five_bytes_and_no_more_than_32_bits() {
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        assert_eq!(reader(&[0x80, 0x01]).unsigned_varint(), Ok(128));
        for too_long in [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(kind(reader(&too_long).unsigned_varint()), DecodeErrorKind::VarintTooLong);
        }
    }

    #[test]
    fn an_array_that_claims_more_than_the_bytes_that_remain_is_refused() {
        let result = reader(&[0x7f, 0xff, 0xff, 0xff, 0, 0]).array(false, Reader::i8);
        assert_eq!(
            kind(result),
            DecodeErrorKind::LengthPastEnd { claimed: i32::MAX as u64, remaining: 2 }
        );
    }

    #[test]
    fn an_array_over_the_budget_is_refused_before_it_is_allocated() {
        let mut frame = vec![0, 0, 0, 9];
        frame.extend([0; 9]);
        let mut reader = reader(&frame);
        let result = reader.array(false, |reader| reader.i8().map(i64::from));
        assert_eq!(kind(result), DecodeErrorKind::OverBudget { needed: 72, left: 64 });
        assert_eq!(reader.allocated(), 0);
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_must_fill_their_size() {
        let known = |reader: &mut Reader, tag| {
            if tag == 1 {
                reader.i8()?;
            }
            Ok(tag == 1)
        };
        assert_eq!(reader(&[2, 0, 2, 9, 9, 1, 1, 7]).tagged_fields(known), Ok(()));
        assert_eq!(
            kind(reader(&[1, 1, 2, 7, 7]).tagged_fields(known)),
            DecodeErrorKind::TagSize(1)
        );
        assert_eq!(
            kind(reader(&[1, 1, 0, 7]).tagged_fields(known)),
            DecodeErrorKind::UnexpectedEnd
        );
    }

    #[test]
    fn tags_that_repeat_or_descend_are_refused() {
        for tags in [[2, 5, 0, 5, 0], [2, 5, 0, 4, 0]] {
            let result = reader(&tags).tagged_fields(|_, _| Ok(false));
            assert_eq!(kind(result), DecodeErrorKind::TagOrder(u32::from(tags[3])));
        }
    }

    #[test]
    fn lengths_of_strings_are_checked() {
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert_eq!(kind(reader(&[0xff, 0xff]).string(false)), DecodeErrorKind::UnexpectedNull);
        assert_eq!(kind(reader(&[0xff, 0xfe]).string(false)), DecodeErrorKind::NegativeLength(-2));
        assert_eq!(kind(reader(&[2, 0xff]).string(true)), DecodeErrorKind::NotUtf8);
        assert_eq!(
            kind(reader(&[0x81, 0x80, 0x02]).string(true)),
            DecodeErrorKind::StringTooLong(32768)
        );
    }

    #[test]
    fn bytes_after_the_message_are_an_error() {
        let mut reader = reader(&[0, 1, 2]);
        reader.i16().unwrap();
        assert_eq!(kind(reader.finish()), DecodeErrorKind::TrailingBytes(1));
    }
}
