//! Whom to ask instead: the leader of a partition, told with the error so that a client need not
//! ask for the metadata first (KIP-951).

use super::{Context, errors};
use crate::wire::{ErrorCode, Str};
use highwater_core::{
    metadata::{BrokerRegistration, Image, PartitionRegistration},
    types::{BrokerId, PartitionIndex, TopicId},
};
use std::{collections::BTreeSet, sync::Arc};

/// The hints of one answer.
pub struct LeaderHints {
    image: Arc<Image>,
    named: BTreeSet<BrokerId>,
    /// Whether the answer's version has room for them.
    has_room: bool,
}

/// A leader as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Its id; -1 while nobody leads.
    pub leader_id: i32,
    /// The epoch of its leadership.
    pub leader_epoch: i32,
}

impl LeaderHints {
    /// No hint yet. Answers have room for hints from version `since` on, inclusive; older ones get
    /// none.
    pub fn new(context: &Context, since: i16) -> Self {
        let (image, named) = (context.shared.quorum.image(), BTreeSet::new());
        Self { image, named, has_room: context.version >= since }
    }

    /// The hint for an answer with this code, if it calls for one.
    pub fn for_code(&mut self, code: i16, topic: TopicId, index: i32) -> Option<Hint> {
        let calls_for_one = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch];
        if !self.has_room || !calls_for_one.iter().any(|wanted| *wanted as i16 == code) {
            return None;
        }
        let index = PartitionIndex(u32::try_from(index).ok()?);
        let partition = self.image.partition(topic, index)?;
        self.named.extend(partition.leader);
        Some(Hint {
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: errors::epoch_number(partition.leader_epoch),
        })
    }

    /// The id of a topic that a request names.
    pub fn topic_id(&self, name: &str, id: TopicId) -> TopicId {
        if id != TopicId::default() {
            return id;
        }
        self.image.topic_named(name).map_or(id, |topic| topic.id)
    }

    /// Where the leaders are that were named.
    pub fn endpoints(&self) -> impl Iterator<Item = Node> + '_ {
        self.named.iter().filter_map(|id| self.image.broker(*id).map(|found| node(*id, found)))
    }
}

/// A broker as clients see it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Its host.
    pub host: Str,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<Str>,
}

/// A broker as clients see it.
pub fn node(id: BrokerId, registration: &BrokerRegistration) -> Node {
    Node {
        id: id.0,
        host: Str::from(registration.client_endpoint.host.as_str()),
        port: i32::from(registration.client_endpoint.port),
        rack: registration.rack.as_deref().map(Str::from),
    }
}

/// The brokers that clients may use, by id: those that are alive.
pub fn live_nodes(image: &Image) -> impl Iterator<Item = Node> + '_ {
    let live = image.brokers().filter(|(_, registration)| !registration.fenced);
    live.map(|(id, registration)| node(id, registration))
}

/// The replicas that are not alive or whose log has failed, as the wire has them.
pub fn offline(image: &Image, partition: &PartitionRegistration) -> Vec<i32> {
    let is_fenced = |id: &BrokerId| image.broker(*id).is_none_or(|found| found.fenced);
    let is_offline = |id: &&BrokerId| is_fenced(id) || partition.failed.contains(id);
    partition.replicas.iter().filter(is_offline).map(|id| id.0).collect()
}

/// Whom clients take for the controller: the leader of the metadata quorum, if it is a live broker,
/// or this one, which passes on what only the controller can do.
pub fn controller_id(context: &Context, image: &Image) -> i32 {
    let leader = context.shared.quorum.leadership().leader;
    let live = leader.filter(|id| image.broker(*id).is_some_and(|found| !found.fenced));
    live.unwrap_or(context.shared.config.node_id).0
}
