//! How often the interesting things happened.

/// Counted over a run, or many.
#[derive(Debug, Default)]
pub struct Statistics {
    pub steps: u64,
    pub acks: u64,
    pub duplicates: u64,
    pub refusals: u64,
    pub timeouts: u64,
    pub crashes: u64,
    pub lost_batches: u64,
    pub wakes: u64,
    pub deletions: u64,
    pub retentions: u64,
    pub log_failures: u64,
}

impl Statistics {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.acks += other.acks;
        self.duplicates += other.duplicates;
        self.refusals += other.refusals;
        self.timeouts += other.timeouts;
        self.crashes += other.crashes;
        self.lost_batches += other.lost_batches;
        self.wakes += other.wakes;
        self.deletions += other.deletions;
        self.retentions += other.retentions;
        self.log_failures += other.log_failures;
    }

    /// A run in which a fault had no effect proves nothing about it.
    pub fn assert_not_vacuous(&self) {
        for (what, count) in [
            ("acks", self.acks),
            ("duplicates", self.duplicates),
            ("refusals", self.refusals),
            ("timeouts", self.timeouts),
            ("lost batches", self.lost_batches),
            ("wakes", self.wakes),
            ("deletions", self.deletions),
            ("retentions", self.retentions),
            ("log failures", self.log_failures),
        ] {
            assert!(count > 100, "too few {what}: {count}");
        }
    }
}
