//! A model of the replicas' logs beside the random commands: who counts as having every
//! acknowledged record has it.

use super::*;

/// The logs of the replicas of one partition, as the ids of their records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// What is flushed, by broker.
    logs: BTreeMap<BrokerId, Vec<u64>>,
    /// What was acknowledged to producers.
    acknowledged: Vec<u64>,
    next: u64,
}

impl Records {
    /// Whether a follower has all that its leader has, so that an honest leader lets it in.
    pub fn is_caught_up(&self, follower: BrokerId, leader: BrokerId) -> bool {
        self.logs.get(&follower) == self.logs.get(&leader)
    }

    /// The leader takes a record, some followers copy the leader's log, and the high watermark
    /// advances, unless the ISR is under its minimum.
    pub fn produce(
        &mut self,
        random: &mut ChaCha8Rng,
        partition: &PartitionRegistration,
        min_insync: u32,
    ) {
        let Some(leader) = partition.leader else { return };
        if random.random_bool(0.5) {
            self.next += 1;
            self.logs.entry(leader).or_default().push(self.next);
        }
        let log = self.logs.entry(leader).or_default().clone();
        for follower in partition.replicas.iter().filter(|replica| **replica != leader) {
            if random.random_bool(0.4) {
                self.logs.insert(*follower, log.clone());
            }
        }
        if partition.isr.len() >= min_insync as usize {
            let empty = Vec::new();
            let in_sync =
                partition.isr.iter().map(|member| self.logs.get(member).unwrap_or(&empty));
            let common = in_sync.map(|of| common_prefix(of, &log)).min().expect("has its leader");
            if common > self.acknowledged.len() {
                self.acknowledged = log[..common].to_vec();
            }
        }
    }

    /// A broker lost the end of its log in a crash.
    pub fn crash(&mut self, random: &mut ChaCha8Rng, broker: BrokerId) {
        let log = self.logs.entry(broker).or_default();
        log.truncate(random.random_range(0..=log.len()));
    }

    /// Takes a change of the registration. Members that were not known to have everything come in
    /// by an unclean election only, which gives up what they do not have.
    pub fn follow(
        &mut self,
        before: &PartitionRegistration,
        after: &PartitionRegistration,
        is_proposal: bool,
    ) {
        let had_all =
            |member: &BrokerId| before.isr.contains(member) || before.elr.contains(member);
        let unclean = after.isr.iter().find(|member| !is_proposal && !had_all(member));
        if let Some(member) = unclean {
            let log = self.logs.entry(*member).or_default();
            self.acknowledged.truncate(common_prefix(log, &self.acknowledged));
        }
    }

    /// Every member of the ISR and every eligible leader replica has what was acknowledged.
    pub fn check(&self, partition: &PartitionRegistration, command: &Command) {
        for member in partition.isr.iter().chain(&partition.elr) {
            let log = self.logs.get(member).map_or(&[][..], Vec::as_slice);
            assert!(
                log.starts_with(&self.acknowledged),
                "broker {member} of {partition:?} has {log:?} and {:?} is acknowledged, after \
                 {command:?}",
                self.acknowledged
            );
        }
    }
}

fn common_prefix(left: &[u64], right: &[u64]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
