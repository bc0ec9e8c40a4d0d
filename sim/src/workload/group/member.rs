//! A member of a group in whatever protocol: it joins, polls, commits, and at times is slow, dies,
//! leaves or does not reach its coordinator.

use super::{
    MemberPlan,
    brief::About,
    voice::{Said, Voice},
};
use crate::{
    choices::Choices,
    group::{EXPRESSIONS, Expression, Partitions, Subscription},
    history::Partition,
    recorder::now_nanos,
    scenario::{GroupHabit, GroupManners, GroupProtocol},
    trace::Effect,
    workload::{Clients, Session, Turns},
};
use madsim::time;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const ILLEGAL_GENERATION: i16 = 22;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const FENCED_INSTANCE_ID: i16 = 82;
pub const FENCED_MEMBER_EPOCH: i16 = 110;
pub const UNRELEASED_INSTANCE_ID: i16 = 111;
pub const STALE_MEMBER_EPOCH: i16 = 113;
const EARLIEST: i64 = -2;
/// How often a member tells that it is alive.
pub const BEAT_EVERY: Duration = Duration::from_millis(300);

/// How a member behaves.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// How likely it is in each step to be slow, to die, to leave or to be cut off.
    pub unrest: f64,
    /// Whether it ends when all clients do, or when its [`Watch`] does.
    pub until_stopped: bool,
}

/// How a member misbehaves.
#[derive(Clone, Copy)]
enum Unrest {
    Slow,
    Die,
    Leave,
    CutOff,
}

/// What is seen of members from outside.
#[derive(Debug, Default)]
pub struct Watch {
    /// Whether they are to come to an end.
    pub over: AtomicBool,
    held: Mutex<BTreeMap<String, Partitions>>,
}

impl Watch {
    /// What each member has.
    pub fn held(&self) -> BTreeMap<String, Partitions> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One member.
pub struct Member {
    pub(super) voice: Voice,
    turns: Turns,
    /// The choices of the step.
    pub(super) draw: Choices,
    protocol: GroupProtocol,
    temper: Temper,
    pub(super) watch: Arc<Watch>,
    client: u32,
    lives: u32,
    /// The generation or the member epoch; none while it has not joined.
    pub(super) generation: Option<i32>,
    /// What it has to read, with the next offset once that is known.
    pub(super) positions: BTreeMap<Partition, Option<i64>>,
    /// The topic that it does not want.
    left_out: Option<usize>,
    /// The topics that it reads.
    pub(super) topics: Vec<usize>,
    /// When it is to tell again that it is alive, in simulated nanoseconds.
    pub(super) next_beat: u64,
    /// As the leader of a classic group: how many partitions the topics had.
    pub(super) counted: Option<BTreeMap<usize, i32>>,
    /// As a member of a consumer group: what it is to have.
    pub(super) target: Partitions,
    /// The member epochs of this life in a consumer group, oldest first.
    pub(super) epochs: Vec<i32>,
    /// Until when it takes its time to give partitions up, in simulated nanoseconds.
    pub(super) holds_until: u64,
    pub(super) manners: Arc<GroupManners>,
    /// What its coordinator knows of it, in a consumer group.
    pub(super) about: About,
    by_expression: bool,
    /// The regular expression that it subscribes with.
    pub(super) expression: Option<&'static Expression>,
    /// Until when it does not join again, in simulated nanoseconds.
    pub(super) joins_at: u64,
    /// A commit that is still under way, with its member epoch.
    under_way: Option<(i32, BTreeMap<Partition, i64>)>,
    /// What it committed last.
    last_commit: BTreeMap<Partition, i64>,
}

impl Member {
    /// A member that has not joined yet.
    pub(super) fn new(
        clients: &Clients,
        group: &str,
        plan: &MemberPlan,
        temper: Temper,
        turns: Turns,
    ) -> Self {
        let draw = turns.client.clone();
        let session = Session::new(clients.clone(), plan.client);
        Self {
            voice: Voice::new(session, group, plan.instance.clone()),
            turns,
            draw,
            protocol: plan.protocol,
            temper,
            watch: Arc::default(),
            client: plan.client.0,
            lives: 0,
            generation: None,
            positions: BTreeMap::new(),
            left_out: None,
            topics: Vec::new(),
            next_beat: 0,
            counted: None,
            target: Partitions::new(),
            epochs: Vec::new(),
            holds_until: 0,
            manners: plan.manners.clone(),
            about: About::default(),
            by_expression: plan.by_expression,
            expression: None,
            joins_at: 0,
            under_way: None,
            last_commit: BTreeMap::new(),
        }
    }

