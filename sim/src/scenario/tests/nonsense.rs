//! What is legal key by key and makes no sense: each has an error of its own.

use super::{Case, added, expect_mistakes, replaced};

const IN_TABLES: &[Case] = &[
    ("# The machine loses its power.", "# .", 1, &["a comment with a sentence"]),
    ("Why: records must survive.", "Why: ", 2, &["why: gives no reason", "write `why ="]),
    (
        "brokers = 3",
        "brokers = 3\nmillis = 5",
        7,
        &["unknown key `millis` in `cluster`; there are "],
    ),
    (
        "effects = [\"writes_torn\"]",
        "effects = [\"writes_torn\", \"writes_torn\"]",
        18,
        &["`writes_torn` is there twice; leave one out"],
    ),
    (
        "effects = [\"writes_torn\"]",
        "effects = [\"isolations\"]",
        18,
        &["scenarios/README.md lists"],
    ),
    (
        "brokers = 3",
        "brokers = 3\nwall_offset_millis = [0, 604800000]",
        7,
        &["cluster.wall_offset_millis: records are kept for seven days", "broker.retention_millis"],
    ),
    (
        "topics = 1",
        "topics = 0",
        11,
        &["workload.topics: there may be none", "producers, consumers"],
    ),
    (
        "topics = 1",
        "topics = [0, 2]\ncompacted_topics = 1",
        11,
        &["workload.topics: there may be none"],
    ),
    ("groups = 1", "groups = 1\ngroup_members = 0", 14, &["no group would have a member"]),
    (
        "topics = 1\npartitions = 2",
        "topics = 20\npartitions = 50",
        12,
        &["workload.partitions: 20 topics would have 1000 partitions", "more than 100"],
    ),
    (
        "groups = 1",
        "groups = 1\nrecords = 1000\nvalue_bytes = 65536",
        15,
        &["workload.value_bytes: 1000 records of 65536 bytes are 65536000", "262144"],
    ),
    ("[workload]", "[broker]\nsegment_bytes = 1\n[workload]", 10, &["it must be 1024 at least"]),
    ("groups = 1", "groups = 1\ngroup_session_millis = 600000", 14, &["it must be 20000 at most"]),
    ("times = 2", "times = 0", 16, &["with 0 it never strikes; leave the fault out"]),
    ("times = 2", "times = 1000", 16, &["1000 is too much; it must be 100 at most"]),
    (
        "times = 2",
        "times = [1, 20]\npause = 3000",
        16,
        &["20 of its strikes may last 3500 ms each", "60000", "lower `times`, `pause`"],
    ),
    ("times = 2", "nodes = 4", 16, &["there are 3 machines at most; name no more"]),
    (
        "[faults.power-cut]",
        "[faults]\n[faults.power-cut]\n[faults.power-cut]",
        17,
        &["`power-cut` is there twice", "write `[[faults.power-cut]]`"],
    ),
];

