//! What every client has in common: it speaks to one broker at a time, waits for one answer at a
//! time, and gives up waiting.

use crate::{
    consumer::Consumer,
    member::Member,
    others::{Administrator, Committer},
    world::{MILLI, Message, Outcome, World},
};
use highwater_core::{
    coordinator::CoordinatorError,
    group::{
        CommitOffsets, FetchOffsets, GroupId, Identity, MemberId, OffsetToCommit, Request, Response,
    },
    metadata::Image,
    types::{Offset, PartitionIndex, TopicId},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeSet, sync::Arc};

/// Makes ids and words that nobody has.
#[derive(Default)]
pub struct Mint {
    next: u64,
}

impl Mint {
    pub fn fresh(&mut self, prefix: &str) -> Arc<str> {
        self.next += 1;
        format!("{prefix}{}", self.next).into()
    }
}

pub enum Protocol {
    Classic(Member),
    Consumer(Consumer),
    Committer(Committer),
    Administrator(Administrator),
}

struct Sent {
    seq: u64,
    body: Request,
    gives_up: u64,
}

/// What the protocols share.
pub struct Common {
    pub group: GroupId,
    coordinator: usize,
    next_seq: u64,
    sent: Option<Sent>,
    /// When it does something next, in true time.
    pub next_act: u64,
    /// Until then it does nothing at all.
    pub asleep_until: u64,
    /// Whether it takes its time.
    pub is_slow: bool,
    /// Who was told to leave.
    pub removed: BTreeSet<(GroupId, MemberId)>,
}

pub struct Client {
    pub common: Common,
    pub protocol: Protocol,
}

/// What a client decides with.
pub struct Context<'a> {
    pub random: &'a mut ChaCha8Rng,
    pub mint: &'a mut Mint,
    pub image: &'a Image,
    pub time: u64,
    /// Faults are over: everybody does what is asked of it, and nobody changes its mind.
    pub is_calm: bool,
    pub churn: f64,
}

impl Client {
    /// Some groups and their clients.
    pub fn draw_all(random: &mut ChaCha8Rng, mint: &mut Mint) -> Vec<Self> {
        let mut clients = Vec::new();
        let groups: Vec<GroupId> = ["red", "blue"][..random.random_range(1..=2)]
            .iter()
            .map(|name| GroupId::from(*name))
            .collect();
        for group in &groups {
            // All classic, all consumers, or mixed.
            let classic: f64 = [0.0, 1.0, 1.0, 0.5, 0.5][random.random_range(0..5)];
            let members = random.random_range(1..5);
            let statics = random.random_bool(0.4);
            let slow: f64 = [0.0, 0.3][random.random_range(0..2)];
            for number in 0..members {
                let instance = (statics && random.random_bool(0.6))
                    .then(|| Arc::from(format!("{group}-{number}")));
                let is_classic = random.random_bool(classic);
                if is_classic && instance.is_some() && random.random_bool(0.3) {
                    // Somebody starts the same twice.
                    let twin = Protocol::Classic(Member::draw(random, instance.clone()));
                    clients.push(Self::new(group.clone(), twin, false));
                }
                let protocol = match is_classic {
                    true => Protocol::Classic(Member::draw(random, instance)),
                    false => Protocol::Consumer(Consumer::draw(random, mint, instance)),
                };
                let is_slow = random.random_bool(slow);
                clients.push(Self::new(group.clone(), protocol, is_slow));
            }
            let committer = Protocol::Committer(Committer);
            clients.push(Self::new(group.clone(), committer, false));
        }
        clients.push(Self::new("simple".into(), Protocol::Committer(Committer), false));
        let group = groups[0].clone();
        clients.push(Self::new(group, Protocol::Administrator(Administrator), false));
        clients
    }

    fn new(group: GroupId, protocol: Protocol, is_slow: bool) -> Self {
        let common = Common {
            group,
            coordinator: 0,
            next_seq: 0,
            sent: None,
            next_act: 0,
            asleep_until: 0,
            is_slow,
            removed: BTreeSet::new(),
        };
        Self { common, protocol }
    }

    pub fn waits_for(&self, seq: u64) -> bool {
        self.common.sent.as_ref().is_some_and(|sent| sent.seq == seq)
    }

    /// Whether it told this member to leave, or one that may be this.
    pub fn has_removed(&self, member: &(GroupId, MemberId)) -> bool {
        self.common.removed.contains(member)
            || self.common.removed.contains(&(member.0.clone(), MemberId::from("")))
    }

    /// Its process ends, without a word, and another one begins.
    pub fn crash(&mut self, mint: &mut Mint) {
        self.common.sent = None;
        match &mut self.protocol {
            Protocol::Classic(member) => member.forget(),
            Protocol::Consumer(consumer) => consumer.restart(mint),
            Protocol::Committer(_) | Protocol::Administrator(_) => {}
        }
    }
}

impl World {
    /// A client does what it wants to do now, if anything.
    pub fn act(&mut self, index: usize) {
        self.act_as(index, false);
    }

