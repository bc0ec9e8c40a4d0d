//! Which segments compaction may touch, and how they are put together.

use super::CompactionPolicy;
use crate::env::OpenMode;
use crate::log::{Log, LogError, segment::ClosedSegment, state::State, walk::Walk};
use highwater_core::{time::Timestamp, types::Offset};

/// Bytes of an index entry on disk.
const INDEX_ENTRY_BYTES: u64 = 24;
/// Offsets that a segment spans at most: Kafka's indexes are relative to its first one.
const SEGMENT_OFFSETS_MAX: u64 = i32::MAX as u64;

/// The segments that may be compacted, as they are at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Oldest first, without a gap, from the first one of the log on.
    pub(super) segments: Vec<ClosedSegment>,
    /// Everything below it was compacted before.
    pub(super) first_dirty: Offset,
}

/// How much of a log is to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirtiness {
    /// Bytes of segments that compaction has been through.
    pub clean_bytes: u64,
    /// Bytes of closed segments that it has not, and may.
    pub dirty_bytes: u64,
    /// A record has waited for `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Dirtiness {
    /// The dirty share of what may be compacted, in millionths; 0 when there is nothing.
    #[must_use]
    pub fn ratio_millionths(&self) -> u32 {
        let all = u128::from(self.clean_bytes) + u128::from(self.dirty_bytes);
        let ratio = (u128::from(self.dirty_bytes) * 1_000_000).checked_div(all).unwrap_or(0);
        u32::try_from(ratio).unwrap_or(u32::MAX)
    }

    /// Whether compaction is due.
    #[must_use]
    pub fn is_due(&self, policy: &CompactionPolicy) -> bool {
        let is_dirty = self.ratio_millionths() > policy.min_dirty_ratio_millionths;
        self.dirty_bytes > 0 && (self.overdue || is_dirty)
    }
}

impl Plan {
    /// The segments that hold what was not compacted yet.
    pub(super) fn dirty(&self) -> impl Iterator<Item = &ClosedSegment> {
        self.segments.iter().filter(|segment| segment.end_offset > self.first_dirty)
    }

    fn dirtiness(&self) -> Dirtiness {
        let all: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let dirty_bytes = self.dirty().map(|segment| segment.bytes).sum();
        Dirtiness { clean_bytes: all - dirty_bytes, dirty_bytes, overdue: false }
    }

    /// The segments below `end`, those together that fit into one.
    pub(super) fn groups(&self, end: Offset, policy: &CompactionPolicy) -> Vec<Vec<ClosedSegment>> {
        let mut groups: Vec<Vec<ClosedSegment>> = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.base_offset < end) {
            match groups.last_mut() {
                Some(group) if fits(group, segment, policy) => group.push(*segment),
                _ => groups.push(vec![*segment]),
            }
        }
        groups
    }
}

fn fits(group: &[ClosedSegment], next: &ClosedSegment, policy: &CompactionPolicy) -> bool {
    let bytes = next.bytes + group.iter().map(|segment| segment.bytes).sum::<u64>();
    let entries = bytes / policy.index_interval_bytes.max(1);
    let first = group.first().map_or(next.base_offset, |first| first.base_offset);
    bytes <= policy.segment_bytes
        && entries * INDEX_ENTRY_BYTES <= policy.segment_index_bytes
        && next.end_offset.0 - first.0 <= SEGMENT_OFFSETS_MAX
}

impl State {
    /// What may be compacted of what lies below `end`, a bound that a segment must not cross.
    pub(super) fn compaction_plan(
        &self,
        now: Timestamp,
        end: Offset,
        policy: &CompactionPolicy,
    ) -> Plan {
        // What was deleted needs no compaction.
        let first_dirty = self.compacted_to.max(self.log_start_offset);
        let youngest = now.0.saturating_sub(millis(policy.min_lag));
        let waits = |segment: &ClosedSegment| {
            let newest = segment.newest.map_or(segment.modified, |newest| newest.timestamp);
            !policy.min_lag.is_zero() && newest.0 > youngest && segment.end_offset > first_dirty
        };
        let may = |segment: &&ClosedSegment| segment.end_offset <= end && !waits(segment);
        let segments = if self.cut_is_pending() {
            Vec::new()
        } else {
            self.closed.values().take_while(may).copied().collect()
        };
        Plan { segments, first_dirty }
    }
}

impl Log {
    /// How much of the log compaction would have to go through, up to `end` (exclusive).
    ///
    /// # Errors
    /// When the disk fails. Files are read only with `max.compaction.lag.ms`.
    pub async fn dirtiness(
        &self,
        now: Timestamp,
        end: Offset,
        policy: &CompactionPolicy,
    ) -> Result<Dirtiness, LogError> {
        let plan = self.shared.lock().compaction_plan(now, end, policy);
        let mut dirtiness = plan.dirtiness();
        let Some(max_lag) = policy.max_lag else { return Ok(dirtiness) };
        for segment in plan.dirty().filter(|segment| segment.bytes > 0) {
            let first = self.first_timestamp(segment).await;
            let Some(first) = self.unless_replaced(segment, first)? else { continue };
            if first.0 > 0 && first.0 < now.0.saturating_sub(millis(max_lag)) {
                dirtiness.overdue = true;
                break;
            }
        }
        Ok(dirtiness)
    }

    /// The newest timestamp of a segment's first batch.
    async fn first_timestamp(&self, segment: &ClosedSegment) -> Result<Timestamp, LogError> {
        let path = segment.name().log(self.dir());
        let file = self.shared.disk.open(&path, OpenMode::Read).await?;
        let has_gaps = self.shared.lock().has_gaps;
        let from = (segment.base_offset, 0);
        let mut walk = Walk::new(file, path, from, segment.bytes).with_gaps(has_gaps);
        let first = walk.next().await?;
        Ok(first.map_or(Timestamp(-1), |batch| batch.header.max_timestamp))
    }

    /// What was found in a segment; `None` when it was removed or replaced meanwhile.
    pub(super) fn unless_replaced<T>(
        &self,
        segment: &ClosedSegment,
        found: Result<T, LogError>,
    ) -> Result<Option<T>, LogError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(_) if self.shared.lock().closed.get(&segment.base_offset) != Some(segment) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
