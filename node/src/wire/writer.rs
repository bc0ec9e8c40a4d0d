//! Writes the protocol's primitive types into chunks for a vectored write.

use super::{Str, error::EncodeError, reader::STRING_MAX_BYTES};
use bytes::{BufMut, Bytes, BytesMut};
use highwater_core::types::TopicId;

/// Byte fields of at least this size become a chunk of their own instead of being copied: below
/// it, a copy is cheaper than one more buffer in the system call.
const SHARED_CHUNK_MIN_BYTES: usize = 1024;

/// What most responses without records fit into.
const INITIAL_CAPACITY_BYTES: usize = 256;

/// Collects a message as a list of chunks: small fields are copied together, record batches are
/// taken over without a copy.
#[derive(Debug)]
pub struct Writer {
    /// Everything before the first shared chunk, once there is one. It is kept mutable for the
    /// frame's length, which is known at the end.
    head: Option<BytesMut>,
    /// Finished chunks after `head`.
    chunks: Vec<Bytes>,
    /// The bytes after the last finished chunk.
    tail: BytesMut,
    /// Length of `head` and `chunks` together.
    finished_bytes: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        let tail = BytesMut::with_capacity(INITIAL_CAPACITY_BYTES);
        Self { head: None, chunks: Vec::new(), tail, finished_bytes: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.finished_bytes + self.tail.len()
    }

    /// The chunks in order; none of them is empty.
    #[must_use]
    pub fn finish(mut self) -> Vec<Bytes> {
        let Some(head) = self.head else {
            return if self.tail.is_empty() { Vec::new() } else { vec![self.tail.freeze()] };
        };
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.freeze());
        }
        if !head.is_empty() {
            self.chunks.insert(0, head.freeze());
        }
        self.chunks
    }

    /// Everything in one buffer, which copies unless there is only one chunk.
    #[must_use]
    pub fn finish_contiguous(self) -> Bytes {
        let written = self.written();
        let mut chunks = self.finish();
        if chunks.len() == 1 {
            return chunks.remove(0);
        }
        let mut joined = BytesMut::with_capacity(written);
        chunks.iter().for_each(|chunk| joined.put_slice(chunk));
        joined.freeze()
    }

    /// Overwrites four bytes that were written at `position` before any shared chunk.
    ///
    /// # Panics
    /// There are no such bytes.
    pub(super) fn patch_i32(&mut self, position: usize, value: i32) {
        let head = self.head.as_mut().unwrap_or(&mut self.tail);
        head[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.tail.put_u8(u8::from(value));
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    /// A 16-bit integer.
    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// An unsigned 16-bit integer.
    pub fn u16(&mut self, value: u16) {
        self.tail.put_u16(value);
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    /// A UUID.
    pub fn uuid(&mut self, value: TopicId) {
        self.tail.put_slice(&value.0);
    }

    /// An unsigned variable-length integer.
    pub fn unsigned_varint(&mut self, value: u32) {
        let (bytes, length) = varint_bytes(value);
        self.tail.put_slice(&bytes[..length]);
    }

    /// A string; `flexible` says which of the two encodings of its length is used.
    ///
    /// # Errors
    /// The string is longer than 32767 bytes.
    pub fn string(&mut self, value: &Str, flexible: bool) -> Result<(), EncodeError> {
        let length = value.len();
        if length > STRING_MAX_BYTES {
            return Err(EncodeError::StringTooLong(length));
        }
        if flexible {
            self.unsigned_varint(length as u32 + 1);
        } else {
            self.i16(length as i16);
        }
        self.tail.put_slice(value.as_bytes());
        Ok(())
    }

    /// A string or null.
    ///
    /// # Errors
    /// The string is longer than 32767 bytes.
    pub fn nullable_string(
        &mut self,
        value: Option<&Str>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => return self.string(value, flexible),
            None if flexible => self.unsigned_varint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// Opaque bytes, copied: what is not record batches is small, and may be tagged.
    ///
    /// # Errors
    /// There are more than `i32::MAX` bytes.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.nullable_bytes(Some(value), flexible)
    }

    /// Opaque bytes or null, copied.
    ///
    /// # Errors
    /// There are more than `i32::MAX` bytes.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.length(value.map(Bytes::len), flexible)?;
        self.tail.put_slice(value.map_or(&[], |value| value));
        Ok(())
    }

    /// Opaque record batches or null, shared with the message.
    ///
    /// # Errors
    /// There are more than `i32::MAX` bytes.
    pub fn nullable_records(
        &mut self,
        value: Option<&Bytes>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.length(value.map(Bytes::len), flexible)?;
        match value {
            Some(value) if value.len() >= SHARED_CHUNK_MIN_BYTES => self.share(value.clone()),
            Some(value) => self.tail.put_slice(value),
            None => {}
        }
        Ok(())
    }

    /// An array; `element` writes one element.
    ///
    /// # Errors
    /// There are more than `i32::MAX` elements, or an element cannot be written.
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.nullable_array(Some(elements), flexible, element)
    }

    /// An array or null.
    ///
    /// # Errors
    /// There are more than `i32::MAX` elements, or an element cannot be written.
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(elements.map(<[T]>::len), flexible)?;
        elements.unwrap_or_default().iter().try_for_each(|value| element(self, value))
    }

    /// A structure or null.
    ///
    /// # Errors
    /// The structure cannot be written.
    pub fn nullable<T>(
        &mut self,
        value: Option<&T>,
        structure: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                structure(self, value)
            }
            None => {
                self.i8(-1);
                Ok(())
            }
        }
    }

    /// A structure or null inside a tagged field.
    ///
    /// # Errors
    /// The structure cannot be written.
    pub fn tagged_nullable<T>(
        &mut self,
        value: Option<&T>,
        structure: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unsigned_varint(u32::from(value.is_some()));
        value.map_or(Ok(()), |value| structure(self, value))
    }

    /// One tagged field (KIP-482): its tag, its size and what `content` writes, which may not
    /// contain record batches.
    ///
    /// # Errors
    /// The content cannot be written.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unsigned_varint(tag);
        let chunks_before = self.chunks.len();
        let start = self.tail.len();
        content(self)?;
        assert!(self.chunks.len() == chunks_before, "record batches are never tagged");
        // The size goes before the content, whose end has to move out of its way.
        let size = self.tail.len() - start;
        let size_field = u32::try_from(size).map_err(|_| EncodeError::LengthTooLong(size))?;
        let (bytes, length) = varint_bytes(size_field);
        self.tail.put_bytes(0, length);
        self.tail.copy_within(start..start + size, start + length);
        self.tail[start..start + length].copy_from_slice(&bytes[..length]);
        Ok(())
    }

    fn length(&mut self, length: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        let length = match length {
            None => -1,
            Some(length) => {
                i32::try_from(length).map_err(|_| EncodeError::LengthTooLong(length))?
            }
        };
        if flexible {
            self.unsigned_varint((length as u32).wrapping_add(1));
        } else {
            self.i32(length);
        }
        Ok(())
    }

    fn share(&mut self, bytes: Bytes) {
        let before = self.tail.split();
        self.finished_bytes += before.len() + bytes.len();
        if self.head.is_none() {
            self.head = Some(before);
        } else if !before.is_empty() {
            self.chunks.push(before.freeze());
        }
        self.chunks.push(bytes);
    }
}

