//! Groups of one partition without any async: clients that are faithful and clients that are not,
//! coordinators that come and go, wall clocks that jump, and an observer that reads the log on its
//! own. One seed is one run; a failure names its seed.

mod clients;
mod ghost;
mod statistics;
mod world;

use statistics::Statistics;
use world::World;

const TURNS: u64 = 4000;

fn run(seed: u64) -> Statistics {
    let mut world = World::new(seed);
    for _ in 0..TURNS {
        world.turn();
    }
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
fn groups_keep_every_promise() {
    // HIGHWATER_GROUP_SEEDS=FIRST..END runs others.
    let range = std::env::var("HIGHWATER_GROUP_SEEDS").ok();
    let bounds = range.as_deref().and_then(|range| range.split_once(".."));
    let (first, end) = bounds.unwrap_or(("0", "30"));
    let seeds = first.parse().expect("a seed")..end.parse().expect("a seed");
    let total = match first_failure(seeds.clone()) {
        Ok(total) => total,
        Err(seed) => panic!("seed {seed} broke a promise, see above"),
    };
    println!("{seeds:?}, {total:?}");
    if range.is_none() {
        total.assert_not_vacuous();
    }
}

/// In the simulation build the planted bugs exist, and this model alone finds those of groups.
#[cfg(madsim)]
#[test]
fn every_planted_bug_of_groups_is_found() {
    use highwater_core::mutant::Mutant;
    const SEEDS: u64 = 200;
    match first_failure(0..30) {
        Ok(total) => total.assert_not_vacuous(),
        Err(seed) => panic!("seed {seed} fails without a planted bug, see above"),
    }
    let reason = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let noted = reason.clone();
    std::panic::set_hook(Box::new(move |panic| {
        *noted.lock().expect("no panic while it is held") = panic.to_string();
    }));
    let mut missed = Vec::new();
    for mutant in [
        Mutant::LiveGroupsOffsetsExpire,
        Mutant::GenerationReused,
        Mutant::StaticMemberNotFenced,
        Mutant::OldGenerationCommits,
        Mutant::SyncBeforeRecord,
        Mutant::AnswerBeforeHighWatermark,
        Mutant::PendingMemberTimerStays,
        Mutant::ParkedJoinExpires,
        Mutant::SyncTimerStays,
        Mutant::OffsetsExpireByWallClock,
        Mutant::OffsetsOutliveTopic,
    ] {
        mutant.plant();
        let found = first_failure(0..SEEDS).err();
        let reason = reason.lock().expect("no panic while it is held").replace('\n', " ");
        println!("{}: seed {found:?}: {reason}", mutant.name());
        if found.is_none() {
            missed.push(mutant.name());
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}
