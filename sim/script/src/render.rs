//! A script for people: as a scenario file that says what happens, and as a Rust test.

use crate::{Drawn, Script, decisions::kind_of, edit};
use std::fmt::Write as _;
use toml::{Table, Value};

/// The longest line of a comment.
const WIDTH: usize = 100;

/// A scenario of the script's shape, with what happens in it as a comment.
///
/// It draws its moments and its clients' operations as every scenario does; the script is what
/// fails for certain.
#[must_use]
pub fn scenario(script: &Script) -> String {
    let source = &script.scenario;
    let opening = source.text.lines().next().unwrap_or_default();
    let mut text = format!("{opening}\n");
    for line in story(script) {
        for line in wrap(&line) {
            let _ = writeln!(text, "# {line}");
        }
    }
    let Ok(mut table) = source.text.parse::<Table>() else { return text + &source.text };
    fit(&mut table, script);
    text + &toml::to_string(&table).unwrap_or_else(|_| source.text.clone())
}

/// What happens, one line for each thing.
#[must_use]
pub fn story(script: &Script) -> Vec<String> {
    let decisions = &script.decisions;
    let mut lines = vec![format!(
        "From `{}`, seed {}: {} fault events, {} client operations.",
        script.scenario.name,
        script.seed,
        decisions.fault_events(),
        decisions.operations()
    )];
    if let Some(mutant) = &script.mutant {
        lines.push(format!("Planted: {mutant}."));
    }
    if let Some(failure) = script.recorded.as_ref().and_then(|recorded| recorded.failure.as_ref()) {
        let message = failure.message.lines().next().unwrap_or_default();
        lines.push(format!("Fails {}: {message}", failure.check));
    }
    let strikes = edit::strikes(script).into_iter().map(|name| {
        let drawn = &decisions.strikes[&name];
        (drawn.number("at").unwrap_or(0) * 1_000_000, format!("{name}: {}", timeless(drawn)))
    });
    let mut events: Vec<(i64, String)> = strikes.collect();
    for (at, client, number) in edit::operations(script) {
        let drawn = &decisions.clients[&client].operations[&number];
        events.push((at, format!("{client} op {number}: {}", timeless(drawn))));
    }
    events.sort_by_key(|(at, _)| *at);
    lines.extend(events.into_iter().map(|(at, what)| format!("{:6} ms {what}", at / 1_000_000)));
    for end in ["power_cut_at_the_end", "killed_at_the_end"] {
        let value = decisions.run.get(end, 0).map(ToString::to_string).unwrap_or_default();
        if !value.is_empty() && value != "0" {
            lines.push(format!("   end ms {end} {value}"));
        }
    }
    lines
}

/// What was drawn but for the moment.
fn timeless(drawn: &Drawn) -> Drawn {
    let mut rest = drawn.clone();
    rest.set("at", Vec::new());
    rest
}

/// A test that follows the script, which lies beside it as `file`, and expects the check to fail.
#[must_use]
pub fn rust_test(script: &Script, name: &str, file: &str) -> String {
    let check = script.check().unwrap_or_default();
    let function: String = name
        .chars()
        .map(
            |letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' },
        )
        .collect();
    let function = function.trim_matches('_');
    format!(
        "//! Follows a script that fails the check `{check}`.\n\
         #![cfg(madsim)]\n\n\
         use highwater_script::Script;\n\
         use highwater_sim::{{lab::Lab, replay::replay}};\n\n\
         #[test]\n\
         fn the_script_{function}_fails_as_it_did() {{\n    \
             let script = Script::parse(include_str!({file:?})).unwrap();\n    \
             let ran = replay(&script, false, &Lab::new()).unwrap();\n    \
             assert_eq!(ran.report.failure.unwrap().check, {check:?});\n\
         }}\n"
    )
}