const ADDED: &[(&str, usize, &[&str])] = &[
    ("[checks]\npromise = [\"R2\", \"R2\"]", 21, &["checks.promise: `R2` is there twice"]),
    (
        "[checks]\nmutant = \"everything-is-broken\"",
        21,
        &["`everything-is-broken` is unknown", "highwater-sim mutants"],
    ),
    (
        "[faults.process-kill]\nat = 5000\npause = 1",
        21,
        &["faults.process-kill.at: after 5000 ms the time under faults is over", "1500", "earlier"],
    ),
    (
        "[faults.process-kill]\nwhen = \"term > 1\"\ndelay = [5000, 6000]\npause = 1",
        22,
        &["faults.process-kill.delay: after 5000 ms"],
    ),
    (
        "[faults.process-kill]\nwhen = \"1 < 2\"\npause = 1",
        21,
        &["faults.process-kill.when: says nothing of the cluster", "`at = 0`"],
    ),
    (
        "[faults.process-kill]\nwhen = \"count(isr(t0/0)) == 7\"\npause = 1",
        21,
        &["faults.process-kill.when: is never true here", "ask for what changes"],
    ),
    (
        "[faults.process-kill]\nuntil = \"now < 0\"",
        21,
        &["faults.process-kill.until: is never true here", "`pause = 300`"],
    ),
    (
        "[faults.process-kill]\ntarget = \"isr(t0/0) - isr(t0/0)\"",
        21,
        &["faults.process-kill.target: names nobody at any time", "take fewer away"],
    ),
    ("[faults.process-kill]\non = \"leader(t0/0) - all\"", 21, &["process-kill.on: names nobody"]),
    (
        "[faults.one-way-cut]\nfrom = \"broker 1 - broker 1\"",
        21,
        &["one-way-cut.from: names nobody"],
    ),
    (
        "[faults.one-way-cut]\nfrom = \"broker 1\"\nto = \"broker 1\"",
        22,
        &["nobody has a link to itself; name another"],
    ),
    (
        "[faults.network-partition]\ntarget = \"all\"",
        21,
        &["nobody is left for the other; name fewer"],
    ),
    (
        "[faults.client-isolation]\nclient = \"keyed\"",
        21,
        &["there is no such client; set workload.compacted_topics to 1 at least"],
    ),
    (
        "[faults.held-message]\nmessage = \"heartbeat\"\npartition = \"t0/0\"",
        22,
        &["a heartbeat is about no partition; leave it out"],
    ),
    ("[faults.clock-step]\nmillis = 0", 21, &["with 0 nothing happens; leave the fault out"]),
    ("[faults.delayed-message]\nmillis = 0", 21, &["with 0 nothing happens"]),
    ("[faults.slow-disk]\nmillis = 5001", 21, &["only a clock goes so far", "write 5000 at most"]),
    (
        "[faults.clock-step]\nmillis = 604800000",
        21,
        &["faults.clock-step.millis: records are kept for seven days", "broker.retention_millis"],
    ),
    ("[faults.clock-strobe]\nmillis = 604800000", 21, &["clock-strobe.millis: records are kept"]),
    ("[faults.clock-drift]\npace = 100", 21, &["100 is the pace of every clock; write another"]),
    ("[faults.slow-disk]\nfiles = \"\"", 21, &["every path contains nothing", "files = \".log\""]),
    ("[faults.held-message]\npatience = 0", 21, &["0 is too little; it must be 1 at least"]),
    ("[faults.disk-wipe]\ntimes = 30", 21, &["30 of its strikes may last 2700 ms each"]),
    ("[faults.rolling-restart]\ntimes = 9\npause = 2000", 21, &["9 of its strikes may last 7500"]),
    ("[faults.flapping-link]\nmillis = 5000\ntimes = 9", 22, &["9 of its strikes may last 10200"]),
    (
        "[faults.process-kill]\nwhen = \"now > 99999999999999999999\"\npause = 1",
        21,
        &["too large a number; write 9223372036854775807 at most"],
    ),
];

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    expect_mistakes(IN_TABLES.iter().map(replaced).chain(ADDED.iter().map(added)));
}

#[test]
fn what_wants_clients_or_groups_needs_some() {
    let with = |workload: &str, fault: &str| {
        format!(
            "# One.\nwhy = \"Why: x.\"\n[cluster]\nbrokers = 3\n[workload]\n{workload} = 0\n\
             [faults.{fault}\n"
        )
    };
    let isolated = |client: &str| format!("client-isolation]\nclient = \"{client}\"");
    let cases: Vec<(String, usize, &[&str])> = vec![
        (with("producers", &isolated("producer")), 8, &["set workload.producers to 1 at least"]),
        (with("consumers", &isolated("consumer")), 8, &["set workload.consumers to 1 at least"]),
        (with("admins", &isolated("admin")), 8, &["set workload.admins to 1 at least"]),
        (with("groups", &isolated("member")), 8, &["set workload.groups to 1 at least"]),
        (
            with("groups", "process-kill]\ntarget = \"coordinator\""),
            8,
            &["without groups there is none; set workload.groups to 1 at least"],
        ),
    ];
    expect_mistakes(cases.into_iter());
}

#[test]
fn clocks_may_be_years_ahead_where_that_is_not_too_old() {
    let with = |broker: &str| {
        let clocks = "[faults.clock-step]\nmillis = 604800000\n";
        let text = format!("# One.\nwhy = \"Why: x.\"\n[broker]\n{broker}\n{clocks}");
        super::Scenario::parse("x", &text)
    };
    assert!(with("retention_millis = 10000000000000000").is_ok());
    assert!(with("segment_bytes = 1024").is_err());
}
