//! A consumer as KIP-848 wants it: it does what it is told, in its own time, and forgets nothing
//! that it has not been told.

use highwater_core::{
    group::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, GroupError, MemberEpoch, TopicPartitions},
    types::{PartitionIndex, TopicId},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a consumer is about to do with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is (or wants to be) a member.
    Joined,
    /// It wants to leave for good.
    Leaving,
    /// A static one: it wants to leave for a while.
    SteppingOut,
    /// It consumes nothing and says nothing.
    Gone,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub topics: Vec<Arc<str>>,
    pub expression: Option<Arc<str>>,
    pub assignor: Option<&'static str>,
    pub life: Life,
    /// Its epoch; `None` before it is in the group, or when it was fenced.
    pub epoch: Option<u32>,
    /// What it consumes.
    pub owned: TopicPartitions,
    /// What it was told to consume last: it gives up at leisure what is not in there.
    pub told: TopicPartitions,
    /// The next heartbeat says everything: the answer to the last one was lost.
    pub is_unsure: bool,
    /// Its subscription has changed since the last heartbeat that was answered.
    pub has_news: bool,
}

impl Consumer {
    /// Its next heartbeat; `None` if it has nothing to say any more.
    pub fn heartbeat(&self) -> Option<ConsumerHeartbeat> {
        let epoch = match self.life {
            Life::Joined => self.epoch.map_or(MemberEpoch::Join, MemberEpoch::Stay),
            Life::Leaving => MemberEpoch::Leave,
            Life::SteppingOut => MemberEpoch::LeaveForNow,
            Life::Gone => return None,
        };
        let joins = epoch == MemberEpoch::Join;
        let is_full = joins || self.is_unsure || self.has_news;
        let has_subscription = is_full && self.life == Life::Joined;
        Some(ConsumerHeartbeat {
            group: "g".into(),
            member: self.id.clone(),
            fresh_member: "fresh".into(),
            epoch,
            instance: self.instance.clone(),
            rack: None,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: has_subscription.then_some(REBALANCE_TIMEOUT),
            topics: has_subscription.then(|| self.topics.clone()),
            regular_expression: has_subscription
                .then(|| self.expression.clone().unwrap_or_else(|| "".into())),
            assignor: self.assignor.map(Into::into),
            owned: match joins {
                true => Some(TopicPartitions::new()),
                false => Some(self.owned.clone()),
            },
        })
    }

    /// Before it joins it consumes nothing.
    pub fn prepare(&mut self) {
        if self.epoch.is_none() || self.life != Life::Joined {
            self.owned.clear();
            self.told.clear();
        }
    }

    /// An answer has arrived.
    pub fn obey(&mut self, answer: Result<ConsumerHeartbeatAnswer, GroupError>) {
        match answer {
            Ok(answer) => {
                if let MemberEpoch::Stay(epoch) = answer.epoch {
                    self.epoch = Some(epoch);
                } else {
                    self.life = Life::Gone;
                    self.epoch = None;
                }
                self.is_unsure = false;
                self.has_news = false;
                if let Some(assignment) = answer.assignment {
                    self.told = assignment;
                }
                self.take_up();
            }
            Err(_) if self.life != Life::Joined => self.life = Life::Gone,
            // Its place has been taken, or is not free: this process ends.
            Err(GroupError::FencedInstanceId | GroupError::UnreleasedInstanceId) => {
                self.abandon();
                self.life = Life::Gone;
            }
            Err(GroupError::FencedMemberEpoch | GroupError::UnknownMemberId) => self.abandon(),
            Err(GroupError::GroupIdNotFound) => self.abandon(),
            Err(other) => panic!("{} is refused: {other:?}", self.id),
        }
    }

    /// It gives up everything at once and is in no epoch.
    pub fn abandon(&mut self) {
        self.owned.clear();
        self.told.clear();
        self.epoch = None;
    }

    /// Gives up what it was told to; whether that was anything.
    pub fn give_up(&mut self) -> bool {
        let before = self.owned.clone();
        let told = self.told.clone();
        self.owned.retain(|topic, partitions| {
            partitions.retain(|one| told.get(topic).is_some_and(|told| told.contains(one)));
            !partitions.is_empty()
        });
        self.take_up();
        self.owned != before
    }

    /// Begins with what it was given, when it has given up what it was told to.
    fn take_up(&mut self) {
        let is_clean = self.owned.iter().all(|(topic, partitions)| {
            self.told.get(topic).is_some_and(|told| partitions.is_subset(told))
        });
        if is_clean {
            self.owned = self.told.clone();
        }
    }

    pub fn consumes(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
        self.owned.iter().flat_map(|(topic, of): (_, &BTreeSet<PartitionIndex>)| {
            of.iter().map(move |partition| (*topic, *partition))
        })
    }
}
