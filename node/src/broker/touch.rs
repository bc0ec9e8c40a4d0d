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
/// share it, and each of them looks before it decides anything: after a process has stood still, everything
/// that was waited for is due at once, and whoever tells the partitions of their doubt may come last.
///
/// It is looked at every other interval between signs of life at the least. Who finds that nobody has
/// looked for longer knows that the process stood still.
pub struct Lease {
    clock: Arc<dyn Clock>,
    terms: LeaseTerms,
    until: AtomicU64,
    /// When somebody looked; zero before there was anything to see.
    looked: AtomicU64,
    /// When the process went on after it had stood still; zero when it never has.
    resumed: AtomicU64,
}

/// What a lease's end means.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTerms {
    /// How long produces may wait for replicas then.
    pub patience: Duration,
    /// For how long a follower's fetch vouches for its leader then.
    pub vouches_for: Duration,
    /// The longest pause between two looks of a process that runs.
    pub look_interval: Duration,
}

/// How late a look may be on a busy machine.
const LATE: Duration = Duration::from_millis(50);

impl Lease {
    /// One without an end, for a broker that gives no signs of life yet.
    pub fn endless(clock: Arc<dyn Clock>, terms: LeaseTerms) -> Self {
        let (until, looked, resumed) =
            (AtomicU64::new(u64::MAX), AtomicU64::new(0), AtomicU64::new(0));
        Self { clock, terms, until, looked, resumed }
    }

    /// It holds up to `until`, exclusive.
    pub fn hold_until(&self, until: Instant) {
        self.look();
        self.until.store(until.0, Ordering::Release);
    }

    /// Whether another broker may lead by now what this one leads: then, when the process went on after it
    /// had stood still.
    pub fn doubt(&self) -> Option<Instant> {
        let until = self.until.load(Ordering::Acquire);
        if until == u64::MAX {
            return None;
        }
        let now = self.look();
        (now.0 >= until).then(|| Instant(self.resumed.load(Ordering::Acquire)))
    }

    /// What a partition is to be told at present.
    pub fn touch(&self) -> Input {
        let LeaseTerms { patience, vouches_for, .. } = self.terms;
        self.doubt().map_or(Input::InTouch, |resumed| Input::OutOfTouch {
            resumed,
            patience,
            vouches_for,
        })
    }

    /// Reads the time, and notices whether it has passed without anybody.
    fn look(&self) -> Instant {
        let now = self.clock.now().monotonic;
        let looked = Instant(self.looked.load(Ordering::Acquire));
        let apart = self.terms.look_interval + LATE;
        if looked > Instant(0) && now > looked.after(apart) {
            self.resumed.fetch_max(now.0, Ordering::AcqRel);
        }
        // Not at every step of every partition: all processors share it.
        if now > looked.after(LATE / 4) {
            self.looked.fetch_max(now.0, Ordering::AcqRel);
        }
        now
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

    const TERMS: LeaseTerms = LeaseTerms {
        patience: Duration::from_secs(1),
        vouches_for: Duration::from_secs(2),
        look_interval: Duration::from_millis(200),
    };

    struct Watched {
        clock: Arc<SetClock>,
        lease: Lease,
    }

    impl Watched {
        fn new() -> Self {
            let clock = Arc::new(SetClock::default());
            Self { lease: Lease::endless(clock.clone(), TERMS), clock }
        }

        fn doubt_at(&self, millis: u64) -> Option<Instant> {
            self.clock.0.store(at(millis).0, Ordering::Release);
            self.lease.doubt()
        }
    }

    #[test]
    fn a_lease_ends_by_itself_and_holds_again_when_it_is_renewed() {
        let watched = Watched::new();
        assert_eq!(watched.doubt_at(90_000), None, "nobody is told of this broker yet");
        watched.lease.hold_until(at(90_100));
        assert_eq!(watched.doubt_at(90_099), None);
        assert_eq!(watched.doubt_at(90_100), Some(Instant(0)));
        watched.lease.hold_until(at(90_101));
        assert_eq!(watched.doubt_at(90_100), None);
    }

    #[test]
    fn a_process_that_looks_in_time_does_not_stand_still() {
        let watched = Watched::new();
        watched.doubt_at(1);
        watched.lease.hold_until(at(100));
        for look in 1..20 {
            let doubt = watched.doubt_at(1 + 250 * look);
            assert_eq!(doubt, Some(Instant(0)), "look {look}");
        }
    }

    #[test]
    fn who_looks_first_after_a_stop_knows_of_it() {
        let watched = Watched::new();
        watched.doubt_at(1);
        watched.lease.hold_until(at(500));
        assert_eq!(watched.doubt_at(200), None);
        assert_eq!(watched.doubt_at(451), None, "it stood still while the lease held");
        assert_eq!(watched.doubt_at(500), Some(at(451)));
        assert_eq!(watched.doubt_at(700), Some(at(451)));
        assert_eq!(watched.doubt_at(951), Some(at(951)), "and again while it is in doubt");
        let Input::OutOfTouch { resumed, patience, vouches_for } = watched.lease.touch() else {
            panic!("the lease has ended")
        };
        assert_eq!((resumed, patience, vouches_for), (at(951), TERMS.patience, TERMS.vouches_for));
        watched.lease.hold_until(at(2_000));
        assert!(matches!(watched.lease.touch(), Input::InTouch));
    }
}
