//! Changing a partition's registration: the one way to do it, and what follows from every change.

use super::{
    BrokerRegistration, Image, PartitionRegistration, replication_rules::ReplicationRules,
};
use crate::{
    mutant::Mutant,
    sometimes,
    types::{BrokerId, PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, vec::Vec};

/// What decides about a change of one partition.
pub(super) struct Circumstances<'a> {
    /// Every registered broker.
    pub brokers: &'a BTreeMap<BrokerId, BrokerRegistration>,
    /// The rules of the topic.
    pub rules: ReplicationRules,
    /// What a replica has lost before this change: it is not eligible any more.
    pub lossy: Option<(BrokerId, Loss)>,
}

/// What a broker has lost of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// No acknowledged record.
    Nothing,
    /// What it had not flushed.
    Unflushed,
    /// All of it.
    Everything,
}

impl Image {
    /// Changes a partition that exists and draws the consequences. Nothing changes, not even an
    /// epoch, when the outcome is what was there before.
    pub(super) fn change_partition(
        &mut self,
        topic: TopicId,
        index: PartitionIndex,
        rules: ReplicationRules,
        change: impl FnOnce(&mut PartitionRegistration),
    ) {
        let circumstances = Circumstances { brokers: &self.brokers, rules, lossy: None };
        let found = self.topics.get_mut(&topic);
        let partition = found.and_then(|topic| topic.partitions.get_mut(index.0 as usize));
        circumstances.change(partition.expect("callers look it up first"), change);
    }

    /// Changes every partition that a broker holds a replica of, and draws the consequences.
    /// `loss` tells what the broker has lost of such a topic.
    pub(super) fn change_partitions_of(
        &mut self,
        broker: BrokerId,
        loss: impl Fn(ReplicationRules) -> Loss,
        change: impl Fn(&mut PartitionRegistration, ReplicationRules),
    ) {
        let rules = self.all_replication_rules();
        for topic in self.topics.values_mut() {
            let rules = rules[&topic.id];
            let lossy = Some((broker, loss(rules))).filter(|(_, loss)| *loss != Loss::Nothing);
            let circumstances = Circumstances { brokers: &self.brokers, rules, lossy };
            for partition in &mut topic.partitions {
                if partition.replicas.contains(&broker) {
                    circumstances.change(partition, |partition| change(partition, rules));
                }
            }
        }
    }

    /// Draws the consequences of new rules for a topic's replicas. The eligible leader replicas
    /// were kept by the old `min.insync.replicas` and say nothing under another (KAFKA-16540).
    pub(super) fn follow_new_rules(&mut self, before: &BTreeMap<TopicId, ReplicationRules>) {
        let after = self.all_replication_rules();
        for topic in self.topics.values_mut() {
            let (before, rules) = (before[&topic.id], after[&topic.id]);
            let min_insync_changed = before.min_insync != rules.min_insync;
            if before == rules
                || min_insync_changed && Mutant::ElrSurvivesMinInsyncChange.is_planted()
            {
                continue;
            }
            let circumstances = Circumstances { brokers: &self.brokers, rules, lossy: None };
            for partition in &mut topic.partitions {
                circumstances.change(partition, |partition| {
                    if min_insync_changed {
                        partition.elr.clear();
                    }
                });
            }
        }
    }
}

impl PartitionRegistration {
    /// A replica that can take nothing is not in sync for long: it leaves as soon as there is
    /// another member.
    fn part_with_failed(&mut self) {
        if self.isr.iter().any(|member| !self.failed.contains(member)) {
            self.isr.retain(|member| !self.failed.contains(member));
        }
    }
}

impl Circumstances<'_> {
    /// Changes a partition and draws the consequences: a reassignment may be complete, a leader may
    /// have to be elected, and the eligible leader replicas and the epochs follow.
    pub fn change(
        &self,
        partition: &mut PartitionRegistration,
        change: impl FnOnce(&mut PartitionRegistration),
    ) {
        let mut after = partition.clone();
        change(&mut after);
        after.part_with_failed();
        after.complete_reassignment();
        after.elr = self.eligible(partition, &after);
        let elected = self.elect(&mut after);
        // An election can leave an ISR of exactly the target, which no leader would change again.
        after.complete_reassignment();
        // A replica that has moved away and comes back begins with another log.
        after.failed = in_replica_order(&after.replicas, |replica| after.failed.contains(&replica));
        after.elr = match elected {
            Some(elected) if elected.is_unclean => Vec::new(),
            _ => self.eligible(partition, &after),
        };
        after.isr = in_replica_order(&after.replicas, |replica| after.isr.contains(&replica));
        after.last_known_leader = match after.leader {
            Some(_) => None,
            None => partition.leader.or(partition.last_known_leader),
        }
        .filter(|leader| after.replicas.contains(leader) && !self.has_lost_all(*leader));
        let replicas_left = partition.replicas.iter().any(|old| !after.replicas.contains(old));
        let has_lost_leader = partition.leader.is_some() && after.leader.is_none();
        sometimes!(PartitionWithoutLeader, has_lost_leader);
        sometimes!(ReplicaStaysEligible, after.elr.len() > partition.elr.len());
        sometimes!(ReplicaRemovedUnderLeader, replicas_left && after.leader == partition.leader);
        let is_fenced_off = replicas_left && !Mutant::ReplicaLeavesInEpoch.is_planted();
        if elected.is_some() || after.leader != partition.leader || is_fenced_off {
            // Also when the leader stays: what a removed replica still fetches is fenced off.
            bump_leader_epoch(partition, &mut after);
        }
        if after != *partition {
            after.partition_epoch.0 += 1;
            *partition = after;
        }
    }

    /// Whether a broker may lead partitions and join ISRs.
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(BrokerRegistration::is_active)
    }

    /// The eligible leader replicas after a change (KIP-966). The high watermark does not advance
    /// while the ISR is under `min.insync.replicas`, so that replicas that leave it then still have
    /// every acknowledged record.
    fn eligible(
        &self,
        before: &PartitionRegistration,
        after: &PartitionRegistration,
    ) -> Vec<BrokerId> {
        if after.isr.len() >= self.min_insync(after) {
            return Vec::new();
        }
        in_replica_order(&after.replicas, |replica| {
            let has_everything = before.isr.contains(&replica) || after.elr.contains(&replica);
            has_everything && !after.isr.contains(&replica) && !self.is_lossy(replica)
        })
    }

    fn is_lossy(&self, replica: BrokerId) -> bool {
        self.lossy.is_some_and(|(lossy, _)| lossy == replica)
    }

    /// Whether there is nothing left that electing a replica would save.
    pub fn has_lost_all(&self, replica: BrokerId) -> bool {
        self.lossy == Some((replica, Loss::Everything))
    }

    fn min_insync(&self, partition: &PartitionRegistration) -> usize {
        (self.rules.min_insync as usize).min(partition.replicas.len())
    }
}

/// A leadership never continues in an epoch that another process, or another life of the same one,
/// may have led: it may have lost records of it that others have seen.
fn bump_leader_epoch(before: &PartitionRegistration, after: &mut PartitionRegistration) {
    let resumed = after.leader.is_none() || after.leader == before.last_known_leader;
    if resumed && Mutant::RestartResumesLeaderEpoch.is_planted() {
        return;
    }
    after.leader_epoch.0 += 1;
}

fn in_replica_order(replicas: &[BrokerId], keep: impl Fn(BrokerId) -> bool) -> Vec<BrokerId> {
    replicas.iter().copied().filter(|replica| keep(*replica)).collect()
}
