//! Who leads a partition.

use super::{
    ElectionKind, Image, MetadataError, PartitionRegistration, Reply,
    partition_change::Circumstances,
};
use crate::{
    mutant::Mutant,
    sometimes,
    types::{BrokerId, PartitionIndex, TopicId},
};
use alloc::{vec, vec::Vec};

/// What an election came to.
#[derive(Clone, Copy)]
pub(super) struct Elected {
    /// The leader may lack acknowledged records, so that nobody else may count as having them.
    pub is_unclean: bool,
}

impl Circumstances<'_> {
    /// Elects a leader unless the present one may go on. `None` when it may, or when there is
    /// nobody to elect; then the partition has no leader.
    ///
    /// In the order of the replicas: a member of the ISR; else an eligible leader replica
    /// (KIP-966); else, with neither of these, the last known leader; else any replica, where the
    /// topic allows that. All of them neither fenced nor shutting down, and their logs sound. A
    /// member of the ISR whose log has failed leads only where nobody else may: what it has can
    /// still be read.
    pub fn elect(&self, partition: &mut PartitionRegistration) -> Option<Elected> {
        let before = partition.leader.filter(|leader| partition.isr.contains(leader));
        let before = before.filter(|leader| self.is_active(*leader));
        if before.is_some_and(|leader| !partition.failed.contains(&leader)) {
            return None;
        }
        if let Some(elected) = self.elect_sound(partition) {
            return Some(elected);
        }
        if before.is_some() {
            return None;
        }
        partition.leader = partition.isr.iter().find(|it| self.may_be_elected(**it)).copied();
        partition.leader.map(|_| Elected { is_unclean: false })
    }

    /// Elects a leader whose log takes records.
    fn elect_sound(&self, partition: &mut PartitionRegistration) -> Option<Elected> {
        let PartitionRegistration { replicas, isr, elr, last_known_leader, leader, failed, .. } =
            partition;
        let is_sound =
            |replica: BrokerId| self.may_be_elected(replica) && !failed.contains(&replica);
        let first = |among: &[BrokerId]| {
            let mut candidates = replicas.iter().filter(|replica| among.contains(replica));
            candidates.find(|replica| is_sound(**replica)).copied()
        };
        if let Some(elected) = first(isr) {
            sometimes!(LeaderlessPartitionRevives, leader.is_none());
            *leader = Some(elected);
            isr.retain(|member| *member == elected || self.is_active(*member));
            return Some(Elected { is_unclean: false });
        }
        let eligible = first(elr);
        let nobody_has_all = isr.is_empty() && elr.is_empty();
        let last_known = last_known_leader.filter(|last| nobody_has_all && is_sound(*last));
        let unclean = || first(replicas).filter(|_| self.rules.unclean);
        let elected = eligible.or(last_known).or_else(unclean)?;
        sometimes!(EligibleReplicaElected, eligible.is_some());
        sometimes!(FailedLeaderReplaced, leader.is_some_and(|leader| failed.contains(&leader)));
        (*leader, *isr) = (Some(elected), vec![elected]);
        sometimes!(LastKnownLeaderElected, eligible.is_none() && last_known.is_some());
        sometimes!(UncleanLeaderElected, eligible.or(last_known).is_none());
        Some(Elected { is_unclean: eligible.is_none() })
    }

    fn may_be_elected(&self, broker: BrokerId) -> bool {
        self.is_active(broker)
            || Mutant::ElectsFencedBroker.is_planted() && self.brokers.contains_key(&broker)
    }
}

impl Image {
    pub(super) fn elect_leaders(
        &mut self,
        partitions: Option<&[(TopicId, PartitionIndex)]>,
        kind: ElectionKind,
    ) -> Reply {
        let Some(partitions) = partitions else {
            let all: Vec<_> = self.partitions().map(|(topic, index, _)| (topic, index)).collect();
            let outcomes = all.into_iter().map(|at| (at, self.elect_leader(at, kind)));
            let needed =
                |outcome: &Result<(), _>| *outcome != Err(MetadataError::ElectionNotNeeded);
            return Reply::LeadersElected(outcomes.filter(|(_, it)| needed(it)).collect());
        };
        let outcomes = partitions.iter().map(|at| (*at, self.elect_leader(*at, kind)));
        Reply::LeadersElected(outcomes.collect())
    }

    fn elect_leader(
        &mut self,
        (topic, index): (TopicId, PartitionIndex),
        kind: ElectionKind,
    ) -> Result<(), MetadataError> {
        let partition = self.existing_partition(topic, index)?;
        let mut rules = self.replication_rules(topic);
        match kind {
            ElectionKind::Preferred => {
                let preferred = partition.replicas[0];
                if partition.leader == Some(preferred) {
                    return Err(MetadataError::ElectionNotNeeded);
                }
                let may_lead = self.is_active(preferred) && !partition.failed.contains(&preferred);
                if !partition.isr.contains(&preferred) || !may_lead {
                    return Err(MetadataError::PreferredLeaderNotAvailable { preferred });
                }
                let prefer = |partition: &mut PartitionRegistration| {
                    partition.leader = Some(preferred);
                };
                self.change_partition(topic, index, rules, prefer);
            }
            ElectionKind::Unclean => {
                if partition.leader.is_some() {
                    return Err(MetadataError::ElectionNotNeeded);
                }
                rules.unclean = true;
                self.change_partition(topic, index, rules, |_| {});
                if self.existing_partition(topic, index)?.leader.is_none() {
                    return Err(MetadataError::EligibleLeadersNotAvailable);
                }
            }
        }
        Ok(())
    }
}
