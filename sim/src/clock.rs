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

    /// What is wrong with the clocks now, for people.
    #[must_use]
    pub fn disturbance(&self) -> Option<String> {
        if let Some(strobe) = &self.strobe {
            return Some(format!(
                "the wall clock jumps to and fro by {} ms",
                strobe.amplitude_millis
            ));
        }
        match self.rate {
            rate if rate != 0.0 && self.frozen_wall.is_some() => {
                Some("the wall clock stands still".into())
            }
            0.0 => Some("both clocks stand still".into()),
            1.0 => None,
            rate => Some(format!("the monotonic clock runs at {rate} of its pace")),
        }
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
        collections::BTreeMap,
        pin::{Pin, pin},
        sync::{Arc, Mutex, MutexGuard, PoisonError},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    /// The simulated runtime has no shorter timers.
    const SHORTEST_TIMER: Duration = Duration::from_millis(1);
    /// The longest a timer runs. A timer cannot be taken back, and keeps the task that it wakes in
    /// memory until it has run out.
    const LONGEST_TIMER: Duration = Duration::from_secs(1);

    /// One machine's clock door. Clones are the same clock.
    #[derive(Clone)]
    pub struct SimClock(Arc<Mutex<Shared>>);

    struct Shared {
        model: ClockModel,
        /// Who waits for a deadline, to look again when the pace changes.
        sleepers: BTreeMap<u64, Waker>,
        next_sleeper: u64,
    }

    impl SimClock {
        /// Healthy clocks with this wall time, in milliseconds, at the start of the run.
        #[must_use]
        pub fn new(base_millis: i64) -> Self {
            let model = ClockModel::new(base_millis);
            Self(Arc::new(Mutex::new(Shared { model, sleepers: BTreeMap::new(), next_sleeper: 0 })))
        }

        /// Changes the model, for faults. Whoever sleeps looks at the clock again.
        pub fn change(&self, change: impl FnOnce(&mut ClockModel)) {
            let sleepers = {
                let mut shared = self.shared();
                change(&mut shared.model);
                std::mem::take(&mut shared.sleepers)
            };
            sleepers.into_values().for_each(Waker::wake);
        }

        /// What is wrong with the clocks now, for people.
        #[must_use]
        pub fn disturbance(&self) -> Option<String> {
            self.shared().model.disturbance()
        }

        fn shared(&self) -> MutexGuard<'_, Shared> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Clock for SimClock {
        fn now(&self) -> Now {
            self.shared().model.at(true_nanos())
        }

        fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
            Box::pin(SimSleep { clock: self.clone(), deadline, number: None, timer: None })
        }
    }

    /// Ends when a clock reaches a deadline, whatever becomes of its pace.
    struct SimSleep {
        clock: SimClock,
        deadline: Instant,
        /// Its number among the sleepers of the clock, once it has waited.
        number: Option<u64>,
        timer: Option<Timer>,
    }

    /// A timer that is running.
    struct Timer {
        /// True time in nanoseconds.
        ends: u64,
        wakes: Waker,
    }

    impl Future for SimSleep {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let now = true_nanos();
            let wait = self.clock.shared().model.until(now, self.deadline);
            if wait == Some(0) {
                return Poll::Ready(());
            }
            self.register(context.waker());
            if let Some(nanos) = wait {
                self.start_timer(now, Duration::from_nanos(nanos), context);
            }
            Poll::Pending
        }
    }

    impl SimSleep {
        fn register(&mut self, waker: &Waker) {
            let mut shared = self.clock.shared();
            let number = *self.number.get_or_insert(shared.next_sleeper);
            shared.next_sleeper = shared.next_sleeper.max(number + 1);
            if shared.sleepers.get(&number).is_some_and(|known| known.will_wake(waker)) {
                return;
            }
            // The last waker of a task may take its sleeps along, which want the lock.
            let before = shared.sleepers.insert(number, waker.clone());
            drop(shared);
            drop(before);
        }

        /// Starts a timer, unless one that is running wakes the same task early enough: whoever
        /// waits for several things is polled often.
        fn start_timer(&mut self, now: u64, wait: Duration, context: &mut Context<'_>) {
            let wait = wait.clamp(SHORTEST_TIMER, LONGEST_TIMER);
            let ends = now + wait.as_nanos() as u64;
            let waker = context.waker();
            let serves = |timer: &Timer| {
                timer.ends > now && timer.ends <= ends && timer.wakes.will_wake(waker)
            };
            if self.timer.as_ref().is_some_and(serves) {
                return;
            }
            self.timer = Some(Timer { ends, wakes: waker.clone() });
            // The first poll starts it, and it runs on without its future.
            let _ = pin!(time::sleep(wait)).poll(context);
        }
    }

    impl Drop for SimSleep {
        fn drop(&mut self) {
            if let Some(number) = self.number {
                let waker = self.clock.shared().sleepers.remove(&number);
                drop(waker);
            }
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

    #[test]
    fn what_befalls_the_wall_clock_leaves_the_monotonic_one_alone() {
        let (healthy, mut clock) = (ClockModel::new(0), ClockModel::new(0));
        for second in 0..12 {
            let nanos = second * SECOND;
            match second % 4 {
                0 => clock.step(if second % 8 == 0 { 86_400_000 } else { -86_400_000 }),
                1 => clock.strobe(Some(Strobe { amplitude_millis: 5_000, period_nanos: 7_000 })),
                2 => clock.freeze_wall(nanos, true),
                _ => {
                    clock.strobe(None);
                    clock.freeze_wall(nanos, false);
                }
            }
            for at in (nanos..nanos + SECOND).step_by(100_000_000) {
                assert_eq!(clock.at(at).monotonic, healthy.at(at).monotonic);
                let deadline = Instant(healthy.at(at).monotonic.0 + 5);
                assert_eq!(clock.until(at, deadline), healthy.until(at, deadline));
            }
        }
    }
}
