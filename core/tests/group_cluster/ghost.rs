//! What only an observer of all brokers knows: what was ever appended, what of it is durable, and
//! what clients were told.

use crate::{
    broker::{ExpectedOffset, Heard, SLOWEST_CLOCK, Waiting},
    log::Partition,
    view::{Key, View, held},
    wire,
    world::World,
};
use highwater_core::{
    group::{
        ClassicGroupValue, ConsumerHeartbeat, CurrentAssignmentValue, GroupError, GroupId,
        HardState, Identity, MemberEpoch, MemberId, MemberState, Record, Request, Response,
    },
    time::Instant,
    types::{PartitionIndex, RequestId, TopicId},
};
use std::{collections::BTreeMap, sync::Arc};

/// Something that was appended.
#[derive(Clone, Debug)]
struct Fact<T> {
    position: u64,
    epoch: u32,
    is: T,
}

#[derive(Default)]
pub struct Ghost {
    /// Every record of a classic group, by generation.
    generations: BTreeMap<(GroupId, u32), Vec<Fact<Arc<ClassicGroupValue>>>>,
    /// Every state that a member of a consumer group was ever in.
    members: BTreeMap<(GroupId, MemberId), Vec<Fact<CurrentAssignmentValue>>>,
    /// Every commit, by its words, which a client uses once; a request may arrive twice.
    commits: BTreeMap<Arc<str>, Vec<Fact<Key>>>,
    /// Commits that were acknowledged: in which epoch, and where the log has them.
    acknowledged: BTreeMap<Key, Vec<(u32, u64)>>,
}

impl Ghost {
    fn is_durable<T>(partition: &Partition, fact: &Fact<T>) -> bool {
        partition.is_durable(fact.position, fact.epoch)
    }

    /// Where the newest commit is that a coordinator up to this epoch has acknowledged.
    fn floor(&self, key: &Key, epoch: u32) -> Option<u64> {
        let known = self.acknowledged.get(key)?.iter();
        known.filter(|(by, _)| *by <= epoch).map(|(_, position)| *position).max()
    }
}

/// Whether a request of a classic member may be accepted.
fn check_identity(view: &View, group: &GroupId, identity: &Identity) -> Option<&'static str> {
    if let Some(value) = view.classic.get(group).filter(|value| !value.members.is_empty()) {
        let member = value.members.iter().find(|known| known.member == identity.member);
        let newest = identity.instance.as_ref().and_then(|instance| {
            value.members.iter().find(|known| known.instance.as_ref() == Some(instance))
        });
        if newest.is_some_and(|newest| newest.member != identity.member) {
            return Some("G3: a static member that was replaced is taken for the newest");
        }
        if member.is_none() {
            return Some("G2: somebody who is no member is taken for one");
        }
        if identity.generation != Some(value.generation) {
            return Some("G2, O4: another generation is accepted");
        }
    } else if let Some(consumer) = view.consumer.get(group).filter(|g| !g.members.is_empty()) {
        let Some(current) = consumer.current.get(&identity.member) else {
            return match consumer.members.contains_key(&identity.member) {
                true => None,
                false => Some("G2: somebody who is no member is taken for one"),
            };
        };
        if identity.generation.is_none() || identity.generation > current.epoch {
            return Some("G11, O4: an epoch that was never given out is accepted");
        }
    } else if identity.generation.is_some() {
        return Some("G2: a group without members takes somebody for a member");
    }
    None
}

fn check_commit(
    view: &View,
    commit: &highwater_core::group::CommitOffsets,
) -> Option<&'static str> {
    if let Some(rule) = check_identity(view, &commit.group, &commit.identity) {
        return Some(rule);
    }
    let current = view.consumer.get(&commit.group)?.current.get(&commit.identity.member)?;
    if commit.identity.generation == current.epoch {
        return None;
    }
    let holds = |topic: TopicId, partition: &PartitionIndex| {
        let of = |all: &BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>| {
            all.get(&topic).and_then(|of| of.get(partition)).copied()
        };
        let since = of(&current.assigned).or_else(|| of(&current.pending_revocation));
        since.is_some() && since <= commit.identity.generation
    };
    let all = commit
        .offsets
        .iter()
        .all(|offset| offset.topic_id.is_none_or(|topic| holds(topic, &offset.partition)));
    (!all).then_some("O4: a commit of an older epoch is for a partition that was not held in it")
}

