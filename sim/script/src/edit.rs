//! Smaller scripts made of larger ones. Each is one that nobody has run yet.

use crate::{Drawn, Script, Value, decisions::kind_of};
use std::collections::BTreeSet;

/// One operation of a client: when it began, in simulated nanoseconds, whose it is, and its number.
pub type Operation = (i64, String, u32);

/// Durations that a strike draws, in milliseconds: shorter ones do less.
const DURATIONS: [&str; 5] = ["pause", "broken", "whole", "down", "late"];
/// By how much the moment of a strike is varied, in milliseconds.
const JITTER: i64 = 15;
/// The milliseconds around a moment that are tried in its place.
const AROUND: [i64; 9] = [0, 1, -1, 2, -2, 4, -4, 7, -7];
/// The fewest brokers of a cluster that is to stay one.
const FEWEST_BROKERS: i64 = 2;

/// The strikes, in the order in which they come.
#[must_use]
pub fn strikes(script: &Script) -> Vec<String> {
    let strikes = &script.decisions.strikes;
    let mut names: Vec<&String> = strikes.keys().collect();
    names.sort_by_key(|name| strikes[*name].number("at"));
    names.into_iter().cloned().collect()
}

/// Every operation, in the order in which they began.
#[must_use]
pub fn operations(script: &Script) -> Vec<Operation> {
    let of_client = script.decisions.clients.iter().flat_map(|(name, client)| {
        let began = |drawn: &Drawn| drawn.number("at").unwrap_or(0);
        client.operations.iter().map(move |(number, of)| (began(of), name.clone(), *number))
    });
    let mut all: Vec<Operation> = of_client.collect();
    all.sort();
    all
}

/// With these strikes alone.
#[must_use]
pub fn with_strikes(script: &Script, kept: &[String]) -> Script {
    let mut smaller = script.unrecorded();
    smaller.decisions.strikes.retain(|name, _| kept.contains(name));
    smaller
}

/// With these clients alone.
#[must_use]
pub fn with_clients(script: &Script, kept: &[String]) -> Script {
    let mut smaller = script.unrecorded();
    smaller.decisions.clients.retain(|name, _| kept.contains(name));
    smaller
}

/// With these operations alone. A client without any is gone.
#[must_use]
pub fn with_operations(script: &Script, kept: &[Operation]) -> Script {
    let kept: BTreeSet<(&str, u32)> =
        kept.iter().map(|(_, client, number)| (client.as_str(), *number)).collect();
    let mut smaller = script.unrecorded();
    for (name, client) in &mut smaller.decisions.clients {
        client.operations.retain(|number, _| kept.contains(&(name.as_str(), *number)));
    }
    smaller.decisions.clients.retain(|_, client| !client.operations.is_empty());
    smaller
}

/// Over after so many simulated milliseconds. What begins later does not happen.
#[must_use]
pub fn with_millis(script: &Script, millis: i64) -> Script {
    let mut smaller = script.unrecorded();
    smaller.decisions.run.set("millis", vec![Value::Number(millis)]);
    let begins = |drawn: &Drawn| drawn.number("at").is_none_or(|at| at < millis);
    smaller.decisions.strikes.retain(|_, strike| begins(strike));
    smaller
}

