//! One partition without any async: hostile producers, a disk that forgets what was not flushed,
//! and a model that knows what must be true. One seed is one run; a failure names its seed.

mod clients;
mod model;
mod statistics;
mod world;

use statistics::Statistics;
#[cfg(not(madsim))]
use std::time::Instant;
use world::World;

const STEPS: u64 = 600;

fn run(seed: u64) -> Statistics {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.turn();
    }
    world.settle();
    world.statistics
}

/// Runs the seeds until one breaks a promise.
fn first_failure(seeds: u64) -> Result<Statistics, u64> {
    let mut total = Statistics::default();
    for seed in 0..seeds {
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
    const SEEDS: u64 = 400;
    let started = Instant::now();
    let total = match first_failure(SEEDS) {
        Ok(total) => total,
        Err(seed) => panic!("seed {seed} broke a promise, see above"),
    };
    let rate = total.steps as f64 / started.elapsed().as_secs_f64();
    println!("{SEEDS} seeds, {rate:.0} steps a second, {total:?}");
    total.assert_not_vacuous();
}

/// In the simulation build the planted bugs exist, and this model alone finds those of core.
#[cfg(madsim)]
#[test]
fn every_planted_bug_of_core_is_found() {
    use highwater_core::mutant::Mutant;
    const SEEDS: u64 = 200;
    match first_failure(SEEDS) {
        Ok(total) => total.assert_not_vacuous(),
        Err(seed) => panic!("seed {seed} fails without a planted bug, see above"),
    }
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in [
        Mutant::AckBeforeFsync,
        Mutant::ProducerStateBeforeAppend,
        Mutant::ReadPastHighWatermark,
        Mutant::DuplicateAppended,
        Mutant::DeleteRecordsBeforeSync,
        Mutant::RetentionTooEarly,
        Mutant::ProducersNotRecovered,
    ] {
        mutant.plant();
        let found = first_failure(SEEDS).err();
        println!("{}: seed {found:?}", mutant.name());
        assert!(found.is_some(), "{} was not found in {SEEDS} seeds", mutant.name());
    }
}
