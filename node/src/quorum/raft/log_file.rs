//! The quorum's log file and the task that writes it.
//!
//! The file is a run of frames. Each holds the records of one round, and is synced before the next
//! one is written: so a power cut tears the last frame only. What was asked for in a round is
//! answered when its frame is durable. After a failure the task writes no more, ever: what the
//! file holds is then not known, and a node that does not know must neither vote nor acknowledge.

use super::{
    log_state::{LogState, Record},
    types::Types,
};
use crate::{
    env::{Disk, DiskFile, OpenMode},
    internal::{self, FrameError},
    quorum::OpenError,
};
use highwater_core::{mutant::Mutant, sometimes};
use openraft::storage::IOFlushed;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{mpsc, oneshot};

const FILE_NAME: &str = "quorum.log";
const NEW_FILE_NAME: &str = "quorum.log.new";
/// Writes waiting for the file's one task; the consensus task waits beyond them.
pub(super) const WRITES_MAX: usize = 256;
/// Writes that share one sync. Each is bounded by what the consensus crate appends at once.
const WRITES_PER_ROUND_MAX: usize = 8;

/// Records to write, and whom to tell.
pub(super) struct Write {
    pub(super) records: Vec<Record>,
    pub(super) done: Done,
}

/// Whom to tell that records are durable.
pub(super) enum Done {
    /// Nobody: the records may be lost, and go to the file with the next ones that may not.
    Nobody,
    /// The voter.
    Vote(oneshot::Sender<io::Result<()>>),
    /// Who truncates the log.
    Truncation(oneshot::Sender<io::Result<()>>),
    /// The node that was let in.
    LetIn(oneshot::Sender<io::Result<()>>),
    /// The consensus crate's tracking of appended entries.
    Entries(IOFlushed<Types>),
}

impl Done {
    fn tell(self, outcome: io::Result<()>) {
        match self {
            Self::Nobody => {}
            Self::Vote(asker) | Self::Truncation(asker) | Self::LetIn(asker) => {
                // An asker that has gone away is a consensus task that has ended.
                let _ = asker.send(outcome);
            }
            Self::Entries(flushed) => flushed.io_completed(outcome),
        }
    }

    fn needs_sync(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Vote(_) => !Mutant::VoteNotPersisted.is_planted(),
            Self::Truncation(_) | Self::LetIn(_) => true,
            Self::Entries(_) => !Mutant::MetadataBeforeFsync.is_planted(),
        }
    }
}

/// The open file, before and inside its task.
pub(super) struct LogFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    header: Record,
    file: Arc<dyn DiskFile>,
    /// Invariant: the file is a run of whole frames up to here, all of them synced.
    end: u64,
    /// The position of the next frame.
    next: u64,
    /// Invariant: what the frames up to `end` add up to.
    written: LogState,
    /// Records that may be lost, for the next frame.
    pending: Vec<Record>,
    /// The size at which a rewrite may be worth it.
    rewrite_at: u64,
    /// The least that it is.
    rewrite_bytes_min: u64,
    stopped: bool,
}

