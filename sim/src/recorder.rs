//! Writes the history and the trace of a run together, from whatever task has something to say.

use crate::{
    choices::Journal,
    clock::SimClock,
    explain,
    history::{History, MarkKind, Moment, Observation, Outcome, Partition, Request},
    trace::Trace,
};
use highwater_node::env::Clock;
use madsim::time::TimeHandle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The one recorder of a run. Clones are the same.
#[derive(Clone)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    broker_clocks: Arc<Mutex<Vec<SimClock>>>,
    /// The trace, for events that are no part of the history.
    pub trace: Trace,
    /// Where choices are written down.
    pub journal: Journal,
}

impl Recorder {
    /// A recorder with an empty history.
    #[must_use]
    pub fn new(trace: Trace, journal: Journal) -> Self {
        Self { history: Arc::default(), broker_clocks: Arc::default(), trace, journal }
    }

    /// Looks at this clock, too, whenever a call begins.
    pub fn watch_clock(&self, clock: SimClock) {
        self.clocks().push(clock);
    }

    /// Notes what the brokers' wall clocks show.
    pub fn note_wall(&self) {
        let walls = self.walls();
        walls.into_iter().for_each(|wall| self.history().note_wall(wall));
    }

    fn walls(&self) -> Vec<i64> {
        self.clocks().iter().map(|clock| clock.now().wall.0).collect()
    }

    fn clocks(&self) -> MutexGuard<'_, Vec<SimClock>> {
        self.broker_clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history. Never held across an await.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call to a broker begins; its index.
    pub fn invoke(&self, client: u32, broker: i32, request: Request) -> usize {
        let wall = self.walls().into_iter().min().unwrap_or(0);
        let mut history = self.history();
        let text = describe(&history, &request);
        history.nanos = now_nanos();
        let call = history.invoke(client, wall, request);
        history.calls[call].broker = broker;
        let to = if history.promise.is_cluster() { format!(" to {broker}") } else { String::new() };
        self.trace.event(now_nanos(), format_args!("client {client} call {call}{to}: {text}"));
        let of = explain::client::Asked { client, broker, call };
        drop(history);
        self.trace.events.add(|| explain::client::call(of, now_nanos(), &self.history()));
        call
    }

    /// A call ended.
    pub fn end(&self, call: usize, outcome: Outcome) {
        let text = match &outcome {
            Outcome::Fetched { high_watermark, log_start, batches, bad } => {
                let first = batches.first().map_or(-1, |batch| batch.base_offset);
                let last = batches.last().map_or(-1, |batch| batch.last_offset);
                format!(
                    "read {first} to {last}, high watermark {high_watermark}, start {log_start}, \
                     {bad:?}"
                )
            }
            other => format!("{other:?}"),
        };
        self.trace.event(now_nanos(), format_args!("call {call}: {text}"));
        {
            let mut history = self.history();
            history.nanos = now_nanos();
            history.end(call, outcome);
        }
        self.trace.events.add(|| explain::client::answer(call, now_nanos(), &self.history()));
    }

    /// A fault, or a turn in a broker's life.
    pub fn mark(&self, machine: i32, kind: MarkKind) -> Moment {
        self.trace.event(now_nanos(), format_args!("mark {kind:?} of broker {machine}"));
        if self.trace.events.is_on()
            && let Some(event) = explain::client::mark(machine, &kind, now_nanos(), &self.history())
        {
            self.trace.events.add(|| event);
        }
        let mut history = self.history();
        history.nanos = now_nanos();
        history.mark(machine, kind)
    }

    /// An application of others saw or promised something.
    pub fn observe(&self, workload: &str, process: u32, what: &str, value: String) {
        self.trace.event(now_nanos(), format_args!("{workload} {process}: {what} {value}"));
        let mut history = self.history();
        let (at, workload, what) = (history.tick(), workload.to_owned(), what.to_owned());
        history.observations.push(Observation { at, workload, process, what, value });
    }

    /// Anything else that happened.
    pub fn note(&self, text: std::fmt::Arguments<'_>) {
        self.trace.event(now_nanos(), text);
    }

    /// A partition's name as people write it.
    #[must_use]
    pub fn name(&self, partition: Partition) -> String {
        self.history().name(partition)
    }
}

fn describe(history: &History, request: &Request) -> String {
    match request {
        Request::Produce(produce) => {
            let first = produce.records.first().map_or(0, |record| record.number);
            let (count, acks) = (produce.records.len(), produce.acks);
            let (name, producer) = (history.name(produce.partition), produce.producer);
            format!("produce {name} acks={acks} {count} records from {first} {producer:?}")
        }
        Request::Fetch { partition, offset } => {
            format!("fetch {} from {offset}", history.name(*partition))
        }
        Request::ListOffsets { partition, timestamp } => {
            format!("list offsets {} at {timestamp}", history.name(*partition))
        }
        Request::EpochEnd { partition, epoch } => {
            format!("end of leader epoch {epoch} of {}", history.name(*partition))
        }
        Request::DeleteRecords { partition, before } => {
            format!("delete records {} before {before}", history.name(*partition))
        }
        Request::InitProducer { bump } => format!("init producer {bump:?}"),
        Request::Group(call) => {
            let instance = call.instance.as_deref().unwrap_or_default();
            format!("{} {instance} {}: {:?}", call.group, call.member, call.ask)
        }
        Request::Admin(change) => change.to_string(),
    }
}

/// Simulated time since the start of the run, in nanoseconds.
#[must_use]
pub fn now_nanos() -> u64 {
    u64::try_from(TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}
