//! Both ends of every range are values that a run takes.

use super::super::{
    Scenario,
    faults::{EVERY_STRIKE, FAULT, FaultKind},
    keys::{Key, Takes},
    shapes,
};
use highwater_node::config::Settings;

/// The least and the most that a key takes.
fn ends(key: &Key) -> Option<[i64; 2]> {
    match key.takes {
        Takes::Bounds { within, .. } | Takes::Integer(_, within) => Some([within.0, within.1]),
        _ => None,
    }
}

/// What a key needs beside itself to make sense at its ends.
fn beside(table: &str, key: &str) -> &'static str {
    match (table, key) {
        ("workload", "topics") => "producers = 0\nconsumers = 0\nadmins = 0\n",
        ("workload", "partitions") => "topics = [1, 2]\n",
        ("workload", "value_bytes") => "records = 4\n",
        ("workload", "keys" | "key_choice") => "compacted_topics = 1\n",
        ("workload", key) if key.starts_with("group_") => "groups = 1\n",
        ("cluster", "separate_controllers") => "brokers = 2\n",
        ("cluster", "wall_offset_millis") => "brokers = 3\n[broker]\nretention_millis = 1\n",
        ("cluster", "brokers") => "",
        ("cluster", _) => "brokers = 9\n",
        _ => "",
    }
}

/// A scenario with a key at one of its ends.
fn with(table: &str, key: &str, value: i64) -> String {
    let brokers = match key {
        "replicated_topics" | "unclean_topics" => "[cluster]\nbrokers = 3\n",
        _ => "",
    };
    let table = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let more = beside(table.trim_matches(['[', ']', '\n']), key);
    format!("# One.\nwhy = \"Why: x.\"\n{brokers}{table}{key} = {value}\n{more}")
}

fn expect_accepted(text: &str) {
    if let Err(error) = Scenario::parse("x", text) {
        panic!("{error}\n{text}");
    }
}

#[test]
fn both_ends_of_every_range_of_the_tables_are_accepted() {
    for (table, keys) in [
        ("", shapes::ROOT),
        ("cluster", shapes::CLUSTER),
        ("broker", shapes::BROKER),
        ("workload", shapes::WORKLOAD),
        ("budget", shapes::BUDGET),
    ] {
        for (key, ends) in keys.iter().filter_map(|key| Some((key.name, ends(key)?))) {
            for value in ends {
                // Some groups may have no member, but not all.
                let value = if key == "group_members" { value.max(1) } else { value };
                expect_accepted(&with(table, key, value));
            }
        }
    }
}

/// The ends of a key of this fault. Some depend on the kind, which the reference says.
fn ends_in(kind: FaultKind, key: &Key) -> Option<[i64; 2]> {
    let [least, most] = ends(key)?;
    let is_of_clocks = matches!(kind, FaultKind::ClockStep | FaultKind::ClockStrobe);
    Some(match (key.name, kind) {
        ("millis", _) if !is_of_clocks => [1, 5_000],
        // A fault that never strikes is left out.
        ("times", FaultKind::RollingRestart | FaultKind::DiskWipe) => [1, 10],
        ("times", _) => [1, most],
        // It lasts so long for every machine.
        ("pause", FaultKind::RollingRestart) => [least, 6_000],
        _ => [least, most],
    })
}

/// A scenario with a key of a fault at one of its ends.
fn with_fault(kind: FaultKind, key: &str, value: i64) -> String {
    let beside = [
        ("times", "times = 1\n", key != "at"),
        ("pause", "pause = 10\n", kind.keys().contains(&"pause")),
        ("patience", "patience = 1\n", kind.keys().contains(&"patience")),
        ("when", "when = \"now > 1\"\n", key == "delay"),
    ];
    let beside = beside.into_iter().filter(|(name, _, is_needed)| *name != key && *is_needed);
    let beside: String = beside.map(|(_, line, _)| line).collect();
    format!(
        "# One.\nwhy = \"Why: x.\"\nmillis = 600000\nunlimited = true\n[cluster]\nbrokers = 9\n\
         [broker]\nretention_millis = 1\n[faults.{}]\n{key} = {value}\n{beside}",
        kind.name()
    )
}

#[test]
fn both_ends_of_every_range_of_the_faults_are_accepted() {
    for kind in FaultKind::ALL.iter().copied().filter(|kind| *kind != FaultKind::ConnectionCut) {
        let is_one =
            |key: &&Key| kind.keys().contains(&key.name) || EVERY_STRIKE.contains(&key.name);
        for key in FAULT.iter().filter(is_one) {
            for value in ends_in(kind, key).into_iter().flatten() {
                expect_accepted(&with_fault(kind, key.name, value));
            }
        }
    }
}

#[test]
fn brokers_take_both_ends_of_what_they_are_told() {
    for (table, key, told) in [
        (shapes::BROKER, "segment_bytes", "log.segment.bytes"),
        (shapes::BROKER, "retention_millis", "log.retention.ms"),
        (shapes::BROKER, "retention_bytes", "log.retention.bytes"),
        (shapes::BROKER, "retention_check_millis", "log.retention.check.interval.ms"),
        (shapes::BROKER, "offsets_segment_bytes", "offsets.topic.segment.bytes"),
        (shapes::BROKER, "cleaner_backoff_millis", "log.cleaner.backoff.ms"),
        (shapes::BROKER, "offsets_retention_minutes", "offsets.retention.minutes"),
        (shapes::WORKLOAD, "group_session_millis", "group.consumer.session.timeout.ms"),
        (shapes::CLUSTER, "min_insync", "min.insync.replicas"),
    ] {
        let described = table.iter().find(|described| described.name == key).unwrap();
        for value in ends(described).unwrap() {
            let mut settings = Settings::new();
            settings.set("log.dirs", "/data", "a test");
            settings.set(told, &value.to_string(), "a test");
            if let Err(error) = settings.build() {
                panic!("{key} = {value}: {error}");
            }
        }
    }
}
