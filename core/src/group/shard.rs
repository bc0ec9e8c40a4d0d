//! One partition of `__consumer_offsets`: its groups and their offsets.
//!
//! The shard sees that requests make sense and hands them on: to [`super::classic`] what is about
//! membership, to [`super::offsets`] what is about offsets. A group of which there is nothing but
//! offsets is a simple group.

use super::{
    ClassicGroupValue, CommitOffsets, CommittedOffset, Decided, Described, FetchOffsets,
    GroupCensus, GroupConfig, GroupError, GroupId, GroupState, GroupType, JoinRefused, Listed,
    OffsetToCommit, Record, Request, Response, TopicOffsets,
    classic::{ClassicGroups, Expiry, Step},
    consumer::{ConsumerGroup, ConsumerGroups},
    limits::{DECISION_BYTES_MAX, is_metadata_too_long, offset_size, record_size},
    offsets::{MAX_TOMBSTONES, Offsets, tombstone},
};
use crate::{
    coordinator::Shard,
    metadata::Image,
    mutant::Mutant,
    time::{Instant, Now, Timestamp},
    types::{MetadataOffset, Offset, PartitionIndex, RequestId, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

/// The longest group id, in bytes: what a record of Kafka's layout can hold.
const MAX_GROUP_ID: usize = i16::MAX as usize;

/// The groups of one partition.
#[derive(Clone, Debug)]
pub struct GroupShard {
    config: GroupConfig,
    pub(super) classic: ClassicGroups,
    pub(super) consumer: ConsumerGroups,
    pub(super) offsets: Offsets,
    /// When offsets are next looked through for those that have expired; `None` before the log has
    /// been read.
    next_check: Option<Instant>,
    /// The metadata that offsets were last compared with.
    compared: Option<MetadataOffset>,
    /// Something could not be decided together with what was decided.
    again: Option<Instant>,
    /// Who waits for a group to be deleted, the offsets of which are deleted piece by piece.
    pub(super) deleting: BTreeMap<GroupId, Vec<RequestId>>,
}

/// What the log says of every group of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardState {
    /// Classic groups.
    pub groups: BTreeMap<GroupId, ClassicGroupValue>,
    /// Consumer groups.
    pub consumer_groups: BTreeMap<GroupId, ConsumerGroup>,
    /// Committed offsets, and where the log has them.
    pub offsets: BTreeMap<(GroupId, Arc<str>, PartitionIndex), (Offset, CommittedOffset)>,
}

impl Shard for GroupShard {
    type Config = GroupConfig;
    type Request = Request;
    type Response = Response;
    type Record = Record;

    fn new(config: &GroupConfig) -> Self {
        Self {
            config: config.clone(),
            classic: ClassicGroups::default(),
            consumer: ConsumerGroups::default(),
            offsets: Offsets::default(),
            next_check: None,
            compared: None,
            again: None,
            deleting: BTreeMap::new(),
        }
    }

    fn handle(
        &mut self,
        now: Now,
        image: &Image,
        request: RequestId,
        body: Request,
        decision: &mut Decided,
    ) {
        if let Some(refusal) = refuse_group_id(&body) {
            decision.answer(request, refusal);
            return;
        }
        decision.stands_alone =
            matches!(body, Request::CommitOffsets(_) | Request::DeleteOffsets { .. });
        let config = self.config.clone();
        let step = &mut Step { now, config: &config, decision };
        match body {
            Request::Join(join) => self.join(step, image, request, join),
            Request::Sync(sync) => self.sync(step, image, request, sync),
            Request::Heartbeat { group, identity } => {
                let outcome = self.heartbeat(step, &group, &identity);
                step.decision.answer(request, Response::Heartbeat(outcome));
            }
            Request::Leave { group, members } => {
                let outcomes = self.leave(step, image, &group, &members);
                step.decision.answer(request, Response::Left(Ok(outcomes)));
            }
            Request::CommitOffsets(commit) => {
                let outcome = self.commit(step, image, commit);
                step.decision.answer(request, Response::Committed(outcome));
            }
            Request::FetchOffsets(fetch) => {
                let offsets = self.fetch(image, fetch);
                step.decision.answer(request, Response::Offsets(offsets));
            }
            Request::DeleteOffsets { group, topics } => {
                let outcome = self.delete_offsets(step, &group, &topics);
                step.decision.answer(request, Response::OffsetsDeleted(outcome));
            }
            Request::DeleteGroup { group } => {
                self.delete_group(step, request, &group);
            }
            Request::Describe { group } => {
                step.decision.answer(request, Response::Described(self.describe(&group)));
            }
            Request::DescribeConsumer { group } => {
                let answer = Response::ConsumerDescribed(self.consumer.describe(&group));
                step.decision.answer(request, answer);
            }
            Request::List { states, types } => {
                step.decision.answer(request, Response::Listed(self.list(&states, &types)));
            }
            Request::ConsumerHeartbeat(heartbeat) => {
                let answer = self.consumer_heartbeat(step, image, &heartbeat);
                step.decision.answer(request, Response::ConsumerHeartbeat(answer));
            }
        }
        self.plan_deletions(now);
        self.note_use(now, decision);
    }

    fn tick(&mut self, now: Now, image: &Image, decision: &mut Decided) {
        let config = self.config.clone();
        self.classic.tick(&mut Step { now, config: &config, decision });
        // Each of these is decided by what the log says, and so alone; what is left stays due.
        // Together they could be more than fits into one batch.
        if decision.records.is_empty() {
            self.consumer.tick(now, image, &config, &mut decision.records);
        }
        if decision.records.is_empty() {
            self.go_on_deleting(decision);
        }
        if decision.records.is_empty() && self.compared != Some(image.applied()) {
            self.offsets.drop_deleted_topics(now, image, &config, &mut decision.records);
            if decision.records.is_empty() {
                self.compared = Some(image.applied());
            }
        }
        if decision.records.is_empty() && self.next_check.is_some_and(|due| due <= now.monotonic) {
            self.check_retention(now, image, decision);
        }
        let is_done = self.compared == Some(image.applied()) && self.deleting.is_empty();
        self.again = (!is_done).then_some(now.monotonic);
        self.note_use(now, decision);
    }

    fn loaded(&mut self, now: Now, _image: &Image) {
        self.classic.loaded(now, &self.config);
        self.consumer.loaded(now, &self.config);
        self.offsets.loaded(now);
        self.next_check = Some(now.monotonic.after(self.config.offsets_retention_check_interval));
        self.again = Some(now.monotonic);
    }

    fn replay(&mut self, offset: Offset, record: &Record) {
        match record {
            Record::OffsetCommit { group, topic, partition, value } => {
                self.offsets.replay(offset, group, topic, *partition, value.as_ref());
            }
            Record::Group { group, value } => self.classic.replay(group, value.as_ref()),
            Record::ConsumerGroup { .. }
            | Record::ConsumerMember { .. }
            | Record::TargetAssignmentEpoch { .. }
            | Record::TargetAssignment { .. }
            | Record::CurrentAssignment { .. }
            | Record::RegularExpression { .. } => self.consumer.replay(offset, record),
        }
    }

    fn replayed(&mut self, now: Now, _image: &Image) {
        for group in self.consumer.take_downgraded() {
            self.classic.adopt(now, &self.config, &group);
        }
        self.offsets.replayed(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let groups = self.classic.next_deadline().into_iter().chain(self.consumer.next_deadline());
        groups.chain(self.next_check).chain(self.again).min()
    }

    fn waiting(&mut self) -> Vec<RequestId> {
        let mut waiting = self.classic.waiting();
        waiting.extend(core::mem::take(&mut self.deleting).into_values().flatten());
        waiting
    }
}

impl GroupShard {
    /// What the log says, as this shard has replayed it.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        let groups = self.classic.values().map(|(id, value)| (id.clone(), value.clone()));
        let consumer_groups = self.consumer.values().map(|(id, group)| (id.clone(), group.clone()));
        HardState {
            groups: groups.collect(),
            consumer_groups: consumer_groups.collect(),
            offsets: self.offsets.hard_state(),
        }
    }

    /// Counts groups and members.
    #[must_use]
    pub fn census(&self) -> GroupCensus {
        let members = self.classic.members() + self.consumer.members();
        let mut census = GroupCensus { members, ..Default::default() };
        for listed in self.list(&[], &[]) {
            let at = GroupState::ALL.iter().position(|state| *state == listed.state);
            census.groups[at.expect("it is one of all states")] += 1;
        }
        census
    }

    /// The state of a group that has a protocol; `None` when there is nothing of it, or offsets only.
    #[must_use]
    pub fn state(&self, group: &str) -> Option<GroupState> {
        self.classic.state(group).or_else(|| self.consumer.state(group))
    }

    /// Classic groups to which the last tick has done what was due: time may bring them into another
    /// state without a record.
    #[must_use]
    pub fn ticked(&self) -> &[GroupId] {
        self.classic.ticked()
    }

    pub(super) fn contains(&self, group: &str) -> bool {
        let has_members = self.classic.contains(group) || self.consumer.contains(group);
        has_members || self.offsets.contains(group)
    }

    /// Groups that are being deleted are looked at when what was decided has been replayed.
    fn plan_deletions(&mut self, now: Now) {
        if !self.deleting.is_empty() {
            self.again = Some(now.monotonic);
        }
    }

    /// Whether offsets of a topic are in use by a member of the group.
    fn is_subscribed(&self, group: &str, topic: &str) -> bool {
        self.classic.is_subscribed(group, topic) || self.consumer.is_subscribed(group, topic)
    }

    /// Whether somebody may commit these offsets.
    fn check_commit(
        &mut self,
        step: &Step<'_>,
        image: &Image,
        commit: &CommitOffsets,
    ) -> Result<(), GroupError> {
        if !self.consumer.contains(&commit.group) {
            return self.classic.check_commit(step, commit);
        }
        let named = commit.offsets.iter();
        let named = named.map(|offset| (&*offset.topic, offset.topic_id, offset.partition));
        self.consumer.check_commit(image, &commit.group, &commit.identity, named)
    }

    fn commit(
        &mut self,
        step: &mut Step<'_>,
        image: &Image,
        commit: CommitOffsets,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let stored = self.offsets.contains(&commit.group);
        let outcome = self.check_commit(step, image, &commit);
        match outcome {
            // A simple group exists, and no member of it does.
            Err(GroupError::GroupIdNotFound) if stored => return Err(GroupError::UnknownMemberId),
            other => other?,
        }
        let CommitOffsets { group, retention, offsets, .. } = commit;
        let expires_at = retention.map(|retention| later(step.now.wall, retention));
        let mut outcomes = Vec::with_capacity(offsets.len());
        // A partition that is named twice is committed once: the last wins, and keeps its place.
        let mut last = BTreeMap::new();
        let mut accepted = Vec::new();
        for wanted in offsets {
            if is_metadata_too_long(&wanted.metadata, step.config.offset_metadata_max_bytes) {
                outcomes.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            let Some(topic_id) = topic_of(image, &wanted) else {
                outcomes.push(Err(GroupError::UnknownTopicOrPartition));
                continue;
            };
            last.insert((wanted.topic.clone(), wanted.partition), accepted.len());
            accepted.push((topic_id, wanted));
            outcomes.push(Ok(()));
        }
        let places: BTreeSet<usize> = last.into_values().collect();
        let sizes = places.iter().map(|place| &accepted[*place].1);
        let sizes = sizes.map(|wanted| offset_size(&group, &wanted.topic, wanted.metadata.len()));
        if sizes.sum::<usize>() > DECISION_BYTES_MAX {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        for (place, (topic_id, wanted)) in accepted.into_iter().enumerate() {
            if !places.contains(&place) {
                continue;
            }
            let OffsetToCommit { topic, partition, offset, leader_epoch, metadata, .. } = wanted;
            if Mutant::LowerCommitIgnored.is_planted() {
                let known = self.offsets.committed(image, &group, &topic, partition);
                if known.is_some_and(|known| known.offset > offset) {
                    continue;
                }
            }
            let value = CommittedOffset {
                offset,
                leader_epoch,
                metadata,
                committed_at: step.now.wall,
                expires_at,
                topic_id: Some(topic_id),
            };
            let (group, value) = (group.clone(), Some(value));
            step.decision.record(Record::OffsetCommit { group, topic, partition, value });
        }
        Ok(outcomes)
    }

    /// No transaction commits offsets here, and so every offset is stable (KIP-447).
    fn fetch(&self, image: &Image, fetch: FetchOffsets) -> Result<Vec<TopicOffsets>, GroupError> {
        let FetchOffsets { group, member, topics, .. } = fetch;
        if self.consumer.contains(&group) {
            self.consumer.check_fetch(&group, member.as_ref())?;
        }
        let Some(topics) = topics else {
            let all = self.offsets.of_group(image, &group).map(|(topic, partitions)| {
                let partitions = partitions.into_iter();
                let partitions = partitions.map(|(index, known)| (index, Ok(Some(known.clone()))));
                TopicOffsets { topic: topic.clone(), partitions: partitions.collect() }
            });
            return Ok(all.collect());
        };
        let named = topics.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|index| {
                let known = self.offsets.committed(image, &group, &topic, index);
                (index, Ok(known.cloned()))
            });
            let partitions = partitions.collect();
            TopicOffsets { topic, partitions }
        });
        Ok(named.collect())
    }

    fn delete_offsets(
        &self,
        step: &mut Step<'_>,
        group: &GroupId,
        topics: &[(Arc<str>, Vec<PartitionIndex>)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if !self.contains(group) {
            return Err(GroupError::GroupIdNotFound);
        }
        self.classic.check_delete_offsets(group)?;
        let mut outcomes = Vec::new();
        let mut deleted = BTreeSet::new();
        for (topic, partitions) in topics {
            let in_use = self.is_subscribed(group, topic);
            for partition in partitions {
                if in_use {
                    outcomes.push(Err(GroupError::GroupSubscribedToTopic));
                    continue;
                }
                if self.offsets.has(group, topic, *partition) {
                    deleted.insert((topic, *partition));
                }
                outcomes.push(Ok(()));
            }
        }
        let sizes = deleted.iter().map(|(topic, _)| offset_size(group, topic, 0));
        if sizes.sum::<usize>() > DECISION_BYTES_MAX {
            let reason = String::from("too many offsets: delete fewer at once");
            return Err(GroupError::InvalidRequest(reason));
        }
        for (topic, partition) in deleted {
            step.decision.record(tombstone(group, topic, partition));
        }
        Ok(outcomes)
    }

    fn describe(&self, group: &GroupId) -> Result<Described, GroupError> {
        match self.classic.describe(group) {
            Some(described) => Ok(described),
            None if self.consumer.contains(group) => Err(GroupError::GroupIdNotFound),
            None if self.offsets.contains(group) => Ok(Described {
                state: GroupState::Empty,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            }),
            None => Err(GroupError::GroupIdNotFound),
        }
    }

    fn list(&self, states: &[String], types: &[String]) -> Vec<Listed> {
        let named = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let has_members =
            |group: &&GroupId| self.classic.contains(group) || self.consumer.contains(group);
        let simple = self.offsets.groups().filter(|group| !has_members(group));
        let simple = simple.map(|group| Listed {
            group: group.clone(),
            protocol_type: String::new(),
            state: GroupState::Empty,
            kind: GroupType::Classic,
        });
        let all = self.classic.list().chain(self.consumer.list()).chain(simple);
        let wanted = all.filter(|listed| {
            named(states, listed.state.name()) && named(types, listed.kind.name())
        });
        let mut listed: Vec<Listed> = wanted.collect();
        listed.sort_unstable_by(|one, other| one.group.cmp(&other.group));
        listed
    }

    /// Drops what has expired: offsets first, then groups that have none.
    fn check_retention(&mut self, now: Now, image: &Image, decision: &mut Decided) {
        let Self { config, classic, consumer, offsets, .. } = self;
        offsets.drop_deleted_topics(now, image, config, &mut decision.records);
        if decision.records.is_empty() {
            let is_subscribed = |group: &GroupId, topic: &str| {
                classic.is_subscribed(group, topic) || consumer.is_subscribed(group, topic)
            };
            let expiry = |group: &GroupId| match consumer.contains(group) {
                true => Expiry::Unsubscribed,
                false => classic.expiry(group),
            };
            offsets.expire(now, config, expiry, is_subscribed, &mut decision.records);
        }
        if decision.records.is_empty() {
            let unused = classic.idle().filter(|group| !offsets.contains(group));
            let unused: Vec<GroupId> = unused.take(MAX_TOMBSTONES).cloned().collect();
            for group in &unused {
                classic.delete(group, &mut decision.records);
            }
        }
        if decision.records.is_empty() {
            let unused = consumer.idle().filter(|group| !offsets.contains(group));
            let mut bytes = 0;
            for group in unused.take(MAX_TOMBSTONES) {
                if bytes > DECISION_BYTES_MAX {
                    break;
                }
                let before = decision.records.len();
                let deleted = consumer.delete(group, &mut decision.records);
                assert_eq!(deleted, Ok(()), "a group without members may be deleted");
                bytes += decision.records[before..].iter().map(record_size).sum::<usize>();
            }
        }
        if decision.records.is_empty() {
            let interval = config.offsets_retention_check_interval;
            self.next_check = Some(now.monotonic.after(interval));
        }
    }

    /// Members are about to subscribe to other topics than before: until now they used these.
    fn note_use(&mut self, now: Now, decision: &Decided) {
        let groups: BTreeSet<&GroupId> = decision
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Group { group, .. }
                | Record::ConsumerMember { group, .. }
                | Record::RegularExpression { group, .. } => Some(group),
                _ => None,
            })
            .collect();
        for group in groups {
            let Self { classic, consumer, offsets, .. } = self;
            offsets.used(now, group, |topic| {
                classic.is_subscribed(group, topic) || consumer.is_subscribed(group, topic)
            });
        }
    }
}

