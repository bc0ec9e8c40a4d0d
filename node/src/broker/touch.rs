//! Whether a broker is in touch with the controller: how long ago it knew what had been decided.
//!
//! That the controller answers is not enough. The quorum may have elected another leader for what a
//! broker leads, and the broker find the controller before the metadata comes to it: when a link heals
//! that may take half a second, and more behind a long log. So an answer names the offset below which
//! everything lies that was decided before it, and counts once the broker follows the metadata up to
//! there, from the moment it was asked for.

use crate::env::Clock;
use highwater_core::{mutant::Mutant, partition::Input, time::Instant, types::MetadataOffset};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a broker has heard from the controller.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// When it asked for the last answer whose decisions it follows.
    heard: Instant,
    /// The first answer since that says more than it follows, and when it asked for it.
    ahead: Option<(MetadataOffset, Instant)>,
}

impl Touch {
    /// A broker that begins knows what there is.
    pub fn begin(now: Instant) -> Self {
        Self { heard: now, ahead: None }
    }

    /// The metadata is followed up to an offset.
    pub fn follows(&mut self, followed: MetadataOffset) {
        let is_followed =
            |decided: MetadataOffset| followed >= decided || Mutant::InTouchUnaware.is_planted();
        if let Some((_, asked)) = self.ahead.take_if(|(decided, _)| is_followed(*decided)) {
            self.heard = asked;
        }
    }

    /// The controller has answered. An answer that waits is not given up for a later one, or a broker
    /// that is always a little behind would never be in touch.
    pub fn answered(&mut self, asked: Instant, decided: MetadataOffset, followed: MetadataOffset) {
        self.follows(followed);
        self.ahead.get_or_insert((decided, asked));
        self.follows(followed);
    }

    /// From when on it has not known for so long.
    pub fn silent_for(&self, duration: Duration) -> Instant {
        self.heard.after(duration)
    }
}

/// Up to when nobody can have replaced this broker as a leader for its silence, exclusive. Its partitions
/// share it, and each of them looks before it decides anything: after a process has stood still, everything that was
/// waited for is due at once, and whoever tells the partitions of their doubt may come last.
pub struct Lease {
    clock: Arc<dyn Clock>,
    until: AtomicU64,
    patience: Duration,
    vouches_for: Duration,
}

impl Lease {
    /// One without an end, for a broker that gives no signs of life yet. After it has ended, produces
    /// may wait for replicas for `patience`, and a follower's fetch vouches for its leader for
    /// `vouches_for`.
    pub fn endless(clock: Arc<dyn Clock>, patience: Duration, vouches_for: Duration) -> Self {
        Self { clock, until: AtomicU64::new(u64::MAX), patience, vouches_for }
    }

    /// It holds up to `until`, exclusive.
    pub fn hold_until(&self, until: Instant) {
        self.until.store(until.0, Ordering::Release);
    }

    /// Whether another broker may lead by now what this one leads.
    pub fn has_ended(&self) -> bool {
        self.clock.now().monotonic >= self.until()
    }

    fn until(&self) -> Instant {
        Instant(self.until.load(Ordering::Acquire))
    }

    /// What a partition is to be told at present.
    pub fn touch(&self) -> Input {
        let (patience, vouches_for) = (self.patience, self.vouches_for);
        match self.has_ended() {
            true => Input::OutOfTouch { since: self.until(), patience, vouches_for },
            false => Input::InTouch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::BoxFuture;
    use highwater_core::time::{Now, Timestamp};

    /// Shows what it is set to.
    #[derive(Default)]
    struct SetClock(AtomicU64);

    impl Clock for SetClock {
        fn now(&self) -> Now {
            let monotonic = Instant(self.0.load(Ordering::Acquire));
            Now { monotonic, wall: Timestamp(0) }
        }

        fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn at(millis: u64) -> Instant {
        Instant(0).after(Duration::from_millis(millis))
    }

    fn silence(touch: &Touch, now: u64) -> u128 {
        at(now).since(touch.silent_for(Duration::ZERO)).as_millis()
    }

    #[test]
    fn an_answer_counts_from_when_it_was_asked_for() {
        let mut touch = Touch::begin(at(0));
        touch.answered(at(100), MetadataOffset(7), MetadataOffset(7));
        assert_eq!(silence(&touch, 130), 30);
    }

    #[test]
    fn an_answer_counts_only_when_what_was_decided_before_it_is_known() {
        let mut touch = Touch::begin(at(0));
        touch.answered(at(100), MetadataOffset(9), MetadataOffset(7));
        assert_eq!(silence(&touch, 130), 130);
        touch.follows(MetadataOffset(8));
        assert_eq!(silence(&touch, 200), 200);
        touch.follows(MetadataOffset(9));
        assert_eq!(silence(&touch, 230), 130);
    }

    #[test]
    fn a_broker_that_is_always_a_little_behind_is_in_touch() {
        let mut touch = Touch::begin(at(0));
        for beat in 1..50 {
            let (decided, followed) = (MetadataOffset(beat + 1), MetadataOffset(beat));
            touch.answered(at(beat * 100), decided, followed);
            assert!(silence(&touch, beat * 100) <= 200, "{touch:?}");
        }
    }

    #[test]
    fn silence_goes_on_where_nothing_is_answered() {
        let mut touch = Touch::begin(at(50));
        touch.follows(MetadataOffset(100));
        assert_eq!(silence(&touch, 950), 900);
    }

    #[test]
    fn a_lease_ends_by_itself_and_holds_again_when_it_is_renewed() {
        let clock = Arc::new(SetClock::default());
        let (patience, vouches_for) = (Duration::from_secs(1), Duration::from_secs(2));
        let lease = Lease::endless(clock.clone(), patience, vouches_for);
        clock.0.store(u64::MAX - 1, Ordering::Release);
        assert!(matches!(lease.touch(), Input::InTouch), "nobody is told of a broker yet");
        lease.hold_until(at(100));
        clock.0.store(at(99).0, Ordering::Release);
        assert!(!lease.has_ended());
        clock.0.store(at(100).0, Ordering::Release);
        assert!(matches!(
            lease.touch(),
            Input::OutOfTouch { since, patience: told, vouches_for: vouched }
                if (since, told, vouched) == (at(100), patience, vouches_for)
        ));
        lease.hold_until(at(101));
        assert!(matches!(lease.touch(), Input::InTouch));
    }
}
