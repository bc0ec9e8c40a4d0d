//! Simulated clocks: two clocks per machine over the run's one true time. The wall clock may jump,
//! strobe and stand still; the monotonic clock may run fast, slow or not at all, and never goes back.

use highwater_core::time::{Instant, Now, Timestamp};

/// The two clocks of one machine, as functions of the true simulated time in nanoseconds.
#[derive(Clone, Debug)]
pub struct ClockModel {
    /// Wall time in milliseconds at true time zero.
    base_millis: i64,
    /// How far the wall clock has been stepped away from that, in milliseconds.
    offset_millis: i64,
    /// The wall clock stands still here.
    frozen_wall: Option<i64>,
    /// The wall clock jumps to and fro.
    strobe: Option<Strobe>,
    /// Nanoseconds of monotonic time for one of true time; zero stands still.
    rate: f64,
    /// The point from which `rate` counts: true time and monotonic time.
    anchor: (u64, u64),
}

/// A wall clock that jumps ahead and back again, period after period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strobe {
    /// How far it jumps, in milliseconds.
    pub amplitude_millis: i64,
    /// How long it stays on either side, in nanoseconds.
    pub period_nanos: u64,
}

impl ClockModel {
    /// Healthy clocks. The monotonic clock starts at an arbitrary point.
    #[must_use]
    pub fn new(base_millis: i64) -> Self {
        Self {
            base_millis,
            offset_millis: 0,
            frozen_wall: None,
            strobe: None,
            rate: 1.0,
            anchor: (0, 1_000_000_000),
        }
    }

    /// Both clocks at a true time, which never goes back.
    #[must_use]
    pub fn at(&self, nanos: u64) -> Now {
        Now { monotonic: Instant(self.monotonic(nanos)), wall: Timestamp(self.wall(nanos)) }
    }

    /// Steps the wall clock by this many milliseconds, for good.
    pub fn step(&mut self, millis: i64) {
        self.offset_millis = self.offset_millis.saturating_add(millis);
    }

    /// Lets the wall clock jump to and fro, or stops that.
    pub fn strobe(&mut self, strobe: Option<Strobe>) {
        self.strobe = strobe;
    }

    /// Stops the wall clock at what it shows now, or lets it go on from where it should be.
    pub fn freeze_wall(&mut self, nanos: u64, frozen: bool) {
        let shown = self.wall(nanos);
        self.frozen_wall = frozen.then_some(shown);
    }

    /// Lets the monotonic clock run at another pace from now on; zero stands still.
    pub fn set_rate(&mut self, nanos: u64, rate: f64) {
        self.anchor = (nanos, self.monotonic(nanos));
        self.rate = rate.max(0.0);
    }

    /// True nanoseconds until the monotonic clock reaches a deadline if it keeps its pace; `None`
    /// while it stands still.
    #[must_use]
    pub fn until(&self, nanos: u64, deadline: Instant) -> Option<u64> {
        let missing = deadline.0.saturating_sub(self.monotonic(nanos));
        if missing == 0 {
            return Some(0);
        }
        (self.rate > 0.0).then(|| (missing as f64 / self.rate).ceil() as u64)
    }

    fn monotonic(&self, nanos: u64) -> u64 {
        let elapsed = nanos.saturating_sub(self.anchor.0);
        self.anchor.1 + (elapsed as f64 * self.rate) as u64
    }

    fn wall(&self, nanos: u64) -> i64 {
        if let Some(millis) = self.frozen_wall {
            return millis;
        }
        let strobed = self.strobe.map_or(0, |strobe| {
            if (nanos / strobe.period_nanos.max(1)) % 2 == 1 { strobe.amplitude_millis } else { 0 }
        });
        let true_millis = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
        self.base_millis
            .saturating_add(self.offset_millis)
            .saturating_add(strobed)
            .saturating_add(true_millis)
    }
}

#[cfg(madsim)]
pub use door::{SimClock, SimEntropy};

