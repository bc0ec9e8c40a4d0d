//! Leaders change the ISR of their partitions (KIP-497).

use super::{Image, IsrChange, MetadataError, PartitionRegistration, Reply};
use crate::{
    mutant::Mutant,
    sometimes,
    types::{BrokerEpoch, BrokerId, PartitionEpoch},
};
use alloc::vec::Vec;

impl Image {
    pub(super) fn alter_partitions(
        &mut self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
        changes: &[IsrChange],
    ) -> Result<Reply, MetadataError> {
        self.registered(broker, broker_epoch)?;
        let outcomes = changes.iter().map(|change| self.alter_isr(broker, change));
        Ok(Reply::PartitionsAltered(outcomes.collect()))
    }

    fn alter_isr(
        &mut self,
        leader: BrokerId,
        change: &IsrChange,
    ) -> Result<PartitionEpoch, MetadataError> {
        let &IsrChange { topic, index, .. } = change;
        let partition = self.existing_partition(topic, index)?;
        check_proposer(partition, leader, change)?;
        check_shape(partition, leader, change)?;
        change.isr.iter().try_for_each(|(member, epoch)| self.check_member(*member, *epoch))?;
        // The leader itself may: whoever joins it leads then.
        let mut others = change.isr.iter().map(|(member, _)| *member).filter(|it| *it != leader);
        if let Some(broker) = others.find(|member| partition.failed.contains(member)) {
            let reason = "its log has failed".into();
            return Err(MetadataError::IneligibleReplica { broker, reason });
        }
        let rules = self.replication_rules(topic);
        let isr: Vec<_> = change.isr.iter().map(|(member, _)| *member).collect();
        self.change_partition(topic, index, rules, |partition| partition.isr = isr);
        let changed = self.existing_partition_mut(topic, index)?;
        if changed.partition_epoch == change.partition_epoch {
            sometimes!(IsrCommittedAgain);
            // The ISR is as it was. The leader withdraws a proposal whose fate it does not know:
            // from now on that one is too old to be accepted.
            changed.partition_epoch.0 += 1;
        }
        Ok(changed.partition_epoch)
    }

    /// KIP-841: a broker that is fenced or shutting down stays out. KIP-903: and so does one that
    /// has restarted since the leader last heard of it, because it may have lost records.
    fn check_member(&self, member: BrokerId, epoch: BrokerEpoch) -> Result<(), MetadataError> {
        let registration = self.broker(member);
        let current = registration.filter(|known| known.epoch == epoch);
        sometimes!(RestartedMemberProposed, registration.is_some() && current.is_none());
        sometimes!(FencedMemberProposed, current.is_some_and(|known| known.fenced));
        let reason = match registration {
            None => "it is not registered",
            Some(known) if known.epoch != epoch && !Mutant::BrokerEpochNotChecked.is_planted() => {
                "it has registered again"
            }
            Some(known) if known.fenced && !Mutant::IsrAcceptsFenced.is_planted() => "it is fenced",
            Some(known) if known.in_controlled_shutdown => "it is shutting down",
            Some(_) => return Ok(()),
        };
        Err(MetadataError::IneligibleReplica { broker: member, reason: reason.into() })
    }
}

/// Only the leader of the epoch may change the ISR, and only from what is there (KIP-497).
fn check_proposer(
    partition: &PartitionRegistration,
    leader: BrokerId,
    change: &IsrChange,
) -> Result<(), MetadataError> {
    if partition.leader != Some(leader) || partition.leader_epoch != change.leader_epoch {
        sometimes!(DeposedLeaderProposes);
        let (leader, current) = (partition.leader, partition.leader_epoch);
        return Err(MetadataError::FencedLeaderEpoch { leader, current });
    }
    if partition.partition_epoch != change.partition_epoch
        && !Mutant::StalePartitionEpochAccepted.is_planted()
    {
        sometimes!(StaleIsrProposed);
        let current = partition.partition_epoch;
        return Err(MetadataError::StalePartitionEpoch { current });
    }
    Ok(())
}

fn check_shape(
    partition: &PartitionRegistration,
    leader: BrokerId,
    change: &IsrChange,
) -> Result<(), MetadataError> {
    let members = || change.isr.iter().map(|(member, _)| *member);
    let is_repeated = |at| members().take(at).any(|before| before == change.isr[at].0);
    let rule = if !members().any(|member| member == leader) {
        "the leader is a member"
    } else if (0..change.isr.len()).any(is_repeated) {
        "no broker is a member twice"
    } else if members().any(|member| !partition.replicas.contains(&member)) {
        "every member is a replica"
    } else {
        return Ok(());
    };
    Err(MetadataError::InvalidIsr { rule: rule.into() })
}
