//! Grants producer ids out of blocks that the metadata log reserves.

use crate::quorum::{ProposeError, Quorum};
use highwater_core::{
    metadata::{Command, Reply},
    types::ProducerId,
};
use std::ops::Range;
use tokio::sync::Mutex;

/// Ids in a block: as many as Kafka's, so that the metadata log is rarely written.
const BLOCK: u32 = 1_000;

/// The rest of the block this broker holds.
#[derive(Debug, Default)]
pub struct ProducerIds {
    /// Held while a new block is proposed: the others would need it as well.
    rest: Mutex<Range<u64>>,
}

impl ProducerIds {
    /// An id that nobody has had before.
    pub async fn next(&self, quorum: &dyn Quorum) -> Result<ProducerId, ProposeError> {
        let mut rest = self.rest.lock().await;
        if rest.is_empty() {
            let (_, reply) = quorum.propose(Command::AllocateProducerIds { count: BLOCK }).await?;
            let Reply::ProducerIds { first, count } = reply else {
                unreachable!("a block of producer ids was answered with {reply:?}")
            };
            *rest = first..first + u64::from(count);
        }
        let id = rest.next().expect("a block is never empty");
        Ok(ProducerId(id))
    }
}
