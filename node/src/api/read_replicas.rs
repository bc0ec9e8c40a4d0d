//! Where a consumer had better read: the leader sends it to a follower in its rack (KIP-392).
//!
//! A follower answers consumers that say their rack, as those do that leaders send there, and only
//! where leaders send them: Kafka's answers whoever asks. Anybody else takes it for the leader, and
//! would wait there for records that it never gets.

use super::Context;
use crate::{broker::PartitionDriver, config::ReplicaSelector};
use highwater_core::{
    metadata::Image,
    types::{BrokerId, Offset},
};
use std::sync::Arc;

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

    /// Whether a follower may answer, because the consumer may have been sent to it.
    pub fn may_be_followers(&self) -> bool {
        self.0.is_some()
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
