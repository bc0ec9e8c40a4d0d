//! A single client that is cut off: what it asks and what it is answered is late, and nobody else
//! notices.
#![cfg(madsim)]

use highwater_sim::{
    history::{Call, History, Outcome, Request},
    report::Report,
    run::{Course, follow_in},
    scenario::Scenario,
    trace::Trace,
};
use std::collections::BTreeSet;

const CALLS_ISOLATED: &str = "calls_isolated";

/// A run of one broker with one producer and one consumer, and with these lines at its end.
fn run(seed: u64, lines: &str) -> (Report, History) {
    let text = format!(
        "# A client is cut off.\nwhy = \"Why: it is a test.\"\nmillis = 2500\n[workload]\n\
         topics = 1\npartitions = 1\nproducers = 1\nconsumers = 1\nadmins = 0\ncalls = 1000\n\
         pause = 5\n{lines}\n"
    );
    let scenario = Scenario::parse("client-isolation", &text).unwrap();
    let (ran, judged) = follow_in(&scenario, Course::of_seed(seed), &Trace::new(false));
    assert!(ran.report.passed, "{:?}", ran.report.failure);
    (ran.report, judged.history)
}

fn is_produce(call: &Call) -> bool {
    matches!(call.request, Request::Produce(_))
}

/// How many produces, and how many fetches, had an answer.
fn answered(history: &History) -> (usize, usize) {
    let heard = history.calls.iter().filter(|call| call.outcome != Outcome::Unknown);
    let (produces, others): (Vec<&Call>, Vec<&Call>) = heard.partition(|call| is_produce(call));
    let fetches = others.iter().filter(|call| matches!(call.request, Request::Fetch { .. }));
    (produces.len(), fetches.count())
}

#[test]
fn who_is_cut_off_hears_nothing_and_others_hear_everything() {
    let (report, history) = run(1, "");
    assert!(!report.effects.contains_key(CALLS_ISOLATED));
    let (produces, fetches) = answered(&history);
    let cut = "[faults.client-isolation]\nclient = \"producer\"\nat = 200\npause = 2200\n";
    let (report, history) = run(1, cut);
    assert!(report.effects[CALLS_ISOLATED] > 0);
    let (few, as_many) = answered(&history);
    assert!(few * 3 < produces, "{few} of {produces}");
    // Nothing is new to read meanwhile, and it waits for that.
    assert!(as_many * 4 > fetches, "{as_many} of {fetches}");
}

#[test]
fn a_request_whose_answer_is_kept_back_is_served() {
    let cut = "[faults.client-isolation]\nclient = \"producer\"\nat = 200\npause = 2200\n\
               direction = \"from-broker\"\n";
    let unheard_and_served = (1..6).any(|seed| {
        let (report, history) = run(seed, cut);
        assert!(report.effects[CALLS_ISOLATED] > 0);
        let records = history.finals.iter().flat_map(|log| &log.batches);
        let there: BTreeSet<u64> =
            records.flat_map(|batch| &batch.records).filter_map(|record| record.number).collect();
        let attempts = history.produces().filter(|(call, _)| call.outcome == Outcome::Unknown);
        attempts.into_iter().any(|(_, produce)| {
            produce.acks != 0 && produce.records.iter().all(|sent| there.contains(&sent.number))
        })
    });
    assert!(unheard_and_served);
}

#[test]
fn a_client_goes_on_when_the_link_is_mended() {
    let cut = "[faults.client-isolation]\nclient = \"producer\"\nat = 200\npause = 400\n";
    let (report, history) = run(1, cut);
    assert!(report.effects[CALLS_ISOLATED] > 0);
    let last =
        history.calls.iter().rposition(|call| call.outcome == Outcome::Unknown && is_produce(call));
    let heard_since = history.calls[last.unwrap_or(0)..]
        .iter()
        .filter(|call| is_produce(call) && call.outcome != Outcome::Unknown);
    assert!(heard_since.count() > 20);
}