    pub fn act_as(&mut self, index: usize, is_calm: bool) {
        let image = self.newest_image();
        let leader = self.partition.leader();
        let Self { clients, random, mint, settings, time, brokers, .. } = self;
        let Client { common, protocol } = &mut clients[index];
        if *time < common.asleep_until {
            return;
        }
        let churn = if is_calm { 0.0 } else { settings.churn };
        let time = *time;
        let mut context = Context { random, mint, image: &image, time, is_calm, churn };
        if let Some(sent) = &common.sent {
            if time < sent.gives_up {
                return;
            }
            common.sent = None;
            if let Protocol::Consumer(consumer) = protocol {
                consumer.answer_lost();
            }
            common.coordinator = match context.random.random_bool(0.7) || is_calm {
                true => leader,
                false => context.random.random_range(0..brokers.len()),
            };
        }
        if time < common.next_act {
            return;
        }
        let body = match protocol {
            Protocol::Classic(member) => member.act(common, &mut context),
            Protocol::Consumer(consumer) => consumer.act(common, &mut context),
            Protocol::Committer(committer) => Some(committer.act(common, &mut context)),
            Protocol::Administrator(administrator) if !is_calm => {
                Some(administrator.act(common, &mut context))
            }
            Protocol::Administrator(_) => None,
        };
        let Some(body) = body else { return };
        common.next_seq += 1;
        let (seq, to) = (common.next_seq, common.coordinator);
        let patience = match &body {
            Request::Join(_) => self.random.random_range(3000..9000),
            Request::Sync(_) => self.random.random_range(1000..5000),
            _ => self.random.random_range(200..1500),
        };
        let gives_up = self.time + patience * MILLI;
        self.clients[index].common.sent = Some(Sent { seq, body: body.clone(), gives_up });
        self.send(Message::Request { client: index, seq, to, body });
    }

    /// A client is answered, perhaps something that it does not wait for any more.
    pub fn answered(&mut self, index: usize, seq: u64, outcome: Outcome) {
        let image = self.newest_image();
        let leader = self.partition.leader();
        let Self { clients, random, mint, settings, time, brokers, .. } = self;
        let Some(client) = clients.get_mut(index) else { return };
        if !client.waits_for(seq) || *time < client.common.asleep_until {
            return;
        }
        let Client { common, protocol } = client;
        let Some(Sent { body, .. }) = common.sent.take() else { return };
        let (churn, time) = (settings.churn, *time);
        let mut context = Context { random, mint, image: &image, time, is_calm: false, churn };
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                if let Protocol::Consumer(consumer) = protocol {
                    consumer.answer_lost();
                }
                if error == CoordinatorError::NotCoordinator {
                    common.coordinator = match context.random.random_bool(0.7) {
                        true => leader,
                        false => context.random.random_range(0..brokers.len()),
                    };
                }
                common.next_act = time + context.random.random_range(5..100) * MILLI;
                return;
            }
        };
        match protocol {
            Protocol::Classic(member) => member.hear(common, &mut context, body, response),
            Protocol::Consumer(consumer) => consumer.hear(common, &mut context, response),
            Protocol::Committer(_) => {
                common.next_act = time + context.random.random_range(50..600) * MILLI;
            }
            Protocol::Administrator(_) => {
                common.next_act = time + context.random.random_range(300..3000) * MILLI;
            }
        }
        self.check_consumers();
    }

    /// G7: two consumers that are both members never consume the same.
    fn check_consumers(&self) {
        let leader = &self.brokers[self.partition.leader()];
        if leader.coordinator.shard().is_none()
            || leader.coordinator.epoch().map(|epoch| epoch.0) != Some(self.partition.epoch())
        {
            return;
        }
        let mut owned: BTreeSet<(&str, TopicId, PartitionIndex)> = BTreeSet::new();
        for client in &self.clients {
            let Protocol::Consumer(consumer) = &client.protocol else { continue };
            let group = &*client.common.group;
            let members = leader.view.consumer.get(group).map(|group| &group.current);
            if members.is_none_or(|members| !members.contains_key(&consumer.id)) {
                continue;
            }
            for (topic, partition) in consumer.holds() {
                let is_only = owned.insert((group, topic, partition));
                assert!(is_only, "G7: two members of {group} consume {topic} {partition}");
            }
        }
    }
}

/// A commit of new offsets for these partitions.
pub fn commit(
    common: &Common,
    context: &mut Context<'_>,
    identity: Identity,
    partitions: impl Iterator<Item = (Arc<str>, u32)>,
) -> Request {
    let retention = match identity.generation.is_none() && context.random.random_bool(0.1) {
        true => Some(std::time::Duration::from_millis(context.random.random_range(500..4000))),
        false => None,
    };
    let offsets = partitions.map(|(topic, partition)| OffsetToCommit {
        topic_id: context.image.topic_named(&topic).map(|topic| topic.id),
        topic,
        partition: PartitionIndex(partition),
        offset: Offset(context.random.random_range(0..1000)),
        leader_epoch: None,
        metadata: context.mint.fresh("w"),
    });
    let offsets = offsets.collect();
    Request::CommitOffsets(CommitOffsets {
        group: common.group.clone(),
        identity,
        retention,
        offsets,
    })
}

/// Asks for the offsets of every partition.
pub fn fetch(common: &Common, context: &Context<'_>, member: Option<(MemberId, u32)>) -> Request {
    let topics = context.image.topics().map(|topic| {
        let partitions = (0..topic.partitions.len() as u32).map(PartitionIndex).collect();
        (Arc::from(topic.name.as_str()), partitions)
    });
    Request::FetchOffsets(FetchOffsets {
        group: common.group.clone(),
        member: member.map(|(id, epoch)| (id, Some(epoch))),
        topics: Some(topics.collect()),
        require_stable: true,
    })
}

/// Some topics by name, at least one.
pub fn draw_topics(random: &mut ChaCha8Rng) -> Vec<Arc<str>> {
    let all = crate::world::TOPICS.iter().map(|name| Arc::<str>::from(*name));
    let some: Vec<Arc<str>> = all.filter(|_| random.random_bool(0.5)).collect();
    if some.is_empty() { vec!["apples".into()] } else { some }
}

/// Whether a response is an error that says who the client is not.
pub fn is_refusal(response: &Response) -> bool {
    matches!(
        response,
        Response::Committed(Err(_)) | Response::Offsets(Err(_)) | Response::Heartbeat(Err(_))
    )
}
