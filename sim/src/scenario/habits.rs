//! What members of groups do besides joining, polling and committing, where a scenario says so.

/// One thing that members do now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupHabit {
    /// Members of consumer groups subscribe by regular expressions.
    Expressions,
    /// A heartbeat of an older epoch arrives once more, and its sender believes the answer.
    OldBeats,
    /// A commit of an older member epoch arrives late.
    LateCommits,
    /// Partitions are not given up within the rebalance timeout.
    KeepsPartitions,
    /// A member that is to join again is alive and does not for a while.
    SlowJoins,
    /// A member takes its time between joining and asking for its assignment.
    SlowSyncs,
    /// Offsets are not committed again that were.
    Idles,
    /// Heartbeats of consumer groups say what has changed since the last that was answered, and no more.
    BriefBeats,
    /// A member goes back to an earlier offset, and commits that.
    Rewinds,
}

impl GroupHabit {
    /// Every habit with its name in scenario files.
    pub const NAMED: &'static [(&'static str, Self)] = &[
        ("expressions", Self::Expressions),
        ("old-beats", Self::OldBeats),
        ("late-commits", Self::LateCommits),
        ("keeps-partitions", Self::KeepsPartitions),
        ("slow-joins", Self::SlowJoins),
        ("slow-syncs", Self::SlowSyncs),
        ("idles", Self::Idles),
        ("brief-beats", Self::BriefBeats),
        ("rewinds", Self::Rewinds),
    ];
}

/// How the members of groups behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupManners {
    /// How long a member may be silent, in milliseconds.
    pub session_millis: u64,
    /// How long a member may take to join again, or to give partitions up, in milliseconds.
    pub rebalance_millis: u64,
    /// What they do now and then.
    pub habits: Vec<GroupHabit>,
}

impl GroupManners {
    /// Whether they have this habit.
    #[must_use]
    pub fn has(&self, habit: GroupHabit) -> bool {
        self.habits.contains(&habit)
    }
}
