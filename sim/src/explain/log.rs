//! Where events are kept while a run goes on, if somebody wants a picture of it. Off, it costs a test
//! of a flag at each event; on or off, the run is the same: nothing here takes simulated time, draws
//! anything or wakes anybody.

use super::event::{Event, EventId, Lane, LeaderSeen, Sample};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The events of a run, or nothing. Clones are the same log.
#[derive(Clone, Default)]
pub struct EventLog(Option<Arc<Mutex<Inner>>>);

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    samples: Vec<Sample>,
    leadership: Vec<LeaderSeen>,
    names: BTreeMap<[u8; 16], String>,
    probe: Option<Probe>,
    /// When the probe has looked last.
    looked: Option<u64>,
    /// What was begun and is not done: where, since when, what.
    open: BTreeMap<u64, (Lane, Event)>,
    next_open: u64,
}

/// What a look at the cluster found.
#[derive(Debug, Default)]
pub struct Found {
    /// What has changed.
    pub events: Vec<Event>,
    /// What replicas know now, where that has changed.
    pub samples: Vec<Sample>,
    /// Who leads and who is in sync, where that has changed.
    pub leadership: Vec<LeaderSeen>,
    /// The names of topics that were not known.
    pub names: BTreeMap<[u8; 16], String>,
}

/// Looks at the cluster at a moment in nanoseconds. It must not write events itself.
pub type Probe = Box<dyn FnMut(u64) -> Found + Send>;

/// Everything that was kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The events, in the order in which they happened.
    pub events: Vec<Event>,
    /// What replicas knew, in order of time.
    pub samples: Vec<Sample>,
    /// Who leads and who is in sync, where that has changed.
    pub leadership: Vec<LeaderSeen>,
    /// The names of topics by their ids.
    pub names: BTreeMap<[u8; 16], String>,
}

impl EventLog {
    /// A log that keeps events.
    #[must_use]
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether events are kept.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps an event, if any are kept; makes it only then.
    pub fn add(&self, make: impl FnOnce() -> Event) -> Option<EventId> {
        self.0.as_ref()?;
        let event = make();
        self.look(event.at);
        let mut inner = self.inner()?;
        inner.events.push(event);
        Some(inner.events.len() - 1)
    }

    /// Something begins that may never be done, because the machine stops before: `made` says what
    /// is kept then.
    pub fn begin(&self, lane: Lane, make: impl FnOnce() -> Event) -> Option<u64> {
        let mut inner = self.inner()?;
        let (number, event) = (inner.next_open, make());
        inner.next_open += 1;
        inner.open.insert(number, (lane, event));
        Some(number)
    }

    /// What was begun is done.
    pub fn done(&self, begun: Option<u64>) {
        if let (Some(mut inner), Some(begun)) = (self.inner(), begun) {
            inner.open.remove(&begun);
        }
    }

    /// A machine stops: what was begun there will never be done.
    pub fn abandon(&self, lane: Lane, at: u64) {
        let Some(mut inner) = self.inner() else { return };
        let left = inner.open.extract_if(.., |_, (of, _)| *of == lane).collect::<Vec<_>>();
        for (_, (_, mut event)) in left {
            event.at = at;
            inner.events.push(event);
        }
    }

    /// Looks at the cluster with this from now on, whenever time has passed and something happens.
    pub fn watch(&self, probe: Probe) {
        if let Some(mut inner) = self.inner() {
            inner.probe = Some(probe);
        }
    }

    /// Looks a last time, and never again.
    pub fn stop_watching(&self, at: u64) {
        self.look(at);
        if let Some(mut inner) = self.inner() {
            inner.probe = None;
        }
    }

    /// Everything that was kept.
    #[must_use]
    pub fn take(&self) -> Kept {
        let Some(mut inner) = self.inner() else { return Kept::default() };
        Kept {
            events: std::mem::take(&mut inner.events),
            samples: std::mem::take(&mut inner.samples),
            leadership: std::mem::take(&mut inner.leadership),
            names: std::mem::take(&mut inner.names),
        }
    }

    /// The probe is taken out while it looks: it takes locks of its own.
    fn look(&self, at: u64) {
        let probe = self.inner().and_then(|mut inner| {
            let is_new = inner.looked.is_none_or(|looked| looked < at);
            if is_new { inner.probe.take() } else { None }
        });
        let Some(mut probe) = probe else { return };
        let found = probe(at);
        let Some(mut inner) = self.inner() else { return };
        inner.probe = Some(probe);
        inner.looked = Some(at);
        inner.events.extend(found.events);
        inner.samples.extend(found.samples);
        inner.leadership.extend(found.leadership);
        inner.names.extend(found.names);
    }

    fn inner(&self) -> Option<MutexGuard<'_, Inner>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EventLog({})", if self.is_on() { "on" } else { "off" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Kind;
    use super::*;

    fn event(at: u64, text: &str) -> Event {
        Event::new(at, Lane::Broker(1), Kind::Disk, text)
    }

    #[test]
    fn a_log_that_is_off_makes_no_event() {
        let log = EventLog::default();
        assert_eq!(log.add(|| unreachable!("nobody wants it")), None);
        assert_eq!(log.begin(Lane::Network, || unreachable!("nobody wants it")), None);
        assert_eq!(log.take().events, []);
    }

    #[test]
    fn what_was_begun_and_never_done_is_kept_when_its_machine_stops() {
        let log = EventLog::on();
        let done = log.begin(Lane::Broker(1), || event(1, "one"));
        log.begin(Lane::Broker(1), || event(2, "two"));
        log.begin(Lane::Broker(2), || event(3, "three"));
        log.done(done);
        log.abandon(Lane::Broker(1), 9);
        assert_eq!(log.take().events, [event(9, "two")]);
    }

    #[test]
    fn the_probe_looks_once_for_each_moment_and_before_the_event() {
        let log = EventLog::on();
        log.watch(Box::new(|at| Found { events: vec![event(at, "seen")], ..Found::default() }));
        log.add(|| event(5, "a"));
        log.add(|| event(5, "b"));
        log.stop_watching(6);
        log.add(|| event(7, "c"));
        let texts: Vec<String> = log.take().events.into_iter().map(|event| event.text).collect();
        assert_eq!(texts, ["seen", "a", "b", "seen", "c"]);
    }
}
