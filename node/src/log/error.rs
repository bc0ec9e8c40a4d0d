//! What goes wrong with a log.

use highwater_core::types::Offset;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a log refused, or could not do, what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. The error names the operation and the path.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// Stored bytes are not what was written. Nothing is repaired or cut: the partition stays
    /// offline until an operator has looked at it.
    #[error(
        "{} is corrupt at byte {position}, offset {offset}: {reason}; restore the file or delete \
         the partition",
        .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The offset that was expected there.
        offset: Offset,
        /// Position in the file, in bytes.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The offset lies outside the log.
    #[error(
        "offset {offset} is out of range: the log holds {log_start_offset} to {log_end_offset}"
    )]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log's first offset.
        log_start_offset: Offset,
        /// The offset behind the log's last record.
        log_end_offset: Offset,
    },
    /// The log was closed or deleted, or has failed before.
    #[error("the log in {} is closed", .dir.display())]
    Closed {
        /// Its directory.
        dir: PathBuf,
    },
}

impl LogError {
    pub(crate) fn corrupt(
        path: &Path,
        offset: Offset,
        position: u64,
        reason: impl ToString,
    ) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, position, reason: reason.to_string() }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
