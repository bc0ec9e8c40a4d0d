//! What is known of the end of a partition's log at some moment: what leaders told of it, and what was
//! acknowledged below it.
//!
//! A leader that was replaced and does not know it answers for its own epoch, which the client has
//! named: it is measured by what it has acknowledged itself and what was while nobody knew of a later
//! epoch, and not by what its successors did.

use super::index::Index;
use crate::history::{Call, Moment, Outcome, Partition, Request};

const LATEST: i64 = -1;

/// A moment from which on an offset is known to be the end, or to lie before it.
pub struct Told {
    /// When the answer was there.
    pub ended: Moment,
    /// Who told it.
    pub broker: i32,
    /// Of the leadership that told it; that which acknowledged something is not known.
    pub epoch: Option<i32>,
    /// The offset, exclusive.
    pub end: i64,
    /// The newest timestamp of what was acknowledged.
    pub newest: Option<i64>,
}

/// What was told of the end of one partition.
pub struct Ends {
    told: Vec<Told>,
    /// Leader epochs, each with a moment at which a broker did not know of it that did later.
    unknown: Vec<(i32, Moment)>,
    is_cluster: bool,
}

impl Ends {
    /// Of a partition. Only records count that are there still.
    pub fn of(index: &Index<'_>, partition: Partition) -> Self {
        let looks = index.history.metadata.iter();
        let unknown = looks
            .filter_map(|look| {
                Some((look.partitions.get(&partition)?.leader_epoch, look.unknown_at))
            })
            .collect();
        let is_cluster = index.history.promise.is_cluster();
        Self { told: told(index, partition), unknown, is_cluster }
    }

    /// The epoch that an answer is of; `None` where nothing is known of it. A broker alone has no
    /// successor.
    fn epoch_of(&self, call: &Call) -> Option<i32> {
        call.knew.or((!self.is_cluster).then_some(i32::MAX))
    }

    /// What was known before the call, to the leadership that it was made to.
    pub fn known_before(&self, call: &Call) -> impl Iterator<Item = &Told> {
        let (invoked, broker) = (call.invoked, call.broker);
        let epoch = self.epoch_of(call);
        // Until then nobody knows of a later epoch.
        let later = self.unknown.iter().filter(|(other, _)| epoch.is_some_and(|it| *other > it));
        let alone_until = later.map(|(_, unknown_at)| *unknown_at).min().unwrap_or(Moment::MAX);
        let is_known = move |told: &&Told| {
            let Some(epoch) = epoch.filter(|_| told.ended < invoked) else { return false };
            match told.epoch {
                Some(told) => told <= epoch,
                None => told.broker == broker || told.ended <= alone_until,
            }
        };
        self.told.iter().filter(is_known)
    }

    /// Up to where the log is committed and known, to the leadership that the call was made to.
    pub fn end_before(&self, call: &Call) -> Option<i64> {
        self.known_before(call).map(|told| told.end).max()
    }
}

/// The highest log start that anybody can have asked for before a call was over.
pub fn start_asked_by(index: &Index<'_>, partition: Partition, call: &Call) -> i64 {
    let before_the_end = |other: &&Call| call.ended.is_none_or(|it| other.invoked < it);
    let calls = index.history.calls.iter().filter(before_the_end);
    let asked = calls.filter_map(|call| match call.request {
        Request::DeleteRecords { partition: of, before } if of == partition => {
            Some(if before < 0 { i64::MAX } else { before })
        }
        _ => None,
    });
    asked.max().unwrap_or(0)
}

/// What was told of the end, or acknowledged below it.
fn told(index: &Index<'_>, partition: Partition) -> Vec<Told> {
    let records = index.records.get(&partition);
    let acknowledged = index.history.acknowledged().filter_map(|(call, produce, base)| {
        let is_there = produce.partition == partition && records?.contains_key(&base);
        let newest = produce.records.iter().map(|record| record.timestamp).max();
        let end = base + produce.records.len() as i64;
        let (ended, broker) = (call.ended.filter(|_| is_there)?, call.broker);
        Some(Told { ended, broker, epoch: None, end, newest })
    });
    let in_cluster = index.history.promise.is_cluster();
    let read = index.history.calls.iter().filter_map(|call| {
        let (of, end) = end_told(call)?;
        let epoch = call.knew.or((!in_cluster).then_some(0))?;
        let (ended, broker) = (call.ended.filter(|_| of == partition)?, call.broker);
        Some(Told { ended, broker, epoch: Some(epoch), end, newest: None })
    });
    acknowledged.chain(read).collect()
}

/// The end of what readers may see, if a call told it.
pub fn end_told(call: &Call) -> Option<(Partition, i64)> {
    match (&call.request, &call.outcome) {
        (Request::Fetch { partition, .. }, Outcome::Fetched { high_watermark, .. }) => {
            Some((*partition, *high_watermark))
        }
        (Request::ListOffsets { partition, timestamp: LATEST }, Outcome::Offset { offset, .. }) => {
            Some((*partition, *offset))
        }
        _ => None,
    }
}
