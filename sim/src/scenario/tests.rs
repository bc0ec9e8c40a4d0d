//! What scenario files may say, and what is said of every mistake in them.

use super::*;
use crate::disk::CutStyle;

mod nonsense;
mod ranges;

const GOOD: &str = r#"# The machine loses its power.
why = "Why: records must survive."
millis = 1500

[cluster]
brokers = 3
min_insync = 2

[workload]
producers = [1, 3]
topics = 1
partitions = 2
groups = 1

[faults.power-cut]
times = 2
contents = "scatter"
effects = ["writes_torn"]
"#;

fn parse(text: &str) -> Scenario {
    Scenario::parse("x", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_scenario_has_its_values_and_defaults() {
    let scenario = parse(GOOD);
    assert_eq!((scenario.millis, scenario.workload.producers), (1_500, 1..=3));
    assert_eq!(scenario.budget, Budget { seeds_smoke: 10, seeds_nightly: 200 });
    let plan = &scenario.faults[0];
    assert_eq!((plan.kind, plan.times.clone()), (FaultKind::PowerCut, 2..=2));
    assert_eq!((plan.contents, plan.pause.clone()), (Some(CutStyle::Scatter), Some(20..=200)));
    assert_eq!(plan.effects, [Effect::PowerCut, Effect::WriteTorn]);
    assert_eq!((&plan.trigger, &plan.target), (&Trigger::Drawn, &Target::Any));
}

#[test]
fn separate_controllers_stand_beside_brokers() {
    let with = |lines: &str| {
        let text = GOOD.replace("brokers = 3\nmin_insync = 2", lines);
        Scenario::parse("x", &text).map(|scenario| scenario.cluster)
    };
    let shape = with("brokers = 3\ncontrollers = 3\nseparate_controllers = true").unwrap();
    assert!(shape.separate_controllers);
    assert!(!with("brokers = 3").unwrap().separate_controllers);
    for wrong in ["brokers = 1", "brokers = 7", "brokers = 5\ncontrollers = 5"] {
        let error = with(&format!("{wrong}\nseparate_controllers = true")).unwrap_err();
        assert!(error.to_string().contains("cluster.separate_controllers"), "{error}");
    }
}

#[test]
fn a_scenario_names_its_stakes_and_its_budget() {
    let more = "[checks]\npromise = [\"R2\", \"L3\"]\nmutant = \"all-means-leader\"\n\
                [budget]\nseeds_smoke = 3\nseeds_nightly = 500\nmillis = 700\n";
    let scenario = parse(&(GOOD.replace("millis = 1500\n", "") + more));
    assert_eq!(scenario.stakes.promise, ["L3", "R2"]);
    assert_eq!(scenario.stakes.mutant.map(|mutant| mutant.name()), Some("all-means-leader"));
    assert_eq!(scenario.budget, Budget { seeds_smoke: 3, seeds_nightly: 500 });
    assert_eq!(scenario.millis, 700);
}

#[test]
fn several_faults_of_one_kind_have_tables_of_their_own() {
    let two = "[[faults.process-kill]]\nat = 300\ntarget = \"broker 2\"\npause = 300\n\
               [[faults.process-kill]]\nwhen = \"count(isr(t0/0)) == 2\"\non = \"isr(t0/0) - leader\"\n\
               delay = [0, 5]\nuntil = \"count(isr(t0/0)) == 1\"\ntimes = 3\n";
    let scenario = parse(&(GOOD.to_owned() + two));
    let [_, first, second] = &scenario.faults[..] else { panic!("three faults") };
    assert_eq!((first.name(), second.name()), ("process-kill".into(), "process-kill 2".into()));
    assert_eq!((first.trigger.clone(), first.times.clone()), (Trigger::At(300..=300), 1..=1));
    assert!(matches!(&first.target, Target::Named(named) if named.text == "broker 2"));
    assert!(matches!(&second.trigger, Trigger::When(when) if when.text.starts_with("count")));
    assert_eq!((second.times.clone(), second.pause.clone()), (3..=3, None));
    assert_eq!(
        second.until.as_ref().map(ToString::to_string).as_deref(),
        Some("count(isr(t0/0)) == 1")
    );
}

#[test]
fn one_message_is_chosen_by_what_it_is() {
    let held = "[faults.held-message]\nafter = \"second isr change of t0/0\"\nmessage = \"propose\"\n\
                command = \"alter-partition\"\nfrom = \"leader(t0/0)\"\npartition = \"t0/1\"\nnth = 2\n\
                pause = 300\n";
    let plan = &parse(&(GOOD.to_owned() + held)).faults[1];
    assert_eq!(plan.message.map(|kind| kind.to_string()).as_deref(), Some("propose"));
    assert_eq!((plan.command, plan.nth.clone()), (Some("alter-partition"), 2..=2));
    assert_eq!(plan.partition.as_ref().map(ToString::to_string).as_deref(), Some("t0/1"));
    assert!(matches!(&plan.trigger, Trigger::After(change) if change.nth == Some(2)));
}

#[test]
fn scenarios_of_the_repository_are_right() {
    let files = [
        include_str!("../../../scenarios/cluster-swarm.toml"),
        include_str!("../../../scenarios/group-mixed-protocols.toml"),
        include_str!("../../../scenarios/moving-house.toml"),
        include_str!("../../../scenarios/power-cut-under-load.toml"),
        include_str!("../../../scenarios/proposals-held.toml"),
        include_str!("../../../scenarios/quiet-groups.toml"),
        include_str!("../../../scenarios/swarm.toml"),
    ];
    files.into_iter().for_each(|text| {
        parse(text);
    });
}

/// A mistake: what is replaced in [`GOOD`] by what, the line of the error, and words of it.
type Case = (&'static str, &'static str, usize, &'static [&'static str]);

const IN_TABLES: &[Case] = &[
    (
        "# The machine loses its power.",
        "#!",
        1,
        &["the first line must be a comment with a sentence"],
    ),
    ("# The machine loses its power.", "# No full stop", 1, &["a sentence"]),
    ("why = \"Why: records must survive.\"\n", "", 1, &["why: is missing", "write `why ="]),
    ("Why: records", "Records", 2, &["why: must begin with `Why: `"]),
    ("why = \"Why: records must survive.\"", "why = 3", 2, &["this is an integer", "write a text"]),
    ("millis = 1500", "millis = 1500 ms", 3, &["not TOML"]),
    ("millis = 1500", "millis = ", 3, &["not TOML"]),
    ("millis = 1500", "millis = 1500\nmillis = 2", 4, &["`millis` is there twice; leave one out"]),
    ("\"scatter\"", "scatter", 17, &["not TOML", "put texts in quotes"]),
    ("millis = 1500", "milis = 1500", 3, &["unknown key `milis`; did you mean `millis`?"]),
    ("[cluster]", "[clusters]", 5, &["unknown key `clusters`; did you mean `cluster`?"]),
    ("producers", "producer", 10, &["unknown key `producer` in `workload`", "`producers`?"]),
    ("times", "time", 16, &["unknown key `time` in `faults.power-cut`; did you mean `times`?"]),
    ("contents", "content", 17, &["did you mean `contents`?"]),
    ("power-cut", "power-cuts", 15, &["unknown key `power-cuts` in `faults`", "`power-cut`?"]),
    ("times = 2", "chance = 0.5", 16, &["unknown key `chance` in `faults.power-cut`"]),
    (
        "times = 2",
        "times = \"2\"",
        16,
        &["faults.power-cut.times: this is a text", "write `times ="],
    ),
    (
        "[1, 3]",
        "[3, 1]",
        10,
        &["workload.producers: the range is reversed; write `producers = [1, 3]`"],
    ),
    ("[1, 3]", "[]", 10, &["workload.producers: the range is empty"]),
    ("[1, 3]", "[1, 2, 3]", 10, &["a range has two ends, not 3"]),
    ("[1, 3]", "[1, 2.5]", 10, &["a range has integers only"]),
    ("[1, 3]", "99", 10, &["workload.producers: 99 is too much; it must be 40 at most"]),
    ("brokers = 3", "brokers = 0", 6, &["cluster.brokers: 0 is too little; it must be 1 at least"]),
    (
        "brokers = 3",
        "brokers = 3\ncontrollers = 4",
        7,
        &["cluster.controllers: there are 3 brokers"],
    ),
    ("brokers = 3", "brokers = 1", 7, &["cluster.min_insync: does nothing with one broker"]),
    ("groups = 1", "group_members = 2", 13, &["group_members: does nothing without groups"]),
    (
        "groups = 1",
        "groups = 1\nkeys = 3",
        14,
        &["workload.keys: does nothing without compacted_topics"],
    ),
    ("groups = 1", "groups = 1\nrate = 5\npause = 3", 14, &["workload.rate: contradicts `pause`"]),
    (
        "groups = 1",
        "groups = 1\nkey_choice = \"hott\"\ncompacted_topics = 1",
        14,
        &["did you mean `hot`?"],
    ),
    (
        "groups = 1",
        "groups = 1\nreplicated_topics = 1",
        14,
        &["workload.replicated_topics: groups read every topic", "leave workload.groups out"],
    ),
    ("groups = 1", "groups = 1\nunclean_topics = [0, 1]", 14, &["unclean_topics: groups read"]),
    ("groups = 1", "groups = 1\ngroup_protocols = [\"both\"]", 14, &["`both` is unknown", "mixed"]),
    ("groups = 1", "groups = 1\ngroup_protocols = []", 14, &["the list is empty"]),
    ("groups = 1", "groups = 1\ngroup_static = 1.5", 14, &["must be between 0.0 and 1.0"]),
    (
        "millis = 1500",
        "millis = 1500\nswarm = \"yes\"",
        4,
        &["swarm: this is a text; write `swarm = true`"],
    ),
    ("millis = 1500", "millis = 1500\nseed = 1\nseeds = [2]", 4, &["seed: contradicts `seeds`"]),
    ("millis = 1500", "millis = 1500\nseeds = 2", 4, &["seeds: must be a list of seeds"]),
    ("millis = 1500", "millis = 1500\nseed = -2", 4, &["seed: -2 is too little"]),
    ("\"scatter\"", "\"scater\"", 17, &["`scater` is unknown; did you mean `scatter`?"]),
    ("writes_torn", "write_torn", 18, &["`write_torn` is unknown; did you mean `writes_torn`?"]),
    (
        "[faults.power-cut]",
        "[faults]\npower-cut = 3\n[faults.process-kill]",
        16,
        &["this is an integer", "[[faults.power-cut]]"],
    ),
];

/// The same for lines that are added at the end of [`GOOD`].
const ADDED: &[(&str, usize, &[&str])] = &[
    (
        "[checks]\npromise = [\"R99\"]",
        21,
        &["checks.promise: `R99` is unknown; did you mean `R9`?"],
    ),
    ("[checks]\npromise = \"R2\"", 21, &["write a list, such as `promise = ["]),
    ("[checks]\nmutant = \"all-means-leaders\"", 21, &["did you mean `all-means-leader`?"]),
    (
        "[checks]\nmutants = \"x\"",
        21,
        &["unknown key `mutants` in `checks`; did you mean `mutant`?"],
    ),
    ("[budget]\nseeds_smoke = [1, 2]", 21, &["this is a list; write an integer"]),
    ("[budget]\nmillis = 5", 21, &["budget.millis: contradicts `millis`"]),
    (
        "[faults.disk-wipe]\nnodes = 2",
        21,
        &["faults.disk-wipe.nodes", "min_insync = 2", "unlimited = true"],
    ),
    ("[faults.disk-wipe]\ntarget = \"all\"", 21, &["no copy would be left"]),
    ("[faults.bit-rot]\ntimes = 1", 20, &["faults.bit-rot: not promised in a cluster"]),
    (
        "[faults.process-kill]\ntarget = \"leeder\"",
        21,
        &["`leeder` is unknown; did you mean `leader`?"],
    ),
    ("[faults.process-kill]\ntarget = \"broker 4\"", 21, &["name one of 1 to 3"]),
    (
        "[faults.process-kill]\ntarget = \"leader\"\non = \"controller\"",
        22,
        &["contradicts `target`"],
    ),
    ("[faults.process-kill]\ntarget = \"all\"\nnodes = 2", 22, &["contradicts the target `all`"]),
    ("[faults.clock-step]\non = \"rename\"", 21, &["only power cuts and kills wait for the disk"]),
    ("[faults.clock-drift]\nmillis = 3", 21, &["unknown key `millis` in `faults.clock-drift`"]),
    ("[faults.slow-disk]\nmillis = -3", 21, &["only a clock goes back"]),
    ("[faults.slow-disk]\nchance = 0.0", 21, &["with 0.0 nothing happens"]),
    (
        "[faults.one-way-cut]\nfrom = \"leader(t0/0)\"\ntarget = \"leader\"",
        22,
        &["contradicts `from`"],
    ),
    (
        "[faults.process-kill]\nat = 5\npause = 1\ntimes = 2",
        23,
        &["contradicts `at`", "leave `times` out"],
    ),
    (
        "[faults.process-kill]\nat = 5\nwhen = \"true\"\npause = 1",
        22,
        &["contradicts `at`", "one moment"],
    ),
    ("[faults.process-kill]\nwhen = \"now > 5\"", 21, &["say how long it lasts: `pause = 300`"]),
    (
        "[faults.process-kill]\nwhen = \"now >\"\npause = 1",
        21,
        &["faults.process-kill.when: expected"],
    ),
    (
        "[faults.process-kill]\nwhen = \"leader(t3/0) == broker 1\"\npause = 1",
        21,
        &["there is no topic `t3`"],
    ),
    (
        "[faults.process-kill]\nwhen = \"leader(t0/2) == broker 1\"\npause = 1",
        21,
        &["workload.partitions is 2"],
    ),
    ("[faults.process-kill]\ntarget = \"coordinator(g1)\"", 21, &["there is no group `g1`"]),
    ("[faults.process-kill]\nafter = \"leader change of t0/0\"\npause = 1", 21, &["which change?"]),
    (
        "[faults.process-kill]\nafter = \"first leader change of t0/0\"\npause = 1\ntimes = 2",
        23,
        &["every ... change"],
    ),
    ("[faults.process-kill]\ndelay = 3", 21, &["delays nothing without `when` or `after`"]),
    ("[faults.process-kill]\nuntil = \"3\"", 21, &["a condition must be true or false"]),
    ("[faults.held-message]\nmessage = \"fetch replies\"", 21, &["did you mean `fetch reply`?"]),
    (
        "[faults.held-message]\nmessage = \"fetch\"\ncommand = \"alter-partition\"",
        22,
        &["set `message = \"propose\"`"],
    ),
    (
        "[faults.held-message]\nmessage = \"propose\"\ncommand = \"alter-isr\"",
        22,
        &["`alter-isr` is unknown"],
    ),
    ("[faults.held-message]\npartition = \"t0\"", 21, &["expected `/`"]),
    ("[faults.client-isolation]\nclient = \"reader\"", 21, &["`reader` is unknown", "consumer"]),
    ("[faults.client-isolation]\ndirection = \"to-brokers\"", 21, &["did you mean `to-broker`?"]),
    ("[faults.connection-cut]\ntimes = 3", 21, &["unknown key `times` in `faults.connection-cut`"]),
];

/// Texts with a mistake of which the line, and words of the error, are known.
fn expect_mistakes<'a>(texts: impl Iterator<Item = (String, usize, &'a [&'a str])>) {
    for (text, line, words) in texts {
        let error = Scenario::parse("x", &text).err();
        let error = error.unwrap_or_else(|| panic!("accepted, not {words:?}:\n{text}"));
        let message = error.to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        assert_eq!(error.line, line, "{message}\n{text}");
        assert!(
            message.starts_with(&format!("x.toml:{line}:")) && !message.contains('\n'),
            "{message}"
        );
    }
}

/// [`GOOD`] with something replaced, or added at its end.
fn replaced((from, to, line, words): &Case) -> (String, usize, &'static [&'static str]) {
    assert!(GOOD.contains(from), "{from}");
    (GOOD.replacen(from, to, 1), *line, words)
}