/// The id of the topic that a commit is for, if it has the partition.
fn topic_of(image: &Image, wanted: &OffsetToCommit) -> Option<TopicId> {
    let topic = image.topic_named(&wanted.topic)?;
    let is_meant = wanted.topic_id.is_none_or(|id| id == topic.id);
    let has_partition = (wanted.partition.0 as usize) < topic.partitions.len();
    (is_meant && has_partition).then_some(topic.id)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// Refuses a group id that no group can have. The empty one is known to offsets and to what is asked
/// about groups that are no consumer groups, as very old clients used it.
fn refuse_group_id(body: &Request) -> Option<Response> {
    let group = body.group()?;
    let may_be_empty = !matches!(
        body,
        Request::Join(_)
            | Request::Sync(_)
            | Request::Heartbeat { .. }
            | Request::Leave { .. }
            | Request::DeleteOffsets { .. }
            | Request::DescribeConsumer { .. }
            | Request::ConsumerHeartbeat(_)
    );
    if group.len() <= MAX_GROUP_ID && (may_be_empty || !group.is_empty()) {
        return None;
    }
    let error = GroupError::InvalidGroupId;
    Some(match body {
        Request::Join(join) => {
            Response::Joined(Err(JoinRefused { error, member: join.member.clone() }))
        }
        Request::Sync(_) => Response::Synced(Err(error)),
        Request::Heartbeat { .. } => Response::Heartbeat(Err(error)),
        Request::Leave { .. } => Response::Left(Err(error)),
        Request::CommitOffsets(_) => Response::Committed(Err(error)),
        Request::FetchOffsets(_) => Response::Offsets(Err(error)),
        Request::DeleteOffsets { .. } => Response::OffsetsDeleted(Err(error)),
        Request::DeleteGroup { .. } => Response::GroupDeleted(Err(error)),
        Request::Describe { .. } => Response::Described(Err(error)),
        Request::DescribeConsumer { .. } => Response::ConsumerDescribed(Err(error)),
        Request::ConsumerHeartbeat(_) => Response::ConsumerHeartbeat(Err(error)),
        Request::List { .. } => return None,
    })
}
