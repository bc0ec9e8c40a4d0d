//! A member that speaks the protocol of KIP-848: it sends heartbeats and does what it is told by
//! their answers.

use crate::{
    clients::{Common, Context, Mint, commit, draw_topics, fetch},
    view::flat,
    world::MILLI,
};
use highwater_core::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, GroupError, Identity, InstanceId, MemberEpoch,
        MemberId, Request, Response, TopicPartitions,
    },
    types::{PartitionIndex, TopicId},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

type Held = BTreeSet<(TopicId, PartitionIndex)>;

pub struct Consumer {
    pub id: MemberId,
    instance: Option<InstanceId>,
    topics: Vec<Arc<str>>,
    expression: Option<Arc<str>>,
    assignor: Option<String>,
    rebalance: Duration,
    /// `None` while it is no member.
    epoch: Option<u32>,
    owned: Held,
    /// Its epoch before this one, and what it owned then.
    before: Option<(u32, Held)>,
    /// What it is to own, and when it will have given up the rest.
    target: Option<(Held, u64)>,
    /// What its coordinator knows that it owns.
    told: Option<Held>,
    /// It has to say everything again.
    is_full: bool,
    leaves: Option<MemberEpoch>,
    is_away: bool,
}

impl Consumer {
    pub fn draw(random: &mut ChaCha8Rng, mint: &mut Mint, instance: Option<InstanceId>) -> Self {
        let mut consumer = Self {
            id: mint.fresh("k"),
            instance,
            topics: Vec::new(),
            expression: None,
            assignor: [None, Some("range"), Some("uniform")][random.random_range(0..3)]
                .map(String::from),
            rebalance: Duration::from_millis([1000, 3000][random.random_range(0..2)]),
            epoch: None,
            owned: Held::new(),
            before: None,
            target: None,
            told: None,
            is_full: true,
            leaves: None,
            is_away: false,
        };
        consumer.subscribe(random);
        consumer
    }

    fn subscribe(&mut self, random: &mut ChaCha8Rng) {
        self.topics = draw_topics(random);
        self.expression = None;
        if random.random_bool(0.3) {
            let expressions = ["p.*", ".*s", "nuts|apples"];
            self.expression = Some(expressions[random.random_range(0..3)].into());
            if random.random_bool(0.7) {
                self.topics.clear();
            }
        }
    }

    pub fn restart(&mut self, mint: &mut Mint) {
        self.id = mint.fresh("k");
        self.lose_everything();
    }

    fn lose_everything(&mut self) {
        self.epoch = None;
        self.before = None;
        self.owned.clear();
        self.target = None;
        self.told = None;
        self.is_full = true;
        self.leaves = None;
    }

    pub fn answer_lost(&mut self) {
        self.is_full = true;
        self.told = None;
        if self.leaves.take().is_some() {
            self.lose_everything();
        }
    }

    /// What it consumes.
    pub fn holds(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
        self.owned.iter().copied()
    }

    pub fn is_settled(&self) -> bool {
        self.epoch.is_some() && self.target.is_none()
    }

    pub fn act(&mut self, common: &mut Common, context: &mut Context<'_>) -> Option<Request> {
        common.next_act = context.time + context.random.random_range(150..350) * MILLI;
        if self.is_away {
            if !context.is_calm && !context.random.random_bool(0.15) {
                return None;
            }
            self.is_away = false;
        }
        let Some(epoch) = self.epoch else {
            return Some(self.heartbeat(common, MemberEpoch::Join));
        };
        if let Some((target, at)) = &self.target
            && (*at <= context.time || context.is_calm)
        {
            self.owned = target.clone();
            self.target = None;
        }
        if context.random.random_bool(context.churn) {
            match context.random.random_range(0..3) {
                0 => return Some(self.leave(common)),
                1 if self.instance.is_some() => {
                    self.leaves = Some(MemberEpoch::LeaveForNow);
                    self.owned.clear();
                    return Some(self.heartbeat(common, MemberEpoch::LeaveForNow));
                }
                _ => {
                    self.subscribe(context.random);
                    self.is_full = true;
                }
            }
        }
        if !context.is_calm && context.random.random_bool(0.2) {
            return Some(self.use_offsets(common, context, epoch));
        }
        Some(self.heartbeat(common, MemberEpoch::Stay(epoch)))
    }

