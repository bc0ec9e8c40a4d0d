//! The chain behind a violation: from what the check points at back over what led to it, with the
//! faults and the changes of leaders that lie between.

use super::event::{Event, EventId, Kind, Lane, Role, Slot};
use std::collections::BTreeSet;

/// The most steps of a chain.
const STEPS: usize = 36;
/// How far it goes back from what a check points at, in causes.
const DEPTH: usize = 9;
/// The most faults and decisions of a chain that nothing points at.
const LAST_TURNS: usize = 14;

/// A flushed offset tells of a record when it is at most so far behind it.
const CLOSE: i64 = 16;

/// What a check points at, among the events of the run.
#[derive(Clone, Debug, Default)]
pub struct Focus {
    /// The partition.
    pub slot: Option<Slot>,
    /// Offsets in it.
    pub offsets: Vec<i64>,
    /// Brokers whose disks or metadata show it.
    pub brokers: BTreeSet<i32>,
    /// The group.
    pub group: Option<String>,
    /// The client calls, as indexes of the history.
    pub calls: BTreeSet<usize>,
}

/// The steps, in order of time, without the violation itself.
#[must_use]
pub fn steps(events: &[Event], focus: &Focus) -> Vec<EventId> {
    let roots = roots(events, focus);
    let mut kept: BTreeSet<EventId> = roots.clone();
    let mut edge: Vec<EventId> = roots.iter().copied().collect();
    for _ in 0..DEPTH {
        let causes = edge.iter().flat_map(|id| &events[*id].causes).copied();
        let causes: BTreeSet<EventId> = causes.filter(|id| matters(&events[*id], focus)).collect();
        edge = causes.into_iter().filter(|id| kept.insert(*id)).collect();
    }
    let between = turns(events, focus, (&roots, &kept));
    if kept.len() > STEPS {
        // What is closest to what the check points at tells most.
        let mut by_worth: Vec<EventId> = kept.into_iter().collect();
        by_worth.sort_by_key(|id| (!roots.contains(id), worth(events[*id].kind), usize::MAX - id));
        kept = by_worth.into_iter().take(STEPS).collect();
    }
    let room = STEPS.saturating_sub(kept.len()).max(LAST_TURNS);
    if roots.is_empty() {
        kept.extend(between.into_iter().rev().take(room));
    } else {
        kept.extend(between.into_iter().take(room));
    }
    without_bare_calls(events, kept.into_iter().collect())
}

/// An answer tells what was asked: a call is a step when something lies between the two.
fn without_bare_calls(events: &[Event], steps: Vec<EventId>) -> Vec<EventId> {
    let is_bare = |at: usize, id: EventId| {
        let next = steps.get(at + 1).map(|next| &events[*next]);
        let call = events[id].call.filter(|_| events[id].kind == Kind::Call);
        call.is_some() && next.is_some_and(|next| next.kind == Kind::Answer && next.call == call)
    };
    let kept = steps.iter().enumerate().filter(|(at, id)| !is_bare(*at, **id));
    kept.map(|(_, id)| *id).collect()
}

/// The events that the check points at.
#[must_use]
pub fn roots(events: &[Event], focus: &Focus) -> BTreeSet<EventId> {
    let of_calls = events.iter().enumerate().filter(|(_, event)| {
        event.kind == Kind::Answer && event.call.is_some_and(|call| focus.calls.contains(&call))
    });
    let mut roots: BTreeSet<EventId> = of_calls.map(|(id, _)| id).collect();
    let Some(slot) = focus.slot else { return roots };
    // The disks that show it: the last write of each there.
    for broker in &focus.brokers {
        for offset in &focus.offsets {
            let lane = Lane::Broker(*broker);
            let shows = |event: &Event| {
                event.kind == Kind::Write
                    && event.lane == lane
                    && event.about.iter().any(|about| about.has(slot, *offset))
            };
            roots.extend(events.iter().rposition(shows));
        }
    }
    roots
}

/// Whether a cause is worth a step.
fn matters(event: &Event, focus: &Focus) -> bool {
    match (focus.slot, event.kind) {
        (_, Kind::Call | Kind::Fault | Kind::Life | Kind::Timer) => true,
        (Some(slot), Kind::Decision | Kind::Heard | Kind::State) => event.is_about(slot),
        (Some(slot), Kind::Sent | Kind::Arrived | Kind::Lost | Kind::Write | Kind::Answer) => {
            let has = |offset: &i64| event.about.iter().any(|about| about.has(slot, *offset));
            focus.offsets.iter().any(has)
                || event.concerns(slot, Role::Parts)
                || event.concerns(slot, Role::Leadership)
                || confirms(event, slot, &focus.offsets)
        }
        (Some(slot), Kind::Sync) => event.is_about(slot),
        (None, Kind::Decision) => true,
        _ => false,
    }
}

