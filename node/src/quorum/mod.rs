//! The metadata quorum as the rest of the node sees it: commands go in, an image comes out.

mod local;
mod watch;

pub use local::{LocalQuorum, OpenError};
pub use watch::Watch;

use crate::env::BoxFuture;
use highwater_core::{
    metadata::{Command, Image, MetadataError, Reply},
    types::MetadataOffset,
};
use std::sync::Arc;

/// The replicated metadata log and the image that its commands add up to.
pub trait Quorum: Send + Sync {
    /// Makes a command durable and applies it. The answer is the offset behind the command and
    /// what applying it replied.
    fn propose(
        &self,
        command: Command,
    ) -> BoxFuture<'static, Result<(MetadataOffset, Reply), ProposeError>>;
    /// The image as of the last applied command.
    fn image(&self) -> Arc<Image>;
    /// Completes when the image is past `after`.
    fn changed(&self, after: MetadataOffset) -> BoxFuture<'static, ()>;
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// The image refuses the command; nothing was stored.
    #[error("{0}")]
    Refused(MetadataError),
    /// The command could not be stored and is not in the log.
    #[error("the metadata log could not take the command: {0}")]
    NotStored(String),
    /// The command may have been stored: look at the image before trying again.
    #[error("whether the metadata log took the command is unknown: {0}")]
    Unknown(String),
    /// The quorum has stopped after an earlier failure of its disk; restart the broker.
    #[error("the metadata log has stopped after a disk failure; repair the disk and restart")]
    Stopped,
}