fn added(
    (lines, line, words): &(&str, usize, &'static [&'static str]),
) -> (String, usize, &'static [&'static str]) {
    (format!("{GOOD}\n{lines}\n"), *line, words)
}

#[test]
fn every_kind_of_mistake_has_its_line_what_is_wrong_and_what_would_be_right() {
    expect_mistakes(IN_TABLES.iter().map(replaced).chain(ADDED.iter().map(added)));
}

#[test]
fn a_mistake_in_a_condition_has_the_column_inside_of_the_text() {
    let text =
        format!("{GOOD}\n[faults.process-kill]\nwhen = \"now > 1 and nov > 2\"\npause = 1\n");
    let error = Scenario::parse("x", &text).unwrap_err();
    assert_eq!((error.line, error.column), (21, 21), "{error}");
    assert!(error.message.contains("`nov` is unknown; did you mean `now`?"), "{error}");
}

#[test]
fn a_mistake_in_a_long_text_has_the_line_inside_of_it() {
    for quotes in ["\"\"\"", "'''"] {
        let condition = format!("{quotes}\nnow > 1\n  and nov > 2{quotes}");
        let text = format!("{GOOD}\n[faults.process-kill]\nwhen = {condition}\npause = 1\n");
        let error = Scenario::parse("x", &text).unwrap_err();
        assert_eq!((error.line, error.column), (23, 7), "{error}");
    }
}

