//! The frame of the small files beside the segments: magic, version, body, CRC-32C.
//!
//! All numbers are big-endian. A reader believes nothing before the CRC has been checked, and no
//! count that the remaining bytes cannot hold.

use crc_fast::{CrcAlgorithm, checksum};
use std::ops::RangeInclusive;

const MAGIC_BYTES: usize = 4;
const CRC_BYTES: usize = 4;

/// Why a file cannot be read: a clause that follows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct FormatError(pub(super) &'static str);

/// Writes one framed file.
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(magic: &[u8; MAGIC_BYTES], version: u16) -> Self {
        let mut encoder = Self { bytes: magic.to_vec() };
        encoder.bytes.extend_from_slice(&version.to_be_bytes());
        encoder
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A number of items. Panics above `u32::MAX`, which no segment reaches.
    pub(super) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("side files hold fewer than 2^32 items");
        self.bytes.extend_from_slice(&count.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The whole file, its CRC at the end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc_of(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_be_bytes());
        self.bytes
    }
}

/// Reads one framed file.
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Checks the frame and starts at the body: the version that was found, and the decoder.
    pub(super) fn open(
        file: &'a [u8],
        magic: &[u8; MAGIC_BYTES],
        versions: RangeInclusive<u16>,
    ) -> Result<(u16, Self), FormatError> {
        let (covered, crc) =
            file.split_last_chunk::<CRC_BYTES>().ok_or(FormatError("it is too short"))?;
        if crc_of(covered) != u32::from_be_bytes(*crc) {
            return Err(FormatError("its CRC does not match"));
        }
        let (found, rest) =
            covered.split_first_chunk::<MAGIC_BYTES>().ok_or(FormatError("it is too short"))?;
        if found != magic {
            return Err(FormatError("it is another kind of file"));
        }
        let mut decoder = Self { rest };
        let version = u16::from_be_bytes(decoder.take()?);
        if !versions.contains(&version) {
            return Err(FormatError("its version is not known to this build"));
        }
        Ok((version, decoder))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or(FormatError("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A number of items of at least `item_bytes` each.
    pub(super) fn count(&mut self, item_bytes: usize) -> Result<usize, FormatError> {
        let count = u32::from_be_bytes(self.take()?) as usize;
        match count.checked_mul(item_bytes) {
            Some(needed) if needed <= self.rest.len() => Ok(count),
            _ => Err(FormatError("it states more items than it holds")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let length = self.count(1)?;
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn finish(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError("it goes on after its end")) }
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