/// With another seed for what has no name, and strikes that differ a little: with less in a run,
/// what has to meet for the failure meets at another moment, and on another machine.
#[must_use]
pub fn varied(script: &Script, seed: u64) -> Script {
    let mut other = script.unrecorded();
    other.network_seed = seed;
    for (number, strike) in (1_u64..).zip(other.decisions.strikes.values_mut()) {
        vary(strike, scramble(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    other
}

fn vary(strike: &mut Drawn, bits: u64) {
    let is_set = |bit: u32| (bits >> bit) & 1 == 1;
    let number = |number: i64| vec![Value::Number(number)];
    let somewhere = (bits >> 8) as i64 & 0xffff;
    // Whoever has a role is looked for again.
    if is_set(0) {
        strike.set("machines", Vec::new());
        strike.set("links", Vec::new());
    }
    let operations = strike.number("operations").filter(|operations| *operations > 0);
    match strike.number("struck") {
        Some(struck) if operations.is_some() && is_set(1) => {
            strike.set("on", vec![Value::Text("any-time".into())]);
            strike.set("at", number(struck));
            strike.set("operations", Vec::new());
        }
        _ => {
            if let Some(operations) = operations.filter(|_| is_set(2)) {
                strike.set("operations", number(1 + somewhere % operations));
            }
        }
    }
    if let Some(at) = strike.number("at").filter(|_| is_set(3)) {
        strike.set("at", number((at + somewhere % (2 * JITTER + 1) - JITTER).max(0)));
    }
}

/// A mix of bits in which every bit depends on every other (SplitMix64).
fn scramble(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Simpler runs, each in one respect, the boldest first: fewer brokers, topics, partitions and
/// groups, brokers that are left alone at the end, clocks that are right.
#[must_use]
pub fn simpler_runs(script: &Script) -> Vec<Script> {
    let run = &script.decisions.run;
    let mut all = Vec::new();
    let mut with = |changes: &[(&str, Vec<Value>)]| {
        let mut smaller = script.unrecorded();
        for (name, values) in changes {
            smaller.decisions.run.set(name, values.clone());
        }
        if smaller.decisions != script.decisions {
            all.push(smaller);
        }
    };
    let number = |number: i64| vec![Value::Number(number)];
    let nothing = || vec![Value::Text(String::new())];
    if run.number("power_cut_at_the_end") == Some(1) {
        with(&[("power_cut_at_the_end", number(0)), ("killed_at_the_end", nothing())]);
    }
    if let Some(killed) = run.text("killed_at_the_end").filter(|killed| !killed.is_empty()) {
        with(&[("killed_at_the_end", nothing())]);
        let ids: Vec<&str> = killed.split_whitespace().collect();
        for left_out in ids.iter().filter(|_| ids.len() > 1) {
            let rest: Vec<&str> = ids.iter().copied().filter(|id| id != left_out).collect();
            with(&[("killed_at_the_end", vec![Value::Text(rest.join(" "))])]);
        }
    }
    for fewer in [("groups", 0), ("compacted_topics", 0), ("topics", 1)] {
        let (name, least) = fewer;
        if run.number(name).is_some_and(|count| count > least) {
            with(&[(name, number(least))]);
        }
    }
    for name in ["partitions", "group_members"] {
        let least = run.numbers(name).iter().map(|_| Value::Number(1)).collect();
        with(&[(name, least)]);
    }
    if let Some(brokers) = run.number("brokers") {
        for fewer in FEWEST_BROKERS..brokers {
            with(&[("brokers", number(fewer))]);
        }
    }
    if run.number("controllers").is_some_and(|controllers| controllers > 1) {
        with(&[("controllers", number(1))]);
    }
    let right = run.numbers("wall_offset_millis").iter().map(|_| Value::Number(0)).collect();
    with(&[("wall_offset_millis", right)]);
    all
}

/// Strikes that come at a moment instead of after so many disk operations: with fewer operations in a
/// run, that many come later or never. Each around the moment at which it struck.
#[must_use]
pub fn strikes_by_time(script: &Script) -> Vec<Script> {
    let strikes = &script.decisions.strikes;
    let waiting = strikes.iter().filter(|(_, strike)| strike.number("operations").is_some());
    let mut all = Vec::new();
    for (name, struck) in waiting.filter_map(|(name, of)| Some((name, of.number("struck")?))) {
        for at in AROUND.map(|millis| (struck + millis).max(0)) {
            let mut by_time = script.unrecorded();
            if let Some(strike) = by_time.decisions.strikes.get_mut(name) {
                strike.set("on", vec![Value::Text("any-time".into())]);
                strike.set("at", vec![Value::Number(at)]);
                strike.set("operations", Vec::new());
            }
            all.push(by_time);
        }
    }
    all
}

/// Milder strikes, each in one respect: shorter, or of fewer machines.
#[must_use]
pub fn milder_strikes(script: &Script) -> Vec<Script> {
    let mut all = Vec::new();
    for (name, strike) in &script.decisions.strikes {
        let mut with = |key: &str, value: Value| {
            let mut milder = script.unrecorded();
            if let Some(strike) = milder.decisions.strikes.get_mut(name) {
                strike.set(key, vec![value]);
            }
            all.push(milder);
        };
        let machines: Vec<&str> =
            strike.text("machines").into_iter().flat_map(str::split_whitespace).collect();
        if machines.len() > 1 {
            with("machines", Value::Text(machines[0].to_owned()));
        }
        for key in DURATIONS {
            let millis = strike.number(key).unwrap_or(0);
            for shorter in [millis / 10, millis / 2].into_iter().filter(|_| millis >= 20) {
                with(key, Value::Number(shorter));
            }
        }
    }
    all
}

/// Operations that send less: one record in one batch.
#[must_use]
pub fn smaller_operations(script: &Script) -> Option<Script> {
    let mut smaller = script.unrecorded();
    let clients = smaller.decisions.clients.values_mut();
    for operation in clients.flat_map(|client| client.operations.values_mut()) {
        if operation.number("window") == Some(1) {
            operation.set("window", vec![Value::Number(0)]);
            operation.set("in_flight", Vec::new());
        }
        if operation.number("records").is_some() {
            operation.set("records", vec![Value::Number(1)]);
        }
    }
    (smaller.decisions != script.decisions).then_some(smaller)
}

/// The kinds of fault that strike.
#[must_use]
pub fn kinds(script: &Script) -> BTreeSet<&str> {
    script.decisions.strikes.keys().map(|name| kind_of(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests::example;

    #[test]
    fn what_is_kept_is_all_that_remains() {
        let script = example(3, &[("producer 2", 4), ("consumer 3", 2)]);
        let strikes = strikes(&script);
        assert_eq!(strikes, ["power-cut#0", "power-cut#1", "power-cut#2"]);
        let smaller = with_strikes(&script, &strikes[1..2]);
        assert_eq!(smaller.decisions.strikes.len(), 1);
        assert_eq!((smaller.decisions.operations(), smaller.recorded), (6, None));
        let operations = operations(&script);
        assert_eq!(operations[..2], [(0, "consumer 3".into(), 0), (0, "producer 2".into(), 0)]);
        let smaller = with_operations(&script, &operations[1..2]);
        assert_eq!(smaller.decisions.clients.keys().collect::<Vec<_>>(), ["producer 2"]);
        let smaller = with_clients(&script, &["consumer 3".into()]);
        assert_eq!(smaller.decisions.operations(), 2);
        let smaller = with_millis(&script, 150);
        assert_eq!(smaller.decisions.strikes.len(), 2);
        assert_eq!(smaller.decisions.run.number("millis"), Some(150));
    }

    #[test]
    fn a_run_is_simplified_in_one_respect_at_a_time() {
        let mut script = example(0, &[]);
        assert_eq!(simpler_runs(&script), []);
        let run = &mut script.decisions.run;
        run.push("brokers", Value::Number(4));
        run.push("partitions", Value::Number(2));
        run.push("partitions", Value::Number(3));
        run.push("killed_at_the_end", Value::Text("1 3".into()));
        let simpler = simpler_runs(&script);
        let killed = simpler.iter().map(|s| s.decisions.run.text("killed_at_the_end").unwrap());
        assert_eq!(killed.collect::<Vec<_>>(), ["", "3", "1", "1 3", "1 3", "1 3"]);
        assert_eq!(simpler[3].decisions.run.numbers("partitions"), [1, 1]);
        let brokers = simpler.iter().map(|s| s.decisions.run.number("brokers").unwrap());
        assert_eq!(brokers.collect::<Vec<_>>(), [4, 4, 4, 4, 2, 3]);
    }

    #[test]
    fn strikes_and_operations_become_milder() {
        let mut script = example(1, &[("producer 2", 1)]);
        let strike = script.decisions.strikes.get_mut("power-cut#0").unwrap();
        strike.push("machines", Value::Text("2 3".into()));
        let milder = milder_strikes(&script);
        assert_eq!(milder[0].decisions.strikes["power-cut#0"].text("machines"), Some("2"));
        let pauses = milder[1..].iter().map(|s| s.decisions.strikes["power-cut#0"].number("pause"));
        assert_eq!(pauses.collect::<Vec<_>>(), [Some(20), Some(100)]);
        assert_eq!(smaller_operations(&script), None);
        let producer = script.decisions.clients.get_mut("producer 2").unwrap();
        let operation = producer.operations.get_mut(&0).unwrap();
        operation.push("records", Value::Number(4));
        operation.push("records", Value::Number(8));
        let smaller = smaller_operations(&script).unwrap();
        let smaller = &smaller.decisions.clients["producer 2"].operations[&0];
        assert_eq!(smaller.numbers("records"), [1]);
    }

    #[test]
    fn a_strike_that_waits_may_come_by_time() {
        let mut script = example(2, &[]);
        let strike = script.decisions.strikes.get_mut("power-cut#1").unwrap();
        strike.push("operations", Value::Number(40));
        strike.push("struck", Value::Number(130));
        let by_time = strikes_by_time(&script);
        let moments = by_time.iter().map(|s| s.decisions.strikes["power-cut#1"].number("at"));
        assert_eq!(moments.take(3).collect::<Vec<_>>(), [Some(130), Some(131), Some(129)]);
        let strike = &by_time[0].decisions.strikes["power-cut#1"];
        assert_eq!((strike.text("on"), strike.number("operations")), (Some("any-time"), None));
        assert_eq!(by_time[0].decisions.strikes["power-cut#0"].number("at"), Some(0));
        assert!(strikes_by_time(&by_time[0]).is_empty());
    }

    #[test]
    fn variants_differ_in_their_strikes_and_in_nothing_else() {
        let mut script = example(1, &[("producer 2", 3)]);
        let strike = script.decisions.strikes.get_mut("power-cut#0").unwrap();
        strike.push("machines", Value::Text("2".into()));
        strike.push("operations", Value::Number(40));
        strike.push("struck", Value::Number(25));
        let variants: Vec<Script> = (0..64).map(|seed| varied(&script, seed)).collect();
        assert_eq!(varied(&script, 9), variants[9]);
        let strikes = variants.iter().map(|variant| &variant.decisions.strikes["power-cut#0"]);
        let pinned = strikes.clone().filter(|strike| strike.text("on") == Some("any-time"));
        assert!(pinned.clone().count() > 10);
        assert!(pinned.clone().all(|strike| strike.number("operations").is_none()));
        assert!(pinned.clone().any(|strike| strike.number("at") == Some(25)));
        assert!(strikes.clone().any(|strike| strike.text("machines").is_none()));
        assert!(strikes.clone().all(|strike| strike.number("pause") == Some(200)));
        let operations = strikes.filter_map(|strike| strike.number("operations"));
        assert!(operations.clone().all(|operations| (1..=40).contains(&operations)));
        assert!(operations.min() < Some(20));
        assert!(variants.iter().all(|v| v.decisions.clients == script.decisions.clients));
    }
}
