//! One partition without any async: hostile producers, a disk that forgets what was not flushed,
//! and a model that knows what must be true. One seed is one run; a failure names its seed.

mod clients;
mod model;
mod world;

use std::time::Instant;
use world::{Statistics, World};

const STEPS: u64 = 600;

fn run(seed: u64) -> Statistics {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.turn();
    }
    world.settle();
    world.statistics
}

#[cfg(not(madsim))]
#[test]
fn hundreds_of_seeds_keep_every_promise() {
    const SEEDS: u64 = 400;
    let started = Instant::now();
    let mut total = Statistics::default();
    for seed in 0..SEEDS {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(statistics) => total.add(&statistics),
            Err(_) => panic!("seed {seed} broke a promise, see above"),
        }
    }
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
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
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
        let found = (0..SEEDS).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        println!("{}: seed {found:?}, {:?}", mutant.name(), started.elapsed());
        assert!(found.is_some(), "{} was not found in {SEEDS} seeds", mutant.name());
    }
}
