//! Whether a broker is in touch with the controller: how long ago it knew what had been decided.
//!
//! That the controller answers is not enough. The quorum may have elected another leader for what a
//! broker leads, and the broker find the controller before the metadata comes to it: when a link heals
//! that may take half a second, and more behind a long log. So an answer names the offset below which
//! everything lies that was decided before it, and counts once the broker follows the metadata up to
//! there, from the moment it was asked for.

use highwater_core::{mutant::Mutant, time::Instant, types::MetadataOffset};
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
