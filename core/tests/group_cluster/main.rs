//! Groups of one partition on several brokers without any async: clients that speak as real ones
//! do, a network that loses, repeats and reorders, elections that lose what was not replicated,
//! compaction at any time, clocks that drift and jump, and an observer that reads the log on its
//! own. One seed is one run; a failure names its seed.

mod broker;
mod clients;
mod consumer;
mod faults;
mod ghost;
mod log;
mod member;
mod others;
mod statistics;
mod view;
mod wire;
mod world;

use statistics::Statistics;
use world::World;

const TURNS: u64 = 6000;

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
#[expect(clippy::disallowed_methods, reason = "the test's own speed, not the broker's time")]
#[test]
fn groups_keep_every_promise() {
    // HIGHWATER_GROUP_SEEDS=FIRST..END runs others.
    let range = std::env::var("HIGHWATER_GROUP_SEEDS").ok();
    let bounds = range.as_deref().and_then(|range| range.split_once(".."));
    let (first, end) = bounds.unwrap_or(("0", "500"));
    let seeds = first.parse().expect("a seed")..end.parse().expect("a seed");
    let started = std::time::Instant::now();
    let total = match first_failure(seeds.clone()) {
        Ok(total) => total,
        Err(seed) => panic!("seed {seed} broke a promise, see above"),
    };
    let rate = total.steps as f64 / started.elapsed().as_secs_f64();
    println!("{seeds:?}, {rate:.0} steps a second, {total:?}");
    if range.is_none() {
        total.assert_not_vacuous();
    }
}

/// In the simulation build the planted bugs exist, and this model alone finds those of groups and
/// of their coordinator.
#[cfg(madsim)]
#[test]
fn every_planted_bug_of_groups_is_found() {
    use highwater_core::mutant::Mutant;
    // HIGHWATER_GROUP_FIRST=SEED starts somewhere else.
    let first = std::env::var("HIGHWATER_GROUP_FIRST").ok();
    let first: u64 = first.map_or(0, |first| first.parse().expect("a seed"));
    let seeds = first..first + 2000;
    match first_failure(first..first + 500) {
        Ok(total) if first == 0 => total.assert_not_vacuous(),
        Ok(_) => {}
        Err(seed) => panic!("seed {seed} fails without a planted bug, see above"),
    }
    let reason = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let noted = reason.clone();
    std::panic::set_hook(Box::new(move |panic| {
        *noted.lock().expect("no panic while it is held") = panic.to_string();
    }));
    let mut missed = Vec::new();
    for mutant in [
        Mutant::AnswerBeforeHighWatermark,
        Mutant::LateLoadWins,
        Mutant::StaleCoordinatorAnswers,
        Mutant::GenerationReused,
        Mutant::StaticMemberNotFenced,
        Mutant::OldGenerationCommits,
        Mutant::SyncBeforeRecord,
        Mutant::PendingMemberTimerStays,
        Mutant::ParkedJoinExpires,
        Mutant::SyncTimerStays,
        Mutant::LiveGroupsOffsetsExpire,
        Mutant::OffsetsExpireByWallClock,
        Mutant::OffsetsOutliveTopic,
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
        let found = first_failure(seeds.clone()).err();
        let reason = reason.lock().expect("no panic while it is held").replace('\n', " ");
        let reason: String = reason.chars().take(240).collect();
        println!("{}: seed {found:?}: {reason}", mutant.name());
        if found.is_none() {
            missed.push(mutant.name());
        }
    }
    assert!(missed.is_empty(), "not found from seed {first} on: {missed:?}");
}
