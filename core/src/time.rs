//! The two clocks, as values. A driver reads both once per step and passes them in.
//!
//! No safety property may depend on the wall clock: sessions, expiry and deadlines use
//! [`Instant`]; [`Timestamp`] only stamps records and decides retention.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A point on a node's monotonic clock: nanoseconds since an arbitrary start, never going back
/// within one incarnation of a process, meaningless across incarnations.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `duration` later, saturating at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock milliseconds since the Unix epoch, as Kafka records carry them. May be negative,
/// may jump either way.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

/// Both clocks, read once by the driver at the start of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines, sessions and expiry.
    pub monotonic: Instant,
    /// For record timestamps and time retention only.
    pub wall: Timestamp,
}
