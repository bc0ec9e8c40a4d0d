//! The consensus crate's log storage: the log in memory for its readers, and the file behind it.

use super::{
    log_file::{Done, Write},
    log_state::{LetInRecord, LogState, Record},
    types::{Entry, EntryRecord, LogId, Position, Senseless, Types, Vote},
};
use highwater_core::sometimes;
use openraft::{
    LogState as RaftLogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Entries in one message to a follower, in encoded bytes, except that one entry always travels.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// The log as its readers see it: ahead of the file.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<LogState>>);

impl Log {
    pub(super) fn new(state: LogState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self, range: impl RangeBounds<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        // A range that begins behind its end is empty here and a panic in a map.
        if is_empty(&range) {
            return Ok(Vec::new());
        }
        let mut bytes = 0;
        let state = self.lock();
        let within = state.entries.range(range).take_while(|(_, entry)| {
            let first = bytes == 0;
            bytes += crate::internal::encoded_size(&**entry);
            first || bytes <= bytes_max
        });
        within
            .map(|(_, entry)| EntryRecord::clone(entry).into_entry())
            .collect::<Result<_, Senseless>>()
            .map_err(io::Error::other)
    }
}

fn is_empty(range: &impl RangeBounds<u64>) -> bool {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match range.end_bound() {
        Bound::Included(end) => start > *end,
        Bound::Excluded(end) => start >= *end,
        Bound::Unbounded => false,
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(range, u64::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(start..end, MESSAGE_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote.map(Vote::from))
    }
}

/// How a node takes part in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its log is empty: what it has promised before is not known, so it takes no part.
    Outside,
    /// It came without a log: it follows, but does not vote unless its log gives it a vote.
    LetIn(LetInRecord),
    /// As its log says.
    Full,
}

/// The log and the way to its file.
#[derive(Clone)]
pub(super) struct LogStore {
    pub(super) log: Log,
    pub(super) writes: mpsc::Sender<Write>,
}

impl LogStore {
    /// What of the log decides whether the node takes part.
    pub(super) fn standing(&self) -> Standing {
        let log = self.log.lock();
        match (log.let_in, log.last()) {
            (Some(let_in), _) => Standing::LetIn(let_in),
            (None, Some(_)) => Standing::Full,
            (None, None) => Standing::Outside,
        }
    }

    /// Whether the log, or the vote, shows that the quorum has had a leader.
    pub(super) fn shows_a_leader(&self) -> bool {
        let log = self.log.lock();
        // The founding entry has index 0, and is not a leader's; nor is a vote in term 0.
        log.last().is_some_and(|last| last.index > 0)
            || log.vote.is_some_and(|vote| vote.committed && vote.term > 0)
    }

    /// The end of the log, exclusive.
    pub(super) fn end(&self) -> u64 {
        self.log.lock().last().map_or(0, |last| last.index + 1)
    }

    /// Remembers that the node was let in; `None` once it has a vote again.
    pub(super) async fn save_let_in(&self, let_in: Option<LetInRecord>) -> io::Result<()> {
        self.write_durably(Record::LetIn(let_in), Done::LetIn).await
    }

    /// Changes the log in memory and queues the records for the file.
    async fn write(&self, records: Vec<Record>, done: Done) -> io::Result<()> {
        {
            let mut log = self.log.lock();
            for record in &records {
                log.apply(record).map_err(io::Error::other)?;
            }
        }
        self.writes.send(Write { records, done }).await.map_err(|_| gone())
    }

    async fn write_durably(
        &self,
        record: Record,
        done: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Done,
    ) -> io::Result<()> {
        let (asker, answer) = oneshot::channel();
        self.write(vec![record], done(asker)).await?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the task of the quorum's log has ended")
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<RaftLogState<Types>, io::Error> {
        let log = self.log.lock();
        Ok(RaftLogState {
            last_purged_log_id: log.purged.map(LogId::from),
            last_log_id: log.last().map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.log.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write_durably(Record::Vote(vote.into()), Done::Vote).await
    }

    /// Need not be durable: it only lets a restarted node apply more before it hears of a leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(at) = committed else { return Ok(()) };
        self.write(vec![Record::Committed(at.into())], Done::Nobody).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let log = self.log.lock();
        let known =
            log.committed.filter(|at| log.last().is_some_and(|last| at.index <= last.index));
        Ok(known.map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records =
            entries.into_iter().map(|entry| Record::Entry(Arc::new(entry.into()))).collect();
        self.write(records, Done::Entries(callback)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        sometimes!(UncommittedMetadataCut);
        let record = Record::Truncate(last.map(Position::from));
        self.write_durably(record, Done::Truncation).await
    }

    /// Need not be durable: the snapshot that replaces the entries is.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        sometimes!(MetadataLogPurged);
        self.write(vec![Record::Purge(upto.into())], Done::Nobody).await
    }
}
