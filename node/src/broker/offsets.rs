//! The offsets that this broker knows best, for whoever measures the lag of consumers.

use super::Shared;
use crate::metrics::{GroupOffset, Offsets, PartitionOffsets};
use highwater_core::{
    coordinator::CoordinatorError,
    group::{FetchOffsets, GroupId, Request, Response},
    types::PartitionIndex,
};

/// Partitions, and offsets of groups, that are shown at most: each is a series at whoever scrapes.
const SHOWN_MAX: usize = 100_000;

impl Shared {
    /// The offsets of the partitions that this broker leads and of the groups that it coordinates.
    pub(crate) async fn offsets(&self) -> Offsets {
        let mut offsets = Offsets::default();
        self.add_partitions(&mut offsets);
        for index in self.coordinators.led() {
            match self.add_groups(index, &mut offsets).await {
                // It has moved since: its new broker shows what it has.
                Ok(()) | Err(CoordinatorError::NotCoordinator) => {}
                Err(_) => offsets.coordinators_silent += 1,
            }
        }
        offsets
    }

    fn add_partitions(&self, offsets: &mut Offsets) {
        for driver in self.partitions.open() {
            let bounds = driver.inspect(|partition| {
                let leads = partition.is_leader();
                leads.then(|| (partition.log_start_offset(), partition.high_watermark()))
            });
            let Some((log_start, high_watermark)) = bounds else { continue };
            if offsets.partitions.len() == SHOWN_MAX {
                offsets.truncated = true;
                return;
            }
            offsets.partitions.push(PartitionOffsets {
                topic: driver.id.topic.clone(),
                partition: driver.id.index.0,
                log_start: log_start.0,
                high_watermark: high_watermark.0,
            });
        }
    }

    /// What the groups of one coordinator have committed.
    async fn add_groups(
        &self,
        index: PartitionIndex,
        offsets: &mut Offsets,
    ) -> Result<(), CoordinatorError> {
        let everything = Request::List { states: Vec::new(), types: Vec::new() };
        let Response::Listed(listed) = self.coordinators.ask(index, everything).await? else {
            unreachable!("a list of groups is answered with one");
        };
        for group in listed {
            self.add_group(index, &group.group, offsets).await?;
            if offsets.truncated {
                break;
            }
        }
        Ok(())
    }

    async fn add_group(
        &self,
        index: PartitionIndex,
        group: &GroupId,
        offsets: &mut Offsets,
    ) -> Result<(), CoordinatorError> {
        let body = Request::FetchOffsets(FetchOffsets {
            group: group.clone(),
            member: None,
            topics: None,
            require_stable: false,
        });
        // A group that was deleted in between has no offsets.
        let Response::Offsets(Ok(topics)) = self.coordinators.ask(index, body).await? else {
            return Ok(());
        };
        for topic in topics {
            for (partition, committed) in topic.partitions {
                let Ok(Some(committed)) = committed else { continue };
                if offsets.groups.len() == SHOWN_MAX {
                    offsets.truncated = true;
                    return Ok(());
                }
                offsets.groups.push(GroupOffset {
                    group: group.clone(),
                    topic: topic.topic.clone(),
                    partition: partition.0,
                    offset: committed.offset.0,
                });
            }
        }
        Ok(())
    }
}