fn check_epoch(view: &View, heartbeat: &ConsumerHeartbeat) -> Option<&'static str> {
    let MemberEpoch::Stay(epoch) = heartbeat.epoch else { return None };
    let current =
        view.consumer.get(&heartbeat.group).and_then(|g| g.current.get(&heartbeat.member));
    let Some(current) = current else {
        return Some("G11: a heartbeat of somebody who is no member is taken");
    };
    let is_newest = current.epoch == Some(epoch);
    let is_before = current.epoch.is_some() && epoch == current.previous_epoch;
    (!is_newest && !is_before).then_some("G11: a heartbeat of a stale member epoch is taken")
}

/// Why this request must not be accepted, if it must not.
fn forbidden(view: &View, body: &Request) -> Option<&'static str> {
    match body {
        Request::Heartbeat { group, identity } => check_identity_exactly(view, group, identity),
        Request::Sync(sync) => check_identity_exactly(view, &sync.group, &sync.identity),
        Request::CommitOffsets(commit) => check_commit(view, commit),
        Request::ConsumerHeartbeat(heartbeat) => check_epoch(view, heartbeat),
        Request::DeleteGroup { group } => {
            let classic = view.classic.get(group).is_some_and(|value| !value.members.is_empty());
            let consumer = view.consumer.get(group).is_some_and(|g| !g.members.is_empty());
            (classic || consumer).then_some("G: a group that has members is deleted")
        }
        Request::Join(_)
        | Request::Leave { .. }
        | Request::FetchOffsets(_)
        | Request::DeleteOffsets { .. }
        | Request::Describe { .. }
        | Request::DescribeConsumer { .. }
        | Request::List { .. } => None,
    }
}

/// As [`check_identity`]; only the member's own epoch will do.
fn check_identity_exactly(
    view: &View,
    group: &GroupId,
    identity: &Identity,
) -> Option<&'static str> {
    let consumer = view.consumer.get(group);
    let current = consumer.and_then(|group| group.current.get(&identity.member));
    if current.is_some_and(|current| current.epoch != identity.generation) {
        return Some("G11: a classic member of another epoch is taken");
    }
    check_identity(view, group, identity)
}

impl World {
    /// What is expected of the answer to a request, as the broker's log is now.
    pub fn expect(&self, who: usize, client: usize, seq: u64, body: &Request) -> Waiting {
        let broker = &self.brokers[who];
        let image = &self.images[broker.image];
        let mut offsets = Vec::new();
        if let Request::FetchOffsets(fetch) = body {
            for (topic, partitions) in fetch.topics.iter().flatten() {
                for partition in partitions {
                    let key = (fetch.group.clone(), topic.clone(), *partition);
                    let commit = broker.view.offsets.get(&key);
                    let current = image.topic_named(topic).map(|topic| topic.id);
                    let known = commit
                        .filter(|commit| current.is_none() || current == commit.value.topic_id);
                    let position = known.map(|commit| commit.position);
                    self.check_floor(who, &key);
                    offsets.push(ExpectedOffset { key, position });
                }
            }
        }
        Waiting {
            client,
            seq,
            forbidden: forbidden(&broker.view, body),
            body: body.clone(),
            offsets,
            epoch: broker.coordinator.epoch().map_or(0, |epoch| epoch.0),
            arrived: broker.now(self.time).monotonic,
            parked: false,
        }
    }

    /// O1: a coordinator has every commit that it or one before it has acknowledged, unless the
    /// offset was taken away since.
    fn check_floor(&self, who: usize, key: &Key) {
        let broker = &self.brokers[who];
        let Some(epoch) =
            broker.coordinator.epoch().filter(|_| broker.coordinator.shard().is_some())
        else {
            return;
        };
        let Some(floor) = self.ghost.floor(key, epoch.0) else { return };
        let has = broker.view.offsets.get(key).is_some_and(|commit| commit.position >= floor);
        let removed = broker.view.removed.get(key).is_some_and(|removed| *removed > floor);
        assert!(has || removed, "O1: an acknowledged commit for {key:?} is lost");
    }

    /// Every request is answered once.
    pub fn answer(&mut self, who: usize, request: RequestId) -> Waiting {
        self.statistics.answers += 1;
        let waiting = self.brokers[who].requests.remove(&request);
        waiting.unwrap_or_else(|| panic!("H: request {request} is answered twice"))
    }

