//! Where a consumer had better read: the leader sends it to a follower in its rack (KIP-392).

use super::Context;
use crate::{broker::PartitionDriver, config::ReplicaSelector};
use highwater_core::{
    metadata::Image,
    types::{BrokerId, Offset},
};
use std::sync::Arc;

/// The first version of Fetch whose clients say their rack, and know that a follower may answer.
pub const FIRST_VERSION: i16 = 11;

/// Where the consumer of one fetch had better read.
pub struct ReadReplicas(Option<Near>);

struct Near {
    rack: String,
    image: Arc<Image>,
}

impl ReadReplicas {
    /// For a consumer in this rack, which is empty when it did not say where it is.
    pub fn new(context: &Context, rack: &str) -> Self {
        let selects = context.shared.config.replica_selector == ReplicaSelector::RackAware;
        let near = || Near { rack: rack.to_owned(), image: context.shared.quorum.image() };
        Self((selects && !rack.is_empty()).then(near))
    }

    /// The follower that it is sent to with what it wants of a partition; `None` when it is served
    /// here.
    pub fn preferred(&self, driver: &PartitionDriver, offset: Offset) -> Option<BrokerId> {
        let Near { rack, image } = self.0.as_ref()?;
        let is_near = |broker| {
            let registration = image.broker(broker).filter(|found| found.is_active());
            registration.is_some_and(|found| found.rack.as_deref() == Some(rack))
        };
        driver.inspect(|machine| machine.preferred_read_replica(offset, is_near))
    }
}
