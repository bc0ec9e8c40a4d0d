//! What the records of the quorum's log file add up to. Pure: the file's writer, its replay and
//! the readers in memory all follow this.

use super::types::{EntryRecord, Position, VoteRecord};
use highwater_core::types::BrokerId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// One record of the file. The order of variants and fields is its format: append only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// Whose file it is; the first record of a file, and only that.
    Header {
        /// The cluster.
        cluster: String,
        /// The node.
        node: BrokerId,
    },
    /// The node has voted.
    Vote(VoteRecord),
    /// The quorum has every entry up to this one, inclusive.
    Committed(Position),
    /// The next entry.
    Entry(Arc<EntryRecord>),
    /// Nothing follows this entry any more; `None` empties the log.
    Truncate(Option<Position>),
    /// Every entry up to this one, inclusive, is in a snapshot and gone from the log.
    Purge(Position),
    /// The node was let in without a log and has no vote yet; `None` once it has.
    LetIn(Option<LetInRecord>),
}

/// How a node was let in that came without a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetInRecord {
    /// The node takes part in no earlier term.
    pub(super) term: u64,
    /// Entries below this index do not say whether the node has a vote now.
    pub(super) without_vote: u64,
    /// The node asks for a vote.
    pub(super) wants_vote: bool,
}

/// The log and the vote.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogState {
    pub(super) vote: Option<VoteRecord>,
    pub(super) committed: Option<Position>,
    /// The last entry that is gone into a snapshot.
    pub(super) purged: Option<Position>,
    pub(super) let_in: Option<LetInRecord>,
    /// Invariant: without a gap, and the first one follows `purged`.
    pub(super) entries: BTreeMap<u64, Arc<EntryRecord>>,
}

impl LogState {
    /// The last entry, in a snapshot or not.
    pub(super) fn last(&self) -> Option<Position> {
        self.entries.last_key_value().map(|(_, entry)| entry.at).or(self.purged)
    }

    /// Takes one record into account; an error when it cannot follow the ones before.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Header { .. } => return Err("a header behind the first record".into()),
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(at) => self.committed = Some(*at),
            Record::Entry(entry) => self.append(entry)?,
            Record::Truncate(after) => {
                let next = after.map_or(0, |at| at.index + 1);
                self.entries.split_off(&next);
            }
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
            Record::LetIn(let_in) => self.let_in = *let_in,
        }
        Ok(())
    }

    /// The records of a file that holds this and nothing else.
    pub(super) fn to_records(&self) -> Vec<Record> {
        let let_in = self.let_in.map(|let_in| Record::LetIn(Some(let_in)));
        let vote = self.vote.map(Record::Vote);
        let purged = self.purged.map(Record::Purge);
        let entries = self.entries.values().cloned().map(Record::Entry);
        let committed = self.committed.map(Record::Committed);
        let_in.into_iter().chain(vote).chain(purged).chain(entries).chain(committed).collect()
    }

    fn append(&mut self, entry: &Arc<EntryRecord>) -> Result<(), String> {
        let index = entry.at.index;
        let next = self.last().map_or(0, |at| at.index + 1);
        if index != next {
            return Err(format!("entry {index} where {next} belongs"));
        }
        self.entries.insert(index, entry.clone());
        Ok(())
    }
}