impl LogFile {
    /// Opens the file in `dir`, creating it when missing, and replays it. Below `rewrite_bytes_min`
    /// it is not rewritten for what is purged.
    pub(super) async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        header: Record,
        rewrite_bytes_min: u64,
    ) -> Result<(Self, LogState), OpenError> {
        let path = dir.join(FILE_NAME);
        let at = |error| OpenError::Disk { path: path.clone(), error };
        let (state, next) = match disk.open(&path, OpenMode::Read).await {
            Ok(file) => replay(&path, &*file, &header).await?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (LogState::default(), 1),
            Err(error) => return Err(at(error)),
        };
        // What was read may be in the page cache only: after a sync that failed in an earlier life
        // no later sync of that file would store it. A new file is stored whole, and without the
        // torn tail.
        let (file, end) = write_aside(&*disk, dir, next, &header, &state).await.map_err(at)?;
        let log = Self {
            disk,
            dir: dir.to_owned(),
            header,
            file,
            end,
            next: next + 1,
            written: state.clone(),
            pending: Vec::new(),
            rewrite_at: rewrite_bytes_min.max(2 * end),
            rewrite_bytes_min,
            stopped: false,
        };
        Ok((log, state))
    }

    /// Writes what is asked for, until nobody can ask any more.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Write>) {
        while let Some(first) = incoming.recv().await {
            let mut round = vec![first];
            while round.len() < WRITES_PER_ROUND_MAX
                && let Ok(next) = incoming.try_recv()
            {
                round.push(next);
            }
            let outcome = self.store(&round).await;
            if let Err(error) = &outcome {
                self.stop(error);
            }
            for write in round {
                write.done.tell(outcome.as_ref().copied().map_err(same));
            }
        }
    }

    async fn store(&mut self, round: &[Write]) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other("the quorum's log has stopped after a failure"));
        }
        let mut purged = false;
        for record in round.iter().flat_map(|write| &write.records) {
            purged |= matches!(record, Record::Purge(_));
            // Only the last one of a run of these means anything.
            if matches!(record, Record::Committed(_)) {
                self.pending.pop_if(|last| matches!(last, Record::Committed(_)));
            }
            self.pending.push(record.clone());
        }
        if !round.iter().all(|write| matches!(write.done, Done::Nobody)) {
            self.append(round.iter().any(|write| write.done.needs_sync())).await?;
        }
        if purged && self.end >= self.rewrite_at {
            self.rewrite().await?;
        }
        Ok(())
    }

    async fn append(&mut self, sync: bool) -> io::Result<()> {
        let records = std::mem::take(&mut self.pending);
        let frame = internal::encode(self.next, &records);
        let length = frame.len() as u64;
        self.file.write_at(self.end, vec![frame]).await?;
        if sync {
            self.file.sync().await?;
        }
        self.end += length;
        self.next += 1;
        self.add_up(&records);
        Ok(())
    }

    fn add_up(&mut self, records: &[Record]) {
        for record in records {
            self.written.apply(record).expect("the consensus crate appends without gaps");
        }
    }

    /// Replaces the file by one without the entries that are purged.
    async fn rewrite(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.add_up(&pending);
        let written =
            write_aside(&*self.disk, &self.dir, self.next, &self.header, &self.written).await?;
        (self.file, self.end) = written;
        self.next += 1;
        self.rewrite_at = self.rewrite_bytes_min.max(2 * self.end);
        sometimes!(QuorumLogRewritten);
        Ok(())
    }

    fn stop(&mut self, error: &io::Error) {
        if !self.stopped {
            sometimes!(QuorumLogStopped);
            tracing::error!(
                path = %self.dir.join(FILE_NAME).display(), %error,
                "the metadata quorum has stopped on this node: it takes no part until a restart"
            );
        }
        self.stopped = true;
    }
}

fn same(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

async fn replay(
    path: &Path,
    file: &dyn DiskFile,
    header: &Record,
) -> Result<(LogState, u64), OpenError> {
    let at = |error| OpenError::Disk { path: path.to_owned(), error };
    let size = file.size().await.map_err(at)?;
    let bytes = file.read_at(0, usize::try_from(size).unwrap_or(usize::MAX)).await.map_err(at)?;
    let mut state = LogState::default();
    let mut last = None;
    let mut position = 0;
    while position < bytes.len() {
        let rest = &bytes[position..];
        let frame = match internal::decode::<Vec<Record>>(rest) {
            Ok(frame) => frame,
            Err(FrameError::Short | FrameError::Corrupt)
                if last.is_some()
                    && internal::later_frame_in(rest, last.unwrap_or(0)).is_none() =>
            {
                sometimes!(QuorumLogTorn);
                tracing::warn!(
                    path = %path.display(), at = position,
                    "cut a torn tail off the quorum's log"
                );
                break;
            }
            Err(reason) => {
                return Err(OpenError::Corrupt { path: path.to_owned(), position, reason });
            }
        };
        let senseless =
            |reason| OpenError::Inapplicable { path: path.to_owned(), position, reason };
        let mut records = frame.message.as_slice();
        match last {
            None => records = check_header(path, records, header)?,
            Some(last) if frame.position != last + 1 => {
                return Err(senseless(format!("frame {} follows {last}", frame.position)));
            }
            Some(_) => {}
        }
        for record in records {
            state.apply(record).map_err(senseless)?;
        }
        last = Some(frame.position);
        position += frame.size;
    }
    Ok((state, last.map_or(1, |last| last + 1)))
}

fn check_header<'a>(
    path: &Path,
    records: &'a [Record],
    expected: &Record,
) -> Result<&'a [Record], OpenError> {
    match records.split_first() {
        Some((found, rest)) if found == expected => Ok(rest),
        Some((found @ Record::Header { .. }, _)) => Err(OpenError::Foreign {
            path: path.to_owned(),
            found: format!("{found:?}"),
            expected: format!("{expected:?}"),
        }),
        _ => Err(OpenError::Inapplicable {
            path: path.to_owned(),
            position: 0,
            reason: "it does not begin with a header".into(),
        }),
    }
}

async fn write_aside(
    disk: &dyn Disk,
    dir: &Path,
    position: u64,
    header: &Record,
    state: &LogState,
) -> io::Result<(Arc<dyn DiskFile>, u64)> {
    let records: Vec<_> = std::iter::once(header.clone()).chain(state.to_records()).collect();
    let frame = internal::encode(position, &records);
    let length = frame.len() as u64;
    let new = dir.join(NEW_FILE_NAME);
    let file = disk.open(&new, OpenMode::Replace).await?;
    file.write_at(0, vec![frame]).await?;
    file.sync().await?;
    disk.rename(&new, &dir.join(FILE_NAME)).await?;
    disk.sync_dir(dir).await?;
    Ok((file, length))
}
