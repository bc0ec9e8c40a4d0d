//! Moving partitions to other brokers (KIP-455).

use super::{
    Image, MetadataError, PartitionRegistration, Reply, replication_rules::ReplicationRules,
};
use crate::{
    mutant::Mutant,
    sometimes,
    types::{BrokerId, PartitionIndex, TopicId},
};
use alloc::{vec, vec::Vec};

/// What the sender of a reassignment takes upon itself.
#[derive(Clone, Copy)]
pub(super) struct Permits {
    /// Fewer copies than `min.insync.replicas` may remain.
    pub below_min_insync: bool,
    /// The target may have another number of replicas (KIP-860).
    pub other_replication_factor: bool,
}

impl Image {
    pub(super) fn alter_reassignments(
        &mut self,
        changes: &[(TopicId, PartitionIndex, Option<Vec<BrokerId>>)],
        permits: Permits,
    ) -> Reply {
        let outcomes = changes.iter().map(|(topic, index, target)| {
            self.alter_reassignment(*topic, *index, target.as_deref(), permits)
        });
        Reply::ReassignmentsAltered(outcomes.collect())
    }

    fn alter_reassignment(
        &mut self,
        topic: TopicId,
        index: PartitionIndex,
        target: Option<&[BrokerId]>,
        permits: Permits,
    ) -> Result<(), MetadataError> {
        let partition = self.existing_partition(topic, index)?;
        let rules = self.replication_rules(topic);
        let mut after = partition.clone();
        if let Some(target) = target {
            sometimes!(ReassignmentReplaced, partition.is_being_reassigned());
            self.check_replica_list(target)?;
            check_target_size(partition, target, rules, permits)?;
            abandon_additions(&mut after, target, rules, permits)?;
            set_target(&mut after, target);
        } else {
            if !partition.is_being_reassigned() {
                return Err(MetadataError::NoReassignmentInProgress);
            }
            sometimes!(ReassignmentCancelled);
            if !Mutant::CancelledMoveKeepsReplicas.is_planted() {
                abandon_additions(&mut after, &[], rules, permits)?;
            }
            after.adding.clear();
            after.removing.clear();
        }
        self.change_partition(topic, index, rules, |partition| *partition = after);
        Ok(())
    }
}

fn check_target_size(
    partition: &PartitionRegistration,
    target: &[BrokerId],
    rules: ReplicationRules,
    permits: Permits,
) -> Result<(), MetadataError> {
    let (wanted, possible) = (target.len(), original_replicas(partition).count());
    if wanted != possible && !permits.other_replication_factor {
        return Err(MetadataError::InvalidReplicationFactor { wanted, possible });
    }
    let is_below = wanted < possible && wanted < rules.min_insync as usize;
    if is_below && !permits.below_min_insync {
        let min_insync = rules.min_insync;
        return Err(MetadataError::BelowMinInsyncReplicas { remaining: wanted, min_insync });
    }
    Ok(())
}

/// Takes out what an earlier reassignment was adding and the new target does not have.
fn abandon_additions(
    partition: &mut PartitionRegistration,
    target: &[BrokerId],
    rules: ReplicationRules,
    permits: Permits,
) -> Result<(), MetadataError> {
    let PartitionRegistration { replicas, isr, elr, adding, .. } = partition;
    let before = isr.len();
    let stays = |replica: &BrokerId| !adding.contains(replica) || target.contains(replica);
    replicas.retain(stays);
    if !Mutant::RetargetKeepsIsr.is_planted() {
        isr.retain(stays);
    }
    elr.retain(stays);
    let min_insync = (rules.min_insync as usize).min(replicas.len());
    let is_below = isr.len() < before && isr.len() < min_insync;
    if is_below && before >= min_insync && !permits.below_min_insync {
        let (remaining, min_insync) = (isr.len(), rules.min_insync);
        return Err(MetadataError::BelowMinInsyncReplicas { remaining, min_insync });
    }
    if isr.is_empty() && before > 0 {
        // An eligible leader replica has every acknowledged record too.
        let first = Some(replicas[0]).filter(|_| rules.unclean);
        let last = elr.first().copied().or(first).ok_or(MetadataError::WouldBeUnclean)?;
        *isr = vec![last];
    }
    Ok(())
}

fn set_target(partition: &mut PartitionRegistration, target: &[BrokerId]) {
    let original: Vec<_> = original_replicas(partition).collect();
    let missing_in = |replicas: &[BrokerId], among: &[BrokerId]| -> Vec<BrokerId> {
        among.iter().copied().filter(|replica| !replicas.contains(replica)).collect()
    };
    partition.adding = missing_in(&original, target);
    partition.removing = missing_in(target, &partition.replicas);
    partition.replicas = target.to_vec();
    partition.replicas.extend(&partition.removing);
}

/// What a cancelled reassignment goes back to.
fn original_replicas(partition: &PartitionRegistration) -> impl Iterator<Item = BrokerId> + '_ {
    partition.replicas.iter().copied().filter(|replica| !partition.adding.contains(replica))
}

impl PartitionRegistration {
    /// Completes the reassignment, if there is one, once its whole target is in the ISR
    /// (KAFKA-15665): until then no copy is given up.
    pub(super) fn complete_reassignment(&mut self) {
        if !self.is_being_reassigned() {
            return;
        }
        let target: Vec<_> = self.target().collect();
        let is_complete = if Mutant::ReassignmentCompletesEarly.is_planted() {
            target.iter().any(|replica| self.isr.contains(replica))
        } else {
            target.iter().all(|replica| self.isr.contains(replica))
        };
        if !is_complete {
            return;
        }
        let goes = |leader: BrokerId| !target.contains(&leader);
        sometimes!(ReassignmentMovesLeader, self.leader.is_some_and(goes));
        self.isr.retain(|member| target.contains(member));
        self.elr.retain(|member| target.contains(member));
        self.replicas = target;
        self.adding.clear();
        self.removing.clear();
    }
}
