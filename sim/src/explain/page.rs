//! The page of a failed run: one file of HTML with the run as JSON and everything that shows it
//! inside. It loads nothing from anywhere.

use super::{
    bands,
    copies::CopySeen,
    event::{Event, Kind, Lane, Slot, Status},
    picture::Picture,
    text::{self, Names},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the data in a page.
const VERSION: u32 = 1;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
/// In this order they are one script.
const SCRIPTS: [&str; 5] = [
    include_str!("page/model.js"),
    include_str!("page/paint.js"),
    include_str!("page/tracks.js"),
    include_str!("page/panel.js"),
    include_str!("page/page.js"),
];

/// The whole page.
#[must_use]
pub fn html(picture: &Picture) -> String {
    // A text in the data must not end the script that it is in.
    let data = data(picture).to_string().replace('<', "\\u003c");
    let title = text::chain(picture).lines().next().unwrap_or_default().to_owned();
    INDEX
        .replace("{{title}}", &escaped(&title))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", &SCRIPTS.concat())
        .replace("{{data}}", &data)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The run as the script reads it: columns, and texts by their number.
fn data(picture: &Picture) -> Value {
    let mut columns = Columns::new(picture);
    picture.kept.events.iter().for_each(|event| columns.add(event));
    let failure = picture.report.failure.as_ref();
    let places = |id: &i64| Value::from(*id);
    json!({
        "version": VERSION,
        "title": picture.title(),
        "scenario": picture.report.scenario,
        "seed": picture.report.seed,
        "mutant": picture.mutant,
        "hash": picture.report.hash,
        "seconds": picture.report.simulated_seconds,
        "check": failure.map(|failure| &failure.check),
        "message": failure.map(|failure| &failure.message),
        "claim": picture.claim,
        "facts": picture.facts,
        "ops": [picture.report.ops.ok, picture.report.ops.fail, picture.report.ops.unknown],
        "focus": {
            "slot": picture.focus.slot.and_then(|slot| columns.slot(slot)),
            "offsets": picture.focus.offsets.iter().map(places).collect::<Vec<_>>(),
            "group": picture.focus.group,
        },
        "chain": picture.chain.iter().map(|step| json!([
            step.event,
            step.copies.iter().map(|seen| copy(*seen)).collect::<Vec<_>>(),
        ])).collect::<Vec<_>>(),
        "brokers": picture.brokers,
        "clients": clients(&picture.kept.events),
        "slots": columns.slots.iter().map(|slot| text::name(columns.names, *slot)).collect::<Vec<_>>(),
        "kinds": Kind::NAMES.map(|(_, name)| name),
        "bands": bands::bands(&picture.kept.events).iter().map(|band| json!([
            lane(band.lane), band.sort.name(), micros(band.from), micros(band.to), band.text,
        ])).collect::<Vec<_>>(),
        "leadership": leadership(picture, &columns),
        "tracks": tracks(picture, &columns),
        "texts": columns.texts.list,
        "about": columns.about.list,
        "lists": columns.lists.list.iter().map(|list| Value::from(list.clone())).collect::<Vec<_>>(),
        "events": {
            "at": columns.at, "took": columns.took, "lane": columns.lane, "kind": columns.kind,
            "text": columns.text, "of": columns.of, "slots": columns.slots_of,
            "causes": columns.causes, "broker": columns.broker, "status": columns.status,
            "call": columns.call,
        },
    })
}

/// Equal values are kept once.
struct Interned<T> {
    numbers: BTreeMap<T, usize>,
    list: Vec<T>,
}

impl<T: Ord + Clone> Interned<T> {
    fn new() -> Self {
        Self { numbers: BTreeMap::new(), list: Vec::new() }
    }

    fn number(&mut self, value: T) -> usize {
        *self.numbers.entry(value.clone()).or_insert_with(|| {
            self.list.push(value);
            self.list.len() - 1
        })
    }
}

/// The events, a column for each of their parts.
struct Columns<'a> {
    names: &'a Names,
    slots: Vec<Slot>,
    texts: Interned<String>,
    about: Interned<String>,
    lists: Interned<Vec<usize>>,
    last: u64,
    at: Vec<u64>,
    took: Vec<u64>,
    lane: Vec<i64>,
    kind: Vec<usize>,
    text: Vec<usize>,
    of: Vec<usize>,
    slots_of: Vec<usize>,
    causes: Vec<Value>,
    broker: Vec<i32>,
    status: Vec<u8>,
    call: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn new(picture: &'a Picture) -> Self {
        let kept = &picture.kept;
        let of_events = kept.events.iter().flat_map(|event| &event.about).map(|about| about.slot);
        let of_samples = kept.samples.iter().map(|sample| sample.slot);
        let slots: BTreeSet<Slot> = of_events.chain(of_samples).collect();
        let mut slots: Vec<Slot> = slots.into_iter().collect();
        slots.sort_by_key(|slot| text::name(&kept.names, *slot));
        Self {
            names: &kept.names,
            slots,
            texts: Interned::new(),
            about: Interned::new(),
            lists: Interned::new(),
            last: 0,
            at: Vec::new(),
            took: Vec::new(),
            lane: Vec::new(),
            kind: Vec::new(),
            text: Vec::new(),
            of: Vec::new(),
            slots_of: Vec::new(),
            causes: Vec::new(),
            broker: Vec::new(),
            status: Vec::new(),
            call: Vec::new(),
        }
    }

    fn add(&mut self, event: &Event) {
        let at = micros(event.at);
        self.at.push(at.saturating_sub(self.last));
        self.last = self.last.max(at);
        self.took.push(event.since.map_or(0, |since| at.saturating_sub(micros(since))));
        self.lane.push(lane(event.lane));
        let kind = Kind::NAMES.iter().position(|(kind, _)| *kind == event.kind);
        self.kind.push(kind.unwrap_or_default());
        self.text.push(self.texts.number(event.text.clone()));
        self.of.push(self.about.number(text::about(event, self.names)));
        let mut slots: Vec<usize> =
            event.about.iter().filter_map(|about| self.slot(about.slot)).collect();
        slots.dedup();
        self.slots_of.push(self.lists.number(slots));
        self.causes.push(match event.causes.as_slice() {
            [] => Value::from(0),
            [one] => Value::from(*one as i64 - self.causes.len() as i64),
            many => Value::from(many.to_vec()),
        });
        self.broker.push(event.broker.unwrap_or(0));
        self.status.push(match event.status {
            None => 0,
            Some(Status::Acknowledged) => 1,
            Some(Status::Failed) => 2,
            Some(Status::Unknown) => 3,
        });
        self.call.push(event.call.map_or(-1, |call| call as i64));
    }

    fn slot(&self, slot: Slot) -> Option<usize> {
        self.slots.iter().position(|known| *known == slot)
    }
}

/// Who leads and who is in sync, by partition.
fn leadership(picture: &Picture, columns: &Columns<'_>) -> Value {
    let mut all: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for seen in &picture.kept.leadership {
        let Some(slot) = columns.slot(seen.slot) else { continue };
        let leader = seen.leader.unwrap_or(0);
        all.entry(slot).or_default().push(json!([micros(seen.at), leader, seen.epoch, seen.isr]));
    }
    json!(all)
}

/// What replicas knew, by partition and broker: time, log start, log end, flushed, high watermark,
/// epoch, and whether it leads.
fn tracks(picture: &Picture, columns: &Columns<'_>) -> Value {
    let mut all: BTreeMap<usize, BTreeMap<i32, Vec<Value>>> = BTreeMap::new();
    for sample in &picture.kept.samples {
        let Some(slot) = columns.slot(sample.slot) else { continue };
        let of = all.entry(slot).or_default().entry(sample.broker).or_default();
        of.push(match sample.replica {
            None => json!([micros(sample.at)]),
            Some(seen) => json!([
                micros(sample.at),
                seen.start,
                seen.end,
                seen.flushed,
                seen.high_watermark,
                seen.epoch,
                i32::from(seen.leads),
            ]),
        });
    }
    json!(all)
}

fn copy(seen: CopySeen) -> Value {
    match seen {
        CopySeen::Down => json!(["down"]),
        CopySeen::Removed => json!(["removed"]),
        CopySeen::Nothing { end } => json!(["nothing", end]),
        CopySeen::Held { number, synced } => {
            json!([if synced { "synced" } else { "written" }, number])
        }
    }
}

fn clients(events: &[Event]) -> Vec<u32> {
    let clients = events.iter().filter_map(|event| match event.lane {
        Lane::Client(client) => Some(client),
        _ => None,
    });
    clients.collect::<BTreeSet<u32>>().into_iter().collect()
}

/// -1 is the network, 0 the controller; brokers count up from 1, clients down from -2.
fn lane(lane: Lane) -> i64 {
    match lane {
        Lane::Network => -1,
        Lane::Controller => 0,
        Lane::Broker(broker) => i64::from(broker),
        Lane::Client(client) => -2 - i64::from(client),
    }
}

const fn micros(nanos: u64) -> u64 {
    nanos / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        explain::{About, Kept, Role},
        history::History,
        oracle::Evidence,
        report::{Failure, Ops, Report},
    };

    fn page(events: Vec<Event>) -> String {
        let failure = Failure { check: "L3 immutable".into(), message: "a <b> & </script>".into() };
        let report = Report {
            scenario: "s".into(),
            seed: 7,
            passed: false,
            hash: "ab".into(),
            simulated_seconds: 1.0,
            events: 1,
            ops: Ops::default(),
            effects: BTreeMap::new(),
            situations: BTreeMap::new(),
            failure: Some(failure),
            excuses: Vec::new(),
            divergence: None,
            wall_ms: 0,
        };
        let kept = Kept { events, ..Kept::default() };
        html(&Picture::new(report, None, (&History::default(), Evidence::default()), kept))
    }

    #[test]
    fn a_page_loads_nothing_and_no_text_ends_its_scripts() {
        let page = page(vec![Event::new(1, Lane::Broker(1), Kind::Fault, "</script><b>")]);
        assert!(page.contains("L3 immutable") && page.contains("\\u003c/script>"));
        assert_eq!(page.matches("</script>").count(), 2);
        for outside in ["http:", "https:", "src=", "@import", "url(", "{{"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn ten_thousand_events_fit_into_three_megabytes() {
        let slots = (0..4).map(|index| Slot { topic: [3; 16], index });
        let slots: Vec<Slot> = slots.collect();
        let event = |at: u64| {
            let offset = at as i64;
            let about =
                slots.iter().map(|slot| About::new(*slot, Role::Records, offset, offset + 3));
            Event::new(at * 1_000_000, Lane::Broker(1), Kind::Sent, format!("fetched {at}"))
                .about(about)
        };
        let bytes = page((0..10_000).map(event).collect()).len();
        assert!(bytes < 3_000_000, "{bytes} bytes");
    }
}
