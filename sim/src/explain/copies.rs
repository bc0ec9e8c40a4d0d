//! Where the record at an offset was, on which broker, at each step of a chain.

use super::{
    event::{Event, EventId, Kind, Lane, Sample, Slot},
    log::Kept,
};

/// What a broker has at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySeen {
    /// Its process does not run, or holds no replica.
    Down,
    /// The log ends before.
    Nothing {
        /// Where it ends, exclusive.
        end: i64,
    },
    /// The log begins behind it.
    Removed,
    /// A record.
    Held {
        /// Its number, if it is one that a client sent.
        number: Option<u64>,
        /// Whether an fsync has covered it.
        synced: bool,
    },
}

/// What the brokers have at an offset when an event has happened.
#[must_use]
pub fn at(
    kept: &Kept,
    (slot, offset): (Slot, i64),
    brokers: &[i32],
    event: EventId,
) -> Vec<CopySeen> {
    brokers.iter().map(|broker| copy(kept, slot, offset, *broker, event)).collect()
}

fn copy(kept: &Kept, slot: Slot, offset: i64, broker: i32, event: EventId) -> CopySeen {
    let now = kept.events[event].at;
    // What an event did is seen when the next one happens.
    let next =
        kept.events[event..].iter().find(|later| later.at > now).map_or(now, |later| later.at);
    let of_replica = |sample: &&Sample| (sample.broker, sample.slot) == (broker, slot);
    let until = kept.samples.partition_point(|sample| sample.at <= next);
    let Some(seen) = kept.samples[..until].iter().rev().find(of_replica) else {
        return CopySeen::Down;
    };
    let Some(replica) = seen.replica else { return CopySeen::Down };
    if replica.start > offset {
        return CopySeen::Removed;
    }
    let written = write(&kept.events[..=event], slot, offset, broker);
    if replica.end <= offset {
        return CopySeen::Nothing { end: replica.end };
    }
    let Some(written) = written else { return CopySeen::Nothing { end: replica.end.min(offset) } };
    let write = &kept.events[written];
    let covers = write.about.iter().find(|about| about.has(slot, offset));
    let number = covers.and_then(|about| Some(about.number? + (offset - about.from) as u64));
    let synced = kept.events[written..=event].iter().any(|event| {
        event.kind == Kind::Sync
            && event.lane == Lane::Broker(broker)
            && event.is_about(slot)
            && event.since.is_some_and(|since| since >= write.at)
    });
    CopySeen::Held { number, synced }
}

/// The last write there that covers the offset.
fn write(events: &[Event], slot: Slot, offset: i64, broker: i32) -> Option<EventId> {
    events.iter().rposition(|event| {
        event.kind == Kind::Write
            && event.lane == Lane::Broker(broker)
            && event.about.iter().any(|about| about.has(slot, offset))
    })
}

#[cfg(test)]
mod tests {
    use super::super::event::{About, ReplicaSeen, Role};
    use super::*;

    const SLOT: Slot = Slot { topic: [7; 16], index: 0 };

    fn sample(at: u64, end: i64) -> Sample {
        let replica =
            ReplicaSeen { leads: true, epoch: 0, start: 0, end, flushed: end, high_watermark: 0 };
        Sample { at, broker: 1, slot: SLOT, replica: Some(replica) }
    }

    #[test]
    fn a_record_is_there_when_it_was_written_and_safe_when_it_was_synced() {
        let lane = Lane::Broker(1);
        let about = About { number: Some(40), ..About::new(SLOT, Role::Records, 4, 6) };
        let synced = About::new(SLOT, Role::Flushed, 0, 6);
        let events = vec![
            Event::new(1, lane, Kind::Disk, "x"),
            Event::new(2, lane, Kind::Write, "writes").about([about]),
            Event::new(4, lane, Kind::Sync, "fsync").about([synced]).since(2),
            Event::new(9, lane, Kind::Fault, "x"),
            Event::new(12, lane, Kind::Life, "x"),
        ];
        let gone = Sample { replica: None, ..sample(10, 0) };
        let samples = vec![sample(0, 4), sample(2, 6), gone, sample(12, 4)];
        let kept = Kept { events, samples, ..Kept::default() };
        let seen = |event| at(&kept, (SLOT, 5), &[1], event)[0];
        let held = |synced| CopySeen::Held { number: Some(41), synced };
        assert_eq!((seen(1), seen(2)), (held(false), held(true)));
        assert_eq!(seen(4), CopySeen::Nothing { end: 4 });
        assert_eq!(at(&kept, (SLOT, 5), &[2], 4), [CopySeen::Down]);
    }
}