#[cfg(madsim)]
mod door {
    use super::{ClockModel, Instant, Now};
    use crate::dice::Dice;
    use highwater_node::env::{BoxFuture, Clock, Entropy};
    use madsim::time;
    use std::{
        sync::{Arc, Mutex, MutexGuard, PoisonError},
        time::Duration,
    };

    /// The longest sleep between two looks at a clock whose pace may change.
    const LOOK_AGAIN: Duration = Duration::from_millis(50);

    /// One machine's clock door. Clones are the same clock.
    #[derive(Clone)]
    pub struct SimClock(Arc<Mutex<ClockModel>>);

    impl SimClock {
        /// Healthy clocks with this wall time, in milliseconds, at the start of the run.
        #[must_use]
        pub fn new(base_millis: i64) -> Self {
            Self(Arc::new(Mutex::new(ClockModel::new(base_millis))))
        }

        /// The model, for faults. Never held across an await.
        pub fn model(&self) -> MutexGuard<'_, ClockModel> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Clock for SimClock {
        fn now(&self) -> Now {
            self.model().at(true_nanos())
        }

        fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
            let clock = self.clone();
            Box::pin(async move {
                loop {
                    let wait = clock.model().until(true_nanos(), deadline);
                    match wait {
                        Some(0) => return,
                        Some(nanos) => {
                            time::sleep(Duration::from_nanos(nanos).min(LOOK_AGAIN)).await;
                        }
                        None => time::sleep(LOOK_AGAIN).await,
                    }
                }
            })
        }
    }

    /// Seeded entropy of one machine. Every life of its process draws on.
    #[derive(Clone)]
    pub struct SimEntropy(Arc<Mutex<Dice>>);

    impl SimEntropy {
        /// The entropy of a run's seed.
        #[must_use]
        pub fn new(seed: u64) -> Self {
            Self(Arc::new(Mutex::new(Dice::new(seed, "entropy"))))
        }
    }

    impl Entropy for SimEntropy {
        fn next_u64(&self) -> u64 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).bits()
        }
    }

    /// True simulated time since the start of the run, in nanoseconds.
    #[must_use]
    fn true_nanos() -> u64 {
        u64::try_from(time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_step_moves_the_wall_clock_only() {
        let mut clock = ClockModel::new(1_000);
        let before = clock.at(SECOND);
        clock.step(-86_400_000);
        let after = clock.at(SECOND);
        assert_eq!(before.monotonic, after.monotonic);
        assert_eq!(after.wall.0, before.wall.0 - 86_400_000);
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut clock = ClockModel::new(0);
        let mut last = clock.at(0).monotonic;
        for (step, rate) in [0.5, 2.0, 0.0, 1.0, 0.001].into_iter().enumerate() {
            let nanos = step as u64 * SECOND;
            clock.set_rate(nanos, rate);
            for at in 0..10 {
                let now = clock.at(nanos + at * SECOND / 10).monotonic;
                assert!(now >= last, "{now:?} after {last:?} at rate {rate}");
                last = now;
            }
        }
    }

    #[test]
    fn a_slow_clock_reaches_a_deadline_later() {
        let mut clock = ClockModel::new(0);
        let deadline = Instant(clock.at(0).monotonic.0 + SECOND);
        assert_eq!(clock.until(0, deadline), Some(SECOND));
        clock.set_rate(0, 0.5);
        assert_eq!(clock.until(0, deadline), Some(2 * SECOND));
        clock.set_rate(0, 0.0);
        assert_eq!(clock.until(0, deadline), None);
    }

    #[test]
    fn a_strobe_jumps_to_and_fro_and_a_frozen_clock_stands() {
        let mut clock = ClockModel::new(0);
        clock.strobe(Some(Strobe { amplitude_millis: 5_000, period_nanos: SECOND }));
        assert_eq!((clock.at(0).wall.0, clock.at(SECOND).wall.0), (0, 6_000));
        clock.strobe(None);
        clock.freeze_wall(SECOND, true);
        assert_eq!(clock.at(9 * SECOND).wall.0, 1_000);
        clock.freeze_wall(9 * SECOND, false);
        assert_eq!(clock.at(9 * SECOND).wall.0, 9_000);
    }
}
