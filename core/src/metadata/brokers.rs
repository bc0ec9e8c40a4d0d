//! Registrations of brokers.

use super::{BrokerRegistration, Image, MetadataError, Reply};
use crate::types::{BrokerEpoch, BrokerId};

impl Image {
    pub(super) fn register_broker(
        &mut self,
        broker: BrokerId,
        registration: BrokerRegistration,
        clean_shutdown_of: Option<BrokerEpoch>,
    ) -> Reply {
        let _ = clean_shutdown_of;
        let broker_epoch = registration.epoch;
        self.founder.get_or_insert(registration.incarnation);
        self.brokers.insert(broker, registration);
        Reply::BrokerRegistered { broker_epoch }
    }

    pub(super) fn fence_broker(
        &mut self,
        _: BrokerId,
        _: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        Ok(Reply::Done)
    }
    pub(super) fn unfence_broker(
        &mut self,
        _: BrokerId,
        _: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        Ok(Reply::Done)
    }
    pub(super) fn begin_controlled_shutdown(
        &mut self,
        _: BrokerId,
        _: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        Ok(Reply::Done)
    }
    pub(super) fn unregister_broker(&mut self, _: BrokerId) -> Result<Reply, MetadataError> {
        Ok(Reply::Done)
    }
}
