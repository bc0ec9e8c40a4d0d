//! Consumer groups under everything that can go wrong between members and their coordinator:
//! heartbeats in any order, answers that are lost, members that are slow to give up, silent, or
//! restarted, topics that grow, come and go, and a coordinator that moves. One seed is one run; a
//! failure names its seed.
//!
//! After every step it is checked that no two live members consume a partition (G7), that the
//! coordinator never grants one before it was given up (G9), that the target covers every
//! partition once (G6), what the states claim (G8, G10), that epochs do not go back (G11), and that
//! the log says what the state is; in the end that all come to rest (G12).

mod checks;
mod member;
mod world;

use world::{Statistics, World};

const TURNS: usize = 400;

fn run(seed: u64) -> Statistics {
    let mut world = World::new(seed);
    for _ in 0..TURNS {
        world.turn();
    }
    world.settle();
    world.statistics
}

/// Runs the seeds until one breaks a promise; that seed.
fn first_failure(seeds: std::ops::Range<u64>) -> Result<Statistics, u64> {
    let mut total = Statistics::default();
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(statistics) => total.add(&statistics),
            Err(_) => return Err(seed),
        }
    }
    Ok(total)
}

#[cfg(not(madsim))]
#[test]
fn a_hundred_seeds_keep_every_promise() {
    // HIGHWATER_GROUP_SEEDS=FIRST..END runs others.
    let range = std::env::var("HIGHWATER_GROUP_SEEDS").ok();
    let bounds = range.as_deref().and_then(|range| range.split_once(".."));
    let (first, end) = bounds.unwrap_or(("0", "100"));
    let seeds = first.parse().expect("a seed")..end.parse().expect("a seed");
    match first_failure(seeds.clone()) {
        Ok(total) => {
            println!("{seeds:?}, {total:?}");
            if range.is_none() {
                total.assert_not_vacuous();
            }
        }
        Err(seed) => panic!("seed {seed} broke a promise, see above"),
    }
}

/// In the simulation build the planted bugs exist, and this model finds those of consumer groups.
#[cfg(madsim)]
#[test]
fn every_planted_bug_of_consumer_groups_is_found() {
    use highwater_core::mutant::Mutant;
    const SEEDS: u64 = 60;
    if let Err(seed) = first_failure(0..10) {
        panic!("seed {seed} fails without a planted bug, see above");
    }
    let reason = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let noted = reason.clone();
    std::panic::set_hook(Box::new(move |panic| {
        *noted.lock().expect("no panic while it is held") = panic.to_string();
    }));
    let mut missed = Vec::new();
    for mutant in [
        Mutant::GrantedBeforeRevoked,
        Mutant::FencedMemberCannotRejoin,
        Mutant::StaleMemberEpochAccepted,
        Mutant::TargetIgnoresExpressions,
        Mutant::MemberEpochBumpedUnrevoked,
        Mutant::StaticMemberLosesPartitions,
        Mutant::OldEpochCommitsAnything,
        Mutant::LateMemberKeepsPartitions,
    ] {
        mutant.plant();
        let found = first_failure(0..SEEDS).err();
        let reason = reason.lock().expect("no panic while it is held").replace('\n', " ");
        match found {
            Some(seed) => println!("{}: seed {seed}, {reason}", mutant.name()),
            None => missed.push(mutant.name()),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
