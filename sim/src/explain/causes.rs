//! What led to what. A message knows the event that it was sent with; everything else is found by what
//! events are about: the record that a client sent is the one that a broker writes, an fsync covers
//! the writes before it, an answer waits for the high watermark.

use super::event::{Event, EventId, Kind, Lane, Role, Slot};
use std::collections::BTreeMap;

/// A fence is the end of a session when nothing had been heard for so long, in nanoseconds. What came
/// much earlier was not the last sign of life: a broker that is the controller sends itself none.
const SILENCE: std::ops::Range<u64> = 500_000_000..3_000_000_000;

/// Adds to each event what led to it.
pub fn link(events: &mut [Event]) {
    let mut links = Links::default();
    for id in 0..events.len() {
        let (before, rest) = events.split_at_mut(id);
        let event = &mut rest[0];
        links.visit(before, id, event);
        event.causes.sort_unstable();
        event.causes.dedup();
        event.causes.retain(|cause| *cause < id);
    }
}

type Replica = (i32, Slot);

/// The last event of each sort so far.
#[derive(Default)]
struct Links {
    writes: BTreeMap<Replica, Vec<(i64, i64, EventId)>>,
    unsynced: BTreeMap<Replica, Vec<EventId>>,
    synced: BTreeMap<Replica, EventId>,
    /// Records that came from a leader.
    brought: BTreeMap<Replica, EventId>,
    /// Where a log was found to part from the leader's.
    parted: BTreeMap<Replica, EventId>,
    /// What each follower has told its leader to be flushed.
    told: BTreeMap<(Replica, i32), (i64, EventId)>,
    committed: BTreeMap<Replica, EventId>,
    roles: BTreeMap<Replica, EventId>,
    calls: BTreeMap<usize, EventId>,
    sent: BTreeMap<u64, EventId>,
    decisions: BTreeMap<Slot, EventId>,
    proposals: BTreeMap<Slot, EventId>,
    fences: BTreeMap<i32, EventId>,
    heartbeats: BTreeMap<i32, EventId>,
    lives: BTreeMap<i32, EventId>,
}

impl Links {
    fn visit(&mut self, before: &[Event], id: EventId, event: &mut Event) {
        let broker = match event.lane {
            Lane::Broker(broker) => broker,
            Lane::Network | Lane::Controller | Lane::Client(_) => event.broker.unwrap_or(0),
        };
        match event.kind {
            Kind::Arrived | Kind::Lost => self.ended(before, broker, id, event),
            Kind::Sent => self.sent_on(broker, event),
            Kind::Write => self.written(before, broker, id, event),
            Kind::Sync => self.synced(before, broker, id, event),
            Kind::State => self.turned(broker, id, event),
            Kind::Decision => self.decided(before, id, event),
            Kind::Heard => {
                let decisions =
                    event.about.iter().filter_map(|about| self.decisions.get(&about.slot));
                event.causes.extend(decisions.copied());
                for about in &event.about {
                    self.roles.insert((broker, about.slot), id);
                }
            }
            Kind::Call => {
                self.calls.extend(event.call.map(|call| (call, id)));
                let numbers = event.about.iter().filter_map(|about| about.number);
                self.sent.extend(numbers.map(|number| (number, id)));
            }
            Kind::Answer => self.answered(broker, event),
            Kind::Fault | Kind::Life => {
                if let Lane::Broker(broker) = event.lane {
                    event.causes.extend(self.lives.insert(broker, id));
                }
            }
            Kind::Disk | Kind::Timer | Kind::Violation => {}
        }
    }

    /// A message came to its end: it is about what it was sent with.
    fn ended(&mut self, before: &[Event], broker: i32, id: EventId, event: &mut Event) {
        let Some(sent) = event.causes.first().and_then(|sent| before.get(*sent)) else { return };
        if sent.kind != Kind::Sent {
            return;
        }
        let said = sent.text.split(" → ").next().unwrap_or_default();
        event.text = format!("{said}: {}", event.text);
        event.about.clone_from(&sent.about);
        if event.kind == Kind::Lost {
            return;
        }
        let from = event.broker.unwrap_or(0);
        if said.starts_with("heartbeat") && !said.contains("reply") {
            self.heartbeats.insert(from, id);
        }
        for about in &event.about {
            let here = (broker, about.slot);
            match about.role {
                Role::Records => drop(self.brought.insert(here, id)),
                Role::Parts => drop(self.parted.insert(here, id)),
                Role::Flushed => drop(self.told.insert((here, from), (about.to, id))),
                Role::Leadership => drop(self.proposals.insert(about.slot, id)),
                Role::Asks | Role::HighWatermark | Role::Cuts => {}
            }
        }
    }