#[test]
fn the_mark_of_byte_order_is_no_part_of_the_first_line() {
    assert_eq!(parse(&format!("\u{feff}{GOOD}")), parse(GOOD));
    let wrong = format!("\u{feff}{}", GOOD.replace("millis", "milis"));
    assert_eq!(Scenario::parse("x", &wrong).unwrap_err().line, 3);
}

#[test]
fn topics_that_may_lose_records_need_replicas_and_logs_that_do_not_fail() {
    let with = |brokers: u32, fault: &str| {
        format!(
            "# One.\nwhy = \"Why: x.\"\n[cluster]\nbrokers = {brokers}\n[workload]\n\
             replicated_topics = 1\n[faults.{fault}]\ntimes = 1\n"
        )
    };
    assert!(Scenario::parse("x", &with(3, "power-cut")).is_ok());
    let error = Scenario::parse("x", &with(1, "power-cut")).unwrap_err();
    assert_eq!(error.line, 6);
    assert!(error.message.contains("one broker has no replicas"), "{error}");
    for fault in ["sync-error", "write-error", "read-error", "full-disk"] {
        let error = Scenario::parse("x", &with(3, fault)).unwrap_err();
        assert_eq!(error.line, 7);
        assert!(error.message.contains("a log that fails loses"), "{error}");
    }
}