    /// Reads until it is over, and leaves or not.
    pub async fn run(mut self) {
        self.begin();
        while !self.is_over() {
            let Some(draw) = self.next_step().await else {
                // The script leaves out whatever it did from here on; it is a member nevertheless.
                time::sleep(BEAT_EVERY).await;
                continue;
            };
            self.draw = draw;
            let pause = Duration::from_millis(self.draw.between("pause", 10..=60));
            if self.draw.chance("misbehave", self.temper.unrest) {
                self.misbehave().await;
            } else {
                self.step().await;
            }
            self.show();
            time::sleep(pause).await;
        }
        self.draw = self.turns.client.clone();
        if self.temper.unrest == 0.0 || self.draw.chance("leaves", 0.5) {
            self.leave().await;
        }
    }

    async fn next_step(&mut self) -> Option<Choices> {
        let session = &mut self.voice.session;
        match self.temper.until_stopped {
            true => self.turns.next(session).await,
            false => Some(self.turns.next_aside(session)),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self.temper.until_stopped {
            true => self.voice.session.clients.is_stopping(),
            false => self.watch.over.load(Ordering::Relaxed),
        }
    }

    /// A new process: it knows nothing of the one before.
    fn begin(&mut self) {
        self.lives += 1;
        self.forget();
        self.voice.member = match self.protocol {
            // Members of consumer groups name themselves (KIP-1082).
            GroupProtocol::Consumer => format!("m{}-{}", self.client, self.lives),
            _ => String::new(),
        };
        self.left_out = None;
        self.topics = self.living_topics();
        if self.by_expression {
            return self.choose_expression();
        }
        if self.temper.unrest > 0.0 && self.topics.len() > 1 && self.draw.chance("picky", 0.2) {
            self.left_out = Some(*self.draw.pick("left_out", &self.topics));
            self.topics = self.living_topics();
        }
    }

    /// In the end every topic belongs to what it subscribes to.
    pub(super) fn choose_expression(&mut self) {
        let [.., last] = &EXPRESSIONS;
        let chosen = EXPRESSIONS.each_ref().map(|one| (one.text, one));
        self.expression = match self.is_restless() {
            true => Some(self.draw.named("expression", &chosen)),
            false => Some(last),
        };
    }

    /// What it subscribes to.
    pub(super) fn subscription(&self) -> Subscription {
        let topics = if self.expression.is_some() { Vec::new() } else { self.names() };
        Subscription { topics, expression: self.expression }
    }

    /// It is no member any more and has nothing.
    pub(super) fn forget(&mut self) {
        self.generation = None;
        self.positions.clear();
        self.target.clear();
        self.epochs.clear();
        self.counted = None;
        self.next_beat = 0;
        self.joins_at = 0;
        self.last_commit.clear();
        self.about = About::default();
    }

    /// The topics that it wants and nobody has deleted.
    pub(super) fn living_topics(&self) -> Vec<usize> {
        let history = self.voice.session.clients.recorder.history();
        let topics = history.topics.iter().enumerate();
        let living = topics.filter(|(_, topic)| !topic.deleted && !topic.compacted);
        living.map(|(number, _)| number).filter(|topic| Some(*topic) != self.left_out).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let history = self.voice.session.clients.recorder.history();
        self.topics.iter().map(|topic| history.topics[*topic].name.clone()).collect()
    }

    async fn step(&mut self) {
        match self.protocol {
            GroupProtocol::Consumer => self.consumer_step().await,
            _ => self.classic_step().await,
        }
        if self.generation.is_none() {
            time::sleep(Duration::from_millis(self.draw.between("rejoin", 10..=100))).await;
            return;
        }
        if self.positions.values().any(Option::is_none) {
            self.find_positions().await;
        }
        self.poll().await;
        if self.draw.chance("commit", 0.3) {
            self.commit().await;
        }
        if self.manners.has(GroupHabit::LateCommits) && self.is_restless() {
            self.commit_late().await;
        }
        if self.manners.has(GroupHabit::Rewinds)
            && self.is_restless()
            && self.draw.chance("rewinds", 0.05)
        {
            self.rewind().await;
        }
    }

    /// Goes back in one of its partitions as its application tells it to, commits that, and may ask
    /// where the group is by now.
    async fn rewind(&mut self) {
        let behind: Vec<_> =
            self.known_positions().into_iter().filter(|(_, position)| *position > 0).collect();
        let Some(generation) = self.generation.filter(|_| !behind.is_empty()) else { return };
        let (partition, position) = *self.draw.pick("rewound", &behind);
        let back = self.draw.between("back", 1..=20).min(position as u64) as i64;
        self.positions.insert(partition, Some(position - back));
        self.commit().await;
        if self.generation == Some(generation) && self.draw.chance("asks_where", 0.7) {
            let epoch = self.epoch_to_read_with();
            self.voice.offsets(epoch, [partition].into()).await;
        }
    }

    /// A commit of an older member epoch arrives: one that was under way, or one of what it has got
    /// since. Whatever comes of it, nobody waits for it any more.
    async fn commit_late(&mut self) {
        let Some(epoch) = self.generation.filter(|_| self.protocol == GroupProtocol::Consumer)
        else {
            return;
        };
        if self.under_way.is_none() && self.draw.chance("sends_late", 0.1) {
            let offsets = self.known_positions().into_iter().collect();
            self.under_way = Some((epoch, offsets));
        }
        let late = match self.under_way.take() {
            Some((of, offsets)) if of == epoch => return self.under_way = Some((of, offsets)),
            Some(late) if self.draw.chance("arrives", 0.3) => late,
            late => {
                self.under_way = late;
                let older = self.epochs.iter().rev().nth(1).copied();
                let Some(older) = older.filter(|_| self.draw.chance("commits_as_before", 0.05))
                else {
                    return;
                };
                (older, self.known_positions().into_iter().collect())
            }
        };
        if !late.1.is_empty() {
            self.voice.commit(late.0, late.1).await;
        }
    }

    /// Where the group has come to in the partitions that are new; their beginning where it has not
    /// begun.
    async fn find_positions(&mut self) {
        let new = self.positions.iter().filter(|(_, position)| position.is_none());
        let new: Partitions = new.map(|(of, _)| *of).collect();
        let epoch = self.epoch_to_read_with();
        let committed = match self.voice.offsets(epoch, new.clone()).await {
            Said::Well(committed) => committed,
            Said::Refused(code) => return self.refused(code),
            Said::Nothing => return,
        };
        for partition in new {
            let position = match committed.get(&partition) {
                Some(offset) => Some(*offset),
                None => self.beginning_of(partition).await,
            };
            self.positions.insert(partition, position);
        }
    }

    /// The member epoch that it asks for offsets by; a classic member asks as nobody.
    fn epoch_to_read_with(&self) -> i32 {
        match self.protocol {
            GroupProtocol::Consumer => self.generation.unwrap_or(-1),
            _ => -1,
        }
    }

    async fn beginning_of(&mut self, partition: Partition) -> Option<i64> {
        if self.is_gone(partition) {
            return None;
        }
        let found = self.voice.session.list_offset(partition, EARLIEST).await?;
        found.ok().map(|(offset, _)| offset)
    }

    fn is_gone(&self, partition: Partition) -> bool {
        self.voice.session.clients.recorder.history().topics[partition.topic].deleted
    }

    /// Reads on: in one of its partitions, or, if it is to come to the end, in all of them.
    async fn poll(&mut self) {
        let behind = self.known_positions();
        if behind.is_empty() {
            return;
        }
        if !self.is_restless() {
            return self.read_all(behind).await;
        }
        let (partition, position) = *self.draw.pick("partition", &behind);
        let wait = Duration::from_millis(*self.draw.pick("wait", &[0, 10, 40]));
        self.read_on(partition, position, wait, 8_000).await;
    }

    /// Reads on in all of its partitions until they give nothing more, or it is time to tell that
    /// it is alive. How far it comes so does not depend on how many partitions there are, nor on how
    /// small their segments, which bound what one fetch gives.
    async fn read_all(&mut self, mut behind: Vec<(Partition, i64)>) {
        while !behind.is_empty() {
            let mut further = Vec::new();
            for (partition, position) in behind {
                let next = self.read_on(partition, position, Duration::ZERO, 200_000).await;
                further.extend(next.map(|next| (partition, next)));
            }
            if self.is_time_to_beat() {
                return;
            }
            behind = further;
        }
    }

    /// Reads on in a partition: its next offset, if it has moved.
    async fn read_on(
        &mut self,
        partition: Partition,
        position: i64,
        wait: Duration,
        most_bytes: u64,
    ) -> Option<i64> {
        let bytes = self.draw.between("bytes", most_bytes / 10..=most_bytes) as i32;
        let fetched = self.voice.session.fetch(partition, position, wait, bytes).await?;
        let next = match fetched.error {
            0 => fetched.batches.last().map(|last| last.last_offset + 1),
            OFFSET_OUT_OF_RANGE => self.beginning_of(partition).await,
            _ => None,
        }?;
        self.positions.insert(partition, Some(next));
        Some(next)
    }

    /// The partitions that it reads and nobody has deleted, with their next offsets.
    fn known_positions(&self) -> Vec<(Partition, i64)> {
        let known = self.positions.iter().filter_map(|(of, position)| Some((*of, (*position)?)));
        known.filter(|(of, _)| !self.is_gone(*of)).collect()
    }

    /// Commits how far it has come.
    pub(super) async fn commit(&mut self) {
        let offsets: BTreeMap<_, _> = self.known_positions().into_iter().collect();
        let Some(generation) = self.generation.filter(|_| !offsets.is_empty()) else { return };
        if self.manners.has(GroupHabit::Idles) && offsets == self.last_commit {
            return;
        }
        match self.voice.commit(generation, offsets.clone()).await {
            Said::Refused(code) => self.refused(code),
            Said::Well(_) => self.last_commit = offsets,
            Said::Nothing => {}
        }
    }

    /// The coordinator knows it no more, or not as what it takes itself for.
    pub(super) fn refused(&mut self, code: i16) {
        match code {
            UNKNOWN_MEMBER_ID | FENCED_MEMBER_EPOCH | ILLEGAL_GENERATION => {
                self.forget();
                if code == UNKNOWN_MEMBER_ID && self.protocol != GroupProtocol::Consumer {
                    self.voice.member.clear();
                }
            }
            // Another process has taken its place: this one ends, and is started again.
            FENCED_INSTANCE_ID => self.begin(),
            STALE_MEMBER_EPOCH | REBALANCE_IN_PROGRESS => self.next_beat = 0,
            _ => {}
        }
    }

    async fn misbehave(&mut self) {
        let trace = self.voice.session.clients.recorder.trace.clone();
        let kinds = [
            (2, "slow", Unrest::Slow),
            (1, "die", Unrest::Die),
            (1, "leave", Unrest::Leave),
            (2, "cut-off", Unrest::CutOff),
        ];
        match self.draw.weighted("kind", &kinds) {
            Unrest::Slow => {
                trace.effect(Effect::MemberSlow, 1);
                let late = Duration::from_millis(self.draw.between("late", 800..=3_000));
                time::sleep(late).await;
                // It does not know how late it is, and goes on where it was.
                self.poll().await;
                self.commit().await;
            }
            Unrest::Die => {
                trace.effect(Effect::MemberDied, 1);
                time::sleep(Duration::from_millis(self.draw.between("dead", 50..=2_500))).await;
                self.begin();
            }
            Unrest::Leave => {
                trace.effect(Effect::MemberLeft, 1);
                self.leave().await;
                time::sleep(Duration::from_millis(self.draw.between("away", 10..=1_000))).await;
                self.begin();
            }
            Unrest::CutOff => {
                trace.effect(Effect::MemberCutOff, 1);
                let silence = Duration::from_millis(self.draw.between("silence", 300..=3_000));
                self.voice.cut_off(silence);
            }
        }
    }

    async fn leave(&mut self) {
        if self.generation.is_none() {
            return;
        }
        if self.draw.chance("commits_last", 0.5) {
            self.commit().await;
        }
        match self.protocol {
            GroupProtocol::Consumer => self.leave_consumer().await,
            _ => self.leave_classic().await,
        }
        self.forget();
    }

    pub(super) fn is_restless(&self) -> bool {
        self.temper.unrest > 0.0
    }

    pub(super) fn is_time_to_beat(&self) -> bool {
        now_nanos() >= self.next_beat
    }

    pub(super) fn beat_later(&mut self) {
        self.next_beat = now_nanos() + BEAT_EVERY.as_nanos() as u64;
    }

    fn show(&self) {
        let held = self.positions.keys().copied().collect();
        let mut all = self.watch.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(format!("{}", self.client), held);
    }
}