/// The variable-length form of a number and how many of the bytes it takes.
fn varint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_takes_one_to_five_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16384, &[0x80, 0x80, 0x01]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut writer = Writer::new();
            writer.unsigned_varint(value);
            assert_eq!(writer.finish_contiguous(), bytes, "{value}");
        }
    }

    #[test]
    fn large_records_become_a_chunk_without_a_copy() {
        let records = Bytes::from(vec![7; SHARED_CHUNK_MIN_BYTES]);
        let mut writer = Writer::new();
        writer.i32(0);
        writer.nullable_records(Some(&records), false).unwrap();
        writer.i8(9);
        writer.nullable_records(Some(&records), true).unwrap();
        writer.patch_i32(0, 5);
        assert_eq!(writer.written(), 4 + 4 + 1024 + 1 + 2 + 1024);
        let chunks = writer.finish();
        assert_eq!(chunks.len(), 4);
        assert_eq!(chunks[0], [0, 0, 0, 5, 0, 0, 4, 0][..]);
        assert_eq!(chunks[1].as_ptr(), records.as_ptr());
        assert_eq!(chunks[2], [9, 0x81, 0x08][..]);
        assert_eq!(chunks[3].as_ptr(), records.as_ptr());
    }

    #[test]
    fn a_tagged_field_carries_its_size() {
        let mut writer = Writer::new();
        writer.i8(1);
        writer
            .tagged_field(3, |writer| {
                writer.tail.put_bytes(5, 200);
                Ok(())
            })
            .unwrap();
        let bytes = writer.finish_contiguous();
        assert_eq!(bytes[..4], [1, 3, 0xc8, 0x01]);
        assert_eq!(bytes[4..], [5; 200]);
    }

    #[test]
    fn a_string_too_long_for_the_wire_is_refused() {
        let text = Str::from("x".repeat(32768));
        let result = Writer::new().string(&text, true);
        assert_eq!(result, Err(EncodeError::StringTooLong(32768)));
    }
}
