//! Views over what members of groups asked and heard, for the checks of groups.

use crate::{
    group::{Ask, GroupCall, Heard},
    history::{
        Call, CoordinatorsSeen, GroupPromise, History, MarkKind, Moment, Outcome, Partition,
        Request,
    },
};
use std::collections::{BTreeMap, BTreeSet};

pub const ILLEGAL_GENERATION: i16 = 22;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
const FENCED_INSTANCE_ID: i16 = 82;
pub const FENCED_MEMBER_EPOCH: i16 = 110;
const STALE_MEMBER_EPOCH: i16 = 113;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// A call to a coordinator.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub call: &'a Call,
    pub of: &'a GroupCall,
}

impl<'a> Asked<'a> {
    /// The answer, if it was a good one. A commit of which nothing was taken is refused, though not
    /// for one reason: the coordinator and the broker that it is on may have different ones.
    pub fn heard(&self) -> Option<&'a Heard> {
        match &self.call.outcome {
            Outcome::Heard(Heard::Committed(codes)) if codes.values().all(|code| *code != 0) => {
                None
            }
            Outcome::Heard(heard) => Some(heard),
            _ => None,
        }
    }

    /// Whether this call was answered before another one began.
    pub fn is_before(&self, other: &Asked<'_>) -> bool {
        self.call.ended.is_some_and(|ended| ended < other.call.invoked)
    }

    /// The generation or member epoch that the member went by, when it did.
    pub fn generation(&self) -> Option<i32> {
        match &self.of.ask {
            Ask::Sync { generation, .. }
            | Ask::Heartbeat { generation }
            | Ask::Commit { generation, .. } => Some(*generation),
            Ask::ConsumerHeartbeat { epoch, .. } => Some(*epoch).filter(|epoch| *epoch > 0),
            Ask::Join | Ask::Leave | Ask::Offsets { .. } => None,
        }
    }

    /// Whether the answer says that the coordinator does not know the member.
    pub fn is_removed(&self) -> bool {
        self.call.outcome == Outcome::Failed(UNKNOWN_MEMBER_ID)
    }

    /// Whether the answer says that the coordinator knows the member no more as what it went by.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.call.outcome,
            Outcome::Failed(
                ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID | FENCED_MEMBER_EPOCH
            )
        )
    }
}

/// All calls to coordinators, by group, in the order of their beginning.
pub fn by_group(history: &History) -> BTreeMap<&str, Vec<Asked<'_>>> {
    let mut groups: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
    for call in &history.calls {
        if let Request::Group(of) = &call.request {
            groups.entry(&of.group).or_default().push(Asked { call, of });
        }
    }
    groups
}