/// Narrows what a scenario leaves open to what the script chose.
fn fit(table: &mut Table, script: &Script) {
    let run = &script.decisions.run;
    for key in ["seed", "seeds", "swarm", "uneven", "budget"] {
        table.remove(key);
    }
    if let Some(millis) = run.number("millis") {
        table.insert("millis".into(), Value::Integer(millis));
    }
    for (section, key) in [
        ("cluster", "brokers"),
        ("cluster", "controllers"),
        ("cluster", "min_insync"),
        ("workload", "topics"),
        ("workload", "compacted_topics"),
        ("workload", "groups"),
    ] {
        let is_default = !table.contains_key(section);
        if let Some(number) = run.number(key).filter(|number| !(is_default && *number == 0)) {
            set(table, section, key, Value::Integer(number));
        }
    }
    for (key, kind) in [("producers", "producer"), ("consumers", "consumer"), ("admins", "admin")] {
        let is_kind = |name: &&String| name.split(' ').next() == Some(kind);
        let count = script.decisions.clients.keys().filter(is_kind).count();
        set(table, "workload", key, Value::Integer(count as i64));
    }
    let numbers = run.numbers("partitions");
    if let Some((least, most)) = numbers.iter().min().zip(numbers.iter().max()) {
        set(table, "workload", "partitions", bounds(*least, *most));
    }
    leave_out_idle(table);
    fit_faults(table, script);
}

/// Leaves out what does nothing, or cannot be, in a smaller run: a scenario may not say it.
fn leave_out_idle(table: &mut Table) {
    let idle = [
        (
            "groups",
            &[
                "group_members",
                "group_protocols",
                "group_static",
                "group_unrest",
                "group_session_millis",
                "group_rebalance_millis",
                "group_habits",
            ][..],
        ),
        ("compacted_topics", &["keys", "key_choice"]),
        ("producers", &["rate"]),
    ];
    if let Some(Value::Table(workload)) = table.get_mut("workload") {
        for (needed, keys) in idle {
            if workload.get(needed).and_then(Value::as_integer) == Some(0) {
                keys.iter().for_each(|key| drop(workload.remove(*key)));
            }
        }
    }
    if let Some(Value::Table(cluster)) = table.get_mut("cluster") {
        let number = |key: &str| cluster.get(key).and_then(Value::as_integer);
        let is_separate = cluster.get("separate_controllers").is_some();
        let brokers = number("brokers").unwrap_or(i64::MAX);
        let too_many: Vec<&str> = ["controllers", "min_insync"]
            .into_iter()
            .filter(|key| number(key).is_some_and(|number| number > brokers))
            .filter(|key| !(*key == "controllers" && is_separate))
            .collect();
        for key in too_many {
            cluster.insert(key.to_owned(), Value::Integer(brokers));
        }
    }
}

/// Leaves the faults that strike. One of several of a kind is called by its number from the second
/// on: `power-cut 2`.
fn fit_faults(table: &mut Table, script: &Script) {
    let Some(Value::Table(faults)) = table.get_mut("faults") else { return };
    let kinds = edit::kinds(script);
    for (kind, of_kind) in faults.iter_mut() {
        let name = |number: usize| match number {
            0 => kind.to_string(),
            number => format!("{kind} {}", number + 1),
        };
        match of_kind {
            Value::Table(fault) => fit_fault(fault, kind, script),
            Value::Array(of_kind) => {
                for (number, fault) in of_kind.iter_mut().enumerate() {
                    let Value::Table(fault) = fault else { continue };
                    fit_fault(fault, &name(number), script);
                }
                let mut numbers = 0..;
                let mut strikes = |_: &Value| {
                    numbers.next().is_some_and(|number| kinds.contains(name(number).as_str()))
                };
                of_kind.retain(&mut strikes);
            }
            _ => {}
        }
    }
    faults.retain(|kind, of_kind| {
        let kind: &str = kind;
        of_kind.as_array().map_or(kinds.contains(kind), |of_kind| !of_kind.is_empty())
    });
}