    fn sent_on(&self, broker: i32, event: &mut Event) {
        for about in &event.about {
            let here = (broker, about.slot);
            let cause = match about.role {
                Role::Records => self.write_of(here, about.from),
                Role::Flushed => self.synced.get(&here).copied(),
                Role::HighWatermark => self.committed.get(&here).copied(),
                Role::Asks | Role::Parts | Role::Cuts | Role::Leadership => None,
            };
            event.causes.extend(cause);
        }
    }

    /// Records are written because a client sent them here, or because a leader did.
    fn written(&mut self, before: &[Event], broker: i32, id: EventId, event: &mut Event) {
        for about in &event.about {
            let here = (broker, about.slot);
            let by_client = about.number.and_then(|number| self.sent.get(&number));
            let by_client = by_client.filter(|call| before[**call].broker == Some(broker));
            event.causes.extend(by_client.or_else(|| self.brought.get(&here)));
            self.writes.entry(here).or_default().push((about.from, about.to, id));
            self.unsynced.entry(here).or_default().push(id);
        }
    }

    /// A sync covers what was written before it was asked for.
    fn synced(&mut self, before: &[Event], broker: i32, id: EventId, event: &mut Event) {
        let asked = event.since.unwrap_or(event.at);
        for about in &mut event.about {
            let here = (broker, about.slot);
            let waiting = self.unsynced.entry(here).or_default();
            let covered: Vec<EventId> =
                waiting.extract_if(.., |write| before[*write].at <= asked).collect();
            let ends = covered.iter().flat_map(|write| &before[*write].about);
            let end = ends.filter(|of| of.slot == about.slot).map(|of| of.to).max();
            about.to = end.unwrap_or(about.to);
            event.causes.extend(covered);
            self.synced.insert(here, id);
        }
    }

    fn turned(&mut self, broker: i32, id: EventId, event: &mut Event) {
        for about in &event.about {
            let here = (broker, about.slot);
            match about.role {
                Role::HighWatermark => {
                    event.causes.extend(self.synced.get(&here));
                    let of_here = self.told.iter().filter(|((replica, _), _)| *replica == here);
                    let enough = of_here.filter(|(_, (to, _))| *to >= about.to);
                    event.causes.extend(enough.map(|(_, (_, told))| *told));
                    self.committed.insert(here, id);
                }
                Role::Leadership => event.causes.extend(self.roles.get(&here)),
                Role::Cuts => event.causes.extend(self.parted.get(&here)),
                _ => {}
            }
        }
    }

    fn decided(&mut self, before: &[Event], id: EventId, event: &mut Event) {
        if event.about.is_empty() {
            let Some(broker) = event.broker.filter(|_| event.text.ends_with("is fenced")) else {
                return;
            };
            event.causes.extend(self.lives.get(&broker));
            if let Some(last) = self.heartbeats.get(&broker).copied() {
                event.causes.push(last);
                let silence = event.at.saturating_sub(before[last].at);
                if SILENCE.contains(&silence) {
                    event.kind = Kind::Timer;
                    let seconds = silence as f64 / 1e9;
                    event.text += &format!(": no heartbeat had come for {seconds:.2} s");
                }
            }
            self.fences.insert(broker, id);
            return;
        }
        for about in &event.about {
            let last = self.decisions.insert(about.slot, id);
            let newer = |cause: &EventId| last.is_none_or(|last| *cause > last);
            event.causes.extend(self.proposals.get(&about.slot).copied().filter(newer));
            let former = last.and_then(|last| before[last].broker);
            let fence = former.and_then(|former| self.fences.get(&former)).copied();
            event.causes.extend(fence.filter(newer));
            // Fences that came with this very change.
            let together = self.fences.values().filter(|fence| before[**fence].at == event.at);
            event.causes.extend(together);
        }
    }

