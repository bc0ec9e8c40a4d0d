//! Calls of clients, and what the history marks, as events.

use super::event::{About, Event, Kind, Lane, Role, Slot, Status, slot_of};
use crate::{
    group::{Ask, GroupCall, Heard},
    history::{History, MarkKind, Outcome, Partition, Request},
};

/// Who asks whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The client.
    pub client: u32,
    /// The broker.
    pub broker: i32,
    /// The call's index in the history.
    pub call: usize,
}

/// A call that begins.
#[must_use]
pub fn call(asked: Asked, at: u64, history: &History) -> Event {
    let request = &history.calls[asked.call].request;
    let mut event = Event::new(at, Lane::Client(asked.client), Kind::Call, in_words(request));
    event.broker = Some(asked.broker);
    event.call = Some(asked.call);
    event.about = about(request, history);
    event
}

/// A call that ends.
#[must_use]
pub fn answer(call: usize, at: u64, history: &History) -> Event {
    let made = &history.calls[call];
    let (status, told) = outcome(&made.outcome);
    let text = format!("{}: {told}", in_words(&made.request));
    let mut event = Event::new(at, Lane::Client(made.client), Kind::Answer, text);
    event.broker = Some(made.broker);
    event.call = Some(call);
    event.status = Some(status);
    event.about = told_about(&made.request, &made.outcome, history);
    event
}

/// What the history marks, unless it is told better elsewhere.
#[must_use]
pub fn mark(machine: i32, kind: &MarkKind, at: u64, history: &History) -> Option<Event> {
    let (of, text) = match kind {
        MarkKind::Stopped => return None,
        MarkKind::ShutDown => (Kind::Life, "has shut down".into()),
        MarkKind::Ready => (Kind::Life, "is ready".into()),
        MarkKind::SyncFailed(partition) => {
            (Kind::Fault, format!("a sync of {} fails", history.name(*partition)))
        }
        MarkKind::Rotten(partition, offset) => (
            Kind::Fault,
            format!("a bit of {} flips, at offset {offset}", history.name(*partition)),
        ),
        MarkKind::ClockStepped(millis) => {
            (Kind::Fault, format!("the wall clock jumps by {millis} ms"))
        }
        MarkKind::Wiped => (Kind::Fault, "the disk is lost; an empty one is there".into()),
    };
    Some(Event::new(at, Lane::Broker(machine), of, text))
}

fn in_words(request: &Request) -> String {
    match request {
        Request::Produce(produce) => {
            let acks = if produce.acks == -1 { "all".into() } else { produce.acks.to_string() };
            let first = produce.records.first().map_or(0, |record| record.number);
            match produce.records.len() {
                1 => format!("produce record {first}, acks={acks}"),
                count => {
                    let last = first + count as u64 - 1;
                    format!("produce records {first} to {last}, acks={acks}")
                }
            }
        }
        Request::Fetch { offset, .. } => format!("fetch from {offset}"),
        Request::ListOffsets { timestamp, .. } => format!("list offsets at {timestamp}"),
        Request::EpochEnd { epoch, .. } => format!("end of leader epoch {epoch}"),
        Request::DeleteRecords { before, .. } => format!("delete records before {before}"),
        Request::InitProducer { bump: None } => "init producer".into(),
        Request::InitProducer { bump: Some((id, epoch)) } => {
            format!("bump producer {id} from epoch {epoch}")
        }
        Request::Group(call) => of_group(call),
        Request::Admin(change) => change.to_string(),
    }
}

fn of_group(call: &GroupCall) -> String {
    let GroupCall { group, member, .. } = call;
    let ask = match &call.ask {
        Ask::Join => "join".into(),
        Ask::Sync { generation, given } if given.is_empty() => {
            format!("sync generation {generation}")
        }
        Ask::Sync { generation, given } => format!("sync generation {generation}, gives {given:?}"),
        Ask::Heartbeat { generation } => format!("heartbeat in generation {generation}"),
        Ask::ConsumerHeartbeat { epoch, owned } => {
            format!("heartbeat in epoch {epoch} with {}", partitions(owned.iter()))
        }
        Ask::Leave => "leave".into(),
        Ask::Commit { generation, offsets } => {
            let all: Vec<String> =
                offsets.iter().map(|(of, at)| format!("{}.{}={at}", of.topic, of.index)).collect();
            format!("commit in {generation}: {}", all.join(", "))
        }
        Ask::Offsets { .. } => "fetch committed offsets".into(),
    };
    let member = if member.is_empty() { "somebody new" } else { member };
    format!("group {group}, {member}: {ask}")
}

