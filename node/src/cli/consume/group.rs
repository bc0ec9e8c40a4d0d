//! `highwater consume --group`: reads as a member of a classic group, which shares the partitions
//! among its members and remembers how far it has come.
//!
//! Offsets are committed for records that were printed: what was printed and not committed when the
//! process died is printed again by the next member.

use super::{Consume, Cursor, EARLIEST, LATEST, Printer, Start, fetch, find_leaders, offset};
use crate::cli::{
    check, connect,
    group::{TRIES, coordinator, is_passing, pause},
    output::{Output, StdoutClosed},
    serve::Signals,
};
use bytes::Bytes;
use highwater_core::{
    time::Instant,
    types::{PartitionIndex, TopicId},
};
use highwater_node::{
    client::{Cluster, Committer, GroupOffset, PartitionRef},
    env::{Clock, OsClock},
    wire::{
        ErrorCode, Str,
        consumer_protocol::{
            ConsumerProtocolAssignment, ConsumerProtocolSubscription,
            consumer_protocol_assignment::TopicPartition, decode_assignment, decode_subscription,
            encode_assignment, encode_subscription,
        },
        generated::{
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            leave_group::{LeaveGroupRequest, MemberIdentity},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    time::Duration,
};

const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// Less than a call of the client may take.
const REBALANCE_TIMEOUT_MS: i32 = 25_000;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// What every consumer reads.
const ASSIGNMENT_VERSION: i16 = 0;
const SUBSCRIPTION_VERSION: i16 = 1;

/// A member of a group.
struct Member {
    group: String,
    topic: String,
    /// Empty before it has one.
    id: Str,
    generation: i32,
    coordinator: i32,
    heard: Instant,
    committed: Instant,
}

/// Why reading has ended.
enum End {
    /// Nothing more is wanted.
    Done,
    /// The group rebalances, or has given the partitions to others.
    Rejoin,
}

pub async fn run(arguments: &Consume, group: &str, output: Output) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut cluster = connect(&arguments.at.broker).await?;
    let now = OsClock::new().now().monotonic;
    let mut member = Member {
        group: group.to_owned(),
        topic: arguments.topic.clone(),
        id: Str::EMPTY,
        generation: -1,
        coordinator: -1,
        heard: now,
        committed: now,
    };
    let mut printer = Printer { arguments, output, left: arguments.count };
    let clock = OsClock::new();
    loop {
        let joining = member.join(&mut cluster);
        let partitions = tokio::select! {
            biased;
            () = signals.stop() => break,
            joined = joining => joined?,
        };
        let mut cursors = member.cursors(&mut cluster, arguments, &partitions).await?;
        let end =
            member.read(&mut cluster, &mut cursors, &mut printer, &mut signals, &clock).await?;
        match end {
            End::Done => break,
            End::Rejoin => {}
        }
    }
    member.leave(&mut cluster).await
}

impl Member {
    /// Joins the group's next generation, and returns the partitions that it got in it.
    async fn join(&mut self, cluster: &mut Cluster) -> anyhow::Result<Vec<i32>> {
        for _ in 0..TRIES {
            self.coordinator = coordinator(cluster, &self.group).await?;
            let joined =
                cluster.broker(self.coordinator).await?.call(&self.join_request()?).await?;
            match ErrorCode::from_i16(joined.error_code) {
                Some(ErrorCode::None) => {
                    (self.id, self.generation) = (joined.member_id.clone(), joined.generation_id);
                    if let Some(partitions) = self.sync(cluster, &joined).await? {
                        return Ok(partitions);
                    }
                }
                Some(ErrorCode::MemberIdRequired) => self.id = joined.member_id,
                Some(ErrorCode::UnknownMemberId) => self.id = Str::EMPTY,
                _ if is_passing(joined.error_code) => pause().await,
                _ => check(&format!("join group `{}`", self.group), joined.error_code, None)?,
            }
        }
        anyhow::bail!("cannot join group `{}`: it never settles; try again", self.group)
    }

    fn join_request(&self) -> anyhow::Result<JoinGroupRequest> {
        let subscription = ConsumerProtocolSubscription {
            topics: vec![Str::from(&self.topic)],
            ..Default::default()
        };
        Ok(JoinGroupRequest {
            group_id: Str::from(&self.group),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: ASSIGNOR.into(),
                metadata: encode_subscription(&subscription, SUBSCRIPTION_VERSION)?,
            }],
            ..Default::default()
        })
    }

    /// The partitions of the topic that the leader gave; `None` when the group rebalances again.
    async fn sync(
        &mut self,
        cluster: &mut Cluster,
        joined: &JoinGroupResponse,
    ) -> anyhow::Result<Option<Vec<i32>>> {
        let assignments = match joined.leader == joined.member_id {
            true => assign(cluster, joined).await?,
            false => Vec::new(),
        };
        let request = SyncGroupRequest {
            group_id: Str::from(&self.group),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(ASSIGNOR.into()),
            assignments,
        };
        let synced = cluster.broker(self.coordinator).await?.call(&request).await?;
        match ErrorCode::from_i16(synced.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::RebalanceInProgress) => return Ok(None),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                self.id = Str::EMPTY;
                return Ok(None);
            }
            _ if is_passing(synced.error_code) => return Ok(None),
            _ => check(&format!("sync with group `{}`", self.group), synced.error_code, None)?,
        }
        self.heard = OsClock::new().now().monotonic;
        if synced.assignment.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let assigned = decode_assignment(synced.assignment)?.assigned_partitions;
        let own = assigned.into_iter().filter(|topic| *topic.topic == *self.topic);
        Ok(Some(own.flat_map(|topic| topic.partitions).collect()))
    }

    /// Where the group was in each partition; where it was never, the start that was asked for.
    async fn cursors(
        &self,
        cluster: &mut Cluster,
        arguments: &Consume,
        partitions: &[i32],
    ) -> anyhow::Result<Vec<Cursor>> {
        let found = cluster.metadata(Some(&[&self.topic]), false).await?.topics;
        let topic_id = found.first().map_or(TopicId::default(), |topic| topic.topic_id);
        let (code, committed) =
            cluster.broker(self.coordinator).await?.group_offsets(&self.group).await?;
        check(&format!("read the offsets of group `{}`", self.group), code, None)?;
        let mut cursors = Vec::new();
        for index in partitions {
            let partition = PartitionRef {
                topic: Str::from(&self.topic),
                topic_id,
                index: PartitionIndex(index.unsigned_abs()),
            };
            let end = offset(cluster, &partition, LATEST).await?;
            let known = committed.iter().find(|one| {
                *one.topic == *self.topic && one.partition == *index && one.offset >= 0
            });
            let next = match (known, arguments.from) {
                (Some(known), _) => known.offset,
                (None, Start::Beginning) => offset(cluster, &partition, EARLIEST).await?,
                (None, Start::End) => end,
                (None, Start::Offset(offset)) => offset,
                (None, Start::Timestamp(timestamp)) => {
                    let found = offset(cluster, &partition, timestamp).await?;
                    if found < 0 { end } else { found }
                }
            };
            let end = (!arguments.follow).then_some(end);
            cursors.push(Cursor { partition, next, end });
        }
        Ok(cursors)
    }

    async fn read(
        &mut self,
        cluster: &mut Cluster,
        cursors: &mut [Cursor],
        printer: &mut Printer<'_>,
        signals: &mut Signals,
        clock: &OsClock,
    ) -> anyhow::Result<End> {
        loop {
            let is_done = printer.left == Some(0) || !wants_more(printer, cursors);
            if is_done {
                self.commit(cluster, cursors).await?;
                return Ok(End::Done);
            }
            let (fetched, failure) = tokio::select! {
                biased;
                () = signals.stop() => {
                    self.commit(cluster, cursors).await?;
                    return Ok(End::Done);
                }
                fetched = fetch_or_wait(cluster, cursors, clock) => fetched,
            };
            let mut out = io::BufWriter::new(io::stdout().lock());
            for data in fetched {
                let cursor = cursors.iter_mut().find(|one| one.index() == data.partition_index);
                if let Some(cursor) = cursor {
                    cursor.take(data, printer, &mut out)?;
                }
            }
            out.flush().map_err(StdoutClosed)?;
            drop(out);
            if failure.is_some() {
                find_leaders(cluster, &self.topic).await;
            }
            let now = clock.now().monotonic;
            if now.since(self.committed) >= COMMIT_EVERY {
                self.commit(cluster, cursors).await?;
            }
            if now.since(self.heard) >= HEARTBEAT_EVERY && !self.beat(cluster).await? {
                self.commit(cluster, cursors).await?;
                return Ok(End::Rejoin);
            }
        }
    }

    /// Whether the member may go on with its partitions.
    async fn beat(&mut self, cluster: &mut Cluster) -> anyhow::Result<bool> {
        let request = HeartbeatRequest {
            group_id: Str::from(&self.group),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: None,
        };
        let answer = match cluster.broker(self.coordinator).await {
            Ok(connection) => connection.call(&request).await,
            Err(error) => Err(error),
        };
        let code = match answer {
            Ok(answer) => answer.error_code,
            // Its broker may be gone: who coordinates now, the next one tells.
            Err(_) => ErrorCode::NotCoordinator.code(),
        };
        match ErrorCode::from_i16(code) {
            Some(ErrorCode::None) => {
                self.heard = OsClock::new().now().monotonic;
                Ok(true)
            }
            Some(ErrorCode::RebalanceInProgress) => Ok(false),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                self.id = Str::EMPTY;
                Ok(false)
            }
            _ if is_passing(code) => {
                self.coordinator = coordinator(cluster, &self.group).await?;
                Ok(true)
            }
            _ => check(&format!("stay in group `{}`", self.group), code, None).map(|()| true),
        }
    }

    /// Commits what was printed. If the group has gone on without this member, others print it
    /// again.
    async fn commit(&mut self, cluster: &mut Cluster, cursors: &[Cursor]) -> anyhow::Result<()> {
        self.committed = OsClock::new().now().monotonic;
        if cursors.is_empty() {
            return Ok(());
        }
        let committer = Committer {
            group: Str::from(&self.group),
            member: self.id.clone(),
            instance: None,
            generation: self.generation,
        };
        let offsets = cursors.iter().map(|cursor| GroupOffset {
            topic: Str::from(&self.topic),
            partition: cursor.index(),
            offset: cursor.next,
            error_code: 0,
        });
        let offsets: Vec<_> = offsets.collect();
        for _ in 0..TRIES {
            let connection = cluster.broker(self.coordinator).await?;
            let answer = connection.commit_offsets(&committer, &offsets).await?;
            let codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let failed = codes.map(|one| one.error_code).find(|code| *code != 0).unwrap_or(0);
            match ErrorCode::from_i16(failed) {
                Some(
                    ErrorCode::None
                    | ErrorCode::RebalanceInProgress
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::IllegalGeneration,
                ) => return Ok(()),
                _ if is_passing(failed) => {
                    pause().await;
                    self.coordinator = coordinator(cluster, &self.group).await?;
                }
                _ => return check(&format!("commit for group `{}`", self.group), failed, None),
            }
        }
        anyhow::bail!("cannot commit for group `{}`: nobody coordinates it", self.group)
    }

    /// Leaves, so that others need not wait for the end of its session.
    async fn leave(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        if self.id.is_empty() || self.coordinator < 0 {
            return Ok(());
        }
        let connection = cluster.broker(self.coordinator).await?;
        let version = connection.version(highwater_node::wire::ApiKey::LeaveGroup)?;
        let member = MemberIdentity { member_id: self.id.clone(), ..Default::default() };
        let request = match version {
            ..3 => LeaveGroupRequest {
                group_id: Str::from(&self.group),
                member_id: self.id.clone(),
                ..Default::default()
            },
            _ => LeaveGroupRequest {
                group_id: Str::from(&self.group),
                members: vec![member],
                ..Default::default()
            },
        };
        // The group forgets it anyway when its session is over.
        connection.send(&request, version).await?;
        Ok(())
    }
}

