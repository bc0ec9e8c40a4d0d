//! The cluster's metadata about one partition, decided in one place: registrations, elections and
//! changes of the ISR by compare-and-set. Written from the rules of the KIPs, not from the broker's
//! own metadata code.

use highwater_core::{
    partition::{Assignment, IsrProposal},
    types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// What a controller says to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted(PartitionEpoch),
    /// The leader or the registration is another one by now.
    Superseded,
    Ineligible,
}

struct Registered {
    epoch: BrokerEpoch,
    fenced: bool,
}

pub struct Controller {
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Out of the ISR since it was below `min.insync.replicas`: they have all that is committed.
    pub elr: BTreeSet<BrokerId>,
    pub leader: Option<BrokerId>,
    pub leader_epoch: u32,
    partition_epoch: u32,
    brokers: BTreeMap<BrokerId, Registered>,
    pub min_insync: usize,
    pub counts_flushed: bool,
    /// Whether an epoch ends when its leader is gone, or when the next one is elected.
    ends_epochs: bool,
    next_broker_epoch: u64,
    /// Every image so far.
    pub history: Vec<Assignment>,
    pub elections: u64,
    pub shrinks: u64,
    pub joins: u64,
}

impl Controller {
    pub fn new(random: &mut ChaCha8Rng, count: i32, min_insync: usize, flushed: bool) -> Self {
        let replicas: Vec<_> = (1..=count).map(BrokerId).collect();
        let epoch_of = |id: &BrokerId| BrokerEpoch(id.0 as u64);
        let registered =
            replicas.iter().map(|id| (*id, Registered { epoch: epoch_of(id), fenced: false }));
        let mut controller = Self {
            isr: replicas.clone(),
            elr: BTreeSet::new(),
            leader: replicas.first().copied(),
            leader_epoch: 0,
            partition_epoch: 0,
            brokers: registered.collect(),
            replicas,
            min_insync,
            counts_flushed: flushed,
            ends_epochs: random.random_bool(0.5),
            next_broker_epoch: 100,
            history: Vec::new(),
            elections: 0,
            shrinks: 0,
            joins: 0,
        };
        controller.publish();
        controller
    }

    pub fn broker_epoch(&self, id: BrokerId) -> BrokerEpoch {
        self.brokers[&id].epoch
    }

    pub fn is_fenced(&self, id: BrokerId) -> bool {
        self.brokers[&id].fenced
    }

    /// A process has started. `lossy`: it may have lost what was not flushed.
    pub fn register(&mut self, id: BrokerId, lossy: bool) -> BrokerEpoch {
        self.next_broker_epoch += 1;
        let epoch = BrokerEpoch(self.next_broker_epoch);
        self.brokers.insert(id, Registered { epoch, fenced: true });
        let forgets = lossy && !self.counts_flushed;
        if forgets {
            self.elr.remove(&id);
        }
        self.withdraw(id, forgets);
        epoch
    }

    pub fn fence(&mut self, id: BrokerId) {
        if !self.is_fenced(id) {
            self.brokers.get_mut(&id).expect("registered").fenced = true;
            self.withdraw(id, false);
        }
    }

    pub fn unfence(&mut self, id: BrokerId) {
        self.brokers.get_mut(&id).expect("registered").fenced = false;
        self.elect(None);
        self.publish();
    }

    /// Another in-sync replica takes over.
    pub fn move_leader(&mut self, random: &mut ChaCha8Rng) {
        let candidates: Vec<_> =
            self.isr.iter().copied().filter(|id| !self.is_fenced(*id)).collect();
        if self.leader.is_some() && !candidates.is_empty() {
            self.elect(Some(candidates[random.random_range(0..candidates.len())]));
            self.publish();
        }
    }

    /// AlterPartition (KIP-497, KIP-841, KIP-903).
    pub fn alter(
        &mut self,
        from: BrokerId,
        leader_epoch: LeaderEpoch,
        proposal: &IsrProposal,
    ) -> Verdict {
        let IsrProposal { partition_epoch, isr } = proposal;
        let has = |id: BrokerId| isr.iter().any(|(member, _)| *member == id);
        assert!(has(from), "a leader proposes an ISR with itself (KAFKA-15353)");
        if self.leader != Some(from)
            || leader_epoch.0 != self.leader_epoch
            || partition_epoch.0 != self.partition_epoch
        {
            return Verdict::Superseded;
        }
        let is_eligible = |(id, epoch): &(BrokerId, BrokerEpoch)| {
            self.brokers[id].epoch == *epoch && !self.brokers[id].fenced
        };
        if !isr.iter().all(is_eligible) {
            return Verdict::Ineligible;
        }
        let members = isr.iter().map(|(id, _)| *id).collect();
        self.change_isr(members);
        self.partition_epoch += 1;
        self.publish();
        Verdict::Accepted(PartitionEpoch(self.partition_epoch))
    }

    /// A broker leaves the ISR, unless it would be empty and the broker lost nothing, and leads no
    /// more.
    fn withdraw(&mut self, id: BrokerId, forgets: bool) {
        let others: Vec<_> = self.isr.iter().copied().filter(|member| *member != id).collect();
        if self.isr.contains(&id) && (!others.is_empty() || forgets) {
            self.change_isr(others);
            if forgets {
                self.elr.remove(&id);
            }
            self.partition_epoch += 1;
        }
        if self.leader == Some(id) {
            self.leader = None;
            self.partition_epoch += 1;
            self.leader_epoch += u32::from(self.ends_epochs);
        }
        self.elect(None);
        self.publish();
    }

    fn change_isr(&mut self, isr: Vec<BrokerId>) {
        self.shrinks += u64::from(isr.len() < self.isr.len());
        self.joins += u64::from(isr.iter().any(|id| !self.isr.contains(id)));
        if isr.len() >= self.min_insync {
            self.elr.clear();
        } else {
            self.elr.extend(&self.isr);
            self.elr.retain(|id| !isr.contains(id));
        }
        self.isr = isr;
    }

    fn elect(&mut self, wanted: Option<BrokerId>) {
        if self.leader.is_some() && wanted.is_none() {
            return;
        }
        let is_live = |id: &&BrokerId| !self.is_fenced(**id);
        let in_sync = wanted.or_else(|| self.isr.iter().find(is_live).copied());
        let Some(leader) = in_sync.or_else(|| self.elr.iter().find(is_live).copied()) else {
            return;
        };
        if in_sync.is_none() {
            self.elr.remove(&leader);
            // The last in-sync replica has all that is committed, too.
            if self.min_insync > 1 {
                self.elr.extend(&self.isr);
            }
            self.isr = vec![leader];
        }
        self.leader = Some(leader);
        self.leader_epoch += 1;
        self.partition_epoch += 1;
        self.elections += 1;
    }

    fn publish(&mut self) {
        assert!(self.leader.is_none_or(|leader| self.isr.contains(&leader)), "R15: leader in ISR");
        let live = self.brokers.iter().filter(|(_, broker)| !broker.fenced);
        let assignment = Assignment {
            leader: self.leader,
            leader_epoch: LeaderEpoch(self.leader_epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            eligible: live.map(|(id, broker)| (*id, broker.epoch)).collect(),
            min_insync: self.min_insync,
            counts_flushed: self.counts_flushed,
        };
        if self.history.last() != Some(&assignment) {
            self.history.push(assignment);
        }
    }
}
