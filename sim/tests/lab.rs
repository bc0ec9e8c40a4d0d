//! An application and a check of one's own, as `docs/lab.md` shows them: found to be wrong when the
//! network is.
#![cfg(madsim)]

#[path = "../examples/bookings/check.rs"]
mod check;
#[path = "../examples/bookings/workload.rs"]
mod workload;

use check::NoFalseRefusal;
use highwater_node::env::BoxFuture;
use highwater_sim::{
    lab::{CallError, Lab, Process, Workload},
    scenario::Scenario,
};
use workload::Bookings;

const CALM: &str = include_str!("../../scenarios/quiet-cluster.toml");
const CUT: &str = include_str!("../../scenarios/leader-isolated.toml");

fn scenario(text: &str) -> Scenario {
    Scenario::parse("lab", text).unwrap()
}

fn bookings() -> Lab {
    Lab::new().workload(Bookings).check(NoFalseRefusal)
}

#[test]
fn a_run_is_the_same_again_in_the_same_process() {
    let scenario = scenario(CALM);
    // Without the check: brokers are restarted in the end, in silence.
    let application = || Lab::new().workload(Bookings);
    let first = application().run(&scenario, 3);
    assert!(first.passed, "{:?}", first.failure);
    let again = application().run(&scenario, 3);
    assert_eq!((&first.hash, first.events), (&again.hash, again.events));
    assert_ne!(Lab::new().run(&scenario, 3).hash, again.hash, "the application took part");
}

#[test]
fn an_application_that_takes_silence_for_a_refusal_is_found_out() {
    let scenario = scenario(CUT);
    let failures: Vec<_> =
        (0..40).filter_map(|seed| bookings().run(&scenario, seed).failure).collect();
    assert!(failures.iter().all(|failure| failure.check == "no false refusal"), "{failures:?}");
    assert!(!failures.is_empty());
    assert!(failures[0].message.contains("was refused and is booked"), "{failures:?}");
}

/// Cannot do in the end what it has to.
struct Stuck;

impl Workload for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }

    fn run(&self, _process: Process) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn finish(&self, process: Process) -> BoxFuture<'static, Result<(), CallError>> {
        Box::pin(async move {
            process.client().await?.read("no such topic", 0, 0).await?;
            Ok(())
        })
    }
}

#[test]
fn an_application_that_cannot_finish_fails_the_run() {
    let failure = Lab::new().workload(Stuck).run(&scenario(CALM), 1).failure.unwrap();
    assert!(failure.message.contains("stuck did not finish"), "{failure:?}");
    assert!(failure.message.contains("no such topic-0 has no leader"), "{failure:?}");
}

/// The blocks of a language in the guide.
fn blocks(language: &str) -> Vec<String> {
    let guide = include_str!("../../docs/lab.md");
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in guide.lines() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match &mut open {
            Some((_, block)) if bare == "```" => {
                found.push(std::mem::take(block));
                open = None;
            }
            Some((from, block)) => {
                block.push_str(line.get(*from..).unwrap_or_default());
                block.push('\n');
            }
            None if bare == format!("```{language}") => open = Some((indent, String::new())),
            None => {}
        }
    }
    found
}

#[test]
fn the_guide_shows_what_is_tested_here() {
    let shown = blocks("rust");
    for file in [
        include_str!("../examples/bookings/workload.rs"),
        include_str!("../examples/bookings/check.rs"),
    ] {
        assert!(file.lines().count() < 50, "an example is short");
        assert!(shown.iter().any(|block| block == file), "docs/lab.md shows it as it is: {file}");
    }
    let ideas = blocks("toml");
    assert_eq!(ideas.len(), 1);
    assert!(Lab::new().run(&scenario(&ideas[0]), 5).passed);
}