/// The groups whose members all speak the classic protocol.
pub fn is_classic(calls: &[Asked<'_>]) -> bool {
    !calls.iter().any(|asked| matches!(asked.of.ask, Ask::ConsumerHeartbeat { .. }))
}

/// Whether a call was answered by whom the metadata named as the coordinator, before and after. A
/// broker that was replaced and has not heard of it may answer in the old way for a while.
pub fn is_by_coordinator(history: &History, asked: &Asked<'_>) -> bool {
    let Some(ended) = asked.call.ended else { return false };
    if !history.promise.is_cluster() {
        return true;
    }
    let seen = |at: Moment, before: bool| {
        let behind = history.coordinators.partition_point(|seen| seen.at < at);
        let position = if before { behind.checked_sub(1)? } else { behind };
        let leaders = &history.coordinators.get(position)?.leaders;
        leaders.get(partition_of(&asked.of.group, leaders.len())).copied()
    };
    let (before, after) = (seen(asked.call.invoked, true), seen(ended, false));
    before == after && before.is_some_and(|(leader, _)| leader == Some(asked.call.broker))
}

/// For how long a broker had surely not been the coordinator of a group when it was asked, in
/// nanoseconds; zero when it may have been, or may be again before somebody looks. Who leads is looked
/// at again and again: leaderships that began and ended in between show by their epochs.
pub fn replaced_for(history: &History, asked: &Asked<'_>) -> u64 {
    let Some(ended) = asked.call.ended else { return 0 };
    let seen = &history.coordinators;
    let next = seen.partition_point(|seen| seen.at < ended);
    let leads = |look: &CoordinatorsSeen| {
        let partition = partition_of(&asked.of.group, look.leaders.len());
        look.leaders.get(partition).copied()
    };
    let now = seen.get(next).and_then(leads);
    if now.is_none_or(|(leader, _)| leader == Some(asked.call.broker)) {
        return 0;
    }
    let mut since: Option<(u64, i32)> = None;
    for look in &seen[..=next] {
        let Some((leader, epoch)) = leads(look) else { continue };
        let is_known = since.is_some_and(|(_, known)| (known..=known + 1).contains(&epoch));
        since = match since {
            _ if leader == Some(asked.call.broker) => None,
            Some((nanos, _)) if is_known => Some((nanos, epoch)),
            // Nobody else leads yet: who is alone in the ISR goes on.
            _ if leader.is_none() => None,
            _ => Some((look.nanos, epoch)),
        };
    }
    since.map_or(0, |(nanos, _)| asked.call.began.saturating_sub(nanos))
}

/// Whether the same broker was the coordinator of a group from one moment to another, and lived.
pub fn is_one_coordinator(history: &History, asked: &Asked<'_>, since: Moment) -> bool {
    let Some(until) = asked.call.ended else { return false };
    let lived = !history.marks.iter().any(|mark| {
        mark.kind == MarkKind::Stopped
            && mark.machine == asked.call.broker
            && (since..=until).contains(&mark.at)
    });
    let seen = &history.coordinators;
    let from = seen.partition_point(|seen| seen.at < since).saturating_sub(1);
    let behind = seen.partition_point(|seen| seen.at <= until);
    let mut leaders = seen[from..behind]
        .iter()
        .map(|seen| seen.leaders.get(partition_of(&asked.of.group, seen.leaders.len())));
    let first = leaders.next();
    lived && leaders.all(|leader| Some(leader) == first)
}

/// How long a call may be on its way to a coordinator that does not stand still, in nanoseconds.
const ON_THE_WAY: u64 = 100_000_000;
/// How long an answer may wait for its records to be committed, in nanoseconds of a healthy clock: in a
/// cluster up to `offsets.commit.timeout.ms`, with one broker until they are on its disk.
const COMMITTED_WITHIN: u64 = 1_100_000_000;
const STORED_WITHIN: u64 = 200_000_000;

/// What members may rely on, in simulated nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For how long a member may be silent at least.
    pub session: u64,
    /// For how long a member may take to join again or to give partitions up, at least.
    pub rebalance: u64,
    /// For how long it may at most; `None` where nobody can tell.
    pub rebalance_at_most: Option<u64>,
    /// For how long a call may be on its way; `None` where nobody can tell.
    on_the_way: Option<u64>,
    /// For how long an answer may wait for its records; `None` where nobody can tell.
    committed: Option<u64>,
    /// The slowest pace of brokers, in percent.
    slowest: u64,
}

impl Limits {
    /// What a history promises.
    pub fn of(history: &History) -> Self {
        let GroupPromise { session_millis, rebalance_millis, paces, is_prompt } =
            history.promise.groups;
        let (slowest, fastest) = paces;
        let at_least = |nanos: u64| nanos * 100 / fastest.max(1);
        let at_most = |nanos: u64| longest(nanos, slowest);
        let is_prompt = is_prompt && slowest > 0;
        let committed = match history.promise.is_cluster() {
            true => at_most(COMMITTED_WITHIN),
            false => Some(STORED_WITHIN),
        };
        Self {
            session: at_least(session_millis * 1_000_000),
            rebalance: at_least(rebalance_millis * 1_000_000),
            rebalance_at_most: at_most(rebalance_millis * 1_000_000),
            on_the_way: is_prompt.then_some(ON_THE_WAY),
            committed: committed.filter(|_| is_prompt),
            slowest,
        }
    }

    /// How long something may take that takes a broker so many nanoseconds of its own clock; `None` where
    /// nobody can tell.
    pub fn at_most(&self, nanos: u64) -> Option<u64> {
        longest(nanos, self.slowest)
    }

    /// When a call that was answered had arrived, at the latest.
    pub fn arrived(&self, call: &Call) -> u64 {
        let soon = self.on_the_way.map_or(u64::MAX, |time| call.began + time);
        call.over.min(soon)
    }

    /// Up to when a call may have had an effect, inclusive: also one that nobody waits for any more.
    pub fn may_arrive_until(&self, call: &Call) -> u64 {
        match call.ended {
            None if self.slowest == 0 => u64::MAX,
            _ => call.over + ON_THE_WAY,
        }
    }

