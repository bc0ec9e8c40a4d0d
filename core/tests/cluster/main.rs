//! One partition on several brokers without any async: a hostile network, disks that forget what
//! was not flushed, clocks that differ, a small controller, and an observer that knows everything
//! that was ever committed. One seed is one run; a failure names its seed.

mod broker;
mod checks;
mod clients;
mod controller;
mod disk;
mod faults;
mod fetching;
mod ghost;
mod perform;
mod producing;
mod statistics;
mod world;

use statistics::Statistics;
use world::World;

const TURNS: u64 = 1500;

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
fn hundreds_of_seeds_keep_every_promise() {
    // HIGHWATER_CLUSTER_SEEDS=FIRST..END runs others.
    let range = std::env::var("HIGHWATER_CLUSTER_SEEDS").ok();
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

/// In the simulation build the planted bugs exist, and this model alone finds those of
/// replication.
#[cfg(madsim)]
#[test]
fn every_planted_bug_of_replication_is_found() {
    use highwater_core::mutant::Mutant;
    const SEEDS: u64 = 5000;
    match first_failure(0..500) {
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
        Mutant::TruncatesToHighWatermark,
        Mutant::HighWatermarkBeforeTruncation,
        Mutant::OldAnswerObeyed,
        Mutant::OldFetchCounts,
        Mutant::JoinsBelowEpochStart,
        Mutant::JoinsUnflushed,
        Mutant::ReceivedCountsAsFlushed,
        Mutant::HighWatermarkIgnoresProposal,
        Mutant::HighWatermarkBelowMinInsync,
        Mutant::NoAdvanceAfterShrink,
        Mutant::RetriedIsrIsEmpty,
        Mutant::RefusalForgetsTheOthers,
        Mutant::ProgressSurvivesRestart,
        Mutant::ReportsBeforeAgreement,
        Mutant::NoDivergenceCheck,
        Mutant::EpochsNotTruncated,
        Mutant::ProducersNotTruncated,
        Mutant::FollowerChecksSequence,
        Mutant::OutOfRangeResets,
        Mutant::FollowerServesUncommitted,
        Mutant::ReadmissionForgotten,
        Mutant::AllMeansLeader,
        Mutant::AckBeforeFsync,
        Mutant::ProducerStateBeforeAppend,
        Mutant::ReadPastHighWatermark,
        Mutant::DuplicateAppended,
        Mutant::ProducersNotRecovered,
        Mutant::RefusalUnproven,
        Mutant::FirstRefusalForgotten,
        Mutant::LogStartToldOnce,
        Mutant::LostFetchCountsAsTold,
        Mutant::UnknownSessionGoesOn,
        Mutant::RetryAnsweredAtOnce,
        Mutant::WithdrawnAnswerTaken,
        Mutant::JoinsBeforeDeletion,
        Mutant::FetchVouchesOnArrival,
        Mutant::LeaderEndAlone,
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