    fn use_offsets(&self, common: &Common, context: &mut Context<'_>, epoch: u32) -> Request {
        if context.random.random_bool(0.3) {
            return fetch(common, context, Some((self.id.clone(), epoch)));
        }
        // A commit may be under way when the epoch changes.
        let before = self.before.as_ref().filter(|_| context.random.random_bool(0.2));
        let (epoch, owned) = before.map_or((epoch, &self.owned), |(epoch, owned)| (*epoch, owned));
        let identity =
            Identity { member: self.id.clone(), instance: None, generation: Some(epoch) };
        let image = context.image;
        let named = owned.iter().filter_map(|(topic, partition)| {
            Some((Arc::from(image.topic(*topic)?.name.as_str()), partition.0))
        });
        let named: Vec<(Arc<str>, u32)> = named.collect();
        commit(common, context, identity, named.into_iter())
    }

    pub fn leave(&mut self, common: &mut Common) -> Request {
        self.leaves = Some(MemberEpoch::Leave);
        self.owned.clear();
        common.removed.insert((common.group.clone(), self.id.clone()));
        self.heartbeat(common, MemberEpoch::Leave)
    }

    fn heartbeat(&mut self, common: &Common, epoch: MemberEpoch) -> Request {
        let joins = epoch == MemberEpoch::Join;
        if joins {
            self.owned.clear();
            self.target = None;
        }
        let stays = matches!(epoch, MemberEpoch::Stay(_));
        let is_full = joins || (self.is_full && stays);
        // While it gives something up it says nothing of it.
        let has_news = stays && self.target.is_none() && self.told.as_ref() != Some(&self.owned);
        let says = is_full || has_news;
        let mut owned = TopicPartitions::new();
        for (topic, partition) in &self.owned {
            owned.entry(*topic).or_default().insert(*partition);
        }
        if says {
            self.told = Some(self.owned.clone());
        }
        self.is_full = false;
        Request::ConsumerHeartbeat(ConsumerHeartbeat {
            group: common.group.clone(),
            member: self.id.clone(),
            fresh_member: self.id.clone(),
            epoch,
            instance: self.instance.clone(),
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout: is_full.then_some(self.rebalance),
            topics: is_full.then(|| self.topics.clone()),
            regular_expression: is_full
                .then(|| self.expression.clone().unwrap_or_else(|| "".into())),
            assignor: self.assignor.clone().filter(|_| is_full),
            owned: says.then_some(owned),
        })
    }

    pub fn hear(&mut self, common: &mut Common, context: &mut Context<'_>, response: Response) {
        let outcome = match response {
            Response::ConsumerHeartbeat(outcome) => outcome,
            Response::Committed(Err(GroupError::UnknownMemberId)) => {
                common.next_act = context.time;
                return;
            }
            _ => return,
        };
        if let Some(epoch) = self.leaves.take() {
            self.lose_everything();
            // A static member comes back as another process.
            if epoch == MemberEpoch::LeaveForNow {
                self.id = context.mint.fresh("k");
            }
            self.is_away = true;
            return;
        }
        match outcome {
            Ok(answer) => self.obey(common, context, answer),
            Err(GroupError::FencedMemberEpoch | GroupError::UnknownMemberId) => {
                self.lose_everything();
                common.next_act = context.time + context.random.random_range(0..50) * MILLI;
            }
            Err(GroupError::FencedInstanceId | GroupError::GroupIdNotFound) => {
                self.restart(context.mint);
            }
            Err(_) => {
                self.lose_everything();
                common.next_act = context.time + 300 * MILLI;
            }
        }
    }

    fn obey(
        &mut self,
        common: &mut Common,
        context: &mut Context<'_>,
        answer: ConsumerHeartbeatAnswer,
    ) {
        let MemberEpoch::Stay(epoch) = answer.epoch else { return };
        if let Some(before) = self.epoch.replace(epoch).filter(|before| *before != epoch) {
            self.before = Some((before, self.owned.clone()));
        }
        let Some(assignment) = answer.assignment else { return };
        let target = flat(&assignment);
        if self.owned.is_subset(&target) {
            self.owned = target;
            self.target = None;
            return;
        }
        let slow = common.is_slow && context.random.random_bool(0.4);
        let pause = if slow { 2500 } else { context.random.random_range(0..100) };
        self.target = Some((target, context.time + pause * MILLI));
    }
}
