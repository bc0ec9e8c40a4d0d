//! The driver of one coordinator: it steps the machine and performs its effects in order.
//!
//! One task owns the machine. Whatever the partition has to tell comes as one notification, upon
//! which the task looks; so nothing of this is under the partition's lock, and a notification that
//! comes twice costs nothing.

use super::{
    Answer,
    census::Census,
    loading::{LoadError, Loading, Piece},
    rebalances::Rebalances,
    records,
};
use crate::{
    broker::PartitionDriver,
    env::Clock,
    metrics::Metrics,
    quorum::Quorum,
    wire::{EncodeError, record_batch},
};
use bytes::Bytes;
use highwater_core::{
    coordinator::{Coordinator, Effect, Effects, Input},
    group::{GroupConfig, GroupShard, Record, Request, Response},
    partition::{self, COORDINATOR_BATCH_MAX_BYTES},
    record::{Batch, Origin},
    sometimes,
    time::{Instant, Now},
    types::{LeaderEpoch, MetadataOffset, RequestId, WriteId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot};

/// The pause before a log that could not be read is read again.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

/// The pause before a log that could be read and not decoded is read again: only a compaction that
/// removes what was not understood can change that, and each load reads the whole log.
const DECODE_AGAIN: Duration = Duration::from_mins(1);

type Waiting = oneshot::Sender<Answer>;

/// A request on its way to a coordinator.
pub struct Asked {
    /// What is asked.
    pub body: Request,
    /// Whom to answer.
    pub answer: Waiting,
}

/// What a driver is made of.
pub struct Parts {
    /// How groups are kept.
    pub config: GroupConfig,
    /// How long an answer waits for the high watermark.
    pub answer_timeout: Duration,
    /// The leader epoch that the coordinator lives in.
    pub epoch: LeaderEpoch,
    /// The partition that holds its state.
    pub partition: Arc<PartitionDriver>,
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Knows the image.
    pub quorum: Arc<dyn Quorum>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Notified when the image or the partition has something new.
    pub changed: Arc<Notify>,
}

/// The driver of one coordinator.
pub struct Driver {
    parts: Parts,
    machine: Coordinator<GroupShard>,
    /// Reused between steps; empty outside of one.
    effects: Effects<GroupShard>,
    /// Requests that are not answered yet. Bounded by the requests in flight.
    waiting: BTreeMap<RequestId, Waiting>,
    next_request: u64,
    loading: Option<Loading>,
    load_again_at: Option<Instant>,
    /// A load that was asked for soon after another one, and when it begins.
    postponed: Option<(WriteId, Instant)>,
    last_load: Option<Instant>,
    /// The image that the machine has been told of.
    image_at: MetadataOffset,
    /// The partition's leader may have been replaced without knowing it, and the machine was told.
    in_doubt: bool,
    census: Census,
    rebalances: Rebalances,
}

impl Driver {
    /// A driver that has not begun.
    pub fn new(parts: Parts) -> Self {
        let machine = Coordinator::new(parts.config.clone(), parts.answer_timeout);
        Self {
            parts,
            machine,
            effects: Effects::new(),
            waiting: BTreeMap::new(),
            next_request: 0,
            loading: None,
            load_again_at: None,
            postponed: None,
            last_load: None,
            image_at: MetadataOffset(0),
            in_doubt: false,
            census: Census::default(),
            rebalances: Rebalances::default(),
        }
    }

    /// Coordinates until the leadership ends, which is when `ended` resolves.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Asked>, mut ended: oneshot::Receiver<()>) {
        self.elect();
        loop {
            let (clock, changed) = (self.parts.clock.clone(), self.parts.changed.clone());
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                _ = &mut ended => break,
                () = changed.notified() => self.look(),
                () = sleep_until(&*clock, deadline) => self.on_deadline(),
                piece = next_piece(&mut self.loading) => self.on_piece(piece),
                asked = queue.recv() => match asked {
                    Some(asked) => self.take(asked),
                    None => break,
                },
            }
        }
        let epoch = LeaderEpoch(self.parts.epoch.0 + 1);
        self.step(Input::Resigned { epoch });
        self.census.end(&self.parts.metrics.groups);
        assert!(self.waiting.is_empty(), "who waits for a coordinator that resigned is refused");
    }

    fn elect(&mut self) {
        self.step(Input::Elected { epoch: self.parts.epoch });
    }

    fn take(&mut self, Asked { body, answer }: Asked) {
        self.check_standing();
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.waiting.insert(request, answer);
        self.rebalances.asked(&body);
        self.step(Input::Request { request, body });
    }

    /// Tells the machine when its partition's leader begins to doubt itself, and when that is over.
    /// Before anything else is told: what nobody may be told any more must not be answered.
    fn check_standing(&mut self) {
        let epoch = self.parts.epoch;
        let stands = self.parts.partition.stands(epoch);
        if stands != self.in_doubt {
            return;
        }
        self.in_doubt = !stands;
        let partition = &self.parts.partition.id;
        if stands {
            tracing::info!(%partition, %epoch, "groups are loaded again: nobody else leads");
            self.step(Input::Confirmed { epoch });
        } else {
            tracing::info!(%partition, %epoch, "groups are sent away: another broker may lead");
            (self.loading, self.postponed, self.load_again_at) = (None, None, None);
            self.step(Input::Doubted { epoch });
        }
    }

    /// Looks at the partition and at the image: one of them may have something new.
    fn look(&mut self) {
        self.check_standing();
        let (is_leader, epoch, to) = self.parts.partition.inspect(|machine| {
            (machine.is_leader(), machine.leader_epoch(), machine.high_watermark())
        });
        if is_leader && epoch == self.parts.epoch {
            self.step(Input::HighWatermarkAdvanced { epoch, to });
        }
        if let Some(loading) = &mut self.loading {
            loading.resume();
        }
        if self.parts.quorum.image().applied() != self.image_at {
            self.step(Input::Tick);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let postponed = self.postponed.map(|(_, at)| at);
        let due = [self.machine.next_deadline(), self.load_again_at, postponed, self.census.due];
        due.into_iter().flatten().min()
    }

    fn on_deadline(&mut self) {
        self.check_standing();
        let now = self.parts.clock.now().monotonic;
        if self.load_again_at.is_some_and(|at| at <= now) {
            self.load_again_at = None;
            // A machine that has failed to load stays so; nobody waits for it.
            self.machine = Coordinator::new(self.parts.config.clone(), self.parts.answer_timeout);
            self.elect();
        }
        if let Some((attempt, _)) = self.postponed.take_if(|(_, at)| *at <= now) {
            self.load(attempt, now);
        }
        if self.census.due.is_some_and(|at| at <= now) {
            self.census.take(&self.machine, &self.parts.metrics.groups);
            return;
        }
        self.step(Input::Tick);
    }

    fn on_piece(&mut self, piece: Result<Piece, LoadError>) {
        let Some(loading) = &self.loading else { return };
        let attempt = loading.attempt;
        match piece {
            Ok(Piece::Records(records, end)) => {
                self.step(Input::Loaded { attempt, records, end });
            }
            Ok(Piece::NotYet) => {}
            Ok(Piece::End(end)) => {
                self.finish_loading();
                let high_watermark =
                    self.parts.partition.inspect(partition::Partition::high_watermark);
                self.step(Input::LoadEnded { attempt, end, high_watermark });
                // What is due about what was loaded.
                self.step(Input::Tick);
            }
            Err(error) => {
                let partition = &self.parts.partition.id;
                tracing::error!(%partition, %error, "groups are not available");
                self.fail_loading(attempt, &error);
            }
        }
    }

    fn load(&mut self, attempt: WriteId, now: Instant) {
        self.last_load = Some(now);
        let Parts { partition, epoch, .. } = &self.parts;
        self.loading = Loading::begin(partition, *epoch, attempt, now);
        if self.loading.is_none() {
            // Another leadership has begun, and the image will tell of it: this ends.
            let (partition, epoch) = (&partition.id, *epoch);
            tracing::debug!(%partition, %epoch, "groups are not loaded: the leadership is over");
            self.postponed = Some((attempt, now.after(LOAD_AGAIN)));
        }
    }

    fn finish_loading(&mut self) {
        let Some(loading) = self.loading.take() else { return };
        let took = self.parts.clock.now().monotonic.since(loading.started);
        self.parts.metrics.groups.load_latency.observe(took);
        let (partition, records) = (&self.parts.partition.id, loading.decoded());
        tracing::debug!(%partition, epoch = %self.parts.epoch, records, ?took, "groups loaded");
    }

    fn fail_loading(&mut self, attempt: WriteId, error: &LoadError) {
        self.loading = None;
        let pause = match error {
            LoadError::Log(_) => LOAD_AGAIN,
            LoadError::Undecodable { .. } => DECODE_AGAIN,
        };
        self.load_again_at = Some(self.parts.clock.now().monotonic.after(pause));
        self.step(Input::LoadFailed { attempt });
    }

    /// Steps the machine, and again with what its effects bring at once.
    fn step(&mut self, input: Input<GroupShard>) {
        let is_tick = matches!(input, Input::Tick);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (now, image) = (self.parts.clock.now(), self.parts.quorum.image());
            self.image_at = image.applied();
            let mut effects = std::mem::take(&mut self.effects);
            self.machine.step(now, &image, input, &mut effects);
            for effect in effects.drain(..) {
                inputs.extend(self.perform(now, effect));
            }
            self.effects = effects;
        }
        let (now, metrics) = (self.parts.clock.now().monotonic, &self.parts.metrics.groups);
        if let Some(shard) = self.machine.shard() {
            if is_tick {
                self.rebalances.ticked(shard.ticked());
            }
            self.rebalances.look(|group| shard.state(group), now, metrics);
        } else {
            self.rebalances.pass_over();
        }
        self.census.want(now);
        self.census.defer(self.machine.deferred_answers(), metrics);
        self.census.load(self.machine.epoch().is_some() && self.machine.shard().is_none(), metrics);
    }

    fn perform(&mut self, now: Now, effect: Effect<GroupShard>) -> Option<Input<GroupShard>> {
        match effect {
            Effect::Load { attempt, .. } => {
                self.rebalances.forget();
                self.parts.metrics.groups.loads.increment();
                let now = now.monotonic;
                // Appends that are refused again and again must not read the log again and again.
                match self.last_load.map(|last| last.after(LOAD_AGAIN)).filter(|at| *at > now) {
                    Some(at) => {
                        sometimes!(LoadPostponed);
                        self.postponed = Some((attempt, at));
                    }
                    None => self.load(attempt, now),
                }
                None
            }
            Effect::Append { epoch, write, records } => {
                Some(self.append(now, epoch, write, &records))
            }
            Effect::Respond { request, response } => {
                self.count(&response);
                self.answer(request, Ok(response));
                None
            }
            Effect::Refuse { request, error } => {
                self.answer(request, Err(error));
                None
            }
        }
    }

    fn append(
        &mut self,
        now: Now,
        leader_epoch: LeaderEpoch,
        write: WriteId,
        records: &[Record],
    ) -> Input<GroupShard> {
        let batch = match batch_of(now, records) {
            Ok(batch) => batch,
            Err(error) => {
                let partition = &self.parts.partition.id;
                tracing::error!(%partition, %error, "a change of groups cannot be stored");
                return Input::AppendFailed { write };
            }
        };
        let answer = self.parts.partition.ask(|request| partition::Input::AppendAsCoordinator {
            request,
            leader_epoch,
            batch,
        });
        match answer {
            partition::Response::Appended { base_offset, end } => {
                self.rebalances.appended(records, now.monotonic);
                Input::Appended { write, base_offset, end }
            }
            partition::Response::Error(error) => {
                let partition = &self.parts.partition.id;
                tracing::warn!(%partition, %error, "a change of groups was not stored");
                Input::AppendFailed { write }
            }
            other => unreachable!("an append of a coordinator was answered with {other:?}"),
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let waiting = self.waiting.remove(&request).expect("a request is answered once");
        // The client may have gone away.
        drop(waiting.send(answer));
    }

    fn count(&self, response: &Response) {
        if let Response::Committed(Ok(outcomes)) = response {
            let committed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            self.parts.metrics.groups.offset_commits.add(committed as u64);
        }
    }
}

/// Why records cannot be made a batch.
#[derive(Debug, thiserror::Error)]
enum BatchOfError {
    #[error("a record cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    #[error("it is larger than the {COORDINATOR_BATCH_MAX_BYTES} bytes that a batch may have")]
    TooLarge,
}

/// One batch of records, all or none.
fn batch_of(now: Now, records: &[Record]) -> Result<Batch, BatchOfError> {
    let (mut encoded, mut bytes) = (Vec::with_capacity(records.len()), 0);
    for record in records {
        let (key, value) = records::encode(record)?;
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        if bytes > COORDINATOR_BATCH_MAX_BYTES as usize {
            return Err(BatchOfError::TooLarge);
        }
        encoded.push((key, value));
    }
    let batch = record_batch::build(&encoded, now.wall);
    Ok(Batch::parse(batch, usize::MAX, Origin::Client).expect("a batch that was just built"))
}

async fn next_piece(loading: &mut Option<Loading>) -> Result<Piece, LoadError> {
    match loading {
        Some(loading) => loading.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: &dyn Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