/// Whether a message tells that one of the offsets is flushed, and not much beyond it.
fn confirms(event: &Event, slot: Slot, offsets: &[i64]) -> bool {
    let tells = |offset: &i64| {
        event.about.iter().any(|about| {
            let told = about.slot == slot && about.role == Role::Flushed;
            told && (*offset + 1..=*offset + CLOSE).contains(&about.to)
        })
    };
    offsets.iter().any(tells)
}

/// Faults, changes of leaders and restarts that have to do with it: from the first step on, up to the
/// write of what is there now if there is one, else to the last thing that the check points at.
fn turns(
    events: &[Event],
    focus: &Focus,
    (roots, kept): (&BTreeSet<EventId>, &BTreeSet<EventId>),
) -> Vec<EventId> {
    let first = kept.first().copied().unwrap_or(0);
    let last = match (focus.slot, roots.first(), roots.last()) {
        (Some(_), Some(one), _) => {
            let write = kept.iter().rev().find(|id| events[**id].kind == Kind::Write);
            write.copied().filter(|write| write > one).unwrap_or(events.len())
        }
        (None, _, Some(last)) => *last,
        _ => events.len(),
    };
    (first..last).filter(|id| is_turn(&events[*id], focus)).collect()
}

fn is_turn(event: &Event, focus: &Focus) -> bool {
    match event.kind {
        Kind::Fault | Kind::Timer => true,
        Kind::Life => event.text != "starts",
        Kind::Decision | Kind::State => {
            let relevant = |about: &super::event::About| {
                matches!(about.role, Role::Leadership | Role::Cuts)
                    && focus.slot.is_none_or(|slot| slot == about.slot)
            };
            event.about.iter().any(relevant)
                && (event.kind == Kind::Decision || focus.slot.is_some())
        }
        _ => false,
    }
}

/// The order in which kinds are given up when a chain is too long.
fn worth(kind: Kind) -> u8 {
    match kind {
        Kind::Call | Kind::Answer | Kind::Violation => 0,
        Kind::Decision | Kind::Timer | Kind::Fault => 1,
        Kind::Write | Kind::Sync | Kind::Life => 2,
        Kind::Arrived | Kind::Lost | Kind::State => 3,
        Kind::Sent | Kind::Heard | Kind::Disk => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::About;
    use super::*;

    const SLOT: Slot = Slot { topic: [7; 16], index: 0 };

    fn records(at: u64, lane: Lane, kind: Kind, from: i64) -> Event {
        let about = About::new(SLOT, Role::Records, from, from + 1);
        Event::new(at, lane, kind, "x").about([about])
    }

    #[test]
    fn a_chain_leads_from_the_call_over_the_faults_to_what_was_read() {
        let (broker, client) = (Lane::Broker(1), Lane::Client(4));
        let mut answer = records(4, client, Kind::Answer, 9).caused_by([0, 1]);
        answer.call = Some(0);
        let events = [
            Event::new(0, client, Kind::Call, "produce"),
            records(1, broker, Kind::Write, 9).caused_by([0]),
            records(2, broker, Kind::Write, 3),
            Event::new(3, broker, Kind::Disk, "x"),
            answer,
            Event::new(5, broker, Kind::Fault, "the power is cut"),
            Event::new(6, broker, Kind::Life, "starts"),
        ];
        let calls = BTreeSet::from([0]);
        let focus = Focus { slot: Some(SLOT), offsets: vec![9], calls, ..Focus::default() };
        assert_eq!(steps(&events, &focus), [0, 1, 4, 5]);
    }

    #[test]
    fn a_call_that_is_followed_by_its_answer_is_no_step() {
        let client = Lane::Client(4);
        let mut call = Event::new(0, client, Kind::Call, "heartbeat");
        let mut answer = Event::new(4, client, Kind::Answer, "heartbeat").caused_by([0]);
        (call.call, answer.call) = (Some(0), Some(0));
        let focus = Focus { calls: BTreeSet::from([0]), ..Focus::default() };
        assert_eq!(steps(&[call, answer], &focus), [1]);
    }

    #[test]
    fn a_violation_that_points_at_nothing_shows_the_last_turns() {
        let fault = |at| Event::new(at, Lane::Broker(1), Kind::Fault, "x");
        let events: Vec<Event> = (0..100).map(fault).collect();
        let chain = steps(&events, &Focus::default());
        assert_eq!((chain.len(), chain.last()), (STEPS, Some(&99)));
    }
}