fn fit_fault(fault: &mut Table, name: &str, script: &Script) {
    let strikes = script.decisions.strikes.iter().filter(|(of, _)| kind_of(of) == name);
    if name.starts_with("connection-cut") {
        return;
    }
    let pauses: Vec<i64> = strikes.clone().filter_map(|(_, of)| of.number("pause")).collect();
    fault.insert("times".into(), Value::Integer(strikes.count() as i64));
    if let Some((least, most)) = pauses.iter().min().zip(pauses.iter().max()) {
        fault.insert("pause".into(), bounds(*least, *most));
    }
}

fn bounds(least: i64, most: i64) -> Value {
    if least == most { Value::Integer(least) } else { Value::from(vec![least, most]) }
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) {
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}

/// Breaks a long line between words.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (index, word) in line.split(' ').enumerate() {
        let last = lines.last_mut().expect("there is always a line");
        if index > 0 && last.len() + word.len() >= WIDTH - 2 {
            lines.push(format!("           {word}"));
        } else {
            if index > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests::example;

    #[test]
    fn a_scenario_says_what_happens_and_has_the_scripts_shape() {
        let mut script = example(2, &[("producer 2", 1), ("consumer 4", 1)]);
        script
            .scenario
            .text
            .push_str("times = [3, 9]\n[faults.slow-disk]\n[workload]\nadmins = 2\n");
        let text = scenario(&script);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# The power goes.");
        assert!(lines[1].contains("2 fault events, 2 client operations"), "{text}");
        assert!(text.contains("# Fails L3 immutable: offset 4"), "{text}");
        assert!(text.contains("#    100 ms power-cut#1: pause 200"), "{text}");
        let table: Table = text.parse().unwrap();
        assert_eq!(table["why"].as_str(), Some("Why: it does."));
        assert_eq!(table["millis"].as_integer(), Some(2_000));
        assert_eq!(table["faults"]["power-cut"]["times"].as_integer(), Some(2));
        assert!(table["faults"].get("slow-disk").is_none());
        assert_eq!(table["workload"]["admins"].as_integer(), Some(0));
        assert_eq!(table["workload"]["producers"].as_integer(), Some(1));
    }

    #[test]
    fn of_several_faults_of_a_kind_those_stay_that_strike() {
        let mut script = example(1, &[]);
        let strike = script.decisions.strikes.remove("power-cut#0").unwrap();
        script.decisions.strikes.insert("process-kill 2#0".into(), strike);
        script.scenario.text = "# It dies.\nwhy = \"Why: it does.\"\n[budget]\nseeds_smoke = 3\n\
                                [[faults.process-kill]]\nwhen = \"held\"\n\
                                [[faults.process-kill]]\nafter = \"x\"\n[[faults.isolation]]\n\
                                [workload]\ngroups = 0\ngroup_static = 0.5\n"
            .into();
        let table: Table = scenario(&script).parse().unwrap();
        let faults = table["faults"].as_table().unwrap();
        assert_eq!(faults.keys().collect::<Vec<_>>(), ["process-kill"]);
        let kills = faults["process-kill"].as_array().unwrap();
        assert_eq!((kills.len(), kills[0]["after"].as_str()), (1, Some("x")));
        assert_eq!(kills[0]["pause"].as_integer(), Some(200));
        assert!(table.get("budget").is_none());
        assert!(table["workload"].get("group_static").is_none());
    }

    #[test]
    fn a_test_is_one_that_compiles() {
        let script = include_str!("../../tests/quiet-cluster-0-canary.min.json");
        let script = Script::parse(script).unwrap();
        let name = "quiet-cluster-0-canary";
        let test = rust_test(&script, name, "quiet-cluster-0-canary.min.json");
        // Cargo compiles and runs this one.
        assert_eq!(test, include_str!("../../tests/quiet_cluster_0_canary.rs"));
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let lines = wrap(&"word ".repeat(50));
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() < WIDTH));
    }
}
