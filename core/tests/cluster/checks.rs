//! What must be true after every step.

use crate::world::World;

impl World {
    /// What one replica says of itself.
    pub fn check_broker(&mut self, who: usize) {
        let broker = &mut self.brokers[who];
        let Some(process) = &broker.process else { return };
        let partition = &process.partition;
        let (start, end) = (partition.log_start_offset().0, partition.log_end_offset().0);
        let (flushed, high_watermark) =
            (partition.flushed_offset().0, partition.high_watermark().0);
        assert_eq!(end, broker.disk.live.end());
        // R17, L15.
        assert!(start <= high_watermark && high_watermark <= end, "R17");
        assert!(start <= flushed && flushed <= end, "L15");
        // L3, R6, R7, R8: below its high watermark every replica has what is committed, unchanged.
        let agreed = self.ghost.agreement(&broker.disk.live, &mut broker.trusted_live);
        let agreed = agreed.max(self.ghost.deleted);
        assert!(high_watermark <= agreed, "L3, R6: {high_watermark} is above {agreed}");
        // L2: the epoch of the last record is that of the log.
        if let Some((_, position)) = partition.fetch_position() {
            let last = broker.disk.live.entries.last().filter(|_| end > start);
            let epoch = last.and_then(|entry| entry.header.leader_epoch);
            assert_eq!(position.last_fetched_epoch, epoch, "L2: the last epoch");
        }
        self.statistics.most_committed = self.statistics.most_committed.max(self.ghost.end());
    }

    /// R2, R3, R4, R8, R9: whoever may be elected has everything that is committed: flushed, or
    /// received when that is the contract.
    pub fn check_members(&mut self) {
        let controller = &self.controller;
        for id in controller.isr.iter().chain(&controller.elr) {
            let broker = &mut self.brokers[Self::index_of(*id)];
            let agreed = if controller.counts_flushed {
                self.ghost.agreement(&broker.disk.durable, &mut broker.trusted_durable)
            } else if self.lossy.contains(id) {
                continue;
            } else {
                self.ghost.agreement(&broker.disk.live, &mut broker.trusted_live)
            };
            let committed = self.ghost.end();
            assert!(agreed >= committed, "R4, R9: {id} has {agreed} of {committed} committed");
        }
        // L15: nor does any of them, once it leads, bring back what was said to be deleted.
        for id in controller.isr.iter().chain(&controller.elr) {
            let (start, told) =
                (self.brokers[Self::index_of(*id)].disk.start, self.ghost.told_deleted);
            assert!(start >= told, "L15: {id} starts at {start}, {told} was said to be deleted");
        }
    }

    pub fn controller_changed(&mut self) {
        let Self { lossy, brokers, controller, .. } = self;
        lossy.retain(|id| {
            let is_back = brokers[Self::index_of(*id)].process.is_some();
            !(is_back && controller.isr.contains(id))
        });
        self.check_members();
    }
}