    /// When an answer that may have waited for others was decided on, at the earliest.
    pub fn decided(&self, call: &Call) -> u64 {
        let waited = self.committed.unwrap_or(u64::MAX);
        call.began.max(call.over.saturating_sub(waited))
    }
}

fn longest(nanos: u64, slowest: u64) -> Option<u64> {
    (nanos * 100).checked_div(slowest)
}

/// The calls of each member that has an id, in the order of their beginning.
pub fn by_member<'a>(calls: &[Asked<'a>]) -> BTreeMap<&'a str, Vec<Asked<'a>>> {
    let mut members: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
    for asked in calls.iter().filter(|asked| !asked.of.member.is_empty()) {
        members.entry(&asked.of.member).or_default().push(*asked);
    }
    members
}

/// Which partition of `__consumer_offsets` a group belongs to.
fn partition_of(group: &str, partitions: usize) -> usize {
    let units = group.encode_utf16();
    let hash = units.fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) as usize % partitions.max(1)
}

/// One offset that somebody asked to commit.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    pub asked: Asked<'a>,
    pub offset: i64,
    /// Whether it was acknowledged; otherwise it may have taken effect, or may yet.
    pub acknowledged: bool,
}

/// The commits of a group by partition; without those that were surely refused.
pub fn commits<'a>(calls: &[Asked<'a>]) -> BTreeMap<Partition, Vec<Commit<'a>>> {
    let mut commits: BTreeMap<Partition, Vec<Commit<'a>>> = BTreeMap::new();
    for asked in calls {
        let Ask::Commit { offsets, .. } = &asked.of.ask else { continue };
        for (partition, offset) in offsets {
            let acknowledged = match &asked.call.outcome {
                Outcome::Heard(Heard::Committed(codes)) => match codes.get(partition) {
                    Some(0) => true,
                    Some(code) if is_surely_refused(*code) => continue,
                    _ => false,
                },
                Outcome::Failed(code) if is_surely_refused(*code) => continue,
                _ => false,
            };
            let commit = Commit { asked: *asked, offset: *offset, acknowledged };
            commits.entry(*partition).or_default().push(commit);
        }
    }
    commits
}

fn is_surely_refused(code: i16) -> bool {
    matches!(
        code,
        ILLEGAL_GENERATION
            | UNKNOWN_MEMBER_ID
            | REBALANCE_IN_PROGRESS
            | FENCED_INSTANCE_ID
            | FENCED_MEMBER_EPOCH
            | STALE_MEMBER_EPOCH
            | COORDINATOR_LOAD_IN_PROGRESS
    )
}

/// One offset that somebody was told, or that there is none.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub asked: Asked<'a>,
    pub partition: Partition,
    pub offset: Option<i64>,
}

impl Reading<'_> {
    /// The commits that it may have seen: begun before it was answered, and not followed by an
    /// acknowledged one that was wholly before it.
    pub fn may_have_seen<'c, 'a>(&self, commits: &'c [Commit<'a>]) -> Vec<&'c Commit<'a>> {
        let is_replaced = |commit: &Commit<'_>| {
            let later = |other: &&Commit<'_>| {
                other.acknowledged
                    && other.asked.is_before(&self.asked)
                    && commit.asked.is_before(&other.asked)
            };
            commit.acknowledged && commits.iter().any(|other| later(&other))
        };
        let ended = self.asked.call.ended.unwrap_or(Moment::MAX);
        commits
            .iter()
            .filter(|commit| Some(commit.offset) == self.offset)
            .filter(|commit| commit.asked.call.invoked < ended && !is_replaced(commit))
            .collect()
    }
}

/// What members of a group were told of the committed offsets of topics that nobody deletes, by
/// brokers that were coordinators then.
pub fn readings<'a>(history: &History, calls: &[Asked<'a>]) -> Vec<Reading<'a>> {
    let mut readings = Vec::new();
    for asked in calls.iter().filter(|asked| is_by_coordinator(history, asked)) {
        let (Ask::Offsets { partitions }, Some(Heard::Offsets(offsets))) =
            (&asked.of.ask, asked.heard())
        else {
            continue;
        };
        let lasting = partitions.iter().filter(|of| !history.topics[of.topic].deleted);
        readings.extend(lasting.map(|partition| Reading {
            asked: *asked,
            partition: *partition,
            offset: offsets.get(partition).copied(),
        }));
    }
    readings
}

/// The clients that ever were members of a group.
pub fn clients(calls: &[Asked<'_>]) -> BTreeSet<u32> {
    calls.iter().map(|asked| asked.call.client).collect()
}
