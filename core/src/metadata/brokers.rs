//! Registrations of brokers, and what their coming and going does to partitions (KIP-631).

use super::{
    BrokerRegistration, Image, MetadataError, PartitionRegistration, Reply, partition_change::Loss,
    replication_rules::ReplicationRules,
};
use crate::{
    config::Durability,
    mutant::Mutant,
    sometimes,
    types::{BrokerEpoch, BrokerId, PartitionIndex, TopicId},
};

impl Image {
    /// A process that asks again, because it did not get its answer, gets the same one. A new
    /// process begins fenced: it leads nothing and is in no ISR, except where it is the last
    /// member, and what it leads later it leads in new leader epochs.
    ///
    /// While the process before it is taken to be alive, only one with the same data directory may
    /// follow it: that directory's lock tells that the other is dead. One with another directory is
    /// most likely another node with the same id, and would cost the living one all its records.
    pub(super) fn register_broker(
        &mut self,
        broker: BrokerId,
        registration: BrokerRegistration,
        clean_shutdown_of: Option<BrokerEpoch>,
    ) -> Result<Reply, MetadataError> {
        let known = self.brokers.get(&broker);
        if let Some(known) = known
            && known.incarnation == registration.incarnation
        {
            sometimes!(RegistrationRepeated);
            return Ok(Reply::BrokerRegistered { broker_epoch: known.epoch });
        }
        if known.is_some_and(|known| !known.fenced && known.directory != registration.directory) {
            sometimes!(DuplicateRefused);
            return Err(MetadataError::DuplicateBroker { broker });
        }
        let is_lossy = known.is_some_and(|known| clean_shutdown_of != Some(known.epoch));
        let is_empty = known.is_some_and(|known| known.directory != registration.directory)
            && !Mutant::WipedBrokerStaysEligible.is_planted();
        sometimes!(DirectoryReplaced, is_empty);
        let broker_epoch = registration.epoch;
        self.founder.get_or_insert(registration.incarnation);
        self.brokers.insert(broker, registration);
        // With `fsynced`, whatever a crash lost was not acknowledged. A new directory has nothing.
        let is_lossy = is_lossy && !Mutant::CrashedBrokerStaysEligible.is_planted();
        let lossy = |durability| is_empty || is_lossy && durability == Durability::Replicated;
        let loss = |rules: ReplicationRules| match lossy(rules.durability) {
            true if is_empty => Loss::Everything,
            true => Loss::Unflushed,
            false => Loss::Nothing,
        };
        self.change_partitions_of(broker, loss, |partition, rules| {
            // Its new process has opened the log again, or tells that it cannot.
            partition.failed.retain(|member| *member != broker);
            if lossy(rules.durability) {
                let counted = || partition.isr == [broker] || partition.elr.contains(&broker);
                sometimes!(CrashCostsEligibility, !is_empty && counted());
                partition.isr.retain(|member| *member != broker);
                partition.elr.retain(|member| *member != broker);
            } else {
                leave_isr(partition, broker);
            }
        });
        Ok(Reply::BrokerRegistered { broker_epoch })
    }

    pub(super) fn fence_broker(
        &mut self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        sometimes!(FencingOvertaken, self.registered(broker, epoch).is_err());
        self.registered_mut(broker, epoch)?.fenced = true;
        self.change_partitions_of(
            broker,
            |_| Loss::Nothing,
            |partition, _| leave_isr(partition, broker),
        );
        Ok(Reply::Done)
    }

    pub(super) fn unfence_broker(
        &mut self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        self.registered_mut(broker, epoch)?.fenced = false;
        self.change_partitions_of(broker, |_| Loss::Nothing, |_, _| {});
        Ok(Reply::Done)
    }

    pub(super) fn begin_controlled_shutdown(
        &mut self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Reply, MetadataError> {
        self.registered_mut(broker, epoch)?.in_controlled_shutdown = true;
        self.change_partitions_of(
            broker,
            |_| Loss::Nothing,
            |partition, _| leave_isr(partition, broker),
        );
        Ok(Reply::Done)
    }

    pub(super) fn fail_replicas(
        &mut self,
        broker: BrokerId,
        epoch: BrokerEpoch,
        partitions: &[(TopicId, PartitionIndex)],
    ) -> Result<Reply, MetadataError> {
        self.registered(broker, epoch)?;
        for (topic, index) in partitions {
            let found = self.partition(*topic, *index);
            if found.is_some_and(|partition| partition.replicas.contains(&broker)) {
                let led = |partition: &PartitionRegistration| partition.leader == Some(broker);
                sometimes!(FailedReplicaLed, found.is_some_and(led));
                let rules = self.replication_rules(*topic);
                self.change_partition(*topic, *index, rules, |partition| {
                    if !Mutant::FailedReplicaForgotten.is_planted() {
                        partition.failed.push(broker);
                    }
                    leave_isr(partition, broker);
                });
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn unregister_broker(&mut self, broker: BrokerId) -> Result<Reply, MetadataError> {
        let registration =
            self.broker(broker).ok_or(MetadataError::BrokerNotRegistered { broker })?;
        if !registration.fenced {
            let reason = "it is alive".into();
            return Err(MetadataError::BrokerInUse { broker, reason });
        }
        if self.partitions().any(|(_, _, partition)| partition.replicas.contains(&broker)) {
            let reason = "it holds replicas".into();
            return Err(MetadataError::BrokerInUse { broker, reason });
        }
        self.brokers.remove(&broker);
        Ok(Reply::Done)
    }

    /// The registration of a broker, if it is of that epoch.
    pub(super) fn registered(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<&BrokerRegistration, MetadataError> {
        let known = self.broker(broker).ok_or(MetadataError::BrokerNotRegistered { broker })?;
        if known.epoch != epoch {
            return Err(MetadataError::StaleBrokerEpoch { broker, current: known.epoch });
        }
        Ok(known)
    }

    fn registered_mut(
        &mut self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<&mut BrokerRegistration, MetadataError> {
        self.registered(broker, epoch)?;
        Ok(self.brokers.get_mut(&broker).expect("just found"))
    }
}

/// The last member stays in the ISR, since only it is known to have every acknowledged record.
fn leave_isr(partition: &mut PartitionRegistration, broker: BrokerId) {
    sometimes!(LastInSyncGone, partition.isr == [broker]);
    if partition.isr.len() > 1 {
        partition.isr.retain(|member| *member != broker);
    }
}
