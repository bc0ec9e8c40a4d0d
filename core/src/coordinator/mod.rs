//! What every coordinator has in common: it is a state machine over one partition of an internal
//! topic, it moves with the partition's leader, and its state is what the partition's log says.
//!
//! A [`Shard`] decides; a [`Coordinator`] sees to it that no answer is given that the log does not
//! hold:
//!
//! * Elected, it loads: the shard replays the whole log. Requests are refused meanwhile with
//!   [`CoordinatorError::Loading`]. A log that cannot be read, or says what this version does not
//!   know, is not loaded: its groups are refused with [`CoordinatorError::NotCoordinator`], as in
//!   Kafka, until it is.
//! * A decision is records and answers. The records are appended, in the leader epoch in which the
//!   shard was loaded, and replayed with the offsets that they got; [`Shard::replay`] is the only
//!   writer of what must survive.
//! * Every answer, to a question too, waits until the high watermark has passed the end of the log
//!   as it was when the answer was decided: what the answer tells is then durable. One that waits
//!   for too long is refused; what it would have told may still become durable.
//! * An append that is refused drops the shard, whose soft state has moved on to where the log does
//!   not lead. If this broker still leads the partition, it loads again. Where nothing but records
//!   came of a decision ([`Decision::stands_alone`]), only its answers are refused: clients that
//!   commit below `min.insync.replicas` do not make every group load again and again.
//! * Whose broker may have been replaced as the partition's leader without knowing it
//!   ([`crate::partition`], "Standing"), doubts itself: it drops the shard and refuses everything,
//!   since another may have decided otherwise by now, and would be believed. When the doubt is over
//!   and nobody was elected it loads again, and members have their whole sessions before them.
//! * Resigned, everything that waits is refused with [`CoordinatorError::NotCoordinator`]: what
//!   was appended may have become durable or not, and the client tries again elsewhere. A load
//!   that ends after that is of an older epoch and is dropped.
//!
//! The design follows Kafka's coordinator runtime (KAFKA-14462, KIP-848).

mod messages;
#[cfg(test)]
mod tests;

pub use messages::{CoordinatorError, Decision, Effect, Effects, Input, Shard};

use crate::{
    metadata::Image,
    mutant::Mutant,
    sometimes,
    time::{Instant, Now},
    types::{LeaderEpoch, Offset, RequestId, WriteId},
};
use alloc::collections::VecDeque;
use core::time::Duration;

/// The coordinator of one partition on one broker.
#[derive(Clone, Debug)]
pub struct Coordinator<S: Shard> {
    /// What a shard is made with, each time it is loaded.
    config: S::Config,
    answer_timeout: Duration,
    state: State<S>,
    /// Answers that wait for the high watermark. Invariant: neither ends nor deadlines decrease
    /// from front to back.
    deferred: VecDeque<Deferred<S::Response>>,
    /// Everything below it is durable. Invariant: never goes back while the state is not
    /// [`State::Resigned`].
    high_watermark: Offset,
    next_write: u64,
}

#[derive(Clone, Debug)]
enum State<S: Shard> {
    /// Another broker leads the partition.
    Resigned,
    /// This broker leads it, and the log is being read.
    Loading {
        epoch: LeaderEpoch,
        /// Tells the answers to this load from those to an earlier one of the same epoch.
        attempt: WriteId,
        shard: S,
        end: Offset,
    },
    /// This broker leads it, and the shard knows what the log says.
    Active {
        epoch: LeaderEpoch,
        shard: S,
        /// End of the log, exclusive: behind the last record that was replayed.
        end: Offset,
        /// A decision whose records are being appended.
        appending: Option<Appending<S>>,
    },
    /// The log could not be read or decoded. Invariant: the shard is dropped.
    Failed { epoch: LeaderEpoch },
    /// This broker leads it as far as it knows, and that is not enough.
    Doubting { epoch: LeaderEpoch },
}

#[derive(Clone, Debug)]
struct Appending<S: Shard> {
    write: WriteId,
    decision: Decision<S::Record, S::Response>,
}

#[derive(Clone, Debug)]
struct Deferred<A> {
    /// End of the log when it was decided, exclusive.
    end: Offset,
    /// When the client has waited for long enough.
    deadline: Instant,
    request: RequestId,
    answer: A,
}