    /// Notes what was appended.
    pub fn note_records(&mut self, epoch: u32, base: u64, records: &[Record]) {
        let Self { ghost, statistics, .. } = self;
        let of = |kind: fn(&Record) -> bool| records.iter().any(kind);
        let had_classic = of(|record| matches!(record, Record::Group { value: None, .. }));
        let had_consumer = of(|record| matches!(record, Record::ConsumerGroup { value: None, .. }));
        let has_classic = of(|record| matches!(record, Record::Group { value: Some(_), .. }));
        let has_consumer =
            of(|record| matches!(record, Record::ConsumerGroup { value: Some(_), .. }));
        statistics.upgrades += u64::from(had_classic && has_consumer);
        statistics.downgrades += u64::from(had_consumer && has_classic);
        statistics.targets += u64::from(has_consumer);
        for (position, record) in (base..).zip(records) {
            match record {
                Record::Group { group, value: Some(value) } => {
                    let key = (group.clone(), value.generation);
                    let is = Arc::new(value.clone());
                    let fact = Fact { position, epoch, is };
                    ghost.generations.entry(key).or_default().push(fact);
                    statistics.generations += u64::from(value.leader.is_none());
                }
                Record::CurrentAssignment { group, member, value: Some(value) } => {
                    let key = (group.clone(), member.clone());
                    let fact = Fact { position, epoch, is: value.clone() };
                    ghost.members.entry(key).or_default().push(fact);
                    statistics.revocations += u64::from(!value.pending_revocation.is_empty());
                    statistics.static_returns += u64::from(value.epoch.is_none());
                }
                Record::OffsetCommit { group, topic, partition, value: Some(value) } => {
                    let is = (group.clone(), topic.clone(), *partition);
                    let fact = Fact { position, epoch, is };
                    ghost.commits.entry(value.metadata.clone()).or_default().push(fact);
                }
                Record::OffsetCommit { value: None, .. } => statistics.expired += 1,
                Record::Group { value: None, .. } | Record::ConsumerGroup { value: None, .. } => {
                    statistics.deleted_groups += 1;
                }
                _ => {}
            }
        }
    }

    /// Members that a coordinator begins a generation with have a session from then on.
    pub fn note_members(&mut self, who: usize, records: &[Record], now: Instant) {
        for record in records {
            let Record::Group { group, value: Some(value) } = record else { continue };
            if value.leader.is_some() {
                continue;
            }
            for member in &value.members {
                let patience = member.session_timeout.min(member.rebalance_timeout);
                let key = (group.clone(), member.member.clone());
                self.brokers[who].heard.insert(key, Heard { at: now, patience });
            }
        }
    }

