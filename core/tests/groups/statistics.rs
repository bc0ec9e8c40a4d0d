//! How often the interesting things happened.

macro_rules! statistics {
    ($($name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Statistics { $(pub $name: u64,)+ }

        impl Statistics {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// A run in which something never happens proves nothing about it.
            pub fn assert_not_vacuous(&self) {
                for (what, count) in [$((stringify!($name), self.$name),)+] {
                    assert!(count > 20, "too few {what}: {count}");
                }
            }
        }
    };
}

statistics! {
    turns,
    elections,
    lost_records,
    failed_appends,
    refusals,
    generations,
    assigned,
    emptied,
    joined,
    synced,
    skipped,
    fenced,
    commits,
    fetches,
    expired,
    removed_groups,
    replays,
}