fn partitions<'a>(of: impl Iterator<Item = &'a Partition>) -> String {
    let all: Vec<String> = of.map(|of| format!("t{}-{}", of.topic, of.index)).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn outcome(outcome: &Outcome) -> (Status, String) {
    let told = match outcome {
        Outcome::Unknown => return (Status::Unknown, "no answer; it may have taken effect".into()),
        Outcome::Failed(code) => return (Status::Failed, format!("error {code}")),
        Outcome::Produced { base_offset, .. } if *base_offset < 0 => "sent".into(),
        Outcome::Produced { base_offset, .. } => format!("acknowledged at {base_offset}"),
        Outcome::Fetched { high_watermark, batches, bad, .. } => {
            let bad = bad.as_ref().map_or(String::new(), |bad| format!(", {bad}"));
            let read = match (batches.first(), batches.last()) {
                (Some(first), Some(last)) => {
                    format!("{} to {}", first.base_offset, last.last_offset)
                }
                _ => "nothing".into(),
            };
            format!("read {read}, high watermark {high_watermark}{bad}")
        }
        Outcome::Offset { offset, .. } => format!("offset {offset}"),
        Outcome::EpochEnd { epoch, end } => format!("epoch {epoch} ends at {end}"),
        Outcome::Deleted { low_watermark } => format!("log start {low_watermark}"),
        Outcome::Identity { id, epoch } => format!("producer {id}, epoch {epoch}"),
        Outcome::Heard(heard) => heard_in_words(heard),
        Outcome::Done => "done".into(),
    };
    (Status::Acknowledged, told)
}

fn heard_in_words(heard: &Heard) -> String {
    match heard {
        Heard::Joined { generation, member, leader } => {
            format!("generation {generation} as {member}, led by {leader}")
        }
        Heard::Assigned(assigned) => format!("reads {}", partitions(assigned.iter())),
        Heard::Alive => "alive".into(),
        Heard::Taken => "taken by a coordinator that may have been loading".into(),
        Heard::Told { epoch, assigned: None } => format!("epoch {epoch}"),
        Heard::Told { epoch, assigned: Some(assigned) } => {
            format!("epoch {epoch}, assigned {}", partitions(assigned.iter()))
        }
        Heard::Left => "left".into(),
        Heard::Committed(codes) => match codes.values().find(|code| **code != 0) {
            Some(code) => format!("committed in part, error {code}"),
            None => "committed".into(),
        },
        Heard::Offsets(offsets) => {
            let all: Vec<String> =
                offsets.iter().map(|(of, at)| format!("t{}-{}={at}", of.topic, of.index)).collect();
            format!("told {}", if all.is_empty() { "none".into() } else { all.join(", ") })
        }
    }
}

fn partition_of(request: &Request) -> Option<Partition> {
    match request {
        Request::Produce(produce) => Some(produce.partition),
        Request::Fetch { partition, .. }
        | Request::ListOffsets { partition, .. }
        | Request::EpochEnd { partition, .. }
        | Request::DeleteRecords { partition, .. } => Some(*partition),
        Request::InitProducer { .. } | Request::Group(_) | Request::Admin(_) => None,
    }
}

fn about(request: &Request, history: &History) -> Vec<About> {
    let slot = partition_of(request).and_then(|of| slot_of(&history.topics, of));
    let Some(slot) = slot else { return Vec::new() };
    let (role, from, number) = match request {
        Request::Produce(produce) => {
            (Role::Asks, -1, produce.records.first().map(|record| record.number))
        }
        Request::Fetch { offset, .. } => (Role::Asks, *offset, None),
        Request::DeleteRecords { before, .. } => (Role::Cuts, *before, None),
        _ => (Role::Asks, -1, None),
    };
    vec![About { number, ..About::new(slot, role, from, from) }]
}

fn told_about(request: &Request, outcome: &Outcome, history: &History) -> Vec<About> {
    let slot = partition_of(request).and_then(|of| slot_of(&history.topics, of));
    let records = |slot: Slot, from: i64, to: i64, number: Option<u64>| About {
        number,
        ..About::new(slot, Role::Records, from, to)
    };
    match (request, outcome, slot) {
        (Request::Produce(produce), Outcome::Produced { base_offset, .. }, Some(slot)) => {
            let number = produce.records.first().map(|record| record.number);
            let to = *base_offset + produce.records.len() as i64;
            vec![records(slot, *base_offset, to, number)]
        }
        (_, Outcome::Fetched { high_watermark, batches, .. }, Some(slot)) => {
            let read = batches.iter().map(|batch| {
                let number = batch.records.first().and_then(|record| record.number);
                records(slot, batch.base_offset, batch.last_offset + 1, number)
            });
            let bound = About::new(slot, Role::HighWatermark, 0, *high_watermark);
            read.chain([bound]).collect()
        }
        _ => about(request, history),
    }
}
