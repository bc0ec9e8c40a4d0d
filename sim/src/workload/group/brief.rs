//! What a heartbeat of a consumer group says of its member. Java's consumer says all of it when it joins
//! and after a heartbeat of which nothing good was heard, and then what has changed; while it gives
//! partitions up it says nothing of them, and when it has done what it was told it says what it has,
//! changed or not.

use super::member::Member;
use crate::{
    group::{Partitions, Subscription},
    scenario::GroupHabit,
};
use std::collections::BTreeSet;

/// An assignment as it was told: also of topics that the member does not know yet, which it cannot take.
pub(super) type Given = BTreeSet<([u8; 16], i32)>;

/// What one heartbeat says; what it does not say is null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    pub(super) owned: Option<Partitions>,
    pub(super) subscription: Option<Subscription>,
    /// -1 when it does not say.
    pub(super) rebalance_millis: i32,
    /// What is known of the member when it was answered well.
    leaves_known: Option<Known>,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    owned: Partitions,
    subscription: Subscription,
    /// The assignment that it had come to.
    reached: u32,
}

/// What the coordinator knows of a member, as far as the member can tell.
#[derive(Debug, Default)]
pub(super) struct About {
    /// The last assignment that it was told.
    given: Given,
    /// How many assignments it was told that were others than before.
    told: u32,
    /// The last of them that it has come to.
    reached: u32,
    /// What is known for certain; `None` when all is to be said.
    known: Option<Known>,
}

impl About {
    /// It was told an assignment.
    pub(super) fn is_told(&mut self, given: Given) {
        if self.given != given {
            self.told += 1;
            self.given = given;
        }
    }

    /// What a member says that has these, subscribes to that and was told to have so much.
    fn words(
        &mut self,
        (owned, target): (&Partitions, &Partitions),
        subscription: Subscription,
        rebalance_millis: i32,
    ) -> Words {
        if owned == target {
            self.reached = self.told;
        }
        let now = Known { owned: owned.clone(), subscription, reached: self.reached };
        let known = self.known.as_ref();
        let is_known_to_own =
            known.is_some_and(|known| known.owned == now.owned && known.reached == now.reached);
        let is_known_to_subscribe = known.is_some_and(|it| it.subscription == now.subscription);
        Words {
            owned: (!is_known_to_own).then(|| now.owned.clone()),
            subscription: (!is_known_to_subscribe).then(|| now.subscription.clone()),
            rebalance_millis: if known.is_some() { -1 } else { rebalance_millis },
            leaves_known: Some(now),
        }
    }

    /// What was said is known from now on, or nothing is.
    pub(super) fn comes_of(&mut self, words: &Words, is_well: bool) {
        self.known = words.leaves_known.clone().filter(|_| is_well);
    }
}

impl Member {
    /// What its next heartbeat says.
    pub(super) fn words(&mut self, joins: bool, says_all: bool, owned: &Partitions) -> Words {
        let rebalance_millis = self.manners.rebalance_millis as i32;
        if !self.manners.has(GroupHabit::BriefBeats) {
            return Words {
                owned: Some(owned.clone()),
                subscription: says_all.then(|| self.subscription()),
                rebalance_millis: if says_all { rebalance_millis } else { -1 },
                leaves_known: None,
            };
        }
        if joins {
            self.about = About::default();
        }
        let subscription = self.subscription();
        self.about.words((owned, &self.target), subscription, rebalance_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Partition;

    fn partitions(indexes: &[i32]) -> Partitions {
        indexes.iter().map(|index| Partition { topic: 0, index: *index }).collect()
    }

    fn given(indexes: &[i32]) -> Given {
        indexes.iter().map(|index| ([7; 16], *index)).collect()
    }

    /// Says what is to be said, and whether it was answered well; which of the two it said.
    fn says(about: &mut About, owned: &[i32], target: &[i32], is_well: bool) -> (bool, bool) {
        let (owned, target) = (partitions(owned), partitions(target));
        let says_all = about.known.is_none();
        let words = about.words((&owned, &target), Subscription::default(), 900);
        assert_eq!(words.rebalance_millis == 900, says_all);
        about.comes_of(&words, is_well);
        (words.owned.is_some(), words.subscription.is_some())
    }

    #[test]
    fn a_member_says_what_has_changed_and_nothing_while_it_gives_partitions_up() {
        let mut about = About::default();
        assert_eq!(says(&mut about, &[], &[], true), (true, true));
        about.is_told(given(&[0, 1]));
        assert_eq!(says(&mut about, &[0, 1], &[0, 1], true), (true, false));
        assert_eq!(says(&mut about, &[0, 1], &[0, 1], true), (false, false));
        about.is_told(given(&[0]));
        assert_eq!(says(&mut about, &[0, 1], &[0], true), (false, false));
        assert_eq!(says(&mut about, &[0], &[0], true), (true, false));
    }

    #[test]
    fn a_member_says_all_again_when_it_has_heard_nothing_good() {
        let mut about = About::default();
        assert_eq!(says(&mut about, &[0], &[0], false), (true, true));
        assert_eq!(says(&mut about, &[0], &[0], true), (true, true));
        assert_eq!(says(&mut about, &[0], &[0], false), (false, false));
        assert_eq!(says(&mut about, &[0], &[0], true), (true, true));
    }

    #[test]
    fn an_assignment_that_was_taken_back_before_it_was_taken_is_confirmed() {
        let mut about = About::default();
        assert_eq!(says(&mut about, &[], &[], true), (true, true));
        about.is_told(given(&[0]));
        about.is_told(given(&[]));
        assert_eq!(says(&mut about, &[], &[], true), (true, false));
    }

    #[test]
    fn an_assignment_of_a_topic_that_is_not_known_yet_is_another_one() {
        let mut about = About::default();
        about.is_told(given(&[0]));
        assert_eq!(says(&mut about, &[0], &[0], true), (true, true));
        // Of the second topic the member knows nothing, and it has what it can have.
        about.is_told([([7; 16], 0), ([8; 16], 0)].into());
        assert_eq!(says(&mut about, &[0], &[0], true), (true, false));
        about.is_told(given(&[0]));
        assert_eq!(says(&mut about, &[0], &[0], true), (true, false), "it has given that up");
        about.is_told(given(&[0]));
        assert_eq!(says(&mut about, &[0], &[0], true), (false, false));
    }
}
