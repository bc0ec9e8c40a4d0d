//! What can be wrong with bytes we read or with values we are asked to write.

use super::VersionRange;

/// A peer's bytes that are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the frame: {kind}")]
pub struct DecodeError {
    /// Where reading stopped, in bytes from the start of what the [`Reader`](super::Reader) was
    /// given.
    pub offset: usize,
    /// What was wrong there.
    pub kind: DecodeErrorKind,
}

/// The ways in which bytes fail to be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    UnexpectedEnd,
    /// A string, array or byte field claims more than the bytes that remain.
    #[error("a length of {claimed} where {remaining} bytes remain")]
    LengthPastEnd {
        /// The length on the wire.
        claimed: u64,
        /// The bytes left in the frame.
        remaining: usize,
    },
    /// A negative length other than the null marker -1.
    #[error("a negative length of {0}")]
    NegativeLength(i32),
    /// Null for a field that may not be null in this version.
    #[error("null for a field that is not nullable in this version")]
    UnexpectedNull,
    /// A nullable structure begins with neither -1 nor 1.
    #[error("a presence marker of {0}, which is neither -1 nor 1")]
    PresenceMarker(i8),
    /// A variable-length integer of more than 32 bits.
    #[error("a variable-length integer of more than 32 bits")]
    VarintTooLong,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A string of more than 32767 bytes.
    #[error("a string of {0} bytes, more than 32767")]
    StringTooLong(usize),
    /// Tags that repeat or do not ascend (KIP-482).
    #[error("tag {0} repeats or is out of order")]
    TagOrder(u32),
    /// A tagged field whose content is shorter than its size says.
    #[error("tagged field {0} is shorter than its size")]
    TagSize(u32),
    /// The message's arrays would need more memory than the reader may allocate.
    #[error("an array of {needed} bytes in memory, with {left} bytes of the budget left")]
    OverBudget {
        /// What the array would take.
        needed: usize,
        /// What the message may still allocate.
        left: usize,
    },
    /// Bytes after the end of the message.
    #[error("{0} bytes after the end of the message")]
    TrailingBytes(usize),
    /// A version of the message that this codec does not know.
    #[error("version {version} where {known} are known")]
    UnknownVersion {
        /// The version asked for.
        version: i16,
        /// The versions there are.
        known: VersionRange,
    },
}

/// A value that has no representation in the version asked for. Always our own doing: a handler
/// filled a field that the negotiated version does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that this version does not have and that may not be dropped silently.
    #[error("{field} is set, but version {version} does not have it")]
    FieldAbsent {
        /// `Structure.field` as in the schema.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that may not be null in this version.
    #[error("{field} is null, but version {version} needs a value")]
    FieldNull {
        /// `Structure.field` as in the schema.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string of more than 32767 bytes.
    #[error("a string of {0} bytes, more than 32767")]
    StringTooLong(usize),
    /// An array, byte field or message of more than `i32::MAX` elements or bytes.
    #[error("a length of {0}, more than 2147483647")]
    LengthTooLong(usize),
    /// A version of the message that this codec does not know.
    #[error("{message}: version {version} where {known} are known")]
    UnknownVersion {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
        /// The versions there are.
        known: VersionRange,
    },
}

impl EncodeError {
    /// Refuses a version that a message does not have.
    pub(super) fn check_version(
        message: &'static str,
        known: VersionRange,
        version: i16,
    ) -> Result<(), Self> {
        if known.contains(version) {
            Ok(())
        } else {
            Err(Self::UnknownVersion { message, version, known })
        }
    }
}
