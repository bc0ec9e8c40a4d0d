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
    acks,
    failures,
    reads,
    lists,
    not_available,
    deletions,
    wakes,
    crashes,
    lost_batches,
    lost_messages,
    brief_fetches,
    lost_sessions,
    rests,
    mentions,
    duplicates,
    log_failures,
    elections,
    truncations,
    divergences,
    resets,
    proposals,
    refusals,
    shrinks,
    joins,
    most_committed,
}