impl<S: Shard> Coordinator<S> {
    /// A coordinator that does not lead. An answer waits for the high watermark for
    /// `answer_timeout` at the most (`offsets.commit.timeout.ms`).
    #[must_use]
    pub fn new(config: S::Config, answer_timeout: Duration) -> Self {
        Self {
            config,
            answer_timeout,
            state: State::Resigned,
            deferred: VecDeque::new(),
            high_watermark: Offset(0),
            next_write: 0,
        }
    }

    /// Takes one input. `image` is the node's newest.
    pub fn step(&mut self, now: Now, image: &Image, input: Input<S>, effects: &mut Effects<S>) {
        match input {
            Input::Elected { epoch } => self.on_elected(epoch, effects),
            Input::Resigned { epoch } => self.on_resigned(epoch, effects),
            Input::Doubted { epoch } => self.on_doubted(epoch, effects),
            Input::Confirmed { epoch } => self.on_confirmed(epoch, effects),
            Input::Loaded { attempt, records, end } => self.on_loaded(attempt, &records, end),
            Input::LoadEnded { attempt, end, high_watermark } => {
                self.on_load_ended(now, image, attempt, end, high_watermark, effects);
            }
            Input::LoadFailed { attempt } => self.on_load_failed(attempt),
            Input::Request { request, body } => {
                self.on_request(now, image, request, body, effects);
            }
            Input::Appended { write, base_offset, end } => {
                self.on_appended(now, image, write, base_offset, end, effects);
            }
            Input::AppendFailed { write } => self.on_append_failed(write, effects),
            Input::HighWatermarkAdvanced { epoch, to } => {
                self.on_high_watermark(epoch, to, effects);
            }
            Input::Tick => self.on_tick(now, image, effects),
        }
    }

