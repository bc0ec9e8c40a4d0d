//! How often the interesting things happened.

macro_rules! statistics {
    ($($name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Statistics { $(pub $name: u64,)+ }

        impl Statistics {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// A run in which a fault had no effect proves nothing about it.
            pub fn assert_not_vacuous(&self) {
                for (what, count) in [$((stringify!($name), self.$name),)+] {
                    assert!(count > 20, "too few {what}: {count}");
                }
            }
        }
    };
}

statistics! {
    steps,
    requests,
    answers,
    refusals,
    lost_messages,
    duplicates,
    crashes,
    elections,
    lost_tails,
    failed_appends,
    loads,
    late_loads,
    failed_loads,
    zombie_answers,
    doubts,
    vain_doubts,
    compacted,
    wall_steps,
    topics_deleted,
    topics_grown,
    generations,
    joined,
    synced,
    heartbeats,
    rebalances,
    commits,
    refused_commits,
    offsets_read,
    expired,
    targets,
    consumer_heartbeats,
    revocations,
    fenced,
    static_returns,
    upgrades,
    downgrades,
    deleted_groups,
    converged,
}
