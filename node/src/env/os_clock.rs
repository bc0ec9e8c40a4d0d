//! The real clocks and the system's entropy.

use super::{BoxFuture, Clock, Entropy};
use highwater_core::time::{Instant, Now, Timestamp};
use std::time::{Duration, Instant as SystemInstant, SystemTime, UNIX_EPOCH};

/// The machine's clocks: the monotonic one counted from the creation of this value.
#[derive(Clone, Debug)]
pub struct OsClock {
    start: SystemInstant,
}

impl OsClock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the clock door")]
    #[must_use]
    pub fn new() -> Self {
        Self { start: SystemInstant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { monotonic: Instant(nanos), wall: wall_clock() }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock door")]
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        // A deadline beyond what the clock can hold is the end of time: nobody waits that long.
        let wake = self.start.checked_add(Duration::from_nanos(deadline.0));
        Box::pin(async move {
            match wake {
                Some(wake) => tokio::time::sleep_until(tokio::time::Instant::from_std(wake)).await,
                None => std::future::pending().await,
            }
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock door")]
fn wall_clock() -> Timestamp {
    let now = SystemTime::now();
    Timestamp(match now.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
        }
    })
}

/// The operating system's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        // Without randomness no id is unique: there is nothing sensible to go on with.
        getrandom::u64().expect("the operating system's random number generator works")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_reaches_the_deadline_and_the_clock_never_goes_back() {
        let clock = OsClock::new();
        let before = clock.now();
        let deadline = before.monotonic.after(Duration::from_millis(5));
        clock.sleep_until(deadline).await;
        let after = clock.now();
        assert!(after.monotonic >= deadline);
        assert!(after.wall.0 > 1_600_000_000_000, "the wall clock counts from the Unix epoch");
    }

    #[test]
    fn entropy_does_not_repeat() {
        assert_ne!(OsEntropy.next_u64(), OsEntropy.next_u64());
    }
}