#[test]
fn conditions_know_the_topics_that_may_lose_records() {
    let with = |topic: &str| {
        format!(
            "# One.\nwhy = \"Why: x.\"\n[cluster]\nbrokers = 3\n[workload]\nunclean_topics = 1\n\
             replicated_topics = 2\n[faults.process-kill]\nwhen = \"leader({topic}) == broker 1\"\n\
             pause = 1\n"
        )
    };
    for topic in ["t0/0", "u0/0", "r1/0"] {
        assert!(Scenario::parse("x", &with(topic)).is_ok(), "{topic}");
    }
    let error = Scenario::parse("x", &with("u1/0")).unwrap_err();
    assert!(error.message.contains("there is no topic `u1`"), "{error}");
}

#[test]
fn one_broker_offers_no_choice_of_targets() {
    let alone = "# One.\nwhy = \"Why: x.\"\n[faults.process-kill]\ntarget = \"leader\"\n";
    let error = Scenario::parse("x", alone).unwrap_err();
    assert_eq!(error.line, 4);
    assert!(error.message.contains("set cluster.brokers to 2 at least"), "{error}");
    let apart = "# One.\nwhy = \"Why: x.\"\n[faults.isolation]\ntimes = 1\n";
    let error = Scenario::parse("x", apart).unwrap_err();
    assert!(error.message.contains("faults.isolation: needs cluster.brokers of 2"), "{error}");
}
