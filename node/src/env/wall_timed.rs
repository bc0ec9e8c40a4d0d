//! A planted bug: timers that go by the wall clock.

use super::{BoxFuture, Clock};
use core::time::Duration;
use highwater_core::{
    mutant::Mutant,
    time::{Instant, Now},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The clock of somebody's timers: as it is, unless this bug is planted, by which they take the wall
/// clock for the monotonic one.
pub fn timers(clock: Arc<dyn Clock>, bug: Mutant) -> Arc<dyn Clock> {
    if !bug.is_planted() {
        return clock;
    }
    let start = clock.now();
    Arc::new(WallTimed { clock, start, shown: AtomicU64::new(start.monotonic.0) })
}

/// A clock whose monotonic time is what the wall clock says has passed, at the most so far.
struct WallTimed {
    clock: Arc<dyn Clock>,
    start: Now,
    /// What it has shown at the latest, in nanoseconds.
    shown: AtomicU64,
}

impl Clock for WallTimed {
    fn now(&self) -> Now {
        let now = self.clock.now();
        let passed = now.wall.0.saturating_sub(self.start.wall.0);
        let passed = Duration::from_millis(u64::try_from(passed).unwrap_or(0));
        let shows = self.start.monotonic.after(passed).0;
        let shown = self.shown.fetch_max(shows, Ordering::Relaxed);
        Now { monotonic: Instant(shown.max(shows)), wall: now.wall }
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let missing = deadline.since(self.now().monotonic);
        self.clock.sleep_until(self.clock.now().monotonic.after(missing))
    }
}