    fn answered(&self, broker: i32, event: &mut Event) {
        let asked = event.call.and_then(|call| self.calls.get(&call)).copied();
        event.causes.extend(asked);
        for about in event.about.iter().filter(|about| about.role == Role::Records) {
            let here = (broker, about.slot);
            let write = self.write_of(here, about.from);
            event.causes.extend(write);
            // What a produce waited for came after its write, if it waited.
            let produced = event.text.starts_with("produce");
            let waited = [self.committed.get(&here), self.synced.get(&here)];
            let since = write.max(asked);
            let waited = waited.into_iter().flatten().filter(|id| produced && Some(**id) > since);
            event.causes.extend(waited);
        }
    }

    fn write_of(&self, here: Replica, offset: i64) -> Option<EventId> {
        let writes = self.writes.get(&here)?;
        let has = |(from, to, _): &&(i64, i64, EventId)| (*from..*to).contains(&offset);
        writes.iter().rev().find(has).map(|(.., id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::About;
    use super::*;

    const SLOT: Slot = Slot { topic: [7; 16], index: 0 };

    fn event(at: u64, lane: Lane, kind: Kind, about: &[(Role, i64, i64)]) -> Event {
        let about = about.iter().map(|(role, from, to)| About {
            number: Some(40),
            ..About::new(SLOT, *role, *from, *to)
        });
        Event::new(at, lane, kind, "x → y").about(about)
    }

    #[test]
    fn a_record_is_followed_from_the_client_to_the_follower_and_back() {
        let (leader, follower) = (Lane::Broker(1), Lane::Broker(2));
        let mut events = vec![
            event(0, Lane::Client(3), Kind::Call, &[(Role::Asks, -1, -1)]).with_broker(1),
            event(1, leader, Kind::Write, &[(Role::Records, 5, 6)]),
            event(2, leader, Kind::Sent, &[(Role::Records, 5, 6)]).with_broker(2),
            event(3, follower, Kind::Arrived, &[]).caused_by([2]).with_broker(1),
            event(4, follower, Kind::Write, &[(Role::Records, 5, 6)]),
            event(6, follower, Kind::Sync, &[(Role::Flushed, 0, 0)]).since(4),
            event(7, follower, Kind::Sent, &[(Role::Flushed, 0, 6)]).with_broker(1),
            event(8, leader, Kind::Arrived, &[]).caused_by([6]).with_broker(2),
            event(8, leader, Kind::State, &[(Role::HighWatermark, 5, 6)]),
            event(9, Lane::Client(3), Kind::Answer, &[(Role::Records, 5, 6)]).with_broker(1),
        ];
        (events[0].call, events[9].call) = (Some(0), Some(0));
        events[9].text = "produce".into();
        link(&mut events);
        let causes: Vec<&[EventId]> = events.iter().map(|event| &*event.causes).collect();
        let expected: [&[EventId]; 10] =
            [&[], &[0], &[1], &[2], &[3], &[4], &[5], &[6], &[7], &[0, 1, 8]];
        assert_eq!(causes, expected);
        assert_eq!(events[5].about[0].to, 6);
    }

    #[test]
    fn a_sync_does_not_cover_what_was_written_after_it_was_asked_for() {
        let broker = Lane::Broker(1);
        let mut events = vec![
            event(1, broker, Kind::Write, &[(Role::Records, 0, 1)]),
            event(5, broker, Kind::Write, &[(Role::Records, 1, 2)]),
            event(6, broker, Kind::Sync, &[(Role::Flushed, 0, 0)]).since(3),
            event(9, broker, Kind::Sync, &[(Role::Flushed, 0, 0)]).since(7),
        ];
        link(&mut events);
        assert_eq!((&*events[2].causes, &*events[3].causes), (&[0][..], &[1][..]));
    }

    #[test]
    fn a_broker_that_was_silent_is_fenced_by_a_timer() {
        let heartbeat = Event::new(0, Lane::Broker(2), Kind::Sent, "heartbeat → broker 1");
        let arrived = Event::new(1, Lane::Broker(1), Kind::Arrived, "received").with_broker(2);
        let text = "broker 2 is fenced";
        let fence = |at| Event::new(at, Lane::Controller, Kind::Decision, text).with_broker(2);
        let mut events =
            vec![heartbeat, arrived.caused_by([0]), fence(2 * SILENCE.start), fence(3)];
        link(&mut events);
        assert_eq!((events[2].kind, &*events[2].causes), (Kind::Timer, &[1][..]));
        assert_eq!(events[3].kind, Kind::Decision);
    }
}
