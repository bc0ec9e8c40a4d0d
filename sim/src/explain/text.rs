//! Events and whole pictures as text.

use super::{
    copies::CopySeen,
    event::{Event, Kind, Lane, Role, Slot},
    picture::Picture,
};
use std::{collections::BTreeMap, fmt::Write as _};

/// How many partitions of one message are named.
const SLOTS_NAMED: usize = 6;

/// The names of topics by their ids.
pub type Names = BTreeMap<[u8; 16], String>;

/// A partition's name as people write it.
#[must_use]
pub fn name(names: &Names, slot: Slot) -> String {
    let topic = names.get(&slot.topic).map_or("?", String::as_str);
    format!("{topic}-{}", slot.index)
}

/// What an event was about, in words; empty when its text says it all.
#[must_use]
pub fn about(event: &Event, names: &Names) -> String {
    let mut slots: Vec<Slot> = event.about.iter().map(|about| about.slot).collect();
    slots.dedup();
    let more = slots.len().saturating_sub(SLOTS_NAMED);
    slots.truncate(SLOTS_NAMED);
    let mut words: Vec<String> = slots.iter().map(|slot| of_slot(event, *slot, names)).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join("; ")
}

fn of_slot(event: &Event, slot: Slot, names: &Names) -> String {
    let mut words = vec![name(names, slot)];
    let here = || event.about.iter().filter(|about| about.slot == slot);
    for about in here() {
        match about.role {
            Role::Asks if about.from >= 0 && event.lane != lane_of_client(event) => {
                words.push(format!("from {}", about.from));
            }
            Role::Flushed if about.to > 0 => words.push(format!("flushed {}", about.to)),
            Role::HighWatermark if event.kind == Kind::State => {
                words.push(format!("{} → {}", about.from, about.to));
            }
            Role::HighWatermark if !matches!(event.lane, Lane::Client(_)) => {
                words.push(format!("high watermark {}", about.to));
            }
            Role::Parts => words.push(format!("the logs part at {}", about.to)),
            _ => {}
        }
    }
    let mut records = here().filter(|about| about.role == Role::Records).peekable();
    if !matches!(event.lane, Lane::Client(_))
        && let Some(first) = records.peek().copied()
    {
        let last = records.last().unwrap_or(first);
        words.push(match last.to - first.from {
            1 => format!("offset {}", first.from),
            _ => format!("offsets {} to {}", first.from, last.to - 1),
        });
        if let Some(number) = first.number {
            words.push(format!(
                "(record {number}{})",
                if last.to - first.from > 1 { " on" } else { "" }
            ));
        }
    }
    words.join(" ")
}

/// The event's own lane if that is a client's: a call tells in its text from where it asks.
fn lane_of_client(event: &Event) -> Lane {
    match event.lane {
        Lane::Client(client) => Lane::Client(client),
        _ => Lane::Network,
    }
}

/// An event in one line.
#[must_use]
pub fn sentence(event: &Event, names: &Names) -> String {
    let about = about(event, names);
    match (about.is_empty(), event.kind) {
        (true, _) => event.text.clone(),
        (false, Kind::State) if event.text.starts_with("moves") => {
            format!("{}: {about}", event.text)
        }
        (
            false,
            Kind::Call | Kind::Answer | Kind::Decision | Kind::Heard | Kind::Timer | Kind::State,
        ) => format!("{about}: {}", event.text),
        (false, _) => format!("{}: {about}", event.text),
    }
}

/// A lane's name.
#[must_use]
pub fn lane(lane: Lane) -> String {
    match lane {
        Lane::Network => "network".into(),
        Lane::Controller => "controller".into(),
        Lane::Broker(broker) => format!("broker {broker}"),
        Lane::Client(client) => format!("client {client}"),
    }
}

/// What a broker has, in a few words.
#[must_use]
pub fn copy(seen: CopySeen) -> String {
    match seen {
        CopySeen::Down => "down".into(),
        CopySeen::Nothing { end } => format!("nothing, log ends at {end}"),
        CopySeen::Removed => "removed".into(),
        CopySeen::Held { number, synced } => {
            let what = number.map_or("a record".into(), |number| format!("record {number}"));
            format!("{what}, {}", if synced { "synced" } else { "not synced" })
        }
    }
}

/// The whole picture as text: what does not hold, what was seen, and the chain behind it.
#[must_use]
pub fn chain(picture: &Picture) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", picture.title());
    let Some(failure) = &picture.report.failure else {
        return text + "every check holds: there is nothing to explain\n";
    };
    let _ = writeln!(text, "FAILED {}: {}", failure.check, failure.message);
    if let Some(claim) = picture.claim {
        let _ = writeln!(text, "  what must hold: {claim}");
    }
    for (name, value) in &picture.facts {
        let _ = writeln!(text, "  {name}: {value}");
    }
    for (number, step) in picture.chain.iter().enumerate() {
        let event = &picture.kept.events[step.event];
        let seconds = event.at as f64 / 1e9;
        let of = if event.kind == Kind::Violation { "the check".into() } else { lane(event.lane) };
        let kind = event.kind.name();
        let words = sentence(event, &picture.kept.names);
        let _ = writeln!(text, "{:>3}  {seconds:>10.6}  {of:<11} {kind:<9} {words}", number + 1);
        for (broker, seen) in picture.brokers.iter().zip(&step.copies) {
            let _ = writeln!(text, "{:>27}broker {broker}: {}", "", copy(*seen));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::event::About;
    use super::*;

    const SLOT: Slot = Slot { topic: [7; 16], index: 1 };

    fn names() -> Names {
        Names::from([([7; 16], "t0".to_owned())])
    }

    #[test]
    fn a_message_is_told_with_its_partitions() {
        let about = [About::new(SLOT, Role::Asks, 4, 4), About::new(SLOT, Role::Flushed, 0, 3)];
        let event = Event::new(1, Lane::Broker(2), Kind::Sent, "fetch → broker 1").about(about);
        assert_eq!(sentence(&event, &names()), "fetch → broker 1: t0-1 from 4 flushed 3");
    }

    #[test]
    fn records_are_told_with_their_offsets_and_numbers() {
        let records =
            |from, to| About { number: Some(9), ..About::new(SLOT, Role::Records, from, to) };
        let write = Event::new(1, Lane::Broker(2), Kind::Write, "writes");
        let one = write.clone().about([records(4, 5)]);
        assert_eq!(sentence(&one, &names()), "writes: t0-1 offset 4 (record 9)");
        let two = write.about([records(4, 6), records(6, 8)]);
        assert_eq!(sentence(&two, &names()), "writes: t0-1 offsets 4 to 7 (record 9 on)");
    }

    #[test]
    fn a_copy_is_told_in_a_few_words() {
        assert_eq!(copy(CopySeen::Nothing { end: 3 }), "nothing, log ends at 3");
        let held = CopySeen::Held { number: Some(7), synced: false };
        assert_eq!(copy(held), "record 7, not synced");
    }
}
