//! The Kafka wire: frames, headers and messages.
//!
//! The messages in [`generated`] come from the schema files in `schema/` (see the README there) by
//! `cargo xtask codegen`. Decoding shares the frame's bytes and never allocates more than the
//! budget of its [`Reader`]; encoding shares record batches and gives chunks for a vectored write.
//!
//! [`record`] has the records of the topic `__consumer_offsets`, [`record_batch`] their batches, and
//! [`consumer_protocol`] what consumers put into the opaque bytes of group messages; the structures
//! come from the schema too.
//!
//! Handlers mind two things. Defaults are the protocol's: a nullable field without a default of its
//! own is empty, not null. And a field that the negotiated version lacks is dropped when the
//! protocol says that it may be ignored; otherwise it must have its default, or encoding fails.

mod api_key;
pub mod consumer_protocol;
mod error;
pub mod error_code;
pub mod frame;
pub mod generated;
pub mod header;
mod reader;
pub mod record;
pub mod record_batch;
mod string;
mod writer;

pub use api_key::{Api, VersionRange};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use error_code::ErrorCode;
pub use generated::ApiKey;
pub use header::{HeaderError, RequestHeader, ResponseHeader};
pub use reader::Reader;
pub use record::{GroupRecord, RecordError, RecordKey};
pub use string::Str;
pub use writer::Writer;

use bytes::Bytes;
use std::fmt::Debug;

/// The body of a request or of a response.
pub trait Message: Clone + Debug + Default + PartialEq {
    /// The name in the protocol, as `FetchRequest`.
    const NAME: &'static str;
    /// The versions that can be decoded and encoded.
    const VERSIONS: VersionRange;

    /// Reads the message; the caller sees to the bytes behind it ([`decode`]).
    ///
    /// # Errors
    /// The bytes are not this message in that version.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message.
    ///
    /// # Errors
    /// That version cannot carry the message.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// The first error code in the message that is not 0, in the order of its fields.
    fn first_error(&self) -> i16 {
        0
    }
}

/// The body of a request.
pub trait Request: Message {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// The body of its response.
    type Response: Message;
}

/// Decodes a body that takes up all of `bytes`, allocating at most `budget` bytes.
///
/// # Errors
/// The bytes are not exactly one such message.
pub fn decode<M: Message>(bytes: Bytes, version: i16, budget: usize) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes, budget);
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}