/// Who follows has partitions to come, even if it has none now.
fn wants_more(printer: &Printer<'_>, cursors: &[Cursor]) -> bool {
    printer.arguments.follow || cursors.iter().any(Cursor::wants_more)
}

async fn fetch_or_wait(
    cluster: &mut Cluster,
    cursors: &[Cursor],
    clock: &OsClock,
) -> (Vec<highwater_node::wire::generated::fetch::PartitionData>, Option<anyhow::Error>) {
    if cursors.iter().any(Cursor::wants_more) {
        return fetch(cluster, cursors).await;
    }
    clock.sleep_until(clock.now().monotonic.after(HEARTBEAT_EVERY / 4)).await;
    (Vec::new(), None)
}

/// What each member gets: of each topic a run of partitions, as Kafka's range assignor has it.
async fn assign(
    cluster: &mut Cluster,
    joined: &JoinGroupResponse,
) -> anyhow::Result<Vec<SyncGroupRequestAssignment>> {
    let mut subscribers = BTreeMap::<Str, Vec<Str>>::new();
    for member in &joined.members {
        let subscription = decode_subscription(member.metadata.clone())?;
        for topic in subscription.topics.into_iter().collect::<BTreeSet<_>>() {
            subscribers.entry(topic).or_default().push(member.member_id.clone());
        }
    }
    let names: Vec<&str> = subscribers.keys().map(|topic| &**topic).collect();
    let found = cluster.metadata(Some(&names), false).await?.topics;
    let mut assigned = BTreeMap::<Str, ConsumerProtocolAssignment>::new();
    for topic in found {
        let Some(name) = topic.name else { continue };
        let Some(members) = subscribers.get_mut(&name) else { continue };
        members.sort_unstable();
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        for (member, partitions) in ranges(members, count) {
            let assignment = assigned.entry(member).or_default();
            let topic = TopicPartition { topic: name.clone(), partitions };
            assignment.assigned_partitions.push(topic);
        }
    }
    let encoded = joined.members.iter().map(|member| {
        let assignment = assigned.remove(&member.member_id).unwrap_or_default();
        let assignment: Bytes = encode_assignment(&assignment, ASSIGNMENT_VERSION)?;
        Ok(SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment })
    });
    encoded.collect()
}

/// Runs of partitions, the first members getting one more where they cannot be equal.
fn ranges(members: &[Str], partitions: i32) -> Vec<(Str, Vec<i32>)> {
    let count = i32::try_from(members.len()).unwrap_or(i32::MAX).max(1);
    let (each, more) = (partitions / count, partitions % count);
    let mut next = 0;
    let given = (0..).zip(members).map(|(at, member)| {
        let end = next + each + i32::from(at < more);
        let run = (next..end).collect();
        next = end;
        (member.clone(), run)
    });
    given.filter(|(_, run): &(_, Vec<i32>)| !run.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_shared_in_runs_that_differ_by_one_at_the_most() {
        let members: Vec<Str> = ["a", "b", "c"].map(Str::from).into();
        let shared = |partitions| -> Vec<Vec<i32>> {
            ranges(&members, partitions).into_iter().map(|(_, run)| run).collect()
        };
        assert_eq!(shared(7), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
        assert_eq!(shared(3), [[0], [1], [2]]);
        assert_eq!(shared(2), [[0], [1]], "the last member gets nothing");
        assert!(shared(0).is_empty());
    }
}