    /// Whatever a client is told is durable, and is what the log says.
    pub fn check_answer(&mut self, who: usize, waiting: &Waiting, response: &Response) {
        if self.partition.epoch() > waiting.epoch {
            self.statistics.zombie_answers += 1;
            let epoch = waiting.epoch;
            assert!(!self.is_long_over(epoch), "it was replaced long ago and answers {response:?}");
        }
        if let Some(rule) = waiting.forbidden {
            let accepted = match response {
                Response::Heartbeat(Ok(())) | Response::Synced(Ok(_)) => true,
                Response::Committed(Ok(outcomes)) => outcomes.iter().any(Result::is_ok),
                Response::ConsumerHeartbeat(outcome) => outcome.is_ok(),
                Response::GroupDeleted(outcome) => outcome.is_ok(),
                _ => false,
            };
            assert!(!accepted, "{rule}: {:?}", waiting.body);
        }
        match (&waiting.body, response) {
            (Request::Join(join), Response::Joined(Ok(joined))) => {
                self.statistics.joined += 1;
                self.check_joined(&join.group, &joined.member, joined.generation);
            }
            (Request::Join(join), Response::Joined(Err(refused))) => {
                let key = (join.group.clone(), join.member.clone());
                if refused.error == GroupError::GroupMaxSizeReached {
                    self.brokers[who].heard.remove(&key);
                }
                if waiting.parked && !join.member.is_empty() {
                    let unknown = refused.error == GroupError::UnknownMemberId;
                    let left = self.ghost_left(who, &key, waiting.epoch);
                    assert!(!unknown || left, "G2: {key:?} is removed while its join is parked");
                }
            }
            (Request::Sync(sync), Response::Synced(Ok(synced))) => {
                self.statistics.synced += 1;
                self.check_synced(&sync.group, &sync.identity, &synced.assignment);
                let generation = sync.identity.generation.unwrap_or(0);
                let synced = (sync.identity.member.clone(), generation);
                self.brokers[who].synced.insert(synced);
            }
            (Request::Sync(sync), Response::Synced(Err(error))) => {
                let outcome = Err(error.clone());
                self.check_heard(who, waiting, &sync.group, &sync.identity, &outcome);
            }
            (Request::Heartbeat { group, identity }, Response::Heartbeat(outcome)) => {
                self.statistics.heartbeats += 1;
                self.check_heard(who, waiting, group, identity, outcome);
            }
            (Request::CommitOffsets(commit), Response::Committed(Ok(outcomes))) => {
                for (offset, outcome) in commit.offsets.iter().zip(outcomes) {
                    if outcome.is_ok() {
                        self.acknowledge(waiting.epoch, &offset.metadata);
                    }
                }
            }
            (Request::CommitOffsets(_), Response::Committed(Err(_))) => {
                self.statistics.refused_commits += 1;
            }
            (Request::FetchOffsets(fetch), Response::Offsets(Ok(topics))) => {
                self.statistics.offsets_read += 1;
                if fetch.topics.is_some() {
                    self.check_offsets(waiting, topics);
                }
            }
            (Request::ConsumerHeartbeat(heartbeat), Response::ConsumerHeartbeat(outcome)) => {
                self.check_consumer_heartbeat(heartbeat, outcome);
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, epoch: u32, words: &Arc<str>) {
        self.statistics.commits += 1;
        let facts = &self.ghost.commits[words];
        let durable = facts.iter().find(|fact| Ghost::is_durable(&self.partition, fact));
        let Some(fact) = durable else {
            panic!("O1: a commit is acknowledged that the log may lose: {facts:?}");
        };
        let (key, position) = (fact.is.clone(), fact.position);
        self.ghost.acknowledged.entry(key).or_default().push((epoch, position));
    }

    /// G5: who is told a generation is one of its members, and that is durable.
    fn check_joined(&self, group: &GroupId, member: &MemberId, generation: u32) {
        let facts = self.ghost.generations.get(&(group.clone(), generation));
        let classic = facts.into_iter().flatten().any(|fact| {
            Ghost::is_durable(&self.partition, fact)
                && fact.is.members.iter().any(|known| known.member == *member)
        });
        let facts = self.ghost.members.get(&(group.clone(), member.clone()));
        let consumer = facts.into_iter().flatten().any(|fact| {
            Ghost::is_durable(&self.partition, fact) && fact.is.epoch == Some(generation)
        });
        assert!(
            classic || consumer,
            "G5: {member} is told generation {generation}, which the log may lose"
        );
    }

    /// G4, G5: who is told an assignment has it in a durable record.
    fn check_synced(&self, group: &GroupId, identity: &Identity, assignment: &[u8]) {
        let generation = identity.generation.unwrap_or(0);
        let facts = self.ghost.generations.get(&(group.clone(), generation));
        let classic = facts.into_iter().flatten().any(|fact| {
            let is = |known: &&highwater_core::group::ClassicMemberValue| {
                known.member == identity.member && known.assignment == assignment
            };
            Ghost::is_durable(&self.partition, fact)
                && fact.is.leader.is_some()
                && fact.is.members.iter().any(|known| is(&known))
        });
        let facts = self.ghost.members.get(&(group.clone(), identity.member.clone()));
        let told = wire::read_assignment(assignment).len();
        let consumer = facts.into_iter().flatten().any(|fact| {
            // Topics that were deleted are not told.
            Ghost::is_durable(&self.partition, fact)
                && fact.is.epoch == Some(generation)
                && told <= held(&fact.is).len()
        });
        assert!(
            classic || consumer,
            "G4, G5: {} of {group} is told an assignment that the log does not have",
            identity.member
        );
    }

    /// Whether somebody had this member leave, on this coordinator.
    fn ghost_left(&self, who: usize, key: &(GroupId, MemberId), epoch: u32) -> bool {
        let broker = &self.brokers[who];
        broker.coordinator.epoch().map(|epoch| epoch.0) != Some(epoch)
            || self.clients.iter().any(|client| client.has_removed(key))
    }

    /// K5: a member that is heard of in time, and does in time what it is told to, is not removed.
    fn check_heard(
        &mut self,
        who: usize,
        waiting: &Waiting,
        group: &GroupId,
        identity: &Identity,
        outcome: &Result<(), GroupError>,
    ) {
        let key = (group.clone(), identity.member.clone());
        let left = self.ghost_left(who, &key, waiting.epoch);
        let broker = &mut self.brokers[who];
        let member = (identity.member.clone(), identity.generation.unwrap_or(0));
        match outcome {
            Ok(()) => {
                let synced = broker.synced.contains(&member);
                if let Some(heard) = broker.heard.get_mut(&key).filter(|_| synced) {
                    heard.at = heard.at.max(waiting.arrived);
                }
            }
            Err(GroupError::UnknownMemberId) => {
                let Some(heard) = broker.heard.get(&key).filter(|_| !left) else { return };
                let silence = waiting.arrived.since(heard.at);
                assert!(
                    silence >= heard.patience,
                    "K5, G2: {key:?} is removed {silence:?} after it was heard of"
                );
            }
            Err(GroupError::RebalanceInProgress) => {
                self.statistics.rebalances += 1;
                broker.heard.remove(&key);
            }
            Err(_) => {}
        }
    }

    /// O2: an offset is what the log had when it was asked for.
    fn check_offsets(&self, waiting: &Waiting, topics: &[highwater_core::group::TopicOffsets]) {
        let told = topics.iter().flat_map(|topic| &topic.partitions).map(|(_, told)| told);
        for (expected, told) in waiting.offsets.iter().zip(told) {
            let Ok(told) = told else { continue };
            let facts = told.as_ref().map(|told| &self.ghost.commits[&told.metadata]);
            let fact = expected.position.and_then(|position| {
                facts.into_iter().flatten().find(|fact| fact.position == position)
            });
            assert_eq!(
                (told.is_some(), fact.is_some()),
                (expected.position.is_some(), expected.position.is_some()),
                "O2: another offset is told for {:?} than the log has: {told:?}",
                expected.key
            );
            let durable = fact.is_none_or(|fact| Ghost::is_durable(&self.partition, fact));
            assert!(durable, "O1: an offset is told that the log may lose");
        }
    }

    /// G5, G11: what a member is told is durable.
    fn check_consumer_heartbeat(
        &mut self,
        heartbeat: &ConsumerHeartbeat,
        outcome: &Result<highwater_core::group::ConsumerHeartbeatAnswer, GroupError>,
    ) {
        self.statistics.consumer_heartbeats += 1;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(GroupError::FencedMemberEpoch) => {
                self.statistics.fenced += 1;
                let joins = heartbeat.epoch == MemberEpoch::Join;
                assert!(!joins, "G11: {} was fenced and cannot join again", heartbeat.member);
                return;
            }
            Err(_) => return,
        };
        let MemberEpoch::Stay(epoch) = answer.epoch else { return };
        let key = (heartbeat.group.clone(), answer.member.clone());
        let facts = self.ghost.members.get(&key).into_iter().flatten();
        let mut durable = facts.filter(|fact| Ghost::is_durable(&self.partition, fact));
        let told = answer.assignment.as_ref();
        let known = durable.any(|fact| {
            let has = |(topic, of): (_, &std::collections::BTreeSet<_>)| {
                fact.is.assigned.get(topic).is_some_and(|known| of.iter().eq(known.keys()))
            };
            fact.is.epoch == Some(epoch)
                && told
                    .is_none_or(|told| told.len() == fact.is.assigned.len() && told.iter().all(has))
        });
        assert!(known, "G5: {key:?} is told what the log may lose: {answer:?}");
    }

    /// G9: a member that does not give partitions up in time is removed.
    pub fn check_late_members(&self, who: usize) {
        let broker = &self.brokers[who];
        if broker.coordinator.shard().is_none() {
            return;
        }
        for (id, group) in &broker.view.consumer {
            for (member, current) in &group.current {
                let Some(about) = group.members.get(member) else { continue };
                if current.state != MemberState::UnrevokedPartitions || current.epoch.is_none() {
                    continue;
                }
                let since = group.since[member].max(broker.loaded_at);
                let longest = about.rebalance_timeout.as_nanos() as u64 * 1000 / SLOWEST_CLOCK;
                assert!(
                    self.time <= since + longest,
                    "G9: {member} of {id} keeps partitions for longer than its rebalance timeout"
                );
            }
        }
    }

    /// The shard and the independent reading of the same log agree.
    pub fn check_view(&self, who: usize, live: &HardState) {
        let view = &self.brokers[who].view;
        let groups = live.groups.iter();
        assert!(groups.eq(&view.classic), "G5: the shard has other classic groups than its log");
        assert!(live.consumer_groups.keys().eq(view.consumer.keys()), "G5: other consumer groups");
        let offsets = live.offsets.iter().map(|(key, (position, _))| (key, position.0));
        let read = view.offsets.iter().map(|(key, commit)| (key, commit.position));
        assert!(offsets.eq(read), "O1: the shard has other offsets than its log");
    }
}