    /// When [`Input::Tick`] is due, at the latest. A change of the image wants a tick, too.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let overdue = self.deferred.front().map(|first| first.deadline);
        let shard = match &self.state {
            State::Active { shard, appending: None, .. } => shard.next_deadline(),
            State::Active { .. }
            | State::Resigned
            | State::Loading { .. }
            | State::Failed { .. }
            | State::Doubting { .. } => None,
        };
        overdue.into_iter().chain(shard).min()
    }

    /// The shard, while it is loaded.
    #[must_use]
    pub fn shard(&self) -> Option<&S> {
        match &self.state {
            State::Active { shard, .. } => Some(shard),
            State::Resigned
            | State::Loading { .. }
            | State::Failed { .. }
            | State::Doubting { .. } => None,
        }
    }

    /// The leader epoch in which this broker leads the partition.
    #[must_use]
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        match &self.state {
            State::Resigned => None,
            State::Loading { epoch, .. }
            | State::Active { epoch, .. }
            | State::Failed { epoch }
            | State::Doubting { epoch } => Some(*epoch),
        }
    }

    /// Answers that wait for the high watermark.
    #[must_use]
    pub fn deferred_answers(&self) -> usize {
        self.deferred.len()
    }

    fn on_elected(&mut self, epoch: LeaderEpoch, effects: &mut Effects<S>) {
        if self.epoch().is_some_and(|known| known >= epoch) {
            return;
        }
        self.refuse_all(CoordinatorError::NotCoordinator, effects);
        self.high_watermark = Offset(0);
        self.load(epoch, effects);
    }

    fn on_resigned(&mut self, epoch: LeaderEpoch, effects: &mut Effects<S>) {
        // A resignation names the epoch that ends this broker's leadership, which is a later one.
        if self.epoch().is_some_and(|known| known < epoch) {
            sometimes!(ResignedWhileLoading, matches!(self.state, State::Loading { .. }));
            sometimes!(ResignedWithAnswersDeferred, !self.deferred.is_empty());
            self.refuse_all(CoordinatorError::NotCoordinator, effects);
            self.state = State::Resigned;
        }
    }

    fn on_doubted(&mut self, epoch: LeaderEpoch, effects: &mut Effects<S>) {
        if self.epoch() != Some(epoch) || Mutant::StaleCoordinatorAnswers.is_planted() {
            return;
        }
        sometimes!(CoordinatorDoubtsItself);
        self.refuse_all(CoordinatorError::NotCoordinator, effects);
        self.state = State::Doubting { epoch };
    }

    fn on_confirmed(&mut self, epoch: LeaderEpoch, effects: &mut Effects<S>) {
        if matches!(self.state, State::Doubting { epoch: doubted } if doubted == epoch) {
            self.load(epoch, effects);
        }
    }

    fn load(&mut self, epoch: LeaderEpoch, effects: &mut Effects<S>) {
        let attempt = self.next_write();
        let shard = S::new(&self.config);
        self.state = State::Loading { epoch, attempt, shard, end: Offset(0) };
        effects.push(Effect::Load { epoch, attempt });
    }

    fn on_loaded(&mut self, attempt: WriteId, records: &[(Offset, S::Record)], to: Offset) {
        let State::Loading { attempt: current, shard, end, .. } = &mut self.state else { return };
        if attempt != *current {
            return;
        }
        for (offset, record) in records {
            assert!(*offset >= *end, "a log is loaded in order");
            shard.replay(*offset, record);
            *end = offset.plus(1);
        }
        *end = to.max(*end);
    }

    fn on_load_ended(
        &mut self,
        now: Now,
        image: &Image,
        attempt: WriteId,
        log_end: Offset,
        high_watermark: Offset,
        effects: &mut Effects<S>,
    ) {
        let state = core::mem::replace(&mut self.state, State::Resigned);
        let State::Loading { epoch, attempt: current, mut shard, end } = state else {
            self.state = state;
            return;
        };
        let wins = Mutant::LateLoadWins.is_planted();
        if attempt != current && !wins {
            self.state = State::Loading { epoch, attempt: current, shard, end };
            return;
        }
        let log_end = if wins { log_end.max(end) } else { log_end };
        assert!(log_end >= end, "nothing was loaded from behind the log's end");
        shard.loaded(now, image);
        sometimes!(LoadedBeyondCommit, high_watermark < log_end);
        self.state = State::Active { epoch, shard, end: log_end, appending: None };
        self.on_high_watermark(epoch, high_watermark, effects);
    }

    fn on_load_failed(&mut self, attempt: WriteId) {
        if let State::Loading { epoch, attempt: current, .. } = &self.state
            && *current == attempt
        {
            self.state = State::Failed { epoch: *epoch };
        }
    }

    fn on_request(
        &mut self,
        now: Now,
        image: &Image,
        request: RequestId,
        body: S::Request,
        effects: &mut Effects<S>,
    ) {
        let State::Active { shard, appending, .. } = &mut self.state else {
            sometimes!(AskedWhileLoading, matches!(self.state, State::Loading { .. }));
            effects.push(Effect::Refuse { request, error: self.refusal() });
            return;
        };
        assert!(appending.is_none(), "an append is answered before the next request");
        let mut decision = Decision::default();
        shard.handle(now, image, request, body, &mut decision);
        self.carry_out(now, decision, effects);
    }

    fn on_tick(&mut self, now: Now, image: &Image, effects: &mut Effects<S>) {
        while let Some(overdue) = self.deferred.pop_front_if(|d| d.deadline <= now.monotonic) {
            sometimes!(AnswerNotCommittedInTime);
            let error = CoordinatorError::NotAvailable;
            effects.push(Effect::Refuse { request: overdue.request, error });
        }
        match &mut self.state {
            State::Active { shard, appending: None, .. } => {
                let mut decision = Decision::default();
                shard.tick(now, image, &mut decision);
                self.carry_out(now, decision, effects);
            }
            State::Active { .. }
            | State::Resigned
            | State::Loading { .. }
            | State::Failed { .. }
            | State::Doubting { .. } => {}
        }
    }

    /// Appends what was decided; without records, the answers only wait.
    fn carry_out(
        &mut self,
        now: Now,
        decision: Decision<S::Record, S::Response>,
        effects: &mut Effects<S>,
    ) {
        let write = self.next_write();
        let State::Active { epoch, end, appending, .. } = &mut self.state else {
            unreachable!("only an active shard decides");
        };
        if decision.records.is_empty() {
            let end = *end;
            self.defer(now, end, decision, effects);
            return;
        }
        let records = decision.records.clone();
        *appending = Some(Appending { write, decision });
        effects.push(Effect::Append { epoch: *epoch, write, records });
    }

    fn on_appended(
        &mut self,
        now: Now,
        image: &Image,
        write: WriteId,
        base_offset: Offset,
        log_end: Offset,
        effects: &mut Effects<S>,
    ) {
        let State::Active { shard, end, appending, .. } = &mut self.state else { return };
        let Some(Appending { decision, .. }) = appending.take_if(|begun| begun.write == write)
        else {
            return;
        };
        assert!(base_offset >= *end, "an append comes behind everything that was replayed");
        let mut offset = base_offset;
        for record in &decision.records {
            shard.replay(offset, record);
            offset = offset.plus(1);
        }
        assert_eq!(offset, log_end, "one offset for each record");
        *end = log_end;
        shard.replayed(now, image);
        self.defer(now, log_end, decision, effects);
    }

    fn on_append_failed(&mut self, write: WriteId, effects: &mut Effects<S>) {
        let State::Active { epoch, appending, .. } = &mut self.state else { return };
        if appending.as_ref().is_none_or(|begun| begun.write != write) {
            return;
        }
        let epoch = *epoch;
        let error = CoordinatorError::NotAvailable;
        if let Some(Appending { decision, .. }) =
            appending.take_if(|begun| begun.decision.stands_alone)
        {
            sometimes!(CommitRefusedAlone);
            let refused = decision.answers.into_iter();
            effects.extend(refused.map(|(request, _)| Effect::Refuse { request, error }));
            return;
        }
        sometimes!(RefusedAppendReloads);
        sometimes!(ReloadWithAnswersDeferred, !self.deferred.is_empty());
        self.refuse_all(error, effects);
        self.load(epoch, effects);
    }

    fn on_high_watermark(&mut self, epoch: LeaderEpoch, to: Offset, effects: &mut Effects<S>) {
        if self.epoch() != Some(epoch) {
            return;
        }
        self.high_watermark = self.high_watermark.max(to);
        while let Some(first) = self.deferred.front()
            && first.end <= self.high_watermark
            && let Some(Deferred { request, answer, .. }) = self.deferred.pop_front()
        {
            effects.push(Effect::Respond { request, response: answer });
        }
    }

    fn defer(
        &mut self,
        now: Now,
        end: Offset,
        decision: Decision<S::Record, S::Response>,
        effects: &mut Effects<S>,
    ) {
        let deadline = now.monotonic.after(self.answer_timeout);
        for (request, answer) in decision.answers {
            if end <= self.high_watermark || Mutant::AnswerBeforeHighWatermark.is_planted() {
                effects.push(Effect::Respond { request, response: answer });
            } else {
                self.deferred.push_back(Deferred { end, deadline, request, answer });
            }
        }
    }

    /// Refuses whatever waits: answers for the high watermark, requests for others of their group.
    fn refuse_all(&mut self, error: CoordinatorError, effects: &mut Effects<S>) {
        for Deferred { request, .. } in self.deferred.drain(..) {
            effects.push(Effect::Refuse { request, error });
        }
        if let State::Active { shard, appending, .. } = &mut self.state {
            let decided = appending.take().map(|begun| begun.decision.answers).unwrap_or_default();
            for (request, _) in decided {
                effects.push(Effect::Refuse { request, error });
            }
            for request in shard.waiting() {
                sometimes!(ResignedWithParkedMembers, error == CoordinatorError::NotCoordinator);
                effects.push(Effect::Refuse { request, error });
            }
        }
    }

    fn refusal(&self) -> CoordinatorError {
        match self.state {
            State::Resigned | State::Failed { .. } | State::Doubting { .. } => {
                CoordinatorError::NotCoordinator
            }
            State::Loading { .. } => CoordinatorError::Loading,
            State::Active { .. } => CoordinatorError::NotAvailable,
        }
    }

    fn next_write(&mut self) -> WriteId {
        self.next_write += 1;
        WriteId(self.next_write)
    }
}
